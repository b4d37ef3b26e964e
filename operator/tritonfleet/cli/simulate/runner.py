"""The scalers that are compared, and their runs on the same requests.

The scalers are Tritonfleet's own autoscaler and its common alternatives with their usual settings. `run_all()`
simulates several at a time, each in its own process, and reports the progress. `command.py` calls it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from ctypes import Array, c_double
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing import get_context
from typing import Final

from tritonfleet.cli.arguments import format_duration, per_second
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
"""The window of queries: `rate(...[1m])`."""
GPU_UTILIZATION: Final = 0.8
LATENCY_SHARE: Final = 0.75
"""Share of the target that users typically set, to leave time to react."""
TESTED_SHARE: Final = 0.65
"""Share of a replica's load-tested capacity that users typically set as requests per second per replica."""
CONCURRENCY_SHARE: Final = 0.7
"""Knative's `container-concurrency-target-percentage`."""

PROGRESS_SECONDS = 0.5
"""How often the progress is updated."""

SEARCH_PASSES = 2 * SEARCH_STEPS + 1
"""How often the clairvoyant reads a trace: once to see it, then for each schedule that it tries."""

OnProgress = Callable[[float], None]
"""Called with the completed share of the work, 0..1."""


@dataclass(frozen=True, slots=True)
class _Contender:
    """A scaler that --scalers can select."""

    describe: Callable[[Fleet], str]
    make: Callable[[Fleet], Scaler]


class _Scheduled:
    """Our autoscaler under the limits in force, as in the operator."""

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
        lambda chosen: f"HPA, p{chosen.slo.percentile:g} at {format_duration(_aimed_seconds(chosen))}", _latency
    ),
    "keda": _Contender(
        lambda chosen: f"KEDA, {per_second(_tested(chosen))} requests/s ({TESTED_SHARE:.0%} of a load test)", _arrivals
    ),
    "kpa": _Contender(lambda chosen: f"Knative KPA, {_concurrency_target(chosen):.3g} in flight", _concurrency),
}
RIVALS: Final = tuple(name for name in _CONTENDERS if name != OURS)
CLAIRVOYANT: Final = "clairvoyant"
"""The scaler that knows all requests in advance; always included as the baseline."""


def scaler_listing() -> str:
    """Return the names for --scalers."""
    return "\n".join(RIVALS)


def chosen_scalers(named: Sequence[str]) -> tuple[str, ...]:
    """Return the scalers to compare with, all of them if none is named; raises UsageError for unknown names."""
    for name in named:
        if name not in _CONTENDERS:
            raise UsageError(f"--scalers: '{name}' must be one of {', '.join(RIVALS)}")
    return tuple(name for name in named if name != OURS) if named else RIVALS


def title(name: str, chosen: Fleet) -> str:
    """Return the title of a scaler, with its settings."""
    if name == CLAIRVOYANT:
        return CLAIRVOYANT
    return _CONTENDERS[name].describe(chosen)


def make(name: str, chosen: Fleet) -> Scaler:
    """Return a new scaler."""
    return _CONTENDERS[name].make(chosen)


@dataclass(frozen=True, slots=True)
class Scenario:
    """The traffic, cluster and faults that all scalers get."""

    fleet: Fleet
    trace: Trace
    faults: tuple[Fault, ...]
    seed: int


class _Watched:
    """A scaler that reports the progress of the trace."""

    def __init__(self, scaler: Scaler, duration_seconds: float, on_progress: OnProgress) -> None:
        self.name, self.interval_seconds = scaler.name, scaler.interval_seconds
        self._scaler, self._duration_seconds, self._on_progress = scaler, duration_seconds, on_progress

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:
        """Return what the scaler wants."""
        self._on_progress(now / self._duration_seconds)
        return self._scaler.desired(now, replicas, pods, metrics)


class _Followed:
    """A trace that reports how much of it was read: the clairvoyant's search takes several runs."""

    def __init__(self, trace: Trace, on_progress: OnProgress) -> None:
        self.name, self.duration_seconds = trace.name, trace.duration_seconds
        self._trace, self._on_progress, self._seconds = trace, on_progress, 0.0

    def arrivals(self, start: float, end: float) -> Times:
        """Return the trace's arrivals."""
        self._seconds += min(end, self.duration_seconds) - start
        self._on_progress(min(1.0, self._seconds / (SEARCH_PASSES * self.duration_seconds)))
        return self._trace.arrivals(start, end)

    def scaled(self, factor: float) -> Trace:
        """Return the scaled trace, without progress."""
        return self._trace.scaled(factor)


def run_all(scenario: Scenario, names: Sequence[str], *, jobs: int, on_progress: OnProgress) -> list[Run]:
    """Return the run of each scaler, in order; `jobs` of them are simulated in parallel."""
    shares = [0.0] * len(names)

    def reporter(index: int) -> OnProgress:
        def report(done: float) -> None:
            shares[index] = done
            on_progress(sum(shares) / len(names))

        return report

    if jobs == 1 or len(names) == 1:
        return [_run(scenario, name, reporter(index)) for index, name in enumerate(names)]
    return _run_in_processes(scenario, names, jobs, on_progress)


def _run_in_processes(scenario: Scenario, names: Sequence[str], jobs: int, on_progress: OnProgress) -> list[Run]:
    context = get_context("spawn")
    shares = context.RawArray("d", len(names))
    with ProcessPoolExecutor(min(jobs, len(names)), context, _share, (scenario, shares)) as pool:
        running = [pool.submit(_run_shared, index, name) for index, name in enumerate(names)]
        waiting = set(running)
        try:
            while waiting:
                waiting = wait(waiting, timeout=PROGRESS_SECONDS).not_done
                on_progress(sum(shares[:]) / len(names))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return [run.result() for run in running]


def _run(scenario: Scenario, name: str, on_progress: OnProgress) -> Run:
    fleet, trace = scenario.fleet, scenario.trace
    if name == CLAIRVOYANT:
        trace = _Followed(trace, on_progress)
        return clairvoyant(trace, fleet.server, fleet.plant, faults=scenario.faults, seed=scenario.seed, slo=fleet.slo)
    scaler = _Watched(make(name, fleet), trace.duration_seconds, on_progress)
    return simulate(trace, scaler, fleet.server, fleet.plant, faults=scenario.faults, seed=scenario.seed, slo=fleet.slo)


_scenario: Scenario
_shares: Array[c_double]


def _share(scenario: Scenario, shares: "Array[c_double]") -> None:
    """Initialize a process of the pool: the trace is passed once, not with every run."""
    global _scenario, _shares
    _scenario, _shares = scenario, shares


def _run_shared(index: int, name: str) -> Run:
    def on_progress(done: float) -> None:
        _shares[index] = done

    return _run(_scenario, name, on_progress)
