"""What `tritonfleet simulate` can be told."""

import argparse
import os

from tritonfleet.cli import amounts


def configure(parser: argparse.ArgumentParser) -> None:
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
        type=amounts.rate,
        metavar="MEAN",
        help="requests per second on average: the trace is thinned, or laid over itself, until it has them",
    )
    add("--duration", type=amounts.seconds, metavar="TIME", help="only the first part of the trace, such as 6h")
    add("--seed", type=amounts.seed, default=0, metavar="N", help="another one gives other luck (default 0)")


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
        type=amounts.seconds,
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
        type=amounts.count,
        default=os.cpu_count() or 1,
        metavar="N",
        help="scalers simulated at the same time (default: one for each core)",
    )


def _service(text: str) -> tuple[float, float]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2:
        raise argparse.ArgumentTypeError(f"must be two durations, such as 4ms,0.6ms, not '{text}'")
    alpha, beta = (amounts.seconds(part) for part in parts)
    return alpha, beta


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise argparse.ArgumentTypeError("must name at least one")
    return words
