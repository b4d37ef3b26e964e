"""How fast a fleet of ModelDeployments is served, and what it costs, beside the floor measured in the same run.

`make bench-fleet`. Nodes and pods are simulated by kwok; the API server, etcd, the scheduler, the controllers and the
operator are real and share this machine.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.fleet.control_plane import build
from benchmarks.fleet.measure import IN_FLIGHT, Fleet, Routine, measure_fleet
from benchmarks.fleet.process import OperatorEnded
from benchmarks.fleet.summary import NOTES, bars, tables
from benchmarks.report import report
from devcluster.errors import DevclusterError
from devcluster.progress import Progress


def main() -> None:
    """Measure every size asked for and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[200, 1000], help="ModelDeployments created at once")
    parser.add_argument("--changed", type=int, default=100, help="of the largest fleet, changed at once")
    parser.add_argument("--idle-seconds", type=float, default=300.0, help="how long the largest fleet is left alone")
    arguments = parser.parse_args()
    turns = 1 + len(IN_FLIGHT)
    if turns * arguments.changed > max(arguments.sizes):
        parser.error(f"--changed is at most a part in {turns} of the largest fleet: the floors change as many others")
    # A benchmark that is terminated removes its cluster, as it does on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = Progress(total=len(arguments.sizes))
    try:
        build(progress)
    except DevclusterError as error:
        sys.exit(str(error))
    fleets: list[Fleet] = []
    for size in arguments.sizes:
        log = Path(tempfile.gettempdir()) / f"tritonfleet-bench-fleet-{size}.log"
        with progress.step(f"{size} ModelDeployments (the operator's log: {log})"):
            routine = Routine(arguments.idle_seconds, arguments.changed) if size == max(arguments.sizes) else None
            try:
                fleets.append(asyncio.run(measure_fleet(size, routine, log)))
            except OperatorEnded as error:
                sys.exit(str(error))
    report("fleet", tables(fleets), bars(fleets), NOTES)


if __name__ == "__main__":
    main()
