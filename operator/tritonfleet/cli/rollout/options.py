"""What `tritonfleet rollout` can be told."""

import argparse
from typing import Final

from tritonfleet.cli import amounts, target

_ASKED: Final = {
    "pause": "hold a rollout where it is; a canary that breaks is taken back all the same",
    "resume": "let a held rollout go on",
    "approve": "let a step that waits for a person go on",
    "promote": "take a canary to 100 %% now, without further comparison",
    "abort": "take a canary back and reject it",
    "retry": "try a rejected revision again",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands, named as kubectl names them."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    _status(actions.add_parser("status", help="say where a rollout is, what it waits for, and what would change it"))
    for verb, summary in _ASKED.items():
        target.configure(actions.add_parser(verb, help=summary, description=summary))
    undo = actions.add_parser("undo", help="serve the revision before again, or an older one; the spec stays as it is")
    target.configure(undo)
    undo.add_argument("--to-revision", metavar="REVISION", help="its number, name or hash; default: the one before")
    history = actions.add_parser("history", help="list the revisions that are kept, and what became of each")
    target.configure(history)
    _output(history)
    difference = actions.add_parser("diff", help="show what two revisions differ in")
    target.configure(difference)
    difference.add_argument("before", nargs="?", metavar="FROM", help="default: stable, or the one before it")
    difference.add_argument("after", nargs="?", metavar="TO", help="default: the canary, or stable")


def _status(parser: argparse.ArgumentParser) -> None:
    target.configure(parser)
    shape = parser.add_mutually_exclusive_group()
    _output(shape)
    shape.add_argument("-w", "--watch", action="store_true", help="stay and follow it, with the last minutes drawn")
    shape.add_argument("--wait", action="store_true", help="wait for the end: 0 promoted, 3 rolled back, 4 too late")
    add = parser.add_argument
    add("--timeout", type=amounts.seconds, metavar="TIME", help="how long --wait waits; default: for ever")
    add("--interval", type=amounts.seconds, default=2.0, metavar="TIME", help="how often it looks (default 2s)")


def _output(parser: "argparse._ActionsContainer") -> None:
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text", help="default: text")
