"""Traffic made to order: a shape by its name, any mean rate, any length, the same for the same seed."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tritonfleet.sim.arrivals import RateTrace

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
    """Return one of the workloads that `NAMES` lists.

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
        raise ValueError(f"workload: {name!r} is not one of {', '.join(NAMES)}")
    if mean_rate <= 0 or duration_seconds <= 0:
        raise ValueError("workload: mean_rate and duration_seconds must be above 0")
    times = STEP_SECONDS * np.arange(int(np.ceil(duration_seconds / STEP_SECONDS)), dtype=np.float64)
    random = np.random.default_rng((seed, NAMES.index(name)))
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
NAMES: Final = tuple(_SHAPES)
