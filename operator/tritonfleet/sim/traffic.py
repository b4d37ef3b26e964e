"""Arrivals of requests: recorded traces, Poisson traffic with a changing rate, and synthetic workloads.

A trace gives the same arrivals for the same window, however the windows are cut. `workload()` makes one of nine shapes
by its name, with any mean rate and length, and makes the same trace for the same seed. The command line, the
benchmarks and the oracle's probes make traces; the fleet asks them for their arrivals.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

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
        """Its name in reports."""

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


STEP_SECONDS: Final = 10.0
DAY_SECONDS: Final = 86400.0
HOUR_SECONDS: Final = 3600.0
BURST_HOUR_SECONDS: Final = 32 * 60.0
"""Bursts of public request logs come back at the same minute of the hour: scheduled jobs."""

Rates = NDArray[np.float64]
"""A shape or its times, one value per step, shape (steps,)."""
Shape = Callable[[Rates, np.random.Generator], Rates]
"""From the steps' times in seconds to a rate in any unit."""


def workload(name: str, mean_rate: float, duration_seconds: float, seed: int = 0) -> RateTrace:
    """Return one of the workloads that `WORKLOAD_NAMES` lists.

    A day or a week that does not fit into `duration_seconds` is pressed into it; all else keeps its pace.

    Args:
        name: The shape.
        mean_rate: Requests per second, averaged over the whole trace.
        duration_seconds: Length, rounded up to whole steps of 10 s.
        seed: Makes another trace of the same shape.

    Raises:
        ValueError: There is no such shape, or the rate or the length is not above 0.
    """
    if name not in _SHAPES:
        raise ValueError(f"workload: {name!r} is not one of {', '.join(WORKLOAD_NAMES)}")
    if mean_rate <= 0 or duration_seconds <= 0:
        raise ValueError("workload: mean_rate and duration_seconds must be above 0")
    times = STEP_SECONDS * np.arange(int(np.ceil(duration_seconds / STEP_SECONDS)), dtype=np.float64)
    random = np.random.default_rng((seed, WORKLOAD_NAMES.index(name)))
    rates = np.maximum(_SHAPES[name](times, random), 0.0)
    return RateTrace(name, STEP_SECONDS, rates * (mean_rate / rates.mean()), seed)


def _daily(times: Rates, random: np.random.Generator) -> Rates:
    return _day(times, min(DAY_SECONDS, _length(times))) * _wander(times, random, 0.02, 600.0)


def _weekly(times: Rates, random: np.random.Generator) -> Rates:
    day = min(DAY_SECONDS, _length(times) / 7)
    weekend = (times // day) % 7 >= 5
    return _day(times, day) * np.where(weekend, 0.6, 1.0) * _wander(times, random, 0.03, day / 24)


def _steps(times: Rates, random: np.random.Generator) -> Rates:
    """Jump to twice, three and four times the lowest level and back, each level held for an eighth of the trace."""
    levels = np.array([1.0, 2.0, 1.0, 4.0, 2.0, 3.0, 1.0, 2.0])
    shifted = times + random.uniform(0, 300)
    rates: Rates = levels[(shifted * len(levels) / _length(times)).astype(int) % len(levels)]
    return rates


def _spikes(times: Rates, random: np.random.Generator) -> Rates:
    """Three times the load for one to three minutes, about every twenty minutes, without warning."""
    rates = np.ones_like(times)
    for start in _events(times, random, per_hour=3.0):
        rates[_within(times, start, random.uniform(60, 180))] = 3.0
    return rates


def _flash_crowd(times: Rates, random: np.random.Generator) -> Rates:
    """Five times the load within a minute, once, and half an hour until it has gone."""
    since = times - _length(times) * random.uniform(0.3, 0.5)
    return 1.0 + 4.0 * np.clip(since / 60.0, 0.0, 1.0) * np.exp(-np.maximum(since - 60.0, 0.0) / 600.0)


def _noisy_constant(times: Rates, random: np.random.Generator) -> Rates:
    return _wander(times, random, 0.10, 30.0)


def _on_off(times: Rates, random: np.random.Generator) -> Rates:
    """Batches of work: full load for some minutes, a tenth for some more."""
    rates = np.empty_like(times)
    start, on = 0.0, True
    while start < _length(times):
        lasts = 120.0 + random.exponential(180.0)
        rates[_within(times, start, lasts)] = 1.0 if on else 0.1
        start, on = start + lasts, not on
    return rates


def _ramps(times: Rates, random: np.random.Generator) -> Rates:
    """Rise fourfold in ten minutes, stay for five, fall in twenty, rest for ten."""
    minutes = (times / 60.0 + random.uniform(0, 10)) % 45.0
    return np.interp(minutes, [0, 5, 15, 20, 40, 45], [1, 1, 4, 4, 1, 1])


def _bursty(times: Rates, random: np.random.Generator) -> Rates:
    """A day with raw minute-scale bursts up to 4.5 times the load, most of them at the same minute of the hour."""
    rates = _day(times, min(DAY_SECONDS, _length(times)))
    rates *= _wander(times, random, 0.08, 120.0) * _wander(times, random, 0.10, STEP_SECONDS)
    scheduled = [
        hour * HOUR_SECONDS + BURST_HOUR_SECONDS + random.uniform(0, 20)
        for hour in range(int(_length(times) / HOUR_SECONDS) + 1)
        if random.random() < 0.6
    ]
    for start in scheduled + list(_events(times, random, per_hour=0.5)):
        height = min(4.5, 1.2 + random.exponential(0.7))
        since = times - start
        lasts = random.uniform(60, 180)
        rates *= 1.0 + (height - 1.0) * np.where(since < 0, 0.0, np.exp(-np.maximum(since - lasts, 0.0) / 45.0))
    return rates


def _day(times: Rates, period_seconds: float) -> Rates:
    """Lowest at the start, a shoulder before noon, highest in the evening; the peak is about four times the low."""
    phase = 2 * np.pi * times / period_seconds
    return 1.0 - 0.55 * np.cos(phase - 0.3) - 0.12 * np.cos(2 * phase + 0.8)


def _wander(times: Rates, random: np.random.Generator, spread: float, memory_seconds: float) -> Rates:
    """Return a factor around 1 that forgets within `memory_seconds`; `spread` is its logarithm's deviation."""
    keep = np.exp(-STEP_SECONDS / memory_seconds)
    kicks = random.normal(0.0, spread, len(times))
    walk = np.empty_like(times)
    level = kicks[0]
    for step, kick in enumerate(kicks):
        level = keep * level + np.sqrt(1 - keep**2) * kick
        walk[step] = level
    return np.exp(walk)


def _events(times: Rates, random: np.random.Generator, per_hour: float) -> Rates:
    count = random.poisson(per_hour * _length(times) / HOUR_SECONDS)
    return np.sort(random.uniform(0, _length(times), count))


def _within(times: Rates, start: float, lasts: float) -> NDArray[np.bool_]:
    return (times >= start) & (times < start + lasts)


def _length(times: Rates) -> float:
    return len(times) * STEP_SECONDS


_SHAPES: Final[dict[str, Shape]] = {
    "daily": _daily,
    "weekly": _weekly,
    "steps": _steps,
    "spikes": _spikes,
    "flash-crowd": _flash_crowd,
    "noisy-constant": _noisy_constant,
    "on-off": _on_off,
    "ramps": _ramps,
    "bursty": _bursty,
}
WORKLOAD_NAMES: Final = tuple(_SHAPES)
