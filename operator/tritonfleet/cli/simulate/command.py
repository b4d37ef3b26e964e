"""`tritonfleet simulate`: from the options to what is printed and drawn."""

import argparse
import importlib.util

from tritonfleet.cli.complaint import Complaint, complain
from tritonfleet.errors import TritonfleetError

EXTRA = ("numpy", "numba", "matplotlib")


def run(options: argparse.Namespace) -> int:
    """Simulate and print; 2 when the input must be corrected, or when the extra is not installed."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        problem = f"needs {', '.join(missing)}: pip install 'tritonfleet[simulate]'"
        return complain("simulate", Complaint(problem))
    # Imports numpy and numba, which the operator's image lacks.
    from tritonfleet.cli.simulate.session import simulated  # noqa: PLC0415

    try:
        return simulated(options)
    except TritonfleetError as problem:
        return complain("simulate", problem)
