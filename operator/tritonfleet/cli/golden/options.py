"""What `tritonfleet golden` can be told."""

import argparse
from typing import Final

_ACTIONS: Final = {
    "check": "ask golden requests, and say which are answered right",
    "record": "ask requests, and print them as a golden file with the answers that came",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    for name, summary in _ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary)
        action.add_argument("model", metavar="MODEL", help="its name in Triton: that of the ModelDeployment")
        add = action.add_argument
        add("-f", "--filename", required=True, metavar="FILE", help="golden.json, or the ConfigMap; - reads stdin")
        add("--key", default="golden.json", help="of the ConfigMap's data (default golden.json)")
        add(
            "--server",
            default="127.0.0.1:8001",
            metavar="HOST:PORT",
            help="Triton's gRPC port (default 127.0.0.1:8001, as with kubectl port-forward service/MODEL 8001)",
        )
