"""`tritonfleet golden`: golden requests, asked from where a person sits."""

from tritonfleet.cli.golden.command import run

__all__ = [
    "run",
]
