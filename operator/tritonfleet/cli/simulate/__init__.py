"""`tritonfleet simulate`: a manifest's autoscaling on recorded or made traffic, next to what it would replace.

`run()` is defined here, because the modules of this package need numpy, numba and matplotlib, which the operator's
image lacks: it says so in one line where they are not installed.
"""

import argparse
import importlib.util

from tritonfleet.cli.terminal import UsageError, complain
from tritonfleet.errors import TritonfleetError

EXTRA = ("numpy", "numba", "matplotlib")


def run(options: argparse.Namespace) -> int:
    """Simulate and print; 2 when the input must be corrected, or when the extra is not installed."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        problem = f"needs {', '.join(missing)}: pip install 'tritonfleet[simulate]'"
        return complain("simulate", UsageError(problem))
    from tritonfleet.cli.simulate.command import simulated  # noqa: PLC0415

    try:
        return simulated(options)
    except TritonfleetError as problem:
        return complain("simulate", problem)
