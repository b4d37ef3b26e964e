"""The inputs of a run besides the traffic and the scaler: the SLO, the server, the cluster, and faults.

`Slo` says which answers are good, `ServerModel` how long Triton takes for a batch, `Plant` how fast pods come and go
and how they are measured, and each `Fault` what fails and when. Times of faults are seconds since the trace began; an
end may be infinite. All of it is checked when it is made, and none of it changes during a run.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

import numpy as np


@dataclass(frozen=True, slots=True)
class Slo:
    """A request is good when it succeeds within `latency_seconds`; `percentile` percent of them should be."""

    latency_seconds: float
    percentile: float = 99.0
    """In percent, between 0 and 100."""

    def __post_init__(self) -> None:
        if self.latency_seconds <= 0 or not 0 < self.percentile < 100:
            raise ValueError("slo: latency_seconds must be above 0, and percentile between 0 and 100")


@dataclass(frozen=True, slots=True)
class ServerModel:
    """How long an execution takes and how Triton's dynamic batcher forms it. Every request carries one inference."""

    alpha_seconds: float
    """Time of an execution that does not depend on its batch."""
    beta_seconds: float
    """Time that each request adds to its execution: T(b) = alpha + beta * b."""
    max_batch_size: int = 1
    """1 when Triton does not batch."""
    instances: int = 1
    """Concurrent executions in one pod."""
    max_queue_delay_seconds: float = 0.0
    preferred_batch_sizes: tuple[int, ...] = ()
    """Empty for Triton's own default, the largest batch."""
    max_queue_size: int = 0
    """Requests that may wait; 0 for no limit."""
    queue_timeout_seconds: float = 0.0
    """Requests that wait longer are rejected; 0 for never."""
    overhead_seconds: float = 0.0
    """What a client sees on top of queue and execution: network, serialization, gateway."""
    noise: float = 0.0
    """Standard deviation of the logarithm of an execution's time; the mean stays T(b)."""

    def __post_init__(self) -> None:
        if self.alpha_seconds < 0 or self.beta_seconds < 0 or self.alpha_seconds + self.beta_seconds <= 0:
            raise ValueError("server: alpha_seconds and beta_seconds must be 0 or more, and not both 0")
        if self.max_batch_size < 1 or self.instances < 1:
            raise ValueError("server: max_batch_size and instances must be 1 or more")
        if any(not 0 < size <= self.max_batch_size for size in self.preferred_batch_sizes):
            raise ValueError(f"server: preferred_batch_sizes must lie in 1..{self.max_batch_size}")
        for name in ("max_queue_delay_seconds", "max_queue_size", "queue_timeout_seconds", "overhead_seconds", "noise"):
            if getattr(self, name) < 0:
                raise ValueError(f"server: {name} must be 0 or more")

    def execution_seconds(self, batch: int) -> float:
        """Return T(batch), the mean time of one execution."""
        return self.alpha_seconds + self.beta_seconds * batch


class Routing(StrEnum):
    """How requests are distributed over ready pods."""

    LEAST_OUTSTANDING = "LeastOutstanding"
    """A gateway that knows how many requests each pod holds."""
    ROUND_ROBIN = "RoundRobin"
    RANDOM = "Random"
    """A Service: kube-proxy draws a pod for each connection."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution of seconds, given by quantiles and drawn by interpolating between them."""

    quantiles: tuple[tuple[float, float], ...]
    """(share of draws at or below, seconds), both rising, shares from 0 to 1."""

    def __post_init__(self) -> None:
        shares, seconds = zip(*self.quantiles, strict=True)
        if shares[0] != 0 or shares[-1] != 1 or list(shares) != sorted(shares) or list(seconds) != sorted(seconds):
            raise ValueError("quantiles must rise, from share 0 to share 1")

    @classmethod
    def around(cls, median_seconds: float) -> "Distribution":
        """Return the shape observed on GPU nodes: half as long at best, twice as long for one in ten."""
        shape = ((0.0, 0.5), (0.5, 1.0), (0.9, 2.0), (1.0, 3.0))
        return cls(tuple((share, times * median_seconds) for share, times in shape))

    @classmethod
    def always(cls, seconds: float) -> "Distribution":
        """Return a distribution of one value."""
        return cls(((0.0, seconds), (1.0, seconds)))

    def mean(self) -> float:
        """Return the mean, in seconds."""
        shares, seconds = zip(*self.quantiles, strict=True)
        return float(np.trapezoid(seconds, shares))

    def at(self, share: float) -> float:
        """Return the quantile of a share, 0..1, in seconds."""
        shares, seconds = zip(*self.quantiles, strict=True)
        return float(np.interp(share, shares, seconds))


USUAL_READY = Distribution.around(60.0)


@dataclass(frozen=True, slots=True)
class Plant:
    """Everything that is neither the trace, the server nor the scaler."""

    ready: Distribution = USUAL_READY
    """From a pod's creation to ready, model loaded."""
    min_replicas: int = 1
    max_replicas: int = 32
    initial_replicas: int | None = None
    """Ready at the start; None for the minimum."""
    schedulable: int | None = None
    """Pods that the nodes can hold, terminating ones included; None for all."""
    gpus_per_replica: float = 1.0
    drain_seconds: float = 10.0
    """From a pod's deletion until it may stop, empty or not; billed, and so is the rest until its queue is empty."""
    grace_seconds: float = 60.0
    """When a terminating pod is killed with whatever it still holds."""
    routing: Routing = Routing.LEAST_OUTSTANDING
    client_timeout_seconds: float = 15.0
    """Clients give up on requests that still wait after this time; 0 for never."""
    scrape_seconds: float = 5.0
    """How often the operator reads each pod itself."""
    prometheus_seconds: float = 15.0
    """How often Prometheus reads each pod."""
    lag_seconds: float = 0.2
    """From a scrape until its answer can be used."""
    jitter_seconds: float = 0.2
    """A scrape comes up to this much late."""
    loss: float = 0.0
    """Share of scrapes that fail, 0..1."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas or self.max_replicas < 1:
            raise ValueError(
                f"plant: min_replicas {self.min_replicas} must lie in 0..max_replicas, and max be 1 or more"
            )
        if self.scrape_seconds <= 0 or self.prometheus_seconds <= 0 or not 0 <= self.loss < 1:
            raise ValueError("plant: scrape intervals must be above 0 and loss in 0..1")


@dataclass(frozen=True, slots=True)
class Blackout:
    """No metrics system answers."""

    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class PrometheusDown:
    """Prometheus does not answer; pods do."""

    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class Unscraped:
    """Some pods cannot be scraped; they keep serving."""

    start_seconds: float
    end_seconds: float
    share: float = 0.5


@dataclass(frozen=True, slots=True)
class SilentPods:
    """The oldest pods answer with counters that stand still; they keep serving."""

    start_seconds: float
    end_seconds: float = inf
    pods: int = 1


@dataclass(frozen=True, slots=True)
class CounterReset:
    """Every pod's counters start at zero again, under the same identity."""

    at_seconds: float


@dataclass(frozen=True, slots=True)
class Slower:
    """Executions take `factor` times as long."""

    start_seconds: float
    end_seconds: float = inf
    factor: float = 1.6


@dataclass(frozen=True, slots=True)
class SlowStart:
    """Pods created meanwhile take `factor` times as long to be ready."""

    start_seconds: float
    end_seconds: float = inf
    factor: float = 3.0


@dataclass(frozen=True, slots=True)
class NodesFull:
    """The nodes hold no more than `pods` pods, whatever the plant says."""

    start_seconds: float
    end_seconds: float
    pods: int


@dataclass(frozen=True, slots=True)
class PodLoss:
    """The oldest ready pods die with everything they hold; new ones are created in their place."""

    at_seconds: float
    pods: int = 1


@dataclass(frozen=True, slots=True)
class ForeignWrite:
    """Someone else writes the replicas."""

    at_seconds: float
    replicas: int


Fault = (
    Blackout
    | PrometheusDown
    | Unscraped
    | SilentPods
    | CounterReset
    | Slower
    | SlowStart
    | NodesFull
    | PodLoss
    | ForeignWrite
)
