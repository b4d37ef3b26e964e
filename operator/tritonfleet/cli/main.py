"""The `tritonfleet` command."""

import argparse
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status."""
    parser = argparse.ArgumentParser(prog="tritonfleet", description="Serve models on NVIDIA Triton in Kubernetes.")
    commands = parser.add_subparsers(required=True)
    for name, (run, summary) in _COMMANDS.items():
        commands.add_parser(name, help=summary).set_defaults(run=run)
    status: int = parser.parse_args(arguments).run()
    return status


# The fetch step starts in every pod and needs no Kubernetes client, so each subcommand imports what it runs, itself.


def _fetch() -> int:
    from tritonfleet.fetch.main import main as fetch  # noqa: PLC0415

    return fetch()


def _operator() -> int:
    from tritonfleet.cli.operate import main as operate  # noqa: PLC0415

    return operate()


_COMMANDS = {
    "fetch": (_fetch, "fill a pod's model repository; set up by environment variables"),
    "operator": (_operator, "run the operator; set up by environment variables"),
}
