"""`tritonfleet rollout`: where a rollout is, what it waits for, and what a person asks of it."""

from tritonfleet.cli.rollout.command import run

__all__ = [
    "run",
]
