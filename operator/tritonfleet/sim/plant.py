"""The cluster around the servers: how fast pods come and go, how requests reach them and how they are measured."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class Routing(StrEnum):
    """How requests are spread over ready pods."""

    LEAST_OUTSTANDING = "LeastOutstanding"
    ROUND_ROBIN = "RoundRobin"


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution of seconds, given by quantiles and drawn by interpolating between them."""

    quantiles: tuple[tuple[float, float], ...]
    """(share of draws at or below, seconds), both rising, shares from 0 to 1."""

    def __post_init__(self) -> None:
        shares, seconds = zip(*self.quantiles, strict=True)
        if shares[0] != 0 or shares[-1] != 1 or list(shares) != sorted(shares) or list(seconds) != sorted(seconds):
            raise ValueError("spread: quantiles must rise, from the share 0 to the share 1")

    @classmethod
    def around(cls, median_seconds: float) -> "Spread":
        """Return the shape seen of pods on GPU nodes: half as long at best, twice as long for one in ten."""
        shape = ((0.0, 0.5), (0.5, 1.0), (0.9, 2.0), (1.0, 3.0))
        return cls(tuple((share, times * median_seconds) for share, times in shape))

    @classmethod
    def always(cls, seconds: float) -> "Spread":
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


USUAL_READY = Spread.around(60.0)


@dataclass(frozen=True, slots=True)
class Plant:
    """Everything that is neither the trace, the server nor the scaler."""

    ready: Spread = USUAL_READY
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
