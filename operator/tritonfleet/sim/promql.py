"""PromQL's functions over one series, as Prometheus computes them (promql/functions.go)."""

from dataclasses import dataclass

import numpy as np

EXTRAPOLATION = 1.1
"""A window's edge this many mean intervals away from the nearest point is taken to have no point by chance."""


@dataclass(frozen=True, slots=True)
class Series:
    """Points within the window (start, end], as (seconds, value), oldest first."""

    start: float
    end: float
    points: tuple[tuple[float, float], ...]

    @property
    def values(self) -> tuple[float, ...]:
        """The values alone."""
        return tuple(value for _, value in self.points)


def rate(series: Series, window_seconds: float) -> float | None:
    """Return the increase per second of a counter, mended and drawn out to the window's edges; None below 2 points."""
    if len(series.points) < 2:
        return None
    (first, start_value), (last, end_value) = series.points[0], series.points[-1]
    increase = end_value - start_value
    for (_, before), (_, after) in zip(series.points, series.points[1:], strict=False):
        if after < before:
            increase += before
    covered = last - first
    interval = covered / (len(series.points) - 1)
    ahead, behind = first - series.start, series.end - last
    ahead = ahead if ahead < EXTRAPOLATION * interval else interval / 2
    behind = behind if behind < EXTRAPOLATION * interval else interval / 2
    if increase > 0 and start_value >= 0:
        ahead = min(ahead, covered * start_value / increase)
    return increase * (covered + ahead + behind) / covered / window_seconds


def slope(series: Series, _window_seconds: float) -> float | None:
    """Return deriv(): the slope of a gauge by least squares, per second; None below 2 points."""
    if len(series.points) < 2:
        return None
    times, values = np.array(series.points).T
    centered = times - times.mean()
    return float(centered @ values / (centered @ centered))
