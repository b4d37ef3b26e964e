"""Recorded traffic: a CSV of request times, or of rates or counts per step, plain or gzip."""

import csv
import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tritonfleet.cli.amounts import spoken
from tritonfleet.cli.complaint import Complaint, read_bytes
from tritonfleet.cli.simulate.columns import columns_of, number
from tritonfleet.sim import RateTrace, TimestampTrace

GZIP_MAGIC: Final = b"\x1f\x8b"
COARSEST_KEPT_SECONDS: Final = 0.05
"""Times on a coarser grid were rounded: as they stand, all requests of a step would come at once."""
LATE_START_SECONDS: Final = 60.0
"""A record that begins later than this, or with the date, is moved to begin at 0."""
_HEADERS: Final = "its first line must name the columns, such as t_s, or t_s,rate, or t_s,count"

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recording:
    """A trace and what was done to read it, in sentences."""

    trace: RateTrace | TimestampTrace
    notes: tuple[str, ...] = ()


def read_recording(path: str, seed: int) -> Recording:
    """Return the trace of a CSV file; raises Complaint naming file, line and column."""
    name = Path(path).name.removesuffix(".gz").removesuffix(".csv")
    rows = _rows(path)
    first = next(rows, None)
    if first is None:
        raise Complaint(f"{path}: is empty; {_HEADERS}")
    columns = columns_of(first[1])
    if columns is None:
        raise Complaint(f"{path}: line {first[0]}: names no column that is known; {_HEADERS}")
    if columns.time is None:
        raise Complaint(f"{path}: line {first[0]}: rates and counts must come with a column of times, such as t_s,rate")
    rows = rows if columns.headed else _rows(path)
    if columns.value is None:
        times = np.array([value for (value,) in _numbers(path, rows, (columns.time.index,))])
        return _times(path, name, times * columns.time.unit_seconds, seed)
    table = np.array(list(_numbers(path, rows, (columns.time.index, columns.value.index)))).reshape(-1, 2)
    table[:, 0] *= columns.time.unit_seconds
    return _rates(path, name, table, columns.value.per_second, seed)


def _rows(path: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line that is neither empty nor a comment."""
    content = read_bytes(path)
    try:
        text = (gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content).decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Complaint(f"{path}: is a damaged gzip file: {error}") from error
    except UnicodeDecodeError as error:
        raise Complaint(f"{path}: must be a CSV file in UTF-8, plain or gzip: {error}") from error
    lines = text.splitlines()
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    delimiter = next((mark for mark in ",;\t" if mark in first), ",")
    for line, cells in enumerate(csv.reader(lines, delimiter=delimiter), start=1):
        if cells and any(cells) and not cells[0].startswith("#"):
            yield line, cells


def _numbers(path: str, rows: Iterator[tuple[int, list[str]]], wanted: tuple[int, ...]) -> Iterator[tuple[float, ...]]:
    for line, cells in rows:
        try:
            yield tuple(_finite(cells[index]) for index in wanted)
        except IndexError as error:
            raise Complaint(f"{path}: line {line}: has {len(cells)} columns, must have {max(wanted) + 1}") from error
        except ValueError as error:
            raise Complaint(f"{path}: line {line}: {error}") from error


def _finite(text: str) -> float:
    value = number(text)
    if value is None or not math.isfinite(value):
        raise ValueError(f"'{text}' must be a finite number, or a date and time")
    return value


def _times(path: str, name: str, times: Values, seed: int) -> Recording:
    if len(times) == 0:
        raise Complaint(f"{path}: has no requests, only a header")
    times = np.sort(times)
    notes = []
    if times[0] < 0 or times[0] > LATE_START_SECONDS:
        times = times - times[0]
        notes.append("the trace begins with its first request")
    grid = _grid(times)
    if grid is None:
        return Recording(TimestampTrace(name, times), tuple(notes))
    notes.append(f"times were rounded to {spoken(grid)}: requests were spread evenly over each step")
    spread = np.sort(times + np.random.default_rng(seed).uniform(0, grid, len(times)))
    return Recording(TimestampTrace(name, spread, float(times[-1] + grid)), tuple(notes))


def _grid(times: Values) -> float | None:
    """Return the step that times were rounded to, if it is a coarse one and requests share it."""
    unique = np.unique(times)
    if len(unique) == len(times) or len(unique) < 2:
        return None
    step = float(np.diff(unique).min())
    offsets = (unique - unique[0]) / step
    even = bool(np.all(np.abs(offsets - np.round(offsets)) < 1e-3))
    return step if even and step >= COARSEST_KEPT_SECONDS else None


def _rates(path: str, name: str, table: Values, per_second: float | None, seed: int) -> Recording:
    """Make a trace of rows of (seconds, value); without `per_second` values count the requests of a step."""
    if len(table) < 2:
        raise Complaint(f"{path}: must have two rows or more: how long a step is shows between them")
    if table[:, 1].min() < 0 or table[:, 1].max() == 0:
        raise Complaint(f"{path}: rates must be 0 or more, and above 0 somewhere; the lowest is {table[:, 1].min():g}")
    table = table[np.argsort(table[:, 0], kind="stable")]
    step, places = _steps(path, table[:, 0])
    rates = np.zeros(int(places[-1]) + 1)
    rates[places] = table[:, 1] * (per_second if per_second is not None else 1 / step)
    absent = len(rates) - len(places)
    notes = (f"{absent:,} steps of {spoken(step)} have no row and count as 0",) if absent else ()
    return Recording(RateTrace(name, step, rates, seed), notes)


def _steps(path: str, times: Values) -> tuple[float, NDArray[np.int64]]:
    """Return the length of a step in seconds and the step of each row."""
    step = float(np.diff(times).min())
    if step <= 0:
        raise Complaint(f"{path}: two rows have the same time; with rates or counts each row is a step of its own")
    exact = (times - times[0]) / step
    places = np.round(exact).astype(np.int64)
    if np.abs(exact - places).max() > 0.01:
        raise Complaint(f"{path}: times of rates or counts must rise in equal steps; the shortest is {spoken(step)}")
    return step, places
