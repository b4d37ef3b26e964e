"""What the columns of a CSV of traffic mean: times of requests, or how many came in each step of time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

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
