"""The `tritonfleet` command."""

import argparse
import importlib
from collections.abc import Sequence

_COMMANDS = {
    "fetch": ("tritonfleet.fetch.main", "fill a pod's model repository; set up by environment variables"),
    "operator": ("tritonfleet.cli.operator", "run the operator; set up by environment variables"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status.

    Only that subcommand's module is imported: the fetch step starts in every pod and needs no Kubernetes client.
    """
    parser = argparse.ArgumentParser(prog="tritonfleet", description="Serve models on NVIDIA Triton in Kubernetes.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, summary) in _COMMANDS.items():
        commands.add_parser(name, help=summary)
    chosen = parser.parse_args(arguments).command
    status: int = importlib.import_module(_COMMANDS[chosen][0]).main()
    return status
