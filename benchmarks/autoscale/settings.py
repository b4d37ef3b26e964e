"""The fleets that the traces are replayed against."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil, sqrt

from tritonfleet.plan.autoscale import Policy
from tritonfleet.sim import Distribution, Plant, ServerModel, Slo, Trace

START_SECONDS = 300.0
"""Replicas at the start are those that the first five minutes need."""
SCRAPE_SECONDS = 5.0
READY_SECONDS = 60.0
"""Median, from a pod's creation to ready."""


@dataclass(frozen=True)
class Setting:
    """One model on one kind of GPU, and the traffic that wants five to fifteen of them."""

    name: str
    server: ServerModel
    slo: Slo
    mean_rate: float
    """Requests per second."""
    max_replicas: int = 48

    @cached_property
    def capacity(self) -> float:
        """Requests per second of one replica at the SLO: places the sweeps and the start, never shown to ours."""
        low, high = 0.0, self.server.max_batch_size / self.server.execution_seconds(self.server.max_batch_size)
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self._can_serve(middle) else (low, middle)
        return low

    @property
    def busiest_rate(self) -> float:
        """Requests per second that most, not all, of the replicas there may be can take."""
        return 0.75 * self.max_replicas * self.capacity

    def plant(self, trace: Trace) -> Plant:
        """Return the cluster for one trace, started with what its first minutes need, a fifth to spare."""
        first = min(START_SECONDS, trace.duration_seconds)
        rate = len(trace.arrivals(0.0, first)) / first
        initial = min(self.max_replicas, max(1, ceil(1.2 * rate / self.capacity)))
        return Plant(
            ready=Distribution.around(READY_SECONDS),
            max_replicas=self.max_replicas,
            initial_replicas=initial,
            scrape_seconds=SCRAPE_SECONDS,
        )

    def policy(self) -> Policy:
        """Return what a user of ours writes: the SLO, the largest number of replicas and the model's batching."""
        return Policy(
            latency_target_seconds=self.slo.latency_seconds,
            percentile=self.slo.percentile,
            max_replicas=self.max_replicas,
            max_batch_size=self.server.max_batch_size,
            max_queue_delay_seconds=self.server.max_queue_delay_seconds,
            instances=self.server.instances,
        )

    def _can_serve(self, rate: float) -> bool:
        """Whether a batch server at this rate keeps the target: it takes what came while the last batch ran."""
        alpha, beta = self.server.alpha_seconds, self.server.beta_seconds
        if rate * beta >= 1:
            return False
        batch = max(1.0, rate * alpha / (1 - rate * beta))
        high = batch + 2.33 * sqrt(batch)
        late = 2 * (alpha + beta * high) + self.server.max_queue_delay_seconds + self.server.overhead_seconds
        return high <= self.server.max_batch_size and late <= self.slo.latency_seconds


SLOW = Setting(
    "slow",
    ServerModel(0.060, 0.015, max_batch_size=16, max_queue_delay_seconds=0.002, queue_timeout_seconds=0.45, noise=0.05),
    Slo(0.750),
    mean_rate=300.0,
)
"""T(b) = 60 + 15 b ms, 99 % within 750 ms; late requests are refused after 450 ms in the queue, for every scaler."""

FAST = Setting(
    "fast",
    ServerModel(
        0.004, 0.001, max_batch_size=16, max_queue_delay_seconds=0.0002, queue_timeout_seconds=0.030, noise=0.05
    ),
    Slo(0.050),
    mean_rate=4000.0,
)
"""T(b) = 4 + b ms, 99 % within 50 ms; late requests are refused after 30 ms in the queue, for every scaler."""

SETTINGS = {setting.name: setting for setting in (SLOW, FAST)}
