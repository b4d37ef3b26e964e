"""The pictures of the traffic and the rollout acts, with the numbers and the decisions they were drawn from."""

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from devcluster.demo import rollout, traffic

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#888888"
COLORS = {"1": GREY, "2": BLUE, "3": ORANGE}
"""Of each version of the model that is rolled out."""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px sans-serif; max-width: 60em; margin: 2em auto; }}
svg {{ width: 100%; height: auto; }}
td, th {{ text-align: left; vertical-align: top; padding: .2em 1em .2em 0; }}
</style></head><body><h1>{title}</h1>
{picture}
<table><tr><th>second</th><th>weight</th><th>phase</th><th>why</th></tr>
{rows}
</table></body></html>
"""
DECISIVE = {"Verifying", "Stable", "RollingBack"}
TITLE = "A good version is promoted, and a bad one is rolled back"


def write_autoscaling(samples: Sequence[traffic.Sample], folder: Path) -> tuple[Path, Path]:
    """Write `autoscaling.csv` and `autoscaling.png`, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers, picture = folder / "autoscaling.csv", folder / "autoscaling.png"
    with numbers.open("w", newline="") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(traffic.Sample)])
        writer.writeheader()
        writer.writerows(asdict(sample) for sample in samples)
    _draw_autoscaling(samples, picture)
    return numbers, picture


def _draw_autoscaling(samples: Sequence[traffic.Sample], picture: Path) -> None:
    figure = Figure(figsize=(9, 7), layout="constrained")
    rate, latency, replicas = figure.subplots(3, 1, sharex=True)
    at = [sample.at_seconds for sample in samples]
    rate.plot(at, [sample.answers_per_second for sample in samples], color=BLUE)
    rate.set(ylabel="answers per second", ylim=(0, None))
    latency.plot(at, [sample.p99_ms for sample in samples], color=BLUE, label="p99 at the clients")
    latency.plot(at, [sample.p50_ms for sample in samples], color=GREY, label="median")
    latency.axhline(traffic.TARGET_MS, color=ORANGE, linestyle="--", label=f"target, {traffic.TARGET_MS:.0f} ms")
    latency.set(ylabel="latency in ms", yscale="log")
    latency.legend(loc="upper right")
    replicas.step(at, [sample.replicas_wanted for sample in samples], where="post", color=ORANGE, label="wanted")
    replicas.step(at, [sample.replicas_ready for sample in samples], where="post", color=BLUE, label="ready")
    replicas.set(ylabel="replicas", xlabel="seconds", ylim=(0, None))
    replicas.legend(loc="upper right")
    figure.suptitle("Replicas under rising and falling traffic")
    figure.savefig(picture, dpi=120)


def write_rollout(story: rollout.Story, folder: Path) -> tuple[Path, Path]:
    """Write `rollout.png` and `rollout.html`, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    picture, page = folder / "rollout.png", folder / "rollout.html"
    figure = _draw_rollout(story)
    figure.savefig(picture, dpi=120)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    svg = drawn.getvalue()
    rows = "\n".join(_row(story, sample) for sample in story.decisions)
    page.write_text(PAGE.format(title=TITLE, picture=svg[svg.index("<svg") :], rows=rows), encoding="utf-8")
    return picture, page


def _row(story: rollout.Story, sample: rollout.Sample) -> str:
    cells = (f"{sample.at_seconds - story.started:.1f}", f"{sample.weight} %", sample.phase, sample.message)
    return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"


def _draw_rollout(story: rollout.Story) -> Figure:
    figure = Figure(figsize=(11, 9), layout="constrained")
    share, bad, latency, replicas = figure.subplots(4, 1, sharex=True)
    at = [sample.at_seconds - story.started for sample in story.samples]
    share.step(
        at, [sample.weight for sample in story.samples], where="post", color="black", label="the canary's weight"
    )
    share.set(ylabel="% of the requests", ylim=(-5, 119))
    for version in sorted(COLORS):
        look = {"color": COLORS[version], "label": f"version {version}"}
        seconds, answered, p99 = _seconds_of(story, version)
        share.plot(seconds, answered, linewidth=1, **look)
        latency.plot(seconds, p99, **look)
        pods = [
            sum(n for name, n in sample.ready.items() if story.versions.get(name) == version)
            for sample in story.samples
        ]
        replicas.step(at, pods, where="post", **look)
    latency.set(ylabel="p99 in ms", ylim=(0, None))
    replicas.set(ylabel="ready replicas", xlabel="seconds", ylim=(0, None))
    failed = [sample for sample, _ in story.answers.failures]
    for label, times, color in (("failed", failed, ORANGE), ("wrong", story.answers.wrong_at, "black")):
        counts, edges = np.histogram(np.asarray(times) - story.started, bins=_bins(story))
        bad.step(edges[:-1], counts, where="post", color=color, label=label)
    bad.set(ylabel="bad requests per second", ylim=(0, None))
    for panel in (share, bad, latency, replicas):
        panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    for sample in story.decisions:
        if sample.phase in DECISIVE:
            for panel in (share, bad, latency, replicas):
                panel.axvline(sample.at_seconds - story.started, color=GREY, linestyle=":", linewidth=1)
            share.text(sample.at_seconds - story.started, 106, sample.phase, fontsize="x-small")
    figure.suptitle(TITLE)
    return figure


def _bins(story: rollout.Story) -> np.ndarray:
    return np.arange(0, story.answers.at[-1] - story.started + 1, 1.0)


def _seconds_of(story: rollout.Story, version: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each second, the percent of its answers that came from a version, and their p99 in ms."""
    bins = _bins(story)
    at = np.asarray(story.answers.at) - story.started
    mine = np.asarray([story.versions.get(name) == version for name in story.answers.revisions])
    milliseconds = np.asarray(story.answers.milliseconds)
    every, _ = np.histogram(at, bins=bins)
    own, _ = np.histogram(at[mine], bins=bins)
    p99 = [
        np.percentile(part, 99) if len(part := milliseconds[mine & (at >= start) & (at < start + 1)]) else np.nan
        for start in bins[:-1]
    ]
    return bins[:-1], 100 * own / np.maximum(1, every), np.asarray(p99)
