"""What one tick costs: every pod scraped, every page read, and a decision for every ModelDeployment.

`make bench-tick`. Pods are one light process on loopback; everything else is the operator's own.
"""

import argparse
import resource
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import Bar, Row, Table, report
from benchmarks.tick.measure import Run, measure
from benchmarks.tick.traffic import REPLICAS

NOTES = (Path(__file__).parent / "notes.md").read_text()
BUDGET_SECONDS = 1.0
PARSE_SECONDS_PER_POD = 0.001


def main() -> None:
    """Measure every size asked for and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000], help="ModelDeployments, five pods each")
    parser.add_argument("--ticks", type=int, default=18, help="ticks, one every five seconds")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    runs = [measure(size, arguments.ticks) for size in arguments.sizes]
    tables = [
        Table("A tick", [_row(run) for run in runs]),
        Table("What pods answered and what was decided", [_counts(run) for run in runs]),
    ]
    report("tick", tables, _bars(runs), NOTES)


def _row(run: Run) -> Row:
    pods = run.size * REPLICAS
    later = run.ticks[1:]
    parse = sum(tick.parse for tick in later) / len(later)
    decide = sum(tick.decide for tick in later) / len(later)
    return {
        "ModelDeployments": run.size,
        "pods": pods,
        "ticks": len(run.ticks),
        "parse s": parse,
        "decide s": decide,
        "worst parse + decide s": _worst(run),
        "whole tick CPU s": sum(tick.cpu for tick in later) / len(later),
        "whole tick s": sum(tick.wall for tick in later) / len(later),
        "worst tick s": max(tick.wall for tick in run.ticks),
        "parse us per pod": 1e6 * parse / pods,
        "peer us per pod": 1e6 * run.peer_seconds / pods,
        "peer / ours": run.peer_seconds / parse,
        "Prometheus queries per tick": run.queries / len(run.ticks),
    }


def _counts(run: Run) -> Row:
    outcomes = {f"pods: {outcome}": count for outcome, count in sorted(run.outcomes.items())}
    reasons = {f"last tick: {reason}": count for reason, count in sorted(run.decisions.items())}
    return {"ModelDeployments": run.size, **outcomes, **reasons}


def _worst(run: Run) -> float:
    return max(tick.parse + tick.decide for tick in run.ticks)


def _bars(runs: Sequence[Run]) -> list[Bar]:
    biggest = max(runs, key=lambda run: run.size)
    of = f"{biggest.size:,} ModelDeployments, {biggest.size * REPLICAS:,} pods"
    pods = biggest.size * REPLICAS
    asked = {run.queries / len(run.ticks) for run in runs}
    unread = pods - biggest.ticks[-1].read
    return [
        Bar(f"{of}: parse + decide, worst tick", _worst(biggest), "CPU s", BUDGET_SECONDS, strict=True),
        Bar(
            "parse, worst tick, for each pod", max(tick.parse for tick in biggest.ticks) / pods * 1000, "ms",
            PARSE_SECONDS_PER_POD * 1000, strict=True,
        ),
        Bar(f"{of}: pages not read in the last tick", unread, "pages", 0),
        Bar("Prometheus queries per tick: difference between the fleets", max(asked) - min(asked), "queries", 0),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
