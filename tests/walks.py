"""How far one has to walk through the source to follow a call, counted by running it.

A walk is the sequence of Python functions of `tritonfleet` that one call enters, in the order in which they are
entered, generators once more each time they go on. Functions of the standard library and of packages are not in it, nor
is what has no source file, such as the `__init__` of a dataclass.

- `files`: the different source files in the sequence.
- `moves`: how often a function lies in another file than the one that was entered before it.

Example: a.py calls b.py, which calls a.py and then c.py. That is 3 files and 3 moves: a to b, b to a, a to c.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import tritonfleet

PACKAGE = Path(tritonfleet.__file__).parent


@dataclass(frozen=True)
class Walk:
    """What one call came to."""

    calls: tuple[str, ...]
    """`FILE:FUNCTION` of every function that was entered, relative to the package."""

    @property
    def files(self) -> frozenset[str]:
        """The files, relative to the package."""
        return frozenset(call.partition(":")[0] for call in self.calls)

    @property
    def moves(self) -> int:
        """How often the next function lies in another file."""
        return sum(before.partition(":")[0] != after.partition(":")[0] for before, after in pairwise(self.calls))

    def __str__(self) -> str:
        return f"{len(self.files)} files, {self.moves} moves, {len(self.calls)} calls"


def walk(function: Callable[..., object], *arguments: object) -> Walk:
    """Return the walk of one call. Call the function once before, if it keeps what it has worked out."""
    calls: list[str] = []

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            calls.append(f"{path.relative_to(PACKAGE)}:{frame.f_code.co_name}")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function(*arguments)
    finally:
        sys.setprofile(before)
    return Walk(tuple(calls))
