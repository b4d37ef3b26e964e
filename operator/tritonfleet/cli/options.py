"""The options of each subcommand.

They are apart from the code that carries them out, so that `tritonfleet --help` and `tritonfleet fetch` start without
the Kubernetes client: this module imports nothing but argparse and `arguments.py`. `main.py` adds them to the parser;
docs/reference/cli.md lists them.
"""

import argparse
import os
from typing import Final

from tritonfleet.cli import arguments

_ACTIONS: Final = {
    "check": "ask golden requests, and say which are answered right",
    "record": "ask requests, and print them as a golden file with the answers that came",
}

_ASKED: Final = {
    "pause": "hold a rollout where it is; a canary that breaks is taken back all the same",
    "resume": "let a held rollout go on",
    "approve": "let a step that waits for a person go on",
    "promote": "take a canary to 100 %% now, without further comparison",
    "abort": "take a canary back and reject it",
    "retry": "try a rejected revision again",
}


def _target_options(parser: argparse.ArgumentParser) -> None:
    """Add them; this imports no Kubernetes client."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the ModelDeployment")
    add("-n", "--namespace", metavar="NAME", help="its namespace; default: the one that kubectl would use")
    add("--context", metavar="NAME", help="which cluster of the kubeconfig; default: the current one")
    add("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, else ~/.kube/config; in a pod, its account")


def explain_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    _target_options(parser)
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    shape.add_argument("-w", "--watch", action="store_true", help="stay and follow it, with the last minutes drawn")
    parser.add_argument(
        "--interval",
        type=arguments.seconds,
        default=2.0,
        metavar="TIME",
        help="how often --watch looks (default 2s)",
    )


def golden_options(parser: argparse.ArgumentParser) -> None:
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


def rollout_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands, named as kubectl names them."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    _status_options(
        actions.add_parser("status", help="say where a rollout is, what it waits for, and what would change it")
    )
    for verb, summary in _ASKED.items():
        _target_options(actions.add_parser(verb, help=summary, description=summary))
    undo = actions.add_parser("undo", help="serve the revision before again, or an older one; the spec stays as it is")
    _target_options(undo)
    undo.add_argument("--to-revision", metavar="REVISION", help="its number, name or hash; default: the one before")
    history = actions.add_parser("history", help="list the revisions that are kept, and what became of each")
    _target_options(history)
    _output_format(history)
    difference = actions.add_parser("diff", help="show what two revisions differ in")
    _target_options(difference)
    difference.add_argument("before", nargs="?", metavar="FROM", help="default: stable, or the one before it")
    difference.add_argument("after", nargs="?", metavar="TO", help="default: the canary, or stable")


def _status_options(parser: argparse.ArgumentParser) -> None:
    _target_options(parser)
    shape = parser.add_mutually_exclusive_group()
    _output_format(shape)
    shape.add_argument("-w", "--watch", action="store_true", help="stay and follow it, with the last minutes drawn")
    shape.add_argument("--wait", action="store_true", help="wait for the end: 0 promoted, 3 rolled back, 4 too late")
    add = parser.add_argument
    add("--timeout", type=arguments.seconds, metavar="TIME", help="how long --wait waits; default: for ever")
    add("--interval", type=arguments.seconds, default=2.0, metavar="TIME", help="how often it looks (default 2s)")


def _output_format(parser: "argparse._ActionsContainer") -> None:
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text", help="default: text")


def simulate_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; the names of built-in traces and scalers are checked where they are known."""
    add = parser.add_argument
    add("-f", "--filename", required=True, metavar="FILE", help="manifest with the ModelDeployment; - reads stdin")
    add(
        "--trace",
        required=True,
        metavar="FILE|NAME",
        help="CSV of request times or of rates, gzip too, or the name of made traffic: --trace list shows them",
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
        help="requests per second on average: the trace is thinned, or laid over itself, until it has them",
    )
    add("--duration", type=arguments.seconds, metavar="TIME", help="only the first part of the trace, such as 6h")
    add("--seed", type=arguments.seed, default=0, metavar="N", help="another one gives other luck (default 0)")


def _fleet(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("fleet")
    add = group.add_argument
    add(
        "--service",
        type=_service,
        metavar="ALPHA,BETA",
        help="time of a batch of b requests is ALPHA + BETA*b, such as 4ms,0.6ms; without it, a model that suits"
        " the SLO: ALPHA 8%% of the target, the largest batch 40%% of it",
    )
    add(
        "--ready-time",
        type=arguments.seconds,
        default=60.0,
        metavar="TIME",
        help="from a pod's creation to ready, median (default 60s); one in ten takes twice as long",
    )
    add("--faults", type=_words, default=(), metavar="FAULT@TIME,...", help="what goes wrong: --faults list shows")
    add(
        "--scalers",
        type=_words,
        default=(),
        metavar="NAME,...",
        help="what to compare with: --scalers list shows; default: all of them at their usual settings",
    )


def _output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output").add_argument
    add("--plot", metavar="FILE", help="draw what happened, as PNG (or SVG or PDF, by the name's ending)")
    add("--html", metavar="FILE", help="write a page with the drawing and the numbers; it needs nothing else")
    add("--json", action="store_true", help="print everything as JSON")
    add(
        "--jobs",
        type=arguments.count,
        default=os.cpu_count() or 1,
        metavar="N",
        help="scalers simulated at the same time (default: one for each core)",
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
