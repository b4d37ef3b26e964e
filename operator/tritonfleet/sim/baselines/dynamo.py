"""NVIDIA Dynamo's planner for one kind of worker: `throughput_scaling.py` and `load_scaling.py`, the SLA loops of both.

The throughput loop sizes for the forecast of the next interval and is a floor; the load loop moves one replica at a
time when every engine's modelled latency misses the target. An engine here is a Triton server with a dynamic batcher.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from tritonfleet.plan.autoscale import Counters, PodSample, PodState
from tritonfleet.sim.scalers import Metrics

LOAD_SECONDS: Final = 5.0
"""`load_adjustment_interval`."""
SAMPLES: Final = 64
"""`max_num_fpm_samples`."""
SAMPLES_LEAST: Final = 5
"""`load_min_observations`."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What was measured of one engine beforehand, and the planner's settings."""

    engine_rps: float
    """The best rate of one engine that meets the target."""
    latency_seconds: float
    max_batch_size: int
    min_replicas: int = 1
    max_replicas: int = 1
    throughput_seconds: float = 180.0
    """`throughput_adjustment_interval`."""
    down_sensitivity: float = 0.8
    """`load_scaling_down_sensitivity`: share of the queue's part of the target that one engine fewer may use."""


class KalmanPredictor:
    """Level and trend of a series, one step ahead: `KalmanPredictor` with the planner's default noise."""

    def __init__(self, level_noise: float = 1.0, trend_noise: float = 0.1, reading_noise: float = 10.0) -> None:
        self._noise = (level_noise, trend_noise, reading_noise)
        self._state: tuple[float, float] | None = None
        # Variance of the level, covariance, variance of the trend.
        self._spread = (1000.0, 0.0, 1000.0)

    def add(self, value: float) -> None:
        """Take the value of the interval that just ended."""
        if self._state is None:
            self._state = (value, 0.0)
            return
        level, trend = self._state
        level_variance, covariance, trend_variance = self._advanced()
        gain = level_variance / (level_variance + self._noise[2])
        trend_gain = covariance / (level_variance + self._noise[2])
        error = value - (level + trend)
        self._state = (level + trend + gain * error, trend + trend_gain * error)
        self._spread = (
            (1 - gain) * level_variance,
            (1 - gain) * covariance,
            trend_variance - trend_gain * covariance,
        )

    def next(self) -> float:
        """Return the value expected of the next interval."""
        return 0.0 if self._state is None else sum(self._state)

    def _advanced(self) -> tuple[float, float, float]:
        level, both, trend = self._spread
        return level + 2 * both + trend + self._noise[0], both + trend, trend + self._noise[1]


class Planner:
    """Both loops; with `load_loop` off only the throughput loop, as shipped."""

    def __init__(self, name: str, profile: Profile, *, load_loop: bool = True) -> None:
        self.name = name
        self.interval_seconds = LOAD_SECONDS
        self._profile = profile
        self._load_loop = load_loop
        self._predictor = KalmanPredictor()
        self._engines = EngineModel(profile.max_batch_size)
        self._floor = profile.min_replicas
        self._planned_at: float | None = None

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:
        """Return the replicas wanted from now on."""
        profile = self._profile
        if self._planned_at is None:
            self._planned_at, self._floor = now, replicas
        elif now - self._planned_at >= profile.throughput_seconds:
            self._planned_at = now
            self._plan(metrics)
        wanted = self._floor
        if self._load_loop:
            samples = metrics.samples()
            self._engines.learn(samples)
            started = len(pods) == replicas and all(pod.ready_seconds is not None for pod in pods)
            wanted = max(wanted, replicas + (self._step(samples, replicas) if started else 0))
        return min(max(wanted, profile.min_replicas), profile.max_replicas)

    def _plan(self, metrics: Metrics) -> None:
        """Size for the interval to come; without traffic data the floor stays."""
        rate = metrics.arrival_rate(self._profile.throughput_seconds)
        if rate is None:
            return
        self._predictor.add(rate * self._profile.throughput_seconds)
        demand = max(0.0, self._predictor.next()) / self._profile.throughput_seconds
        self._floor = math.ceil(demand / self._profile.engine_rps)

    def _step(self, samples: tuple[PodSample, ...], replicas: int) -> int:
        """Return 1 when every engine would miss the target, -1 when one fewer is safe, else 0."""
        queued = [sample.counters.pending for sample in samples if sample.counters is not None]
        if len(queued) != replicas or not self._engines.ready:
            return 0
        target = self._profile.latency_seconds
        if all(self._engines.latency_seconds(queue) > target for queue in queued):
            return 1
        if replicas < 2:
            return 0
        own = self._engines.latency_seconds(0)
        budget = (target - own) * self._profile.down_sensitivity
        merged = (self._engines.latency_seconds(queue * replicas / (replicas - 1)) - own for queue in queued)
        return -1 if budget > 0 and all(induced < budget for induced in merged) else 0


class EngineModel:
    """Time of an execution by its batch, fitted to what the engines report."""

    def __init__(self, max_batch_size: int) -> None:
        self._max_batch_size = max_batch_size
        self._last: dict[str, Counters] = {}
        self._seen: deque[tuple[float, float]] = deque(maxlen=SAMPLES)
        """(mean batch, mean seconds)."""

    @property
    def ready(self) -> bool:
        """Whether there is enough to predict from."""
        return len(self._seen) >= SAMPLES_LEAST

    def learn(self, samples: tuple[PodSample, ...]) -> None:
        """Take what happened between the last scrape of each engine and this one."""
        for sample in samples:
            counters, last = sample.counters, self._last.get(sample.uid)
            if counters is None:
                continue
            self._last[sample.uid] = counters
            if last is None or counters.executions <= last.executions or counters.success <= last.success:
                continue
            batch = (counters.inferences - last.inferences) / (counters.executions - last.executions)
            seconds = (counters.compute_us - last.compute_us) / (counters.success - last.success) / 1e6
            self._seen.append((batch, seconds))

    def latency_seconds(self, queued: float) -> float:
        """Return how long a new request takes behind `queued` others: full batches one by one, then its own."""
        whole, rest = divmod(queued + 1, self._max_batch_size)
        return whole * self._execution(self._max_batch_size) + (self._execution(rest) if rest else 0.0)

    def _execution(self, batch: float) -> float:
        batches, seconds = zip(*self._seen, strict=True)
        mean_batch, mean_seconds = sum(batches) / len(batches), sum(seconds) / len(seconds)
        spread = sum((each - mean_batch) ** 2 for each in batches)
        shared = sum((each - mean_batch) * (took - mean_seconds) for each, took in self._seen)
        slope: float = max(0.0, shared / spread) if spread > 0 else 0.0
        return float(max(0.0, mean_seconds + slope * (batch - mean_batch)))
