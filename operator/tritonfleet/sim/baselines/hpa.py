"""Kubernetes' Horizontal Pod Autoscaler, autoscaling/v2: `reconcileAutoscaler` and what it calls.

A metric proposes replicas as in `replica_calculator.go` (`replicas_from_pods()` and its neighbors); the largest
proposal counts. `Governor` then limits how fast the replicas may move: `behavior` of autoscaling/v2, after
`horizontal.go`. KEDA's imitation is built on this one.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from tritonfleet.plan.autoscale import PodState
from tritonfleet.sim.scalers import Metrics, PerPod

TOLERANCE: Final = 0.1
"""--horizontal-pod-autoscaler-tolerance."""


class NoMetric(Exception):
    """A metric could not be read, so it has no say in this round."""


def replicas_from_pods(
    current: int, target: float, values: Mapping[str, float], pods: Sequence[PodState], tolerance: float = TOLERANCE
) -> int:
    """Return the replicas that bring a metric's average over pods to its target: `calcPlainMetricReplicas`.

    Args:
        current: What the scale asks for.
        target: Average value wanted, in the metric's unit.
        values: The metric of the pods that have it, by UID.
        pods: Every pod that is not being deleted; those that no node took yet are Pending, all others run.
        tolerance: How far from 1 the ratio may be without consequence.

    Raises:
        NoMetric: No running pod has a value.
    """
    pending = {pod.uid for pod in pods if not pod.schedulable}
    running = {pod.uid for pod in pods} - pending
    known = {uid: value for uid, value in values.items() if uid in running}
    missing = running - known.keys()
    if not known:
        raise NoMetric("no metric of any running pod")
    ratio = _mean(known) / target
    # Pods that only start count as idle when more are wanted; when fewer are wanted they do not count at all.
    idle = pending if ratio > 1 else set()
    if not missing and not idle:
        return current if _within(ratio, tolerance) else _ceil(ratio * len(known))
    if ratio < 1:
        known |= dict.fromkeys(missing, target)
    elif ratio > 1:
        known |= dict.fromkeys(missing | idle, 0.0)
    corrected = _mean(known) / target
    if _within(corrected, tolerance) or (ratio < 1 < corrected) or (corrected < 1 < ratio):
        return current
    wanted = _ceil(corrected * len(known))
    turned = (corrected < 1 and wanted > current) or (corrected > 1 and wanted < current)
    return current if turned else wanted


def replicas_from_value(current: int, value: float, target: float, ready: int, tolerance: float = TOLERANCE) -> int:
    """Return the replicas for a metric with a `Value` target, of an object or external: `getUsageRatioReplicaCount`."""
    ratio = value / target
    if current == 0:
        return _ceil(ratio)
    return current if _within(ratio, tolerance) else _ceil(ratio * ready)


def replicas_from_average(existing: int, value: float, target: float, tolerance: float = TOLERANCE) -> int:
    """Return the replicas for a total with an `AverageValue` target: `GetExternalPerPodMetricReplicas`.

    `existing` is the scale's status.replicas: every pod that exists, ready or not.
    """
    if existing and _within(value / (target * existing), tolerance):
        return existing
    return _ceil(value / target)


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)


def _within(ratio: float, tolerance: float) -> bool:
    return abs(1.0 - ratio) <= tolerance


def _ceil(replicas: float) -> int:
    """Round up; upstream counts in thousandths, so what is closer than that to a whole number is one."""
    return math.ceil(round(replicas, 9))


class Select(StrEnum):
    """Which of several policies decides."""

    DISABLED = "Disabled"
    MAX = "Max"
    MIN = "Min"


@dataclass(frozen=True, slots=True)
class Pods:
    """At most `value` pods in any `period_seconds`."""

    value: int
    period_seconds: float


@dataclass(frozen=True, slots=True)
class Percent:
    """At most `value` percent in any `period_seconds`."""

    value: int
    period_seconds: float


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """One direction."""

    policies: tuple[Pods | Percent, ...]
    select: Select = Select.MAX
    stabilization_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Behavior:
    """Both directions; the defaults are those of the API."""

    up: ScalingRules = ScalingRules((Pods(4, 15.0), Percent(100, 15.0)))
    down: ScalingRules = ScalingRules((Percent(100, 15.0),), stabilization_seconds=300.0)


DEFAULT_BEHAVIOR: Final = Behavior()


@dataclass(slots=True)
class Governor:
    """What has been recommended and done, and what may therefore be done now. Times are seconds."""

    behavior: Behavior
    min_replicas: int
    max_replicas: int
    recommendations: list[tuple[float, int]] = field(default_factory=list)
    """(when, replicas) as the metrics had it."""
    changes: list[tuple[float, int]] = field(default_factory=list)
    """(when, replicas added), negative for those taken away."""

    def adjust(self, now: float, current: int, wanted: int) -> int:
        """Return what is asked for of what the metrics want, and remember both."""
        if not self.recommendations:
            self.recommendations.append((now, current))
        allowed = self.limit(now, current, self.stabilize(now, current, wanted))
        if allowed != current:
            self.changes.append((now, allowed - current))
        self._forget(now)
        return allowed

    def stabilize(self, now: float, current: int, wanted: int) -> int:
        """Return `current` moved no further than every recent recommendation agrees to."""
        up = min([wanted, *self._recent(now, self.behavior.up.stabilization_seconds)])
        down = max([wanted, *self._recent(now, self.behavior.down.stabilization_seconds)])
        self.recommendations.append((now, wanted))
        return min(max(current, up), down)

    def limit(self, now: float, current: int, wanted: int) -> int:
        """Return `wanted` within the policies' rates and the bounds."""
        if wanted > current:
            most = min(self.max_replicas, max(current, self._highest(now, current)))
            return min(wanted, most)
        if wanted < current:
            least = max(self.min_replicas, min(current, self._lowest(now, current)))
            return max(wanted, least)
        return wanted

    def _highest(self, now: float, current: int) -> int:
        rules = self.behavior.up
        if rules.select is Select.DISABLED:
            return current
        return _chosen(rules.select, (self._reach(policy, now, current, 1) for policy in rules.policies), up=True)

    def _lowest(self, now: float, current: int) -> int:
        rules = self.behavior.down
        if rules.select is Select.DISABLED:
            return current
        return _chosen(rules.select, (self._reach(policy, now, current, -1) for policy in rules.policies), up=False)

    def _reach(self, policy: Pods | Percent, now: float, current: int, sign: int) -> int:
        """Return how far one policy lets the replicas of its period's start move."""
        start = current - sum(change for at, change in self.changes if at > now - policy.period_seconds)
        if isinstance(policy, Pods):
            return start + sign * policy.value
        reached = round(start * (1 + sign * policy.value / 100), 9)
        return math.ceil(reached) if sign > 0 else int(reached)

    def _recent(self, now: float, seconds: float) -> Iterable[int]:
        return (replicas for at, replicas in self.recommendations if at > now - seconds)

    def _forget(self, now: float) -> None:
        rules = (self.behavior.up, self.behavior.down)
        remembered = max(each.stabilization_seconds for each in rules)
        self.recommendations = [each for each in self.recommendations if each[0] >= now - remembered]
        longest = max((policy.period_seconds for each in rules for policy in each.policies), default=0.0)
        self.changes = [each for each in self.changes if each[0] >= now - longest]


def _chosen(select: Select, reaches: Iterable[int], *, up: bool) -> int:
    """Pick the largest change, or the smallest."""
    largest = (select is Select.MAX) == up
    return max(reaches) if largest else min(reaches)


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
        return replicas_from_pods(current, self.average_value, values, pods, tolerance)


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
            return replicas_from_average(len(pods), value, self.target, tolerance)
        ready = sum(pod.ready_seconds is not None for pod in pods)
        return replicas_from_value(current, value, self.target, ready, tolerance)


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
        behavior: Behavior = DEFAULT_BEHAVIOR,
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
        return replicas if wanted is None else governor.adjust(now, replicas, wanted)

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
