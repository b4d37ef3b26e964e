"""Tensors as the KServe v2 protocol names them, with plain values."""

import math
import struct
from dataclasses import dataclass
from typing import Final

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
    """One tensor with its content."""

    name: str
    datatype: str
    """One of `DATATYPES`."""
    shape: tuple[int, ...]
    data: tuple[Value, ...]
    """Row by row, as many as `shape` says. BYTES are text; what is no UTF-8 in them has become lone surrogates."""

    @property
    def numeric(self) -> bool:
        """Return whether its values can be ordered and subtracted."""
        return self.datatype in INTEGERS or self.datatype in FLOATS


def nearest(datatype: str, number: float) -> float:
    """Return what becomes of a number in one of `FLOATS`; raises OverflowError for one that is too large."""
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
    """Return where the value with this number lies, such as `[0,3]`; empty for a scalar."""
    places = []
    for size in reversed(shape):
        index, remainder = divmod(index, size)
        places.append(str(remainder))
    return f"[{','.join(reversed(places))}]" if places else ""


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as people write it."""
    return f"[{', '.join(map(str, shape))}]"
