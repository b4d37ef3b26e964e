"""`tritonfleet simulate`: a manifest's autoscaling on recorded or synthetic traffic, compared with other scalers.

`run()` is defined here, because the modules of this package need numpy, numba and matplotlib, which the operator's
image lacks: without them it reports what to install.
"""

from types import SimpleNamespace

from tritonfleet.cli.terminal import report_error, require_extra
from tritonfleet.errors import TritonfleetError

EXTRA = ("numpy", "numba", "matplotlib")


def run(options: SimpleNamespace) -> int:
    """Simulate and print; return 2 for wrong input, or if the extra is not installed."""
    try:
        require_extra("simulate", EXTRA)
        from tritonfleet.cli.simulate.command import simulated  # noqa: PLC0415

        return simulated(options)
    except TritonfleetError as problem:
        return report_error("simulate", problem)
