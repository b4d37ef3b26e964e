"""The picture of the rollout act, as an image and as a page with every decision in words."""

import html
import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from devcluster.demo.plot import BLUE, GREY, ORANGE
from devcluster.demo.rollout import Moment, Story

COLORS = {"1": GREY, "2": BLUE, "3": ORANGE}
"""Of each version of the model."""
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


def write(story: Story, folder: Path) -> tuple[Path, Path]:
    """Write `rollout.png` and `rollout.html`, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    picture, page = folder / "rollout.png", folder / "rollout.html"
    figure = _draw(story)
    figure.savefig(picture, dpi=120)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    svg = drawn.getvalue()
    rows = "\n".join(_row(story, moment) for moment in story.decisions)
    page.write_text(PAGE.format(title=TITLE, picture=svg[svg.index("<svg") :], rows=rows), encoding="utf-8")
    return picture, page


def _row(story: Story, moment: Moment) -> str:
    cells = (f"{moment.at_seconds - story.begun:.1f}", f"{moment.weight} %", moment.phase, moment.message)
    return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"


def _draw(story: Story) -> Figure:
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


def _bins(story: Story) -> np.ndarray:
    return np.arange(0, story.answers.at[-1] - story.begun + 1, 1.0)


def _seconds_of(story: Story, version: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
