"""The `tritonfleet` command, which is also `kubectl tritonfleet`.

`main()` reads the arguments and runs one subcommand. Each subcommand imports what it runs when it runs: `fetch` starts
in every pod and needs no Kubernetes client, and `simulate` alone needs numpy, numba and matplotlib.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tritonfleet.cli.options import explain_options, golden_options, rollout_options, simulate_options
from tritonfleet.errors import printable


class _Parser(argparse.ArgumentParser):
    """Reports wrong arguments in one line."""

    def _print_message(self, message: str, file: Any = None) -> None:
        """Everything that argparse prints comes through here, also what it quotes."""
        super()._print_message(printable(message), file)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None, *, program: str = "tritonfleet") -> int:
    """Run one subcommand and return its exit status: 2 if it was called wrongly."""
    parser = _Parser(prog=program, description="Serve models on NVIDIA Triton in Kubernetes.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (configure, run, summary) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        configure(command)
        command.set_defaults(run=run)
    parsed = parser.parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except KeyboardInterrupt:
        parser.exit(130, "\n")
    except BrokenPipeError:
        # The reader, such as `head`, has exited.
        sys.stdout = None
        return 0
    return status


def plugin() -> int:
    """Run as `kubectl tritonfleet`."""
    return main(program="kubectl tritonfleet")


# The fetch step starts in every pod and needs no Kubernetes client, so each subcommand imports what it runs, itself.


def _fetch(_: argparse.Namespace) -> int:
    from tritonfleet.fetch import main as fetch  # noqa: PLC0415

    return fetch()


def _operator(_: argparse.Namespace) -> int:
    from tritonfleet.runtime import operate  # noqa: PLC0415

    return operate()


def _simulate(parsed: argparse.Namespace) -> int:
    from tritonfleet.cli.simulate import run  # noqa: PLC0415

    return run(parsed)


def _explain(parsed: argparse.Namespace) -> int:
    from tritonfleet.cli.explain import run  # noqa: PLC0415

    return run(parsed)


def _rollout(parsed: argparse.Namespace) -> int:
    from tritonfleet.cli.rollout import run  # noqa: PLC0415

    return run(parsed)


def _golden(parsed: argparse.Namespace) -> int:
    from tritonfleet.cli.golden import run  # noqa: PLC0415

    return run(parsed)


def _nothing(_: argparse.ArgumentParser) -> None:
    """Add no options: the subcommand is configured by environment variables."""


_Configure = Callable[[argparse.ArgumentParser], None]
_Run = Callable[[argparse.Namespace], int]

_COMMANDS: dict[str, tuple[_Configure, _Run, str]] = {
    "explain": (explain_options, _explain, "explain how many replicas a model has, and why"),
    "rollout": (rollout_options, _rollout, "show and control a rollout"),
    "golden": (golden_options, _golden, "check a model against golden requests, or record new ones"),
    "simulate": (simulate_options, _simulate, "replay traffic against a manifest's autoscaling, without a cluster"),
    "operator": (_nothing, _operator, "run the operator; configured by environment variables"),
    "fetch": (_nothing, _fetch, "download a model into a pod; configured by environment variables"),
}
