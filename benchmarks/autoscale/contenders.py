"""Who competes: ours as it comes and with parts left out, and each rival over a sweep of its target."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Final

from benchmarks.autoscale.settings import Setting
from tritonfleet.plan.autoscale import Parts
from tritonfleet.sim import Scaler, Tritonfleet
from tritonfleet.sim.baselines import (
    Behavior,
    Decider,
    ExternalMetric,
    HorizontalPodAutoscaler,
    Percent,
    Planner,
    PodAutoscaler,
    PodsMetric,
    Profile,
    ScaledObject,
    ScalingRules,
)

Make = Callable[[Setting, float], Scaler]

LOADS: Final = (1.1, 1.0, 0.9, 0.8, 0.7, 0.5)
"""Targets in requests per second, as shares of a replica's capacity by the model."""
SOME_LOADS: Final = (1.0, 0.9, 0.8, 0.65)
QUICK: Final = Behavior(down=ScalingRules((Percent(100, 15.0),), stabilization_seconds=60.0))
"""Behaviour of those who tuned more than the target: replicas go after a minute."""
WINDOW_SECONDS: Final = 60.0
"""rate(...[1m]): four scrapes of 15 s, the shortest that survives a lost one."""
QUICK_WINDOW_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Family:
    """One way of scaling and the targets that it is tried with."""

    name: str
    make: Make
    knobs: tuple[float, ...]
    what: str
    usual: float
    """The target of someone who knows the model's capacity and keeps a usual margin."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A family with one target."""

    family: Family
    knob: float

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.family.name if len(self.family.knobs) == 1 else f"{self.family.name}@{self.knob:g}"

    @property
    def usual(self) -> bool:
        """Whether this is what its family is mostly run with."""
        return self.knob == self.family.usual

    def make(self, setting: Setting) -> Scaler:
        """Return a fresh scaler for one run."""
        return self.family.make(setting, self.knob)


def contenders(names: tuple[str, ...] = ()) -> Iterator[Contender]:
    """Yield all of the families named, or of all; `family@knob` names one target."""
    for family in FAMILIES:
        for knob in family.knobs:
            contender = Contender(family, knob)
            if not names or family.name in names or contender.name in names:
                yield contender


def _ours(setting: Setting, _: float) -> Scaler:
    return Tritonfleet(setting.policy())


def _ours_restarted(setting: Setting, seconds: float) -> Scaler:
    return Tritonfleet(setting.policy(), restart_every_seconds=seconds)


def _ours_killed(setting: Setting, seconds: float) -> Scaler:
    return Tritonfleet(setting.policy(), restart_every_seconds=seconds, killed=True)


def _ours_without(part: str) -> Make:
    def make(setting: Setting, _: float) -> Scaler:
        return Tritonfleet(setting.policy(), parts=replace(Parts(), **{part: False}))

    return make


def _hpa(name: str, metric: PodsMetric | ExternalMetric, setting: Setting) -> Scaler:
    return HorizontalPodAutoscaler(name, [metric], min_replicas=1, max_replicas=setting.max_replicas)


def _hpa_arrivals(setting: Setting, load: float) -> Scaler:
    return _hpa("hpa-arrivals", PodsMetric("arrivals", load * setting.capacity, WINDOW_SECONDS), setting)


def _hpa_success(setting: Setting, load: float) -> Scaler:
    metric = ExternalMetric(lambda metrics: metrics.success_rate(WINDOW_SECONDS), load * setting.capacity)
    return _hpa("hpa-success", metric, setting)


def _hpa_latency(setting: Setting, share: float) -> Scaler:
    percentile = setting.slo.percentile
    metric = ExternalMetric(
        lambda metrics: metrics.latency(percentile, WINDOW_SECONDS), share * setting.slo.latency_seconds, average=False
    )
    return _hpa("hpa-latency", metric, setting)


def _hpa_utilization(setting: Setting, share: float) -> Scaler:
    return _hpa("hpa-utilization", PodsMetric("utilization", share, WINDOW_SECONDS), setting)


def _keda(setting: Setting, load: float) -> Scaler:
    return ScaledObject(
        "keda",
        lambda metrics: metrics.arrival_rate(WINDOW_SECONDS),
        load * setting.capacity,
        min_replicas=1,
        max_replicas=setting.max_replicas,
    )


def _keda_quick(setting: Setting, load: float) -> Scaler:
    return ScaledObject(
        "keda-quick",
        lambda metrics: metrics.arrival_rate(QUICK_WINDOW_SECONDS),
        load * setting.capacity,
        min_replicas=1,
        max_replicas=setting.max_replicas,
        behavior=QUICK,
    )


def _kpa(setting: Setting, target: float) -> Scaler:
    return PodAutoscaler("kpa", Decider(_held(setting, target), max_replicas=setting.max_replicas))


def _held(setting: Setting, target: float) -> float:
    """Return a target for batches of sixteen, for this model's batches."""
    return target * setting.server.max_batch_size / FULL_BATCH


def _kpa_delay(setting: Setting, target: float) -> Scaler:
    decider = Decider(_held(setting, target), scale_down_delay_seconds=300.0, max_replicas=setting.max_replicas)
    return PodAutoscaler("kpa-delay", decider)


def _dynamo(setting: Setting, load: float) -> Scaler:
    profile = Profile(
        engine_rps=load * setting.capacity,
        latency_seconds=setting.slo.latency_seconds,
        max_batch_size=setting.server.max_batch_size,
        max_replicas=setting.max_replicas,
    )
    return Planner("dynamo", profile)


CONCURRENCIES: Final = (14.0, 11.0, 9.0, 7.5, 5.0, 3.0)
"""Requests in flight per pod; a replica at its capacity holds about fifteen."""
FULL_BATCH: Final = 16
PARTS: Final = tuple(field.name for field in fields(Parts))
"""What can be left out of ours."""
WITHOUT: Final = "ours-without-"
INFORMED: Final = "ours-informed"

FAMILIES: Final = (
    Family("ours", _ours, (0.0,), "the SLO and nothing else", 0.0),
    Family("ours-restarted", _ours_restarted, (300.0,), "ours, its operator restarted every 5 minutes", 300.0),
    Family("ours-killed", _ours_killed, (300.0,), "ours, its operator killed every 5 minutes", 300.0),
    Family(INFORMED, _ours, (0.0,), "ours, told another day's traffic of the same kind", 0.0),
    *(
        Family(f"{WITHOUT}{part}", _ours_without(part), (0.0,), f"ours, without its part `{part}`", 0.0)
        for part in PARTS
    ),
    Family("hpa-arrivals", _hpa_arrivals, LOADS, "HPA, Pods metric, arrivals per second", 0.7),
    Family("keda", _keda, LOADS, "KEDA, Prometheus trigger, arrivals per second", 0.7),
    Family("keda-quick", _keda_quick, SOME_LOADS, "the same over 30 s, down after 60 s", 0.65),
    Family("kpa", _kpa, CONCURRENCIES, "Knative KPA, requests in flight per pod", 7.5),
    Family("kpa-delay", _kpa_delay, (11.0, 7.5, 5.0), "the same, scale-down-delay 5 min", 7.5),
    Family("hpa-success", _hpa_success, (0.9, 0.7), "HPA, successes per second", 0.7),
    Family("hpa-latency", _hpa_latency, (0.9, 0.75, 0.6), "HPA, p99 as a share of the SLO", 0.75),
    Family("hpa-utilization", _hpa_utilization, (0.8,), "HPA, GPU utilization", 0.8),
    Family("dynamo", _dynamo, (0.9, 0.75), "Dynamo-like planner, 180 s and +-1", 0.75),
)
