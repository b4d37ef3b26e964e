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
TITLE = "A good version gets all the traffic, and a bad one is taken back"


def write_autoscaling(moments: Sequence[traffic.Moment], folder: Path) -> tuple[Path, Path]:
    """Write `autoscaling.csv` and `autoscaling.png`, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers, picture = folder / "autoscaling.csv", folder / "autoscaling.png"
    with numbers.open("w", newline="") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(traffic.Moment)])
        writer.writeheader()
        writer.writerows(asdict(moment) for moment in moments)
    _draw_autoscaling(moments, picture)
    return numbers, picture


def _draw_autoscaling(moments: Sequence[traffic.Moment], picture: Path) -> None:
    figure = Figure(figsize=(9, 7), layout="constrained")
    rate, latency, replicas = figure.subplots(3, 1, sharex=True)
    at = [moment.at_seconds for moment in moments]
    rate.plot(at, [moment.answers_per_second for moment in moments], color=BLUE)
    rate.set(ylabel="answers per second", ylim=(0, None))
    latency.plot(at, [moment.p99_ms for moment in moments], color=BLUE, label="p99 at the clients")
    latency.plot(at, [moment.p50_ms for moment in moments], color=GREY, label="median")
    latency.axhline(traffic.TARGET_MS, color=ORANGE, linestyle="--", label=f"target, {traffic.TARGET_MS:.0f} ms")
    latency.set(ylabel="latency in ms", yscale="log")
    latency.legend(loc="upper right")
    replicas.step(at, [moment.replicas_wanted for moment in moments], where="post", color=ORANGE, label="wanted")
    replicas.step(at, [moment.replicas_ready for moment in moments], where="post", color=BLUE, label="ready")
    replicas.set(ylabel="replicas", xlabel="seconds", ylim=(0, None))
    replicas.legend(loc="upper right")
    figure.suptitle("Traffic rises and falls, and the replicas follow")
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
    rows = "\n".join(_row(story, moment) for moment in story.decisions)
    page.write_text(PAGE.format(title=TITLE, picture=svg[svg.index("<svg") :], rows=rows), encoding="utf-8")
    return picture, page


def _row(story: rollout.Story, moment: rollout.Moment) -> str:
    cells = (f"{moment.at_seconds - story.begun:.1f}", f"{moment.weight} %", moment.phase, moment.message)
    return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"


def _draw_rollout(story: rollout.Story) -> Figure:
    figure = Figure(figsize=(11, 9), layout="constrained")
    share, bad, latency, replicas = figure.subplots(4, 1, sharex=True)
    at = [moment.at_seconds - story.begun for moment in story.moments]
    share.step(
        at, [moment.weight for moment in story.moments], where="post", color="black", label="the canary's weight"
    )
    share.set(ylabel="% of the requests", ylim=(-5, 119))
    for version in sorted(COLORS):
        look = {"color": COLORS[version], "label": f"version {version}"}
        seconds, answered, p99 = _seconds_of(story, version)
        share.plot(seconds, answered, linewidth=1, **look)
        latency.plot(seconds, p99, **look)
        pods = [
            sum(n for name, n in moment.ready.items() if story.versions.get(name) == version)
            for moment in story.moments
        ]
        replicas.step(at, pods, where="post", **look)
    latency.set(ylabel="p99 in ms", ylim=(0, None))
    replicas.set(ylabel="ready replicas", xlabel="seconds", ylim=(0, None))
    failed = [moment for moment, _ in story.answers.failures]
    for label, times, color in (("failed", failed, ORANGE), ("answered wrongly", story.answers.wrong_at, "black")):
        counts, edges = np.histogram(np.asarray(times) - story.begun, bins=_bins(story))
        bad.step(edges[:-1], counts, where="post", color=color, label=label)
    bad.set(ylabel="bad requests per second", ylim=(0, None))
    for panel in (share, bad, latency, replicas):
        panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    for moment in story.decisions:
        if moment.phase in DECISIVE:
            for panel in (share, bad, latency, replicas):
                panel.axvline(moment.at_seconds - story.begun, color=GREY, linestyle=":", linewidth=1)
            share.text(moment.at_seconds - story.begun, 106, moment.phase, fontsize="x-small")
    figure.suptitle(TITLE)
    return figure


def _bins(story: rollout.Story) -> np.ndarray:
    return np.arange(0, story.answers.at[-1] - story.begun + 1, 1.0)


def _seconds_of(story: rollout.Story, version: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each second, the percent of its answers that came from a version, and their p99 in ms."""
    bins = _bins(story)
    at = np.asarray(story.answers.at) - story.begun
    mine = np.asarray([story.versions.get(name) == version for name in story.answers.revisions])
    milliseconds = np.asarray(story.answers.milliseconds)
    every, _ = np.histogram(at, bins=bins)
    own, _ = np.histogram(at[mine], bins=bins)
    p99 = [
        np.percentile(part, 99) if len(part := milliseconds[mine & (at >= start) & (at < start + 1)]) else np.nan
        for start in bins[:-1]
    ]
    return bins[:-1], 100 * own / np.maximum(1, every), np.asarray(p99)
