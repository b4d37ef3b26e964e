"""Who is compared: Tritonfleet's own autoscaler, and what people run instead, as they usually set it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from tritonfleet.cli.amounts import per_second, spoken
from tritonfleet.cli.complaint import Complaint
from tritonfleet.cli.simulate.fleet import MONDAY, Fleet
from tritonfleet.cli.simulate.outcome import OURS
from tritonfleet.plan.autoscale import PodState
from tritonfleet.plan.scaling import limits_in_force
from tritonfleet.sim import Metrics, Scaler, Tritonfleet
from tritonfleet.sim.baselines import (
    Decider,
    ExternalMetric,
    HorizontalPodAutoscaler,
    PodAutoscaler,
    PodsMetric,
    ScaledObject,
)

WINDOW_SECONDS: Final = 60.0
"""Of the queries: `rate(...[1m])`."""
GPU_UTILIZATION: Final = 0.8
LATENCY_SHARE: Final = 0.75
"""Of the target: what people aim at so that there is time to react."""
TESTED_SHARE: Final = 0.65
"""Of what a load test found one replica to carry: what people give as requests per second per replica."""
CONCURRENCY_SHARE: Final = 0.7
"""Knative's `container-concurrency-target-percentage`."""


@dataclass(frozen=True, slots=True)
class _Contender:
    """One scaler that can be named."""

    describe: Callable[[Fleet], str]
    make: Callable[[Fleet], Scaler]


class _Scheduled:
    """Our autoscaler under the limits of the moment, as the operator gives them to it."""

    name, interval_seconds = OURS, Tritonfleet.interval_seconds

    def __init__(self, chosen: Fleet) -> None:
        self._autoscaling = chosen.autoscaling
        self._ours = Tritonfleet(chosen.policy)

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:
        """Return what the autoscaler decides."""
        allowed = limits_in_force(self._autoscaling, MONDAY + timedelta(seconds=now))
        self._ours.policy = replace(self._ours.policy, min_replicas=allowed.lowest, max_replicas=allowed.highest)
        wanted = self._ours.desired(now, replicas, pods, metrics)
        return max(allowed.lowest, min(allowed.highest, wanted))


def _ours(chosen: Fleet) -> Scaler:
    return _Scheduled(chosen) if chosen.autoscaling.schedules else Tritonfleet(chosen.policy)


def _utilization(chosen: Fleet) -> Scaler:
    metric = PodsMetric("utilization", GPU_UTILIZATION, WINDOW_SECONDS)
    return _hpa("hpa", metric, chosen)


def _latency(chosen: Fleet) -> Scaler:
    def query(metrics: Metrics) -> float | None:
        return metrics.latency(chosen.slo.percentile, WINDOW_SECONDS)

    return _hpa("hpa-latency", ExternalMetric(query, _aimed_seconds(chosen), average=False), chosen)


def _aimed_seconds(chosen: Fleet) -> float:
    return LATENCY_SHARE * chosen.slo.latency_seconds


def _hpa(name: str, metric: PodsMetric | ExternalMetric, chosen: Fleet) -> Scaler:
    limits = chosen.policy
    return HorizontalPodAutoscaler(name, [metric], min_replicas=limits.min_replicas, max_replicas=limits.max_replicas)


def _arrivals(chosen: Fleet) -> Scaler:
    def query(metrics: Metrics) -> float | None:
        return metrics.arrival_rate(WINDOW_SECONDS)

    limits = chosen.policy
    return ScaledObject(
        "keda", query, _tested(chosen), min_replicas=limits.min_replicas, max_replicas=limits.max_replicas
    )


def _tested(chosen: Fleet) -> float:
    """Return requests per second per replica, of the throughput if no rate is within the SLO."""
    return TESTED_SHARE * (chosen.capacity or chosen.throughput)


def _concurrency(chosen: Fleet) -> Scaler:
    limits = chosen.policy
    target = _concurrency_target(chosen)
    return PodAutoscaler("kpa", Decider(target, min_replicas=limits.min_replicas, max_replicas=limits.max_replicas))


def _concurrency_target(chosen: Fleet) -> float:
    return CONCURRENCY_SHARE * chosen.server.max_batch_size * chosen.server.instances


_CONTENDERS: Final[dict[str, _Contender]] = {
    OURS: _Contender(lambda _: OURS, _ours),
    "hpa": _Contender(lambda _: f"HPA, GPU utilization {GPU_UTILIZATION:.0%}", _utilization),
    "hpa-latency": _Contender(
        lambda chosen: f"HPA, p{chosen.slo.percentile:g} at {spoken(_aimed_seconds(chosen))}", _latency
    ),
    "keda": _Contender(
        lambda chosen: f"KEDA, {per_second(_tested(chosen))} requests/s ({TESTED_SHARE:.0%} of a load test)", _arrivals
    ),
    "kpa": _Contender(lambda chosen: f"Knative KPA, {_concurrency_target(chosen):.3g} in flight", _concurrency),
}
RIVALS: Final = tuple(name for name in _CONTENDERS if name != OURS)
CLAIRVOYANT: Final = "clairvoyant"
"""Who knew all requests beforehand; always there, to compare with."""


def listing() -> str:
    """Return what can be named."""
    return "\n".join(RIVALS)


def chosen_rivals(named: Sequence[str]) -> tuple[str, ...]:
    """Return the scalers to compare with, all of them if none is named; raises Complaint for unknown names."""
    for name in named:
        if name not in _CONTENDERS:
            raise Complaint(f"--scalers: '{name}' must be one of {', '.join(RIVALS)}")
    return tuple(name for name in named if name != OURS) if named else RIVALS


def title(name: str, chosen: Fleet) -> str:
    """Return what a scaler is, with its settings."""
    if name == CLAIRVOYANT:
        return CLAIRVOYANT
    return _CONTENDERS[name].describe(chosen)


def make(name: str, chosen: Fleet) -> Scaler:
    """Return a scaler that has seen nothing yet."""
    return _CONTENDERS[name].make(chosen)
