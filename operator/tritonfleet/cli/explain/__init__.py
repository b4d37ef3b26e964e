"""`tritonfleet explain`: what the autoscaler of one model sees, wants and is bound by, as its status says it."""

from tritonfleet.cli.explain.command import run

__all__ = [
    "run",
]
