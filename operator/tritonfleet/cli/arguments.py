"""Parse and format durations, rates and counts on the command line.

The first four functions are argparse types: they return a number, or raise ArgumentTypeError with the expected form.
`format_duration()` and `per_second()` format numbers. Every subcommand uses this.
"""

import math
import re
from argparse import ArgumentTypeError
from typing import Final

_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d|w)", re.ASCII)
_DURATION: Final = re.compile(f"(?:{_PART.pattern})+", re.ASCII)


def seconds(text: str) -> float:
    """Return a duration above 0 in seconds; raises ArgumentTypeError for anything but `90s`, `1h30m`, `0.5ms`."""
    if not _DURATION.fullmatch(text):
        raise ArgumentTypeError(f"must be a number and a unit, such as 0.5ms, 90s, 1h30m or 7d, not '{text}'")
    total = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if total <= 0:
        raise ArgumentTypeError(f"must be longer than 0, not '{text}'")
    return total


def rate(text: str) -> float:
    """Return requests per second, above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < 1e7:
        raise ArgumentTypeError(f"must be requests per second, above 0 and below 10 million, not '{text}'")
    return number


def count(text: str) -> int:
    """Return a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be a positive integer, not '{text}'")
    return int(text)


def seed(text: str) -> int:
    """Return a non-negative integer for a random generator."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise ArgumentTypeError(f"must be an integer from 0 to {2**32 - 1}, not '{text}'")
    return int(text)


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
