"""The traffic of a simulation: recorded, or made, as long and as dense as was asked for.

`chosen_traffic()` reads a CSV (times of requests, or rates or counts per step, plain or gzip) or takes a built-in
trace, and cuts and thins it as `--duration` and `--rate` say. What a column of a CSV means follows from its name and
unit alone: `columns_of()`. `command.py` calls it.
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

from tritonfleet.cli.arguments import per_second, spoken
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
"""Times on a coarser grid were rounded: as they stand, all requests of a step would come at once."""
LATE_START_SECONDS: Final = 60.0
"""A record that begins later than this, or with the date, is moved to begin at 0."""
_HEADERS: Final = "its first line must name the columns, such as t_s, or t_s,rate, or t_s,count"

Values = NDArray[np.float64]

HOUR_SECONDS, DAY_SECONDS = 3600.0, 86400.0
LENGTHS: Final = {"daily": DAY_SECONDS, "bursty": DAY_SECONDS, "weekly": 7 * DAY_SECONDS}
"""How long made traffic is unless told; all else lasts four hours."""
USUAL_PEAK: Final = 0.75
"""Made traffic asks at its busiest minute for this share of what the largest fleet carries, unless told."""
QUICK_REQUESTS: Final = 150e6
"""Made traffic ends, or is pressed, so that it has no more unless told: a minute's work for each scaler."""
COUNTING_STEP_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """Where times are; columns count from 0."""

    index: int
    unit_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """Where it says how many requests came in a row's step."""

    index: int
    per_second: float | None
    """Makes the value requests per second; None where it is a count of the step."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is read as what: with a value, rows are steps of time; without, each row is a request."""

    time: TimeColumn | None
    value: ValueColumn | None = None
    headed: bool = True


def columns_of(first: Sequence[str]) -> Columns | None:
    """Return what the first row says of the columns; None when it does not say it."""
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
class Recording:
    """A trace and what was done to read it, in sentences."""

    trace: RateTrace | TimestampTrace
    notes: tuple[str, ...] = ()


def read_recording(path: str, seed: int) -> Recording:
    """Return the trace of a CSV file; raises UsageError naming file, line and column."""
    name = Path(path).name.removesuffix(".gz").removesuffix(".csv")
    rows = _rows(path)
    first = next(rows, None)
    if first is None:
        raise UsageError(f"{path}: is empty; {_HEADERS}")
    columns = columns_of(first[1])
    if columns is None:
        raise UsageError(f"{path}: line {first[0]}: names no column that is known; {_HEADERS}")
    if columns.time is None:
        raise UsageError(
            f"{path}: line {first[0]}: rates and counts must come with a column of times, such as t_s,rate"
        )
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
        raise UsageError(f"{path}: is a damaged gzip file: {error}") from error
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
            raise UsageError(f"{path}: line {line}: has {len(cells)} columns, must have {max(wanted) + 1}") from error
        except ValueError as error:
            raise UsageError(f"{path}: line {line}: {error}") from error


def _finite(text: str) -> float:
    value = number(text)
    if value is None or not math.isfinite(value):
        raise ValueError(f"'{text}' must be a finite number, or a date and time")
    return value


def _times(path: str, name: str, times: Values, seed: int) -> Recording:
    if len(times) == 0:
        raise UsageError(f"{path}: has no requests, only a header")
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
        raise UsageError(f"{path}: must have two rows or more: how long a step is shows between them")
    if table[:, 1].min() < 0 or table[:, 1].max() == 0:
        raise UsageError(f"{path}: rates must be 0 or more, and above 0 somewhere; the lowest is {table[:, 1].min():g}")
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
        raise UsageError(f"{path}: two rows have the same time; with rates or counts each row is a step of its own")
    exact = (times - times[0]) / step
    places = np.round(exact).astype(np.int64)
    if np.abs(exact - places).max() > 0.01:
        raise UsageError(f"{path}: times of rates or counts must rise in equal steps; the shortest is {spoken(step)}")
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
    """Return what can be named instead of a file, and for how long each lasts."""
    return "\n".join(f"{name:<16}{spoken(LENGTHS.get(name, 4 * HOUR_SECONDS))}" for name in WORKLOAD_NAMES)


def mean_rate(trace: Trace) -> float:
    """Return requests per second over the whole trace."""
    starts = np.arange(0.0, trace.duration_seconds, COUNTING_STEP_SECONDS)
    requests = sum(len(trace.arrivals(start, start + COUNTING_STEP_SECONDS)) for start in starts)
    return requests / trace.duration_seconds


@dataclass(frozen=True, slots=True)
class Traffic:
    """A trace and what was done to it, in sentences."""

    trace: Trace
    notes: tuple[str, ...]


def chosen_traffic(
    source: str, *, rate: float | None, duration_seconds: float | None, seed: int, capacity: float
) -> Traffic:
    """Return the traffic of a file or of a built-in name.

    Made traffic asks for three quarters of `capacity`, in requests per second, at its busiest minute, unless `rate`
    says otherwise. Raises UsageError.
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
        notes.append(f"the trace ends after {spoken(trace.duration_seconds)}, before --duration")
    if rate is not None:
        factor = rate / mean_rate(trace)
        trace = trace.scaled(factor)
        notes.append(
            f"{'laid over itself' if factor > 1 else 'thinned'} to {per_second(rate)} requests/s: {factor:.3g} times"
        )
    return Traffic(trace, tuple(notes))


def _made(name: str, rate: float | None, duration_seconds: float | None, seed: int, capacity: float) -> Traffic:
    usual = LENGTHS.get(name, 4 * HOUR_SECONDS)
    length = duration_seconds or usual
    notes = []
    if rate is None:
        minutes = workload(name, 1.0, length, seed).rates
        rate = USUAL_PEAK * capacity / max(1.0, float(np.max(_per_minute(minutes))))
        notes.append(f"the rate is such that the busiest minute takes {USUAL_PEAK:.0%} of maxReplicas; --rate sets it")
    if duration_seconds is None and rate * usual > QUICK_REQUESTS:
        length = np.ceil(QUICK_REQUESTS / rate / 60) * 60
        notes.append(f"{spoken(usual)} of it would take long: cut to {spoken(length)}; --duration sets it")
    return Traffic(workload(name, rate, length, seed), tuple(notes))


def _per_minute(rates: Times) -> Times:
    steps = int(60 / STEP_SECONDS)
    padded = np.pad(rates, (0, -len(rates) % steps), mode="edge")
    return np.asarray(padded.reshape(-1, steps).mean(axis=1))
