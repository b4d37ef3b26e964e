"""How the Horizontal Pod Autoscaler turns one metric into replicas: Kubernetes' `replica_calculator.go`."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from tritonfleet.plan.autoscale import PodState

TOLERANCE: Final = 0.1
"""--horizontal-pod-autoscaler-tolerance."""


class NoMetric(Exception):
    """A metric could not be read, so it has no say in this round."""


def from_pods(
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


def from_value(current: int, value: float, target: float, ready: int, tolerance: float = TOLERANCE) -> int:
    """Return the replicas for a metric with a `Value` target, of an object or external: `getUsageRatioReplicaCount`."""
    ratio = value / target
    if current == 0:
        return _ceil(ratio)
    return current if _within(ratio, tolerance) else _ceil(ratio * ready)


def from_average(existing: int, value: float, target: float, tolerance: float = TOLERANCE) -> int:
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
