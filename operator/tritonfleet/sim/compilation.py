"""How the engine is compiled."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile a function to machine code and keep it for the next process."""
    return cast("Function", numba.njit(cache=True, nogil=True)(function))
