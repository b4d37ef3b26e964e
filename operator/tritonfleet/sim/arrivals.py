"""When requests arrive: a trace gives the same arrivals for the same window, however the windows are cut."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
"""Sorted seconds since the trace began, shape (n,)."""

BLOCK_SECONDS = 60.0
"""Arrivals of a rate are drawn block by block, each from a generator of its own: no window changes another's draw."""
JITTER_SECONDS = 2.5
"""How far a copied request strays from the original: enough to part copies, too little to smooth a burst."""


class Trace(Protocol):
    """A finite sequence of arrivals."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def duration_seconds(self) -> float:
        """Where it ends."""

    def arrivals(self, start: float, end: float) -> Times:
        """Return the arrivals in [start, end), sorted."""

    def scaled(self, factor: float) -> "Trace":
        """Return this trace with `factor` times the requests; its bursts keep their shape.

        Raises:
            ValueError: `factor` is not above 0.
        """


@dataclass(frozen=True)
class RateTrace:
    """A Poisson process whose rate changes at every step."""

    name: str
    step_seconds: float
    rates: NDArray[np.float64]
    """Requests per second, one per step."""
    seed: int = 0
    _cumulative: NDArray[np.float64] = field(init=False, repr=False, compare=False)
    """Requests expected from the start to each step's edge, shape (steps + 1,)."""

    def __post_init__(self) -> None:
        if self.step_seconds <= 0:
            raise ValueError(f"trace {self.name}: step_seconds is {self.step_seconds}; it must be above 0")
        if len(self.rates) == 0 or not np.all(np.isfinite(self.rates)) or np.min(self.rates) < 0:
            raise ValueError(f"trace {self.name}: rates must be finite numbers of 0 or more, at least one")
        object.__setattr__(self, "_cumulative", np.concatenate(([0.0], np.cumsum(self.rates) * self.step_seconds)))

    @property
    def duration_seconds(self) -> float:
        """Where the last step ends."""
        return self.step_seconds * len(self.rates)

    def arrivals(self, start: float, end: float) -> Times:
        """Return the arrivals in [start, end), sorted."""
        end = min(end, self.duration_seconds)
        if end <= start:
            return np.empty(0)
        blocks = range(int(start // BLOCK_SECONDS), int(np.ceil(end / BLOCK_SECONDS)))
        times = np.concatenate([self._block(block) for block in blocks])
        return times[np.searchsorted(times, start) : np.searchsorted(times, end)]

    def scaled(self, factor: float) -> "RateTrace":
        """Return this trace with `factor` times the rates."""
        _require_positive(factor, self.name)
        return RateTrace(self.name, self.step_seconds, self.rates * factor, self.seed)

    def _block(self, block: int) -> Times:
        """Draw one block: uniform order statistics of the expected count, mapped back through the cumulated rate."""
        edges = self.step_seconds * np.arange(len(self._cumulative))
        low, high = np.interp((block * BLOCK_SECONDS, (block + 1) * BLOCK_SECONDS), edges, self._cumulative)
        random = np.random.default_rng((self.seed, block))
        gaps = random.standard_exponential(random.poisson(high - low) + 1)
        marks = np.cumsum(gaps)
        times: Times = np.interp(low + (high - low) * marks[:-1] / marks[-1], self._cumulative, edges)
        return times


@dataclass(frozen=True)
class TimestampTrace:
    """Arrivals as they were recorded."""

    name: str
    times: Times
    end_seconds: float | None = None
    """Where the record ends; None for just after the last request."""

    def __post_init__(self) -> None:
        if len(self.times) == 0 or not np.all(np.isfinite(self.times)) or self.times[0] < 0:
            raise ValueError(f"trace {self.name}: needs at least one arrival, each a finite time of 0 or more")
        if np.any(np.diff(self.times) < 0):
            raise ValueError(f"trace {self.name}: arrivals must be in order of time")

    @property
    def duration_seconds(self) -> float:
        """Where the record ends."""
        return self.end_seconds if self.end_seconds is not None else float(np.floor(self.times[-1])) + 1.0

    def arrivals(self, start: float, end: float) -> Times:
        """Return the arrivals in [start, end), sorted."""
        return self.times[np.searchsorted(self.times, start) : np.searchsorted(self.times, end)]

    def scaled(self, factor: float) -> "TimestampTrace":
        """Return whole copies, each request moved a little, and a random share of one more copy for the rest."""
        _require_positive(factor, self.name)
        random = np.random.default_rng(len(self.times))
        whole = int(factor)
        share = self.times[random.random(len(self.times)) < factor - whole]
        copies = [self.times] * min(whole, 1) + [self._moved(self.times, random) for _ in range(whole - 1)]
        copies.append(self._moved(share, random) if whole else share)
        return TimestampTrace(self.name, np.sort(np.concatenate(copies)), self.duration_seconds)

    def _moved(self, times: Times, random: np.random.Generator) -> Times:
        """Move each request by up to the jitter, and fold those that would leave the record back into it."""
        moved = np.abs(times + random.uniform(-JITTER_SECONDS, JITTER_SECONDS, len(times)))
        last = np.nextafter(self.duration_seconds, 0.0)
        return np.where(moved > last, np.clip(2 * last - moved, 0.0, last), moved)


def _require_positive(factor: float, name: str) -> None:
    if not factor > 0:
        raise ValueError(f"trace {name}: the factor is {factor}; it must be above 0")
