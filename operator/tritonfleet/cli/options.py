"""The options of each subcommand.

They are separate from the subcommands, so that `tritonfleet --help` and `tritonfleet fetch` start without the
Kubernetes client: this module imports nothing but argparse and `arguments.py`. `main.py` adds them to the parser;
docs/reference/cli.md lists them.
"""

import argparse
import os
from typing import Final

from tritonfleet.cli import arguments

_ACTIONS: Final = {
    "check": "send golden requests and compare the responses",
    "record": "send requests and print a golden file with the responses",
}

_REQUESTS: Final = {
    "pause": "pause a rollout; a failing canary is still rolled back",
    "resume": "resume a paused or held rollout",
    "approve": "approve the step that is waiting",
    "promote": "promote the canary to 100%% now, without further analysis",
    "abort": "roll back the canary and reject it",
    "retry": "retry a rejected revision",
}


def _target_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a ModelDeployment."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the ModelDeployment")
    add("-n", "--namespace", metavar="NAME", help="its namespace; default: that of the kubeconfig context")
    add("--context", metavar="NAME", help="kubeconfig context; default: the current one")
    add("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, else ~/.kube/config; in a pod, its service account")


def explain_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    _target_options(parser)
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    shape.add_argument("-w", "--watch", action="store_true", help="follow it, with graphs of the last minutes")
    parser.add_argument(
        "--interval",
        type=arguments.seconds,
        default=2.0,
        metavar="TIME",
        help="refresh interval of --watch (default 2s)",
    )


def golden_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    for name, summary in _ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary)
        action.add_argument("model", metavar="MODEL", help="its name in Triton: that of the ModelDeployment")
        add = action.add_argument
        add("-f", "--filename", required=True, metavar="FILE", help="golden.json, or a ConfigMap; - reads stdin")
        add("--key", default="golden.json", help="key in the ConfigMap (default golden.json)")
        add(
            "--server",
            default="127.0.0.1:8001",
            metavar="HOST:PORT",
            help="Triton's gRPC address (default 127.0.0.1:8001, as with kubectl port-forward service/MODEL 8001)",
        )


def rollout_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands, named as in kubectl."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    _status_options(
        actions.add_parser("status", help="show a rollout: its phase, what it is waiting for, and what comes next")
    )
    for verb, summary in _REQUESTS.items():
        _target_options(actions.add_parser(verb, help=summary, description=summary))
    undo = actions.add_parser("undo", help="go back to the previous revision, or an older one; leaves the spec as is")
    _target_options(undo)
    undo.add_argument("--to-revision", metavar="REVISION", help="number, name or hash; default: the previous one")
    history = actions.add_parser("history", help="list the revisions and their outcomes")
    _target_options(history)
    _output_format(history)
    difference = actions.add_parser("diff", help="show the differences between two revisions")
    _target_options(difference)
    difference.add_argument("before", nargs="?", metavar="FROM", help="default: stable, or the previous revision")
    difference.add_argument("after", nargs="?", metavar="TO", help="default: the canary, or stable")


def _status_options(parser: argparse.ArgumentParser) -> None:
    _target_options(parser)
    shape = parser.add_mutually_exclusive_group()
    _output_format(shape)
    shape.add_argument("-w", "--watch", action="store_true", help="follow it, with graphs of the last minutes")
    shape.add_argument("--wait", action="store_true", help="wait for the end: 0 promoted, 3 rolled back, 4 timed out")
    add = parser.add_argument
    add("--timeout", type=arguments.seconds, metavar="TIME", help="how long --wait waits; default: no limit")
    add("--interval", type=arguments.seconds, default=2.0, metavar="TIME", help="refresh interval (default 2s)")


def _output_format(parser: "argparse._ActionsContainer") -> None:
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text", help="default: text")


def simulate_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; names of built-in traces and scalers are checked later."""
    add = parser.add_argument
    add("-f", "--filename", required=True, metavar="FILE", help="manifest with the ModelDeployment; - reads stdin")
    add(
        "--trace",
        required=True,
        metavar="FILE|NAME",
        help="CSV of request times or rates (gzip is fine), or the name of built-in traffic (see --trace list)",
    )
    _traffic(parser)
    _fleet(parser)
    _output(parser)


def _traffic(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("traffic").add_argument
    add(
        "--rate",
        type=arguments.rate,
        metavar="MEAN",
        help="scale the trace to this mean of requests per second",
    )
    add("--duration", type=arguments.seconds, metavar="TIME", help="use only the first part of the trace, such as 6h")
    add("--seed", type=arguments.seed, default=0, metavar="N", help="random seed (default 0)")


def _fleet(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("fleet")
    add = group.add_argument
    add(
        "--service",
        type=_service,
        metavar="ALPHA,BETA",
        help="a batch of b requests takes ALPHA + BETA*b, such as 4ms,0.6ms; by default ALPHA is 8%% of the target"
        " and the largest batch takes 40%% of it",
    )
    add(
        "--ready-time",
        type=arguments.seconds,
        default=60.0,
        metavar="TIME",
        help="median time from a pod's creation to ready (default 60s); one in ten takes twice as long",
    )
    add("--faults", type=_words, default=(), metavar="FAULT@TIME,...", help="faults to inject (see --faults list)")
    add(
        "--scalers",
        type=_words,
        default=(),
        metavar="NAME,...",
        help="scalers to compare with (see --scalers list); default: all, with their usual settings",
    )


def _output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output").add_argument
    add("--plot", metavar="FILE", help="plot the run as PNG, SVG or PDF, by the file's extension")
    add("--html", metavar="FILE", help="write a self-contained HTML report")
    add("--json", action="store_true", help="print JSON")
    add(
        "--jobs",
        type=arguments.count,
        default=os.cpu_count() or 1,
        metavar="N",
        help="scalers to simulate in parallel (default: one per core)",
    )


def _service(text: str) -> tuple[float, float]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2:
        raise argparse.ArgumentTypeError(f"must be two durations, such as 4ms,0.6ms, not '{text}'")
    alpha, beta = (arguments.seconds(part) for part in parts)
    return alpha, beta


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise argparse.ArgumentTypeError("must name at least one")
    return words
