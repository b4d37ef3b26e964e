"""The simulator beside the real Triton: the same arrivals, and what each says of latencies and batches.

`make bench-fidelity`, as root. Times are measured: a machine that is busy with other work shows in them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.fidelity.calibration import calibrate
from benchmarks.fidelity.comparison import Comparison, compare
from benchmarks.fidelity.models import MAX_BATCH, ONNX, PLAIN, SLEEPERS
from benchmarks.fidelity.server import running, take_priority
from benchmarks.report import Bar, Row, Table, report
from tritonfleet.sim import ServerModel

NOTES = (Path(__file__).parent / "notes.md").read_text()
CLOSE_PERCENT = 10.0
REJECTED_POINTS = 2.0
MEASURED = {"p50_seconds": "p50", "p99_seconds": "p99", "mean_batch": "mean batch"}


def main() -> None:
    """Replay every case, simulate it, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long one replay takes")
    parser.add_argument("--replays", type=int, default=3, help="of every case; their median counts")
    arguments = parser.parse_args()
    learned: dict[str, ServerModel] = {}
    compared: list[Comparison] = []
    with running({model.name: model.files() for model in (*SLEEPERS, ONNX)}) as address:
        take_priority()
        for reference, models in ((PLAIN, SLEEPERS), (ONNX, (ONNX,))):
            learned[reference.name] = told = calibrate(address, reference, arguments.seconds)
            compared += [
                compare(address, model, told, load, replays=arguments.replays, seconds=arguments.seconds)
                for model in models
                for load in model.loads
            ]
    tables = [
        Table("Real and simulated", [_row(each) for each in compared]),
        Table("Service times given to the simulator", [_learned_row(name, server) for name, server in learned.items()]),
    ]
    report("fidelity", tables, _bars(compared), NOTES)


def _row(each: Comparison) -> Row:
    row: dict[str, float | str] = {"case": each.model, "load": each.load, "requests": each.requests}
    for figure, name in MEASURED.items():
        unit, scale = (" ms", 1e3) if figure.endswith("_seconds") else ("", 1.0)
        row |= {
            f"{name} real{unit}": scale * median(getattr(run, figure) for run in each.real),
            f"{name} simulated{unit}": scale * median(getattr(run, figure) for run in each.simulated),
            f"{name} simulated / real": each.ratio(figure),
        }
    return row | {
        "p99 real, spread %": 100 * each.spread("p99_seconds"),
        "rejected real %": 100 * median(run.rejected for run in each.real),
        "rejected simulated %": 100 * median(run.rejected for run in each.simulated),
    }


def _learned_row(name: str, server: ServerModel) -> Row:
    return {
        "model": name,
        "alpha ms": 1e3 * server.alpha_seconds,
        "beta ms": 1e3 * server.beta_seconds,
        "overhead ms": 1e3 * server.overhead_seconds,
        "noise": server.noise,
        "capacity requests/s": MAX_BATCH / server.execution_seconds(MAX_BATCH),
    }


def _bars(compared: Sequence[Comparison]) -> list[Bar]:
    bars = []
    for each in compared:
        case = f"{each.model} at {each.load}"
        bars += [
            Bar(f"{case}: {name} off by", 100 * abs(each.ratio(figure) - 1), "%", CLOSE_PERCENT)
            for figure, name in MEASURED.items()
        ]
        off = 100 * abs(each.difference("rejected"))
        bars.append(Bar(f"{case}: rejected share off by", off, "percentage points", REJECTED_POINTS))
    return bars


if __name__ == "__main__":
    main()
