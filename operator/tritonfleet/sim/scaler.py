"""What a scaler is to the simulator, and what it may ask of the simulated metrics system."""

from collections.abc import Mapping
from typing import Literal, Protocol

from tritonfleet.plan.autoscale import PodSample, PodState

PerPod = Literal["arrivals", "utilization", "concurrency"]


class Metrics(Protocol):
    """What the metrics systems would answer at this moment: scrape interval, lag, jitter, loss and faults included.

    Rates are per second, times are seconds. None means that the query found nothing.
    """

    def samples(self) -> tuple[PodSample, ...]:
        """Return the newest direct scrape of each pod, however old (the operator's own path, 5 s by default)."""

    def arrival_rate(self, window_seconds: float) -> float | None:
        """Return arrivals of the fleet from Prometheus: rate(success + failure) + deriv(pending) (15 s by default)."""

    def success_rate(self, window_seconds: float) -> float | None:
        """Return successes per second of the fleet from Prometheus."""

    def latency(self, percentile: float, window_seconds: float) -> float | None:
        """Return a percentile (0..100) of what clients saw at the gateway, from Prometheus."""

    def concurrency(self, window_seconds: float) -> float | None:
        """Return requests in flight, averaged over the window and summed over ready pods (an in-path proxy, 1 s)."""

    def pending(self) -> float | None:
        """Return requests that wait in Triton's queues, summed over the fleet, from Prometheus."""

    def per_pod(self, name: PerPod, window_seconds: float) -> Mapping[str, float]:
        """Return one metric of every pod that has it, by UID, from Prometheus; utilization is 0..1."""


class Scaler(Protocol):
    """Decides replicas at its own pace."""

    name: str
    interval_seconds: float

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:
        """Return the replicas wanted from now on; `replicas` is what was asked for last."""
