"""The outcome as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

import re
from html import escape
from typing import Final

from tritonfleet.cli.simulate import figure
from tritonfleet.cli.simulate.outcome import Outcome
from tritonfleet.cli.simulate.table import comparison_rows, worst_rows

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
svg { width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #e5e7eb }
th:first-child, td:first-child { text-align: left }
.ours { font-weight: 600; color: #047857 }
.warning { border-left: 4px solid #d97706; padding-left: .8rem }
"""


def page(outcome: Outcome) -> str:
    """Return the page; what a person gave (names, paths) is escaped in it."""
    title = escape(outcome.headline)
    assumed = "".join(f"<li>{escape(line)}</li>" for line in outcome.assumptions)
    warned = "".join(f'<p class="warning">{escape(line)}</p>' for line in outcome.warnings)
    worst = worst_rows(outcome)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body>\n"
        f"<h1>{title}</h1>\n{warned}\n{_svg(outcome)}\n"
        f"{_table(comparison_rows(outcome), outcome.ours.title)}\n"
        f"<h2>The worst minutes of {escape(outcome.ours.title)}</h2>\n"
        f"{_table(worst) if len(worst) > 1 else '<p>No request missed the SLO.</p>'}\n"
        f"<h2>What was assumed</h2>\n<ul>{assumed}</ul>\n</body>\n</html>\n"
    )


def _svg(outcome: Outcome) -> str:
    """Return the drawing as an element of the page, without what only a file of its own needs."""
    document = figure.drawn(outcome, "svg").decode()
    element = document[document.index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)


def _table(rows: list[tuple[str, ...]], emphasized: str | None = None) -> str:
    head, *body = rows
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    lines.extend("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in body)
    classes = ["", *(' class="ours"' if row[0] == emphasized else "" for row in body)]
    return "<table>" + "".join(f"<tr{c}>{line}</tr>" for c, line in zip(classes, lines, strict=True)) + "</table>"
