"""`tritonfleet rollout`: show a rollout, and request pauses, approvals, promotions and rollbacks."""

from tritonfleet.cli.rollout.command import run
from tritonfleet.cli.rollout.output import difference

__all__ = [
    "difference",
    "run",
]
