"""`tritonfleet simulate`: a manifest's autoscaling on recorded or synthetic traffic, compared with other scalers.

`run()` is defined here, because the modules of this package need numpy, numba and matplotlib, which the operator's
image lacks: without them it reports what to install.
"""

import importlib.util
from types import SimpleNamespace

from tritonfleet.cli.terminal import UsageError, report_error
from tritonfleet.errors import TritonfleetError

EXTRA = ("numpy", "numba", "matplotlib")


def run(options: SimpleNamespace) -> int:
    """Simulate and print; return 2 for wrong input, or if the extra is not installed."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        problem = f"needs {', '.join(missing)}: pip install 'tritonfleet[simulate]'"
        return report_error("simulate", UsageError(problem))
    from tritonfleet.cli.simulate.command import simulated  # noqa: PLC0415

    try:
        return simulated(options)
    except TritonfleetError as problem:
        return report_error("simulate", problem)
