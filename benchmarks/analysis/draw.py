"""Random counts of canary and stable, window by window, in arrays of (run, window, pod)."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.analysis.scenarios import CORRELATION, INCIDENT, Clusters, Scenario, Traffic

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]

HISTORY = 10
"""Windows of stable alone, while the canary's pods start."""
BURST = 0.04
BOUNDS_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5)
"""Envoy's default bounds about the latencies used here."""
P99_SECONDS = 0.4
SIGMA = 0.5
"""Of the logarithm of latency."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What was drawn; the canary is the first pod. Its first `HISTORY` windows are before it gets traffic."""

    requests: Counts
    errors: Counts
    buckets: Counts | None
    """Cumulative counts by bound, a further axis; None where errors are looked at."""


def draw(scenario: Scenario, traffic: Traffic, windows: int, runs: int, random: np.random.Generator) -> Draw:
    """Return `runs` histories of `HISTORY` and `windows` windows."""
    shape = (runs, HISTORY + windows, 1 + traffic.stable_pods)
    requests = np.full(shape, traffic.requests)
    if scenario.uneven_arrivals:
        requests = random.poisson(traffic.requests * random.gamma(4.0, 0.25, shape))
    if scenario.slowdown is not None:
        return Draw(requests, np.zeros_like(requests), _buckets(scenario.slowdown, traffic.requests, shape, random))
    return Draw(requests, random.binomial(requests, _shares(scenario, shape, random)), None)


def _shares(scenario: Scenario, shape: tuple[int, int, int], random: np.random.Generator) -> Shares:
    mean = np.full(shape, scenario.stable_errors)
    mean[:, HISTORY:, 0] = scenario.canary_errors
    first = HISTORY if scenario.incident_windows >= shape[1] else HISTORY + 1
    mean[:, first : first + scenario.incident_windows] *= INCIDENT
    if scenario.clusters is Clusters.NONE:
        shares = mean
    else:
        level = mean if scenario.clusters is Clusters.POD else mean[:, :, :2]
        strength = 1 / CORRELATION - 1
        drawn = random.beta(level * strength, (1 - level) * strength)
        shares = drawn if drawn.shape == shape else drawn[:, :, np.minimum(np.arange(shape[2]), 1)]
    return np.where(random.random(shape) < scenario.burst_chance, shares + BURST, shares)


def _buckets(slowdown: float, requests: int, shape: tuple[int, int, int], random: np.random.Generator) -> Counts:
    counts = random.multinomial(requests, _bucket_shares(1.0), shape)
    counts[:, HISTORY:, 0] = random.multinomial(requests, _bucket_shares(slowdown), (shape[0], shape[1] - HISTORY))
    return np.cumsum(counts, axis=-1)[..., :-1]


def _bucket_shares(slowdown: float) -> list[float]:
    """Return the share of a log-normal latency in each bucket and above the last bound."""
    middle = math.log(P99_SECONDS * slowdown) - 2.3263478740 * SIGMA
    below = [0.5 * math.erfc((middle - math.log(bound)) / (SIGMA * math.sqrt(2))) for bound in BOUNDS_SECONDS]
    return [high - low for low, high in zip([0.0, *below], [*below, 1.0], strict=True)]
