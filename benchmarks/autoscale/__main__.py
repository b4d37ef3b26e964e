"""Ours against every autoscaler that people run, each swept over its target, on real and made traffic.

`make bench-autoscale TRACES=directory`. Named scenes or scalers only print; the whole bench also writes its results.

    python -m benchmarks.autoscale --scene daily --scaler ours keda@0.65 --seeds 1
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.autoscale.cache import Cache
from benchmarks.autoscale.contenders import FAMILIES, contenders
from benchmarks.autoscale.runs import PROCESSES, Score, jobs, play
from benchmarks.autoscale.scenes import Scene, scenes
from benchmarks.autoscale.summary import NOTES, bars, scoreboard, tables
from benchmarks.report import markdown_table, report

SEEDS = 3


def main() -> None:
    """Play what was asked for and report."""
    arguments = _arguments()
    chosen = _scenes(arguments)
    entrants = list(contenders(tuple(arguments.scaler)))
    if not entrants:
        sys.exit(f"no scaler named {arguments.scaler}: there are {', '.join(each.name for each in FAMILIES)}")
    waiting = jobs(chosen, entrants, arguments.seeds)
    cache = Cache(arguments.cache) if arguments.cache else None
    scores, left = cache.split(waiting) if cache else ([], waiting)
    played = play(left, arguments.processes)
    fresh = cache.keep(played) if cache else (score for _, score in played)
    scores += watched(fresh, len(left))
    if arguments.scene or arguments.scaler or arguments.quick:
        print(markdown_table(scoreboard(chosen, scores)))
    else:
        report("autoscale", tables(chosen, scores), bars(chosen, scores), NOTES)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, help="directory of CSV files whose first column is seconds")
    parser.add_argument("--scene", nargs="+", default=[], help="only these; --list shows all")
    parser.add_argument("--scaler", nargs="+", default=[], help="only these, as FAMILY or FAMILY@TARGET")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--hours", type=float, default=0.0, help="length of generated traces; usual ones if not given")
    parser.add_argument("--cache", type=Path, help="file that keeps scores until the code behind them changes")
    parser.add_argument("--quick", action="store_true", help="a few minutes of one trace: whether everything runs")
    parser.add_argument("--list", action="store_true", help="name scenes and scalers, and end")
    arguments = parser.parse_args()
    if arguments.list:
        print("scenes:", *(f"  {scene.name}" for scene in scenes(arguments.traces)), sep="\n")
        print("scalers:", *(f"  {family.name:20} {family.what}" for family in FAMILIES), sep="\n")
        sys.exit()
    return arguments


def _scenes(arguments: argparse.Namespace) -> list[Scene]:
    if arguments.quick:
        return [Scene("steps", "slow", "steps", hours=0.2)]
    known = {scene.name: scene for scene in scenes(arguments.traces, arguments.hours)}
    unknown = [name for name in arguments.scene if name not in known]
    if unknown:
        sys.exit(f"no scene named {', '.join(unknown)}: there are {', '.join(known)}")
    return [scene for name, scene in known.items() if not arguments.scene or name in arguments.scene]


def watched(scores: Iterable[Score], count: int) -> Iterator[Score]:
    """Hand scores on and say how far they are."""
    start = time.monotonic()
    for number, score in enumerate(scores, 1):
        yield score
        if number % 100 == 0 or number == count:
            print(f"{number}/{count} runs, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
