"""Rows of text under each other, in columns as wide as what they hold."""

from collections.abc import Iterator, Sequence


def rows(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield each row as a line; all rows have as many cells, and the last is as long as it is."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
