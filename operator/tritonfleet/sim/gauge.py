"""A number that changes at moments and is wanted as means over minutes."""

from math import ceil

import numpy as np
from numpy.typing import NDArray


class Gauge:
    """A step function of time, 0 at first, over a run of `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._times = [0.0]
        self._values = [0.0]

    def set(self, now: float, value: float) -> None:
        """Let it have a value from now on; times never go back."""
        if value != self._values[-1]:
            self._times.append(now)
            self._values.append(value)

    def minutes(self) -> NDArray[np.float64]:
        """Return the mean of each minute; the last may be a short one."""
        edges = np.minimum(60.0 * np.arange(ceil(self._seconds / 60) + 1), self._seconds)
        return np.asarray(np.diff(self._integral(edges)) / np.diff(edges))

    def total(self) -> float:
        """Return the integral over the run, in value times seconds."""
        return float(self._integral(np.array([self._seconds]))[0])

    def _integral(self, until: NDArray[np.float64]) -> NDArray[np.float64]:
        times = np.array([*self._times, max(self._seconds, self._times[-1])])
        sums = np.concatenate(([0.0], np.cumsum(np.diff(times) * self._values)))
        return np.asarray(np.interp(until, times, sums))
