"""What `tritonfleet explain` can be told."""

import argparse

from tritonfleet.cli import amounts, target


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    target.configure(parser)
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    shape.add_argument("-w", "--watch", action="store_true", help="stay and follow it, with the last minutes drawn")
    parser.add_argument(
        "--interval",
        type=amounts.seconds,
        default=2.0,
        metavar="TIME",
        help="how often --watch looks (default 2s)",
    )
