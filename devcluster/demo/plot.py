"""The picture of the traffic act, and the numbers it was drawn from."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from matplotlib.figure import Figure

from devcluster.demo.traffic import TARGET_MS, Moment

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#888888"


def write(moments: Sequence[Moment], folder: Path) -> tuple[Path, Path]:
    """Write `autoscaling.csv` and `autoscaling.png`, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers, picture = folder / "autoscaling.csv", folder / "autoscaling.png"
    with numbers.open("w", newline="") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(Moment)])
        writer.writeheader()
        writer.writerows(asdict(moment) for moment in moments)
    _draw(moments, picture)
    return numbers, picture


def _draw(moments: Sequence[Moment], picture: Path) -> None:
    figure = Figure(figsize=(9, 7), layout="constrained")
    rate, latency, replicas = figure.subplots(3, 1, sharex=True)
    at = [moment.at_seconds for moment in moments]
    rate.plot(at, [moment.answers_per_second for moment in moments], color=BLUE)
    rate.set(ylabel="answers per second", ylim=(0, None))
    latency.plot(at, [moment.p99_ms for moment in moments], color=BLUE, label="p99 at the clients")
    latency.plot(at, [moment.p50_ms for moment in moments], color=GREY, label="median")
    latency.axhline(TARGET_MS, color=ORANGE, linestyle="--", label=f"target, {TARGET_MS:.0f} ms")
    latency.set(ylabel="latency in ms", yscale="log")
    latency.legend(loc="upper right")
    replicas.step(at, [moment.replicas_wanted for moment in moments], where="post", color=ORANGE, label="wanted")
    replicas.step(at, [moment.replicas_ready for moment in moments], where="post", color=BLUE, label="ready")
    replicas.set(ylabel="replicas", xlabel="seconds", ylim=(0, None))
    replicas.legend(loc="upper right")
    figure.suptitle("Traffic rises and falls, and the replicas follow")
    figure.savefig(picture, dpi=120)
