"""The drawing: load, replicas and latency over the same hours, one line for each scaler."""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tritonfleet.cli.simulate.outcome import OURS, Entry, Outcome

Values = NDArray[Any]

WIDTH_INCHES, HEIGHT_INCHES = 12.0, 8.5
MOST_POINTS: Final = 1200
"""More than there are pixels to show them: a week is drawn in steps of nine minutes, at their worst."""
LATENCY_CEILING: Final = 4.0
"""Latency is drawn up to this many times the target: how late hopeless requests come says little."""

INK, FAINT, LOAD, TARGET = "#1f2937", "#d1d5db", "#94a3b8", "#b91c1c"
OUR_COLOR: Final = "#047857"
RIVAL_COLORS: Final = ("#d97706", "#2563eb", "#9333ea", "#db2777", "#0891b2", "#65a30d")

_STYLE: Final[dict[Any, Any]] = {
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.color": "#f1f5f9",
    "svg.fonttype": "path",
    "svg.hashsalt": "tritonfleet",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def drawn(outcome: Outcome, form: str) -> bytes:
    """Return the drawing in a form that matplotlib knows: png, svg, pdf. Equal outcomes give equal SVG."""
    metadata = {"Date": None} if form == "svg" else None
    with mpl.rc_context(_STYLE):
        figure = _figure(outcome)
        buffer = BytesIO()
        figure.savefig(buffer, format=form, dpi=140, metadata=metadata)
    return buffer.getvalue()


def _figure(outcome: Outcome) -> Figure:
    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    figure.suptitle(outcome.headline, x=0.01, ha="left", fontweight="bold")
    load, replicas, latency = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [2, 4, 3]})
    _draw_load(load, outcome)
    _draw_replicas(replicas, outcome)
    _draw_latency(latency, outcome)
    latency.set_xlabel(f"{_unit(outcome)[1]} since the start of the trace")
    replicas.margins(x=0)
    figure.legend(loc="outside lower left", ncols=2, fontsize=9, edgecolor=FAINT)
    return figure


def _draw_load(axes: Axes, outcome: Outcome) -> None:
    arrivals = outcome.ours.run.minutes.arrivals / outcome.minute_seconds
    hours, rate = _points(outcome, arrivals, np.mean)
    axes.fill_between(hours, rate, color=LOAD, alpha=0.35, linewidth=0)
    axes.plot(hours, rate, color=LOAD, linewidth=1)
    axes.set_ylabel("requests/s")
    axes.set_ylim(bottom=0)
    axes.margins(x=0)


def _draw_replicas(axes: Axes, outcome: Outcome) -> None:
    for entry, color in _colored(outcome.entries):
        ours = entry.key == OURS
        hours, billed = _points(outcome, entry.run.minutes.billed, np.max)
        label = f"{entry.title}: {entry.run.gpu_hours:.1f} {outcome.cost_unit}, {entry.run.attainment:.2%}"
        axes.step(hours, billed, where="post", color=color, linewidth=2 if ours else 1, label=label, zorder=3 + ours)
    if outcome.oracle is not None:
        hours, least = _points(outcome, outcome.oracle.run.minutes.billed, np.max)
        label = f"{outcome.oracle.title}: {outcome.oracle.run.gpu_hours:.1f} {outcome.cost_unit}"
        axes.step(hours, least, where="post", color=INK, linewidth=1, linestyle=":", label=label, zorder=5)
    axes.axhline(outcome.max_replicas, color=FAINT, linewidth=1, linestyle="--")
    axes.set_ylabel("replicas paid for")
    axes.set_ylim(bottom=0)


def _draw_latency(axes: Axes, outcome: Outcome) -> None:
    target_ms = outcome.latency_seconds * 1000
    ceiling = LATENCY_CEILING * target_ms
    for entry, color in _colored(outcome.entries):
        ours = entry.key == OURS
        hours, late = _points(outcome, entry.run.minutes.percentile_seconds * 1000, _worst)
        axes.plot(hours, np.minimum(late, ceiling), color=color, linewidth=1.4 if ours else 0.8, zorder=3 + ours)
    axes.axhline(target_ms, color=TARGET, linewidth=1, linestyle="--")
    axes.annotate("the SLO", (1, target_ms), xycoords=("axes fraction", "data"), color=TARGET, va="bottom", ha="right")
    axes.set_ylabel(f"p{outcome.percentile:g} of answers, ms")
    axes.set_ylim(0, ceiling * 1.02)


def _colored(entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
    """Give each entry its color, ours the same in every drawing, and drawn last."""
    rivals = [entry for entry in entries if entry.key != OURS]
    colored = [(entry, RIVAL_COLORS[index % len(RIVAL_COLORS)]) for index, entry in enumerate(rivals)]
    return [*colored, *((entry, OUR_COLOR) for entry in entries if entry.key == OURS)]


def _points(outcome: Outcome, values: Values, reduce: Callable[[Values], float]) -> tuple[Values, Values]:
    """Return times and values, several minutes to a point where there are too many."""
    group = -(-len(values) // MOST_POINTS)
    starts = np.arange(0.0, len(values), group)
    reduced = np.array([reduce(values[int(start) : int(start) + group]) for start in starts])
    return starts * outcome.minute_seconds / _unit(outcome)[0], reduced


def _worst(values: Values) -> float:
    known = values[~np.isnan(values)]
    return float(np.max(known)) if len(known) else np.nan


def _unit(outcome: Outcome) -> tuple[float, str]:
    hours = outcome.duration_seconds / 3600
    if hours > 72:
        return 86400.0, "days"
    return (3600.0, "hours") if hours > 3 else (60.0, "minutes")
