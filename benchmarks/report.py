"""How every benchmark reports: tables on the terminal, JSON and Markdown beside them."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise and what was measured; `limit` is the most that `value` may be, or the least beyond if `strict`."""

    name: str
    value: float
    unit: str
    limit: float
    strict: bool = False

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        return self.value < self.limit if self.strict else self.value <= self.limit

    def as_row(self) -> Row:
        """Return what the report says of it."""
        row = asdict(self) | {"holds": self.holds}
        del row["strict"]
        return row


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under one title; a row may lack a column."""

    title: str
    rows: Sequence[Row]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest of `values` that at least `share` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * round(share * 1000) // 1000))
    return ordered[rank - 1]


def report(name: str, tables: Sequence[Table], bars: Sequence[Bar], notes: str) -> None:
    """Print what was measured and write `results/NAME.json` and `results/NAME.md`."""
    document = {
        "command": " ".join(["python", *sys.orig_argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "rows": [{"table": table.title, **row} for table in tables for row in table.rows],
        "bars": [bar.as_row() for bar in bars],
        "notes": notes,
    }
    text = markdown(document, tables, bars)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(text)
    print(text)


def markdown(document: Mapping[str, Any], tables: Sequence[Table], bars: Sequence[Bar]) -> str:
    """Return the report as it is shown in the documentation."""
    head = f"`{document['command']}`, {document['date']}, {document['machine']}."
    sections = [f"### {table.title}\n\n{markdown_table(table.rows)}" for table in tables]
    promises = f"### Bars\n\n{markdown_table([bar.as_row() for bar in bars])}"
    return "\n\n".join([head, *sections, promises, document["notes"]])


def _machine() -> str:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.release()}"


def markdown_table(rows: Sequence[Row]) -> str:
    """Return rows as Markdown, one column for each key of any of them."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [columns, ["---"] * len(columns), *cells])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
