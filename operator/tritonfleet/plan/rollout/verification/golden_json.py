"""The JSON of a golden file: objects with checked fields, and tensors in the KServe v2 format.

`golden` and `cli/golden.py` read every object as an `Entry`, which raises `InvalidGolden` with the path of an invalid
field, such as `golden[0].inputs[1].shape`. `tensor_of` reads a tensor; its data may be nested by rows or flat.
`adapters/triton.py` builds the same `Tensor` from an answer: `nearest` rounds an expected FP16, BF16 or FP32 value to
the precision of the type.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from tritonfleet.api.quantities import counted
from tritonfleet.errors import TritonfleetError

INTEGERS: Final = {
    f"{sign}INT{bits}": (0 if sign else -(2 ** (bits - 1)), 2 ** (bits if sign else bits - 1) - 1)
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
"""The smallest and the largest value of each type."""
FLOATS: Final = ("FP16", "BF16", "FP32", "FP64")
DATATYPES: Final = ("BOOL", *INTEGERS, *FLOATS, "BYTES")

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor with its data."""

    name: str
    datatype: str
    """One of `DATATYPES`."""
    shape: tuple[int, ...]
    data: tuple[Value, ...]
    """In row-major order. BYTES are text, with invalid UTF-8 as lone surrogates."""

    @property
    def numeric(self) -> bool:
        """Return whether its values can be ordered and subtracted."""
        return self.datatype in INTEGERS or self.datatype in FLOATS


def nearest(datatype: str, number: float) -> float:
    """Return a number rounded to one of `FLOATS`; raises OverflowError if it is too large."""
    number = float(number)
    if datatype == "FP64":
        return number
    if datatype == "BF16":
        (bits,) = struct.unpack("<I", struct.pack("<f", number))
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
        (value,) = struct.unpack("<f", struct.pack("<I", bits))
        if math.isinf(value):
            raise OverflowError("too large for BF16")
    else:
        form = "<e" if datatype == "FP16" else "<f"
        (value,) = struct.unpack(form, struct.pack(form, number))
    return float(value)


def place(shape: tuple[int, ...], index: int) -> str:
    """Return the position of the value with a flat index, such as `[0,3]`; empty for a scalar."""
    places = []
    for size in reversed(shape):
        index, remainder = divmod(index, size)
        places.append(str(remainder))
    return f"[{','.join(reversed(places))}]" if places else ""


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape such as `[1, 3, 224]`."""
    return f"[{', '.join(map(str, shape))}]"


_ABRIDGED: Final = 40
LONGEST_NAME: Final = 256


class InvalidGolden(TritonfleetError):
    """The golden file is invalid; the message names the entry, the field and what is expected."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A JSON object, and its path from the root of the file."""

    where: str
    fields: dict[str, Any]

    @classmethod
    def of(cls, value: Any, where: str, required: Sequence[str], optional: Sequence[str] = ()) -> "Entry":
        """Return the object at `where`; raises InvalidGolden if it is none, or for missing and unknown fields."""
        if not isinstance(value, dict):
            raise InvalidGolden(f"{where}: must be an object, not {abridged(value)}")
        for name in required:
            if name not in value:
                raise InvalidGolden(f"{where}.{name}: is missing")
        for name in value:
            if name not in (*required, *optional):
                known = ", ".join((*required, *optional))
                raise InvalidGolden(f"{where}: unknown field {abridged(name)}; known fields are {known}")
        return cls(where, value)

    def refuse(self, field: str, problem: str) -> NoReturn:
        """Raise InvalidGolden about a field."""
        raise InvalidGolden(f"{self.where}.{field}: {problem}")

    def name(self, field: str = "name") -> str:
        """Return a name: a printable string of bounded length."""
        value = self.fields[field]
        if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_NAME or not value.isprintable():
            self.refuse(field, f"must be a name of 1 to {LONGEST_NAME} printable characters, not {abridged(value)}")
        return str(value)

    def integer(self, field: str, least: int, most: int) -> int:
        """Return an integer within bounds."""
        value = self.fields[field]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.refuse(field, f"must be a whole number from {least} to {most}, not {abridged(value)}")
        return int(value)

    def number(self, field: str, least: float, most: float, default: float) -> float:
        """Return a number within bounds, or the default if the field is missing."""
        value = self.fields.get(field, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self.refuse(field, f"must be a number from {least:g} to {most:g}, not {abridged(value)}")
        return float(value)

    def entries(
        self, field: str, most: int, required: Sequence[str], optional: Sequence[str] = ()
    ) -> Iterator["Entry"]:
        """Yield the objects of a list with at least one."""
        for index, value in enumerate(self.items(field, most)):
            yield Entry.of(value, f"{self.where}.{field}[{index}]", required, optional)

    def items(self, field: str, most: int, *, least: int = 1) -> list[Any]:
        """Return a list of a bounded length."""
        value = self.fields[field]
        if not isinstance(value, list) or not least <= len(value) <= most:
            self.refuse(field, f"must be a list of {least} to {most} entries, not {abridged(value)}")
        return list(value)


def abridged(value: Any) -> str:
    """Return a value for a message, abbreviated."""
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    if isinstance(value, dict):
        return "an object"
    text = ascii(value)
    return text if len(text) <= _ABRIDGED else f"{text[: _ABRIDGED - 1]}…"


TENSOR_FIELDS: Final = ("name", "datatype", "shape", "data")
RANK_MAX: Final = 8
VALUES_MAX: Final = 1 << 19
"""More than fit into a golden file."""


def tensor_of(entry: Entry) -> Tensor:
    """Return the tensor that an entry with `FIELDS` describes; raises InvalidGolden."""
    datatype = entry.fields["datatype"]
    if datatype not in DATATYPES:
        entry.refuse("datatype", f"must be one of {', '.join(DATATYPES)}, not {abridged(datatype)}")
    shape = _shape(entry)
    values = tuple(_flat(entry, entry.fields["data"], 0))
    if len(values) != math.prod(shape):
        entry.refuse("data", f"has {counted(len(values), 'value')}; shape {shape_text(shape)} has {math.prod(shape):,}")
    return Tensor(entry.name(), datatype, shape, tuple(_value(entry, datatype, value) for value in values))


def _shape(entry: Entry) -> tuple[int, ...]:
    shape = entry.items("shape", RANK_MAX, least=0)
    for size in shape:
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= VALUES_MAX:
            entry.refuse("shape", f"must hold whole numbers from 1 to {VALUES_MAX}, not {abridged(size)}")
    return tuple(shape)


def _flat(entry: Entry, data: Any, depth: int) -> Iterator[Any]:
    """Yield the values in row-major order; the protocol allows nested and flat data."""
    if not isinstance(data, list):
        if depth == 0:
            entry.refuse("data", f"must be a list of values, not {abridged(data)}")
        yield data
    elif depth > RANK_MAX:
        entry.refuse("data", f"is nested deeper than {RANK_MAX} dimensions, the maximum of a tensor")
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
            entry.refuse("data", f"of BOOL must be true or false, not {abridged(value)}")
        return bool(value)
    return _text(entry, value)


def _integer(entry: Entry, datatype: str, value: Any) -> int:
    least, most = INTEGERS[datatype]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        entry.refuse("data", f"of {datatype} must be whole numbers from {least} to {most}, not {abridged(value)}")
    return int(value)


def _float(entry: Entry, datatype: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        entry.refuse("data", f"of {datatype} must be numbers, not {abridged(value)}")
    try:
        number = nearest(datatype, value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        entry.refuse("data", f"of {datatype} cannot hold {abridged(value)}")
    return number


def _text(entry: Entry, value: Any) -> str:
    if not isinstance(value, str):
        entry.refuse("data", f"of BYTES must be text, not {abridged(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        entry.refuse("data", f"of BYTES must be valid Unicode, not {abridged(value)}")
    return str(value)
