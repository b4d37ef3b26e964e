"""KEDA's Prometheus trigger on the HPA that it generates: `prometheus_scaler.go` and `fallback.go`.

From one replica on, all that KEDA does is to answer the HPA's question for an external metric.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from tritonfleet.plan.autoscale import PodState
from tritonfleet.sim.baselines.hpa import (
    DEFAULT_BEHAVIOR,
    SYNC_SECONDS,
    Behavior,
    ExternalMetric,
    HorizontalPodAutoscaler,
    Query,
)
from tritonfleet.sim.scalers import Metrics


class FallbackBehavior(StrEnum):
    """What `fallback.replicas` means once a trigger has failed too often."""

    STATIC = "static"
    CURRENT_REPLICAS = "currentReplicas"
    CURRENT_REPLICAS_IF_HIGHER = "currentReplicasIfHigher"
    CURRENT_REPLICAS_IF_LOWER = "currentReplicasIfLower"


@dataclass(frozen=True, slots=True)
class Fallback:
    """`spec.fallback`."""

    failure_threshold: int
    replicas: int
    behavior: FallbackBehavior = FallbackBehavior.STATIC

    def stand_in(self, current: int) -> int:
        """Return the replicas to ask for while the trigger fails."""
        match self.behavior:
            case FallbackBehavior.STATIC:
                return self.replicas
            case FallbackBehavior.CURRENT_REPLICAS:
                return current
            case FallbackBehavior.CURRENT_REPLICAS_IF_HIGHER:
                return max(current, self.replicas)
            case FallbackBehavior.CURRENT_REPLICAS_IF_LOWER:
                return min(current, self.replicas)


class ScaledObject:
    """One ScaledObject with one Prometheus trigger; `minReplicaCount` is 1 or more, so KEDA never scales to zero."""

    interval_seconds = SYNC_SECONDS

    def __init__(
        self,
        name: str,
        query: Query,
        threshold: float,
        *,
        min_replicas: int,
        max_replicas: int,
        ignore_null_values: bool = True,
        fallback: Fallback | None = None,
        behavior: Behavior = DEFAULT_BEHAVIOR,
    ) -> None:
        self.name = name
        self._query = query
        self._threshold = threshold
        self._ignore_null_values = ignore_null_values
        self._fallback = fallback
        self._failures = 0
        self._replicas = 0
        self._hpa = HorizontalPodAutoscaler(
            name,
            [ExternalMetric(self._answer, threshold)],
            min_replicas=min_replicas,
            max_replicas=max_replicas,
            behavior=behavior,
        )

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:
        """Return the replicas wanted from now on."""
        self._replicas = replicas
        return self._hpa.desired(now, replicas, pods, metrics)

    def _answer(self, metrics: Metrics) -> float | None:
        """Return what KEDA's metrics server says; None for an error."""
        value = self._query(metrics)
        if value is not None and math.isfinite(value):
            self._failures = 0
            return value
        if self._ignore_null_values:
            return 0.0
        self._failures += 1
        if self._fallback is None or self._failures <= self._fallback.failure_threshold:
            return None
        return self._threshold * self._fallback.stand_in(self._replicas)
