"""The traffic of a simulation: recorded or synthetic, cut and scaled as requested.

`chosen_traffic()` reads a CSV (times of requests, or rates or counts per step, plain or gzip) or a built-in trace, and
applies `--duration` and `--rate`. `columns_of()` infers the meaning of a CSV's columns from their names and units.
`command.py` calls it.
"""

import csv
import gzip
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tritonfleet.api.quantities import counted
from tritonfleet.cli.arguments import format_duration, per_second
from tritonfleet.cli.terminal import UsageError, read_bytes
from tritonfleet.sim import STEP_SECONDS, WORKLOAD_NAMES, RateTrace, Times, TimestampTrace, Trace, workload

_UNITS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}
_TIME: Final = re.compile(
    r"(?:(?:t|ts|time|timestamp|arrived(?:_at)?|arrival(?:_time|_ts)?|start|date|datetime|epoch|offset|elapsed|unix)"
    rf"(?:[ _(/-]*({'|'.join(_UNITS)})\)?)?)|({'|'.join(_UNITS)})"
)
_RATE: Final = re.compile(
    r"(?:mean_|avg_)?(?:(?:arrival_)?rate|rps|qps|tps|req/s|requests/s)"
    r"|(?:req|reqs|requests|rate|arrivals|queries)_per_(s|sec|second|m|min|minute|h|hour)|(rpm)"
)
_COUNT: Final = re.compile(
    r"(?:n|num|number)?_?(?:of_)?"
    r"(?:n|count|counts|requests?|req|reqs|request_count|requests_count|arrivals|arrival_count|hits|invocations|events)"
)

GZIP_MAGIC: Final = b"\x1f\x8b"
COARSEST_KEPT_SECONDS: Final = 0.05
"""Times on a coarser grid were rounded: unspread, all requests of a step would arrive at once."""
LATE_START_SECONDS: Final = 60.0
"""A record that begins later than this, or with the date, is moved to begin at 0."""
_HEADERS: Final = "the first line must name the columns, such as t_s, or t_s,rate, or t_s,count"

Values = NDArray[np.float64]

HOUR_SECONDS, DAY_SECONDS = 3600.0, 86400.0
LENGTHS: Final = {"daily": DAY_SECONDS, "bursty": DAY_SECONDS, "weekly": 7 * DAY_SECONDS}
"""Default lengths of synthetic traffic; all others last four hours."""
USUAL_PEAK: Final = 0.75
"""Default share of the largest fleet's capacity that synthetic traffic takes in its busiest minute."""
QUICK_REQUESTS: Final = 150e6
"""Default limit of synthetic requests: a minute of computation for each scaler."""
COUNTING_STEP_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """The column of times; columns count from 0."""

    index: int
    unit_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """The column with the requests of a row's step."""

    index: int
    per_second: float | None
    """Factor to requests per second; None if it is a count per step."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a CSV: with a value, rows are steps of time; without, each row is a request."""

    time: TimeColumn | None
    value: ValueColumn | None = None
    headed: bool = True


def columns_of(first: Sequence[str]) -> Columns | None:
    """Return the columns according to the first row; None if it names none."""
    if number(first[0]) is not None:
        return Columns(TimeColumn(0), headed=False)
    names = [re.sub(r"\s+", "_", name.strip().lower()) for name in first]
    times = [
        TimeColumn(index, _UNITS[match[1] or match[2] or "s"])
        for index, name in enumerate(names)
        if (match := _TIME.fullmatch(name))
    ]
    rates = [
        ValueColumn(index, 1 / _UNITS["min" if match[2] else match[1] or "s"])
        for index, name in enumerate(names)
        if (match := _RATE.fullmatch(name))
    ]
    counts = [ValueColumn(index, None) for index, name in enumerate(names) if _COUNT.fullmatch(name)]
    values = [*rates, *counts]
    if not times and not values:
        return None
    return Columns(times[0] if times else None, values[0] if values else None)


def number(text: str) -> float | None:
    """Return a number, or a date and time as seconds since 1970; None for anything else."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True, slots=True)
class RecordedTrace:
    """A trace, and notes on how it was read."""

    trace: RateTrace | TimestampTrace
    notes: tuple[str, ...] = ()


def read_recording(path: str, seed: int) -> RecordedTrace:
    """Return the trace of a CSV file; raises UsageError naming file, line and column."""
    name = Path(path).name.removesuffix(".gz").removesuffix(".csv")
    rows = _rows(path)
    first = next(rows, None)
    if first is None:
        raise UsageError(f"{path}: empty; {_HEADERS}")
    columns = columns_of(first[1])
    if columns is None:
        raise UsageError(f"{path}: line {first[0]}: no known column; {_HEADERS}")
    if columns.time is None:
        raise UsageError(f"{path}: line {first[0]}: rates and counts need a column of times, such as t_s,rate")
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
        raise UsageError(f"{path}: damaged gzip file: {error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: must be a CSV file in UTF-8, plain or gzip: {error}") from error
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
            raise UsageError(
                f"{path}: line {line}: only {counted(len(cells), 'column')}, must have {max(wanted) + 1}"
            ) from error
        except ValueError as error:
            raise UsageError(f"{path}: line {line}: {error}") from error


def _finite(text: str) -> float:
    value = number(text)
    if value is None or not math.isfinite(value):
        raise ValueError(f"'{text}' must be a finite number, or a date and time")
    return value


def _times(path: str, name: str, times: Values, seed: int) -> RecordedTrace:
    if len(times) == 0:
        raise UsageError(f"{path}: no requests, only a header")
    times = np.sort(times)
    notes = []
    if times[0] < 0 or times[0] > LATE_START_SECONDS:
        times = times - times[0]
        notes.append("the trace was moved to begin with its first request")
    grid = _grid(times)
    if grid is None:
        return RecordedTrace(TimestampTrace(name, times), tuple(notes))
    notes.append(f"times are rounded to {format_duration(grid)}: requests were spread evenly over each step")
    spread = np.sort(times + np.random.default_rng(seed).uniform(0, grid, len(times)))
    return RecordedTrace(TimestampTrace(name, spread, float(times[-1] + grid)), tuple(notes))


def _grid(times: Values) -> float | None:
    """Return the step that times were rounded to, if it is coarse and requests share steps."""
    unique = np.unique(times)
    if len(unique) == len(times) or len(unique) < 2:
        return None
    step = float(np.diff(unique).min())
    offsets = (unique - unique[0]) / step
    even = bool(np.all(np.abs(offsets - np.round(offsets)) < 1e-3))
    return step if even and step >= COARSEST_KEPT_SECONDS else None


def _rates(path: str, name: str, table: Values, per_second: float | None, seed: int) -> RecordedTrace:
    """Make a trace of rows of (seconds, value); without `per_second` values count the requests of a step."""
    if len(table) < 2:
        raise UsageError(f"{path}: must have at least two rows, to show the length of a step")
    if table[:, 1].min() < 0 or table[:, 1].max() == 0:
        raise UsageError(f"{path}: rates must not be negative, or all 0; the lowest is {table[:, 1].min():g}")
    table = table[np.argsort(table[:, 0], kind="stable")]
    step, places = _steps(path, table[:, 0])
    rates = np.zeros(int(places[-1]) + 1)
    rates[places] = table[:, 1] * (per_second if per_second is not None else 1 / step)
    absent = len(rates) - len(places)
    notes = (f"{counted(absent, 'step')} of {format_duration(step)} without a row, taken as 0",) if absent else ()
    return RecordedTrace(RateTrace(name, step, rates, seed), notes)


def _steps(path: str, times: Values) -> tuple[float, NDArray[np.int64]]:
    """Return the length of a step in seconds and the step of each row."""
    step = float(np.diff(times).min())
    if step <= 0:
        raise UsageError(f"{path}: two rows have the same time; with rates or counts each row is one step")
    exact = (times - times[0]) / step
    places = np.round(exact).astype(np.int64)
    if np.abs(exact - places).max() > 0.01:
        shortest = format_duration(step)
        raise UsageError(f"{path}: times of rates or counts must rise in equal steps; the shortest is {shortest}")
    return step, places


@dataclass(frozen=True, slots=True)
class Part:
    """The beginning of a trace."""

    whole: Trace
    duration_seconds: float

    @property
    def name(self) -> str:
        """Return the trace's name."""
        return self.whole.name

    def arrivals(self, start: float, end: float) -> Times:
        """Return the arrivals in [start, end), none after the part's end."""
        return self.whole.arrivals(start, min(end, self.duration_seconds))

    def scaled(self, factor: float) -> "Part":
        """Return the same part of the scaled trace."""
        return Part(self.whole.scaled(factor), self.duration_seconds)


def traffic_listing() -> str:
    """Return the names for --trace, and the length of each."""
    return "\n".join(f"{name:<16}{format_duration(LENGTHS.get(name, 4 * HOUR_SECONDS))}" for name in WORKLOAD_NAMES)


def mean_rate(trace: Trace) -> float:
    """Return requests per second over the whole trace."""
    starts = np.arange(0.0, trace.duration_seconds, COUNTING_STEP_SECONDS)
    requests = sum(len(trace.arrivals(start, start + COUNTING_STEP_SECONDS)) for start in starts)
    return requests / trace.duration_seconds


@dataclass(frozen=True, slots=True)
class Traffic:
    """A trace, and notes on how it was changed."""

    trace: Trace
    notes: tuple[str, ...]


def chosen_traffic(
    source: str, *, rate: float | None, duration_seconds: float | None, seed: int, capacity: float
) -> Traffic:
    """Return the traffic of a file or of a built-in name; raises UsageError.

    By default the busiest minute of synthetic traffic takes three quarters of `capacity`, in requests per second.
    """
    if source in WORKLOAD_NAMES:
        return _made(source, rate, duration_seconds, seed, capacity)
    if not Path(source).exists() and source != "-":
        raise UsageError(f"--trace: '{source}' is neither a file nor one of {', '.join(WORKLOAD_NAMES)}")
    recording = read_recording(source, seed)
    trace: Trace = recording.trace
    notes = list(recording.notes)
    if duration_seconds is not None and duration_seconds < trace.duration_seconds:
        trace = Part(trace, duration_seconds)
    elif duration_seconds is not None and duration_seconds > trace.duration_seconds:
        notes.append(f"the trace ends after {format_duration(trace.duration_seconds)}, before --duration")
    if rate is not None:
        factor = rate / mean_rate(trace)
        trace = trace.scaled(factor)
        notes.append(
            f"scaled {'up' if factor > 1 else 'down'} to {per_second(rate)} requests/s: {factor:.3g} times the trace"
        )
    return Traffic(trace, tuple(notes))


def _made(name: str, rate: float | None, duration_seconds: float | None, seed: int, capacity: float) -> Traffic:
    usual = LENGTHS.get(name, 4 * HOUR_SECONDS)
    length = duration_seconds or usual
    notes = []
    if rate is None:
        minutes = workload(name, 1.0, length, seed).rates
        rate = USUAL_PEAK * capacity / max(1.0, float(np.max(_per_minute(minutes))))
        notes.append(f"the busiest minute takes {USUAL_PEAK:.0%} of maxReplicas; --rate sets the rate")
    if duration_seconds is None and rate * usual > QUICK_REQUESTS:
        length = np.ceil(QUICK_REQUESTS / rate / 60) * 60
        notes.append(f"cut from {format_duration(usual)} to {format_duration(length)} to save time; --duration sets it")
    return Traffic(workload(name, rate, length, seed), tuple(notes))


def _per_minute(rates: Times) -> Times:
    steps = int(60 / STEP_SECONDS)
    padded = np.pad(rates, (0, -len(rates) % steps), mode="edge")
    return np.asarray(padded.reshape(-1, steps).mean(axis=1))
