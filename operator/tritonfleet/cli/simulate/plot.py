"""The outcome of a simulation as a plot, and as a self-contained HTML page.

`drawn()` plots load, replicas and latency over time, one line per scaler; `page()` combines that and the tables of
`report.py` in one file without external scripts, fonts or images. Imports matplotlib, so `command.py` imports it only
for `--plot` and `--html`.
"""

import re
from collections.abc import Callable, Sequence
from html import escape
from io import BytesIO
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tritonfleet.cli.simulate.report import OURS, Entry, Outcome, comparison_rows, worst_rows

_Values = NDArray[Any]

WIDTH_INCHES, HEIGHT_INCHES = 12.0, 8.5
MOST_POINTS: Final = 1200
"""About the pixels of the plot: a week is drawn in steps of nine minutes, each at its worst."""
LATENCY_CEILING: Final = 4.0
"""Latency is plotted up to this many times the target."""

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

_PAGE_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
svg { width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #e5e7eb }
th:first-child, td:first-child { text-align: left }
.ours { font-weight: 600; color: #047857 }
.warning { border-left: 4px solid #d97706; padding-left: .8rem }
"""


def drawn(outcome: Outcome, form: str) -> bytes:
    """Return the plot in a format of matplotlib: png, svg, pdf. Equal outcomes give equal SVG."""
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
    axes.set_ylabel("billed replicas")
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
    axes.set_ylabel(f"p{outcome.percentile:g} latency, ms")
    axes.set_ylim(0, ceiling * 1.02)


def _colored(entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
    """Assign a color to each entry; ours has the same in every plot, and is drawn last."""
    rivals = [entry for entry in entries if entry.key != OURS]
    colored = [(entry, RIVAL_COLORS[index % len(RIVAL_COLORS)]) for index, entry in enumerate(rivals)]
    return [*colored, *((entry, OUR_COLOR) for entry in entries if entry.key == OURS)]


def _points(outcome: Outcome, values: _Values, reduce: Callable[[_Values], float]) -> tuple[_Values, _Values]:
    """Return times and values, several minutes to a point where there are too many."""
    group = -(-len(values) // MOST_POINTS)
    starts = np.arange(0.0, len(values), group)
    reduced = np.array([reduce(values[int(start) : int(start) + group]) for start in starts])
    return starts * outcome.minute_seconds / _unit(outcome)[0], reduced


def _worst(values: _Values) -> float:
    known = values[~np.isnan(values)]
    return float(np.max(known)) if len(known) else np.nan


def _unit(outcome: Outcome) -> tuple[float, str]:
    hours = outcome.duration_seconds / 3600
    if hours > 72:
        return 86400.0, "days"
    return (3600.0, "hours") if hours > 3 else (60.0, "minutes")


def page(outcome: Outcome) -> str:
    """Return the page; user input (names, paths) is escaped."""
    title = escape(outcome.headline)
    assumed = "".join(f"<li>{escape(line)}</li>" for line in outcome.assumptions)
    warned = "".join(f'<p class="warning">{escape(line)}</p>' for line in outcome.warnings)
    worst = worst_rows(outcome)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_PAGE_STYLE}</style></head>\n<body>\n"
        f"<h1>{title}</h1>\n{warned}\n{_svg(outcome)}\n"
        f"{_table(comparison_rows(outcome), outcome.ours.title)}\n"
        f"<h2>Worst minutes of {escape(outcome.ours.title)}</h2>\n"
        f"{_table(worst) if len(worst) > 1 else '<p>No request missed the SLO.</p>'}\n"
        f"<h2>Assumptions</h2>\n<ul>{assumed}</ul>\n</body>\n</html>\n"
    )


def _svg(outcome: Outcome) -> str:
    """Return the plot as an inline SVG element."""
    document = drawn(outcome, "svg").decode()
    element = document[document.index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)


def _table(rows: list[tuple[str, ...]], emphasized: str | None = None) -> str:
    head, *body = rows
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    lines.extend("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in body)
    classes = ["", *(' class="ours"' if row[0] == emphasized else "" for row in body)]
    return "<table>" + "".join(f"<tr{c}>{line}</tr>" for c, line in zip(classes, lines, strict=True)) + "</table>"
