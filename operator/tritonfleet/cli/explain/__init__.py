"""`tritonfleet explain`: the autoscaling of one model: its metrics, decision and limits, from its status."""

from tritonfleet.cli.explain.command import run

__all__ = [
    "run",
]
