"""How the engine is compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])

OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
"""The engine allocates nothing: without numba's runtime no array's references are counted, which took half the time."""


def compiled(function: Function) -> Function:
    """Compile a function that Python calls to machine code, and keep that for the next process."""
    return cast("Function", numba.njit(cache=True, **OPTIONS)(function))


def inner(function: Function) -> Function:
    """Compile a function that only compiled code calls."""
    return cast("Function", numba.njit(**OPTIONS)(function))
