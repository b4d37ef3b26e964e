"""The scalers that are compared, and their runs on the same requests.

The scalers are Tritonfleet's own autoscaler, and what people run instead, as they usually set it. `compete()` simulates
several at a time, each in a process of its own, and reports how far they are. `command.py` calls it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from ctypes import Array, c_double
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing import get_context
from typing import Final

from tritonfleet.cli.arguments import per_second, spoken
from tritonfleet.cli.simulate.report import OURS
from tritonfleet.cli.simulate.scenario import MONDAY, Fleet
from tritonfleet.cli.terminal import UsageError
from tritonfleet.plan.autoscale import PodState
from tritonfleet.plan.scaling import limits_in_force
from tritonfleet.sim import SEARCH_STEPS, Fault, Metrics, Run, Scaler, Times, Trace, Tritonfleet, clairvoyant, simulate
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

LOOK_SECONDS = 0.5
"""How often a person is told how far it is."""

SEARCH_PASSES = 2 * SEARCH_STEPS + 1
"""How often the clairvoyant goes through a trace: once to look, once for each schedule that it tries."""

Told = Callable[[float], None]
"""Called with the share of the work that is done, 0..1."""


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


def scaler_listing() -> str:
    """Return what can be named."""
    return "\n".join(RIVALS)


def chosen_rivals(named: Sequence[str]) -> tuple[str, ...]:
    """Return the scalers to compare with, all of them if none is named; raises UsageError for unknown names."""
    for name in named:
        if name not in _CONTENDERS:
            raise UsageError(f"--scalers: '{name}' must be one of {', '.join(RIVALS)}")
    return tuple(name for name in named if name != OURS) if named else RIVALS


def title(name: str, chosen: Fleet) -> str:
    """Return what a scaler is, with its settings."""
    if name == CLAIRVOYANT:
        return CLAIRVOYANT
    return _CONTENDERS[name].describe(chosen)


def make(name: str, chosen: Fleet) -> Scaler:
    """Return a scaler that has seen nothing yet."""
    return _CONTENDERS[name].make(chosen)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What all scalers have in common."""

    fleet: Fleet
    trace: Trace
    faults: tuple[Fault, ...]
    seed: int


class _Watched:
    """A scaler that tells how far the trace has come."""

    def __init__(self, scaler: Scaler, duration_seconds: float, told: Told) -> None:
        self.name, self.interval_seconds = scaler.name, scaler.interval_seconds
        self._scaler, self._duration_seconds, self._told = scaler, duration_seconds, told

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:
        """Return what the scaler wants."""
        self._told(now / self._duration_seconds)
        return self._scaler.desired(now, replicas, pods, metrics)


class _Followed:
    """A trace that tells how often it has been gone through: the clairvoyant's search is no single run."""

    def __init__(self, trace: Trace, told: Told) -> None:
        self.name, self.duration_seconds = trace.name, trace.duration_seconds
        self._trace, self._told, self._seconds = trace, told, 0.0

    def arrivals(self, start: float, end: float) -> Times:
        """Return the trace's arrivals."""
        self._seconds += min(end, self.duration_seconds) - start
        self._told(min(1.0, self._seconds / (SEARCH_PASSES * self.duration_seconds)))
        return self._trace.arrivals(start, end)

    def scaled(self, factor: float) -> Trace:
        """Return the scaled trace, which is not followed."""
        return self._trace.scaled(factor)


def compete(arena: Scenario, names: Sequence[str], *, jobs: int, told: Told) -> list[Run]:
    """Return the run of each scaler, in their order; `jobs` of them are simulated at the same time."""
    shares = [0.0] * len(names)

    def teller(index: int) -> Told:
        def tell(done: float) -> None:
            shares[index] = done
            told(sum(shares) / len(names))

        return tell

    if jobs == 1 or len(names) == 1:
        return [_run(arena, name, teller(index)) for index, name in enumerate(names)]
    return _compete_in_processes(arena, names, jobs, told)


def _compete_in_processes(arena: Scenario, names: Sequence[str], jobs: int, told: Told) -> list[Run]:
    context = get_context("spawn")
    shares = context.RawArray("d", len(names))
    with ProcessPoolExecutor(min(jobs, len(names)), context, _share, (arena, shares)) as pool:
        running = [pool.submit(_run_shared, index, name) for index, name in enumerate(names)]
        waiting = set(running)
        try:
            while waiting:
                waiting = wait(waiting, timeout=LOOK_SECONDS).not_done
                told(sum(shares[:]) / len(names))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return [run.result() for run in running]


def _run(arena: Scenario, name: str, told: Told) -> Run:
    fleet, trace = arena.fleet, arena.trace
    if name == CLAIRVOYANT:
        trace = _Followed(trace, told)
        return clairvoyant(trace, fleet.server, fleet.plant, faults=arena.faults, seed=arena.seed, slo=fleet.slo)
    scaler = _Watched(make(name, fleet), trace.duration_seconds, told)
    return simulate(trace, scaler, fleet.server, fleet.plant, faults=arena.faults, seed=arena.seed, slo=fleet.slo)


_arena: Scenario
_shares: Array[c_double]


def _share(arena: Scenario, shares: "Array[c_double]") -> None:
    """Take over, in a process of the pool, what all its runs have in common: a trace is handed over once."""
    global _arena, _shares
    _arena, _shares = arena, shares


def _run_shared(index: int, name: str) -> Run:
    def told(done: float) -> None:
        _shares[index] = done

    return _run(_arena, name, told)
