"""Reads a tensor in the JSON form of the KServe v2 protocol."""

import math
from collections.abc import Iterator
from typing import Any, Final

from tritonfleet.plan.rollout.verification.entry import Entry, shown
from tritonfleet.plan.rollout.verification.tensor import DATATYPES, FLOATS, INTEGERS, Tensor, Value, nearest, shape_text

FIELDS: Final = ("name", "datatype", "shape", "data")
RANK_MAX: Final = 8
VALUES_MAX: Final = 1 << 19
"""More than a golden file has room for."""


def tensor_of(entry: Entry) -> Tensor:
    """Return the tensor that an entry with `FIELDS` describes; raises InvalidGolden."""
    datatype = entry.fields["datatype"]
    if datatype not in DATATYPES:
        entry.refuse("datatype", f"must be one of {', '.join(DATATYPES)}, not {shown(datatype)}")
    shape = _shape(entry)
    values = tuple(_flat(entry, entry.fields["data"], 0))
    if len(values) != math.prod(shape):
        entry.refuse("data", f"has {len(values):,} values; the shape {shape_text(shape)} has {math.prod(shape):,}")
    return Tensor(entry.name(), datatype, shape, tuple(_value(entry, datatype, value) for value in values))


def _shape(entry: Entry) -> tuple[int, ...]:
    shape = entry.items("shape", RANK_MAX, least=0)
    for size in shape:
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= VALUES_MAX:
            entry.refuse("shape", f"must hold whole numbers from 1 to {VALUES_MAX}, not {shown(size)}")
    return tuple(shape)


def _flat(entry: Entry, data: Any, depth: int) -> Iterator[Any]:
    """Yield the values row by row; the protocol lets rows be lists of their own or follow each other."""
    if not isinstance(data, list):
        if depth == 0:
            entry.refuse("data", f"must be a list of values, not {shown(data)}")
        yield data
    elif depth > RANK_MAX:
        entry.refuse("data", f"is nested deeper than the {RANK_MAX} dimensions that a tensor may have")
    else:
        for each in data:
            yield from _flat(entry, each, depth + 1)


def _value(entry: Entry, datatype: str, value: Any) -> Value:
    if datatype in INTEGERS:
        return _integer(entry, datatype, value)
    if datatype in FLOATS:
        return _float(entry, datatype, value)
    if datatype == "BOOL":
        if not isinstance(value, bool):
            entry.refuse("data", f"of BOOL must be true or false, not {shown(value)}")
        return bool(value)
    return _text(entry, value)


def _integer(entry: Entry, datatype: str, value: Any) -> int:
    least, most = INTEGERS[datatype]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        entry.refuse("data", f"of {datatype} must be whole numbers from {least} to {most}, not {shown(value)}")
    return int(value)


def _float(entry: Entry, datatype: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        entry.refuse("data", f"of {datatype} must be numbers, not {shown(value)}")
    try:
        number = nearest(datatype, value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        entry.refuse("data", f"of {datatype} cannot hold {shown(value)}")
    return number


def _text(entry: Entry, value: Any) -> str:
    if not isinstance(value, str):
        entry.refuse("data", f"of BYTES must be text, not {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        entry.refuse("data", f"of BYTES must be whole characters, not {shown(value)}")
    return str(value)
