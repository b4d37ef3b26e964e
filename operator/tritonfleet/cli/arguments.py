"""Parse and format durations, rates and counts on the command line.

The functions that parse raise ValueError with the expected form; `Parsed` makes one the type of a click option.
`format_duration()` and `per_second()` format numbers. Every subcommand uses this.
"""

import math
import re
from collections.abc import Callable
from typing import Any, Final

import click

_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d|w)", re.ASCII)
_DURATION: Final = re.compile(f"(?:{_PART.pattern})+", re.ASCII)


class Parsed(click.ParamType[Any]):
    """The type of an option whose text `parse` converts; `name` is what help calls it."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value; raises click.BadParameter with the expected form."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def seconds(text: str) -> float:
    """Return a duration above 0 in seconds; raises ValueError for anything but `90s`, `1h30m`, `0.5ms`."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"must be a number and a unit, such as 0.5ms, 90s, 1h30m or 7d, not '{text}'")
    total = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if total <= 0:
        raise ValueError(f"must be longer than 0, not '{text}'")
    return total


def rate(text: str) -> float:
    """Return requests per second, above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < 1e7:
        raise ValueError(f"must be requests per second, above 0 and below 10 million, not '{text}'")
    return number


def count(text: str) -> int:
    """Return a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"must be a positive integer, not '{text}'")
    return int(text)


def seed(text: str) -> int:
    """Return a non-negative integer for a random generator."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise ValueError(f"must be an integer from 0 to {2**32 - 1}, not '{text}'")
    return int(text)


def service(text: str) -> tuple[float, float]:
    """Return ALPHA,BETA in seconds: a batch of b requests takes ALPHA + BETA b."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2:
        raise ValueError(f"must be two durations, such as 4ms,0.6ms, not '{text}'")
    alpha, beta = (seconds(part) for part in parts)
    return alpha, beta


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Return an input's name and its sizes."""
    name, _, sizes = text.rpartition(":")
    parts = sizes.split(",")
    if not name or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"must be an input and its sizes, such as IMAGE:3,224,224, not '{text}'")
    return name, tuple(map(int, parts))


def names(text: str) -> tuple[str, ...]:
    """Return the words between commas, at least one."""
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise ValueError("must name at least one")
    return found


def format_duration(duration_seconds: float) -> str:
    """Format a duration with at most two units, as kubectl does: `2.5ms`, `48s`, `58m`, `1h30m`, `7d`."""
    if duration_seconds < 1:
        return f"{duration_seconds * 1000:.3g}ms"
    if float(f"{duration_seconds:.3g}") < 60:
        return f"{duration_seconds:.3g}s"
    whole = round(duration_seconds)
    units = [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)]
    first = next(index for index, (_, size) in enumerate(units) if whole >= size)
    parts = []
    for unit, size in units[first : first + 2]:
        amount, whole = divmod(whole, size)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts)


def per_second(requests: float) -> str:
    """Format a rate with at least three digits: `5.53`, `131`, `17,018`."""
    return f"{requests:,.0f}" if requests >= 100 else f"{requests:.3g}"
