"""What one simulated run came to."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Minutes:
    """One value per minute of the trace, each an array of shape (minutes,). Requests belong to the minute they came."""

    arrivals: NDArray[np.int64]
    good: NDArray[np.int64]
    percentile_seconds: NDArray[np.float64]
    """The SLO's percentile of the latency of answered requests; NaN where none was answered."""
    wanted: NDArray[np.float64]
    """Replicas asked for, averaged over the minute."""
    ready: NDArray[np.float64]
    """Replicas ready, averaged over the minute."""
    billed: NDArray[np.float64]
    """Replicas that hold their GPUs, averaged over the minute: starting, ready and terminating."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the replicas asked for."""

    at_seconds: float
    before: int
    after: int


@dataclass(frozen=True)
class Requests:
    """Every request of a small run, in order of arrival, shape (requests,)."""

    arrival_seconds: NDArray[np.float64]
    latency_seconds: NDArray[np.float64]
    """NaN for requests that got no answer."""
    pod: NDArray[np.int64]
    """Which pod took it, by order of creation; -1 when none was ready."""
    batch: NDArray[np.int64]
    """Size of its batch; 0 for requests that were never executed."""


@dataclass(frozen=True)
class Run:
    """One trace, one scaler, one seed."""

    trace: str
    scaler: str
    seed: int
    duration_seconds: float
    latency_seconds: float
    """The SLO's target."""
    percentile: float
    """The SLO's percentile, in percent."""
    requests: int
    good: int
    """Requests answered successfully within the target."""
    rejected: int
    """Turned away: full queue, queue timeout, client timeout, or no pod ready."""
    lost: int
    """Held by a pod that died."""
    executions: int
    gpu_hours: float
    """Starting, ready and terminating pods alike."""
    changes: tuple[Change, ...]
    minutes: Minutes
    sample: Requests | None = None
    """Given when the run was asked to record."""

    @property
    def attainment(self) -> float:
        """Share of requests that were good, 0..1; 1 when there were none."""
        return self.good / self.requests if self.requests else 1.0

    @property
    def scale_events(self) -> int:
        """How often the replicas asked for changed."""
        return len(self.changes)

    @property
    def direction_flips(self) -> int:
        """How often an increase followed a decrease or the other way round."""
        signs = [change.after > change.before for change in self.changes]
        return sum(first != second for first, second in pairwise(signs))

    @property
    def minutes_over_slo(self) -> int:
        """Minutes in which fewer than `percentile` percent of the requests were good."""
        return int(np.sum(self.minutes.good < self.minutes.arrivals * self.percentile / 100))

    def worst_minutes(self, count: int = 5) -> tuple[int, ...]:
        """Return the minutes with the smallest share of good requests, worst first."""
        share = self.minutes.good / np.maximum(self.minutes.arrivals, 1)
        share[self.minutes.arrivals == 0] = 1.0
        return tuple(int(minute) for minute in np.argsort(share, kind="stable")[:count])
