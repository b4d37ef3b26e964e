"""Durations (`50ms`, `1m30s`) and resource quantities (`500m`, `2Gi`), kept as text in the API; counts in messages."""

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Context, Decimal
from typing import Final

from tritonfleet.errors import InvalidSpec

_MICROSECONDS: Final = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
_DURATION: Final = re.compile(r"(?:[0-9]{1,6}(?:us|ms|s|m|h))+", re.ASCII)
_DURATION_PART: Final = re.compile(r"([0-9]+)(us|ms|s|m|h)", re.ASCII)

_BINARY: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SUFFIX_OF_EXPONENT: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_QUANTITY: Final = re.compile(
    r"([0-9]{1,28}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?", re.ASCII
)
_EXACT: Final = Context(prec=150)
_NANO: Final = Decimal("1e-9")
_LARGEST: Final = Decimal(2**63 - 1)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 pod`, `2 pods`, `1,200 requests`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration_us(text: str) -> int:
    """Return a duration in microseconds; raises InvalidSpec for anything but `1h`, `1m30s`, `50ms`, `10us`."""
    if not _DURATION.fullmatch(text):
        raise InvalidSpec(f"'{text}' is not a duration: write a number and a unit, such as 50ms, 2s or 1m30s")
    return sum(int(number) * _MICROSECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def duration_text(microseconds: int) -> str:
    """Write a duration in the largest unit that is exact: `2ms`, `90s`, `1h`."""
    unit = next((unit for unit in reversed(_MICROSECONDS) if microseconds % _MICROSECONDS[unit] == 0), "us")
    return f"{microseconds // _MICROSECONDS[unit]}{unit}" if microseconds else "0s"


def duration_seconds(text: str) -> float:
    """Return a duration in seconds; raises InvalidSpec as `duration_us` does."""
    return duration_us(text) / 1_000_000


def quantity(text: str) -> Decimal:
    """Return the amount of a Kubernetes quantity; raises InvalidSpec if it is invalid.

    Negative amounts are invalid: nothing in this API can be below zero. Digits finer than a nano-unit
    round up, as in Kubernetes.
    """
    return _parse(text)[0]


def whole_amount(text: str) -> int:
    """Return the quantity of an object in the cluster, without its fraction; 0 for one that cannot be read."""
    try:
        return int(quantity(text))
    except InvalidSpec:
        return 0


def canonical_quantity(text: str) -> str:
    """Return the quantity as the API server writes it back: `0.5` is `500m`, `1024Mi` is `1Gi`.

    A binary suffix stays binary only where that is exact: `0.5Ki` is `512`, `0.1Ki` is `102400m`.
    """
    amount, suffix = _parse(text)
    if suffix in _BINARY and amount >= 1024 and amount == amount.to_integral_value():
        return _in_binary(int(amount))
    digits, exponent = _in_thousands(amount)
    if len(suffix) > 1 and suffix not in _BINARY:
        return f"{digits}e{exponent}" if exponent else f"{digits}"
    return f"{digits}{_SUFFIX_OF_EXPONENT[exponent]}"


def canonical_quantities(amounts: Mapping[str, str]) -> dict[str, str]:
    """Return amounts by resource as the API server writes them back."""
    return {name: canonical_quantity(str(amount)) for name, amount in amounts.items()}


def _parse(text: str) -> tuple[Decimal, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise InvalidSpec(f"'{text}' is not a quantity: write a number and a unit, such as 500m, 4 or 16Gi")
    suffix = match[2] or ""
    if suffix in _BINARY:
        exact = _EXACT.multiply(Decimal(match[1]), Decimal(_BINARY[suffix]))
    else:
        exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
        exact = _EXACT.scaleb(Decimal(match[1]), exponent)
    if exact > _LARGEST:
        raise InvalidSpec(f"'{text}' is more than Kubernetes can count: write at most {_LARGEST}")
    return exact.quantize(_NANO, rounding=ROUND_CEILING, context=_EXACT), suffix


def _in_binary(amount: int) -> str:
    for suffix, factor in reversed(_BINARY.items()):
        if amount % factor == 0:
            return f"{amount // factor}{suffix}"
    return str(amount)


def _in_thousands(amount: Decimal) -> tuple[int, int]:
    """Split into the smallest whole number and a power of ten that is a multiple of three."""
    nanos = int(_EXACT.scaleb(amount, 9))
    exponent = -9
    while nanos and nanos % 1000 == 0:
        nanos, exponent = nanos // 1000, exponent + 3
    return nanos, exponent if nanos else 0
