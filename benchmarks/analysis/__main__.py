"""How often the analysis of a canary is wrong, beside threshold rules on the same simulated requests.

`make bench-analysis`. The requests are drawn at random; the decisions are made by the functions of the operator.
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np

from benchmarks.analysis import ours
from benchmarks.analysis.draw import draw
from benchmarks.analysis.fates import Fates
from benchmarks.analysis.rules import RULES
from benchmarks.analysis.scenarios import ERRORS, LATENCY, TRAFFICS, Scenario, Traffic
from benchmarks.analysis.summary import NOTES, Line, bars, tables
from benchmarks.report import report

CHUNK = 1000


def main() -> None:
    """Run every scenario and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000, help="canaries for each line")
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    lines = list(_lines(arguments.runs, arguments.seed))
    report("analysis", tables(lines), bars(lines), NOTES)


def _lines(runs: int, seed: int) -> Iterator[Line]:
    for traffic in TRAFFICS:
        for number, scenario in enumerate((*ERRORS, *(LATENCY if traffic is TRAFFICS[-1] else ()))):
            print(f"{traffic.requests} requests a look: {scenario.name}", file=sys.stderr)
            yield _line(scenario, traffic, runs, np.random.default_rng([seed, traffic.requests, number]))


def _line(scenario: Scenario, traffic: Traffic, runs: int, random: np.random.Generator) -> Line:
    parts: dict[str, list[Fates]] = {ours.NAME: [], **{rule.name: [] for rule in RULES}}
    for start in range(0, runs, CHUNK):
        drawn = draw(scenario, traffic, ours.ERRORS.max_windows, min(CHUNK, runs - start), random)
        parts[ours.NAME].append(ours.decide(drawn))
        for rule in RULES:
            parts[rule.name].append(rule.decide(drawn))
    return Line(scenario, traffic, {name: Fates.joined(fates) for name, fates in parts.items()})


if __name__ == "__main__":
    main()
