"""The fleets that the traces are replayed against."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

from tritonfleet.plan.autoscale import BatchServer, Policy
from tritonfleet.sim import Distribution, Plant, Routing, ServerModel, Slo, Trace

START_SECONDS = 300.0
"""Replicas at the start are those that the first five minutes need."""
SCRAPE_SECONDS = 5.0
READY_SECONDS = 60.0
"""Median, from a pod's creation to ready."""
TYPICAL_REPLICAS = 8
"""Size of the fleet that a replica's capacity is that of."""


@dataclass(frozen=True)
class Setting:
    """One model on one kind of GPU, and the traffic that wants five to fifteen of them."""

    name: str
    server: ServerModel
    slo: Slo
    mean_rate: float
    """Requests per second."""
    max_replicas: int = 48
    ready_seconds: float = READY_SECONDS
    """Median, from a pod's creation to ready."""
    routing: Routing = Routing.LEAST_OUTSTANDING
    client_timeout_seconds: float = 15.0

    @cached_property
    def capacity(self) -> float:
        """Requests per second of one replica at the SLO: places the sweeps and the start, never shown to ours."""
        server = BatchServer.of(self.policy(), self.server.alpha_seconds, self.server.beta_seconds, self.server.noise)
        return server.rate_at(self.slo.latency_seconds, TYPICAL_REPLICAS) / TYPICAL_REPLICAS

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
            ready=Distribution.around(self.ready_seconds),
            max_replicas=self.max_replicas,
            initial_replicas=initial,
            scrape_seconds=SCRAPE_SECONDS,
            routing=self.routing,
            client_timeout_seconds=self.client_timeout_seconds,
        )

    def policy(self) -> Policy:
        """Return what a user of ours writes: the SLO, the most replicas, the model's batching and the gateway."""
        return Policy(
            latency_target_seconds=self.slo.latency_seconds,
            percentile=self.slo.percentile,
            max_replicas=self.max_replicas,
            max_batch_size=self.server.max_batch_size,
            max_queue_delay_seconds=self.server.max_queue_delay_seconds,
            instances=self.server.instances,
            pooled=self.routing is Routing.LEAST_OUTSTANDING,
        )


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

HEAVY = Setting(
    "heavy",
    ServerModel(0.300, 0.100, max_batch_size=8, max_queue_delay_seconds=0.010, noise=0.1),
    Slo(3.0),
    mean_rate=45.0,
    ready_seconds=180.0,
    client_timeout_seconds=30.0,
)
"""T(b) = 300 + 100 b ms, 99 % within 3 s, and pods that take 3 minutes."""

SECONDS = Setting(
    "seconds",
    ServerModel(8.0, 0.0, noise=0.4),
    Slo(30.0),
    mean_rate=0.7,
    ready_seconds=180.0,
    client_timeout_seconds=120.0,
)
"""Requests of 8 s one by one, times that vary by 40 %, 99 % within 30 s, few requests, and pods that take 3 minutes."""

_NOISY = replace(SLOW.server, queue_timeout_seconds=0.0)
SETTINGS = {
    setting.name: setting
    for setting in (
        SLOW,
        FAST,
        HEAVY,
        SECONDS,
        replace(SLOW, name="slow, 30 s", ready_seconds=30.0),
        replace(SLOW, name="slow, 5 min", ready_seconds=300.0),
        replace(SLOW, name="slow, 12 min", ready_seconds=720.0),
        replace(SLOW, name="slow, random", routing=Routing.RANDOM),
        replace(SLOW, name="slow, sigma 0.5", server=replace(_NOISY, noise=0.5), slo=Slo(1.0)),
        replace(SLOW, name="slow, sigma 1", server=replace(_NOISY, noise=1.0), slo=Slo(2.0)),
    )
}
