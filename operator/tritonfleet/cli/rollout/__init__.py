"""`tritonfleet rollout`: show a rollout, and request pauses, approvals, promotions and rollbacks."""

from tritonfleet.cli.rollout.command import run

__all__ = [
    "run",
]
