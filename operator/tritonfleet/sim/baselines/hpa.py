"""Kubernetes' Horizontal Pod Autoscaler, autoscaling/v2: `reconcileAutoscaler` and what it calls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tritonfleet.plan.autoscale import PodState
from tritonfleet.sim.baselines import replicas as calculator
from tritonfleet.sim.baselines.behavior import DEFAULT, Behavior, Governor
from tritonfleet.sim.baselines.replicas import TOLERANCE, NoMetric
from tritonfleet.sim.scaler import Metrics, PerPod

SYNC_SECONDS = 15.0
"""--horizontal-pod-autoscaler-sync-period."""

Query = Callable[[Metrics], float | None]


class Metric(Protocol):
    """One entry of `spec.metrics`."""

    def propose(self, current: int, pods: tuple[PodState, ...], metrics: Metrics, tolerance: float) -> int:
        """Return the replicas that this metric alone wants; raises NoMetric when it cannot be read."""


@dataclass(frozen=True, slots=True)
class PodsMetric:
    """`type: Pods`, or `type: Resource` with an average value."""

    name: PerPod
    average_value: float
    window_seconds: float = 60.0

    def propose(self, current: int, pods: tuple[PodState, ...], metrics: Metrics, tolerance: float) -> int:
        """Return the replicas that bring the average over pods to its target."""
        values = metrics.per_pod(self.name, self.window_seconds)
        return calculator.from_pods(current, self.average_value, values, pods, tolerance)


@dataclass(frozen=True, slots=True)
class ExternalMetric:
    """`type: External` or `Object`, with either target."""

    query: Query
    target: float
    average: bool = True
    """Whether the target is an `AverageValue`, for the value divided by the pods that exist, or a `Value`."""

    def propose(self, current: int, pods: tuple[PodState, ...], metrics: Metrics, tolerance: float) -> int:
        """Return the replicas that bring the value to its target."""
        value = self.query(metrics)
        if value is None:
            raise NoMetric("the query found nothing")
        if self.average:
            return calculator.from_average(len(pods), value, self.target, tolerance)
        ready = sum(pod.ready_seconds is not None for pod in pods)
        return calculator.from_value(current, value, self.target, ready, tolerance)


class HorizontalPodAutoscaler:
    """One HPA object and its controller."""

    interval_seconds = SYNC_SECONDS

    def __init__(
        self,
        name: str,
        metrics: Sequence[Metric],
        *,
        min_replicas: int,
        max_replicas: int,
        behavior: Behavior = DEFAULT,
        tolerance: float = TOLERANCE,
    ) -> None:
        self.name = name
        self._metrics = tuple(metrics)
        self._tolerance = tolerance
        self._governor = Governor(behavior, min_replicas, max_replicas)

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:
        """Return the replicas wanted from now on."""
        governor = self._governor
        if replicas == 0 and governor.min_replicas != 0:
            return 0
        if replicas > governor.max_replicas:
            return governor.max_replicas
        if replicas < governor.min_replicas:
            return governor.min_replicas
        wanted = self._wanted(replicas, pods, metrics)
        return replicas if wanted is None else governor.settle(now, replicas, wanted)

    def _wanted(self, current: int, pods: tuple[PodState, ...], metrics: Metrics) -> int | None:
        """Return the most that any metric wants; None when none can be read, or one cannot and the rest want fewer."""
        proposals = []
        for metric in self._metrics:
            try:
                proposals.append(metric.propose(current, pods, metrics, self._tolerance))
            except NoMetric:
                continue
        if not proposals or (len(proposals) < len(self._metrics) and max(proposals) < current):
            return None
        return max(proposals)
