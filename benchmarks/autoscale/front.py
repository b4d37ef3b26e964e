"""What a scaler costs at an attainment that it was never tuned to: interpolation along its Pareto front."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEAST_MISS = 1e-6
"""Misses are compared on a logarithm; a run without any counts as one in a million."""


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of a scaler on one trace, averaged over seeds."""

    gpu_hours: float
    miss: float
    """Share of requests that were not good, 0..1."""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Price:
    """GPU-hours for a given miss. `bound` is ` ` when interpolated, `<` for at most, `>` for at least."""

    gpu_hours: float
    bound: str = " "
    label: str = ""
    """The settings on either side."""


def front(points: Iterable[Point]) -> list[Point]:
    """Return the settings that no other beats in both GPU-hours and misses, cheapest first."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda each: (each.gpu_hours, each.miss)):
        if not kept or _floored(point.miss) < _floored(kept[-1].miss):
            kept.append(point)
    return kept


def price(points: Sequence[Point], miss: float) -> Price:
    """Return what it costs to miss no more than `miss`, straight between neighbours of the front in log(miss).

    Beyond its ends nothing is invented: the cheapest setting is an upper bound where it already misses less, and the
    best setting is a lower bound where even that one misses more.

    Raises:
        ValueError: There are no points.
    """
    best, miss = front(points), _floored(miss)
    if not best:
        raise ValueError("price: needs at least one point")
    misses = [_floored(point.miss) for point in best]
    if misses[0] <= miss:
        return Price(best[0].gpu_hours, " " if misses[0] == miss else "<", best[0].label)
    if misses[-1] > miss:
        return Price(best[-1].gpu_hours, ">", best[-1].label)
    right = next(index for index, each in enumerate(misses) if each <= miss)
    cheap, dear = best[right - 1], best[right]
    share = math.log(misses[right - 1] / miss) / math.log(misses[right - 1] / misses[right])
    hours = cheap.gpu_hours + share * (dear.gpu_hours - cheap.gpu_hours)
    return Price(hours, " ", f"{cheap.label}..{dear.label}")


def _floored(miss: float) -> float:
    return max(miss, LEAST_MISS)
