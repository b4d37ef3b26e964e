"""One run of a trace, a scaler, a server, a plant and faults, and its result.

`simulate()` replays the trace on an agenda of scrapes, decisions and faults, and returns a `Run`: requests, good
answers, GPU-hours, changes of scale, and all of it minute by minute.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray

from tritonfleet.sim.cluster import Agenda, Cluster, Fleet, engine_rules
from tritonfleet.sim.metrics import Outage, SimulatedMetrics
from tritonfleet.sim.scalers import Scaler
from tritonfleet.sim.scenario import (
    CounterReset,
    Fault,
    ForeignWrite,
    NodesFull,
    Plant,
    PodLoss,
    ServerModel,
    Slo,
    Slower,
    SlowStart,
)
from tritonfleet.sim.state import quantile_of_bins
from tritonfleet.sim.traffic import Trace


@dataclass(frozen=True)
class Minutes:
    """One value per minute of the trace, each an array of shape (minutes,). Requests belong to the minute they came."""

    arrivals: NDArray[np.int64]
    good: NDArray[np.int64]
    percentile_seconds: NDArray[np.float64]
    """The SLO's percentile of the latency of answered requests; NaN where none was answered."""
    wanted: NDArray[np.float64]
    """Desired replicas, averaged over the minute."""
    ready: NDArray[np.float64]
    """Replicas ready, averaged over the minute."""
    billed: NDArray[np.float64]
    """Replicas that hold their GPUs, averaged over the minute: starting, ready and terminating."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the desired replicas."""

    at_seconds: float
    before: int
    after: int


@dataclass(frozen=True)
class Requests:
    """Every request of a small run, in order of arrival, shape (requests,)."""

    arrival_seconds: NDArray[np.float64]
    latency_seconds: NDArray[np.float64]
    """NaN for requests that got no answer."""
    pod: NDArray[np.int64]
    """Which pod took it, by order of creation; -1 when none was ready."""
    batch: NDArray[np.int64]
    """Size of its batch; 0 for requests that were never executed."""


@dataclass(frozen=True)
class Run:
    """One trace, one scaler, one seed."""

    trace: str
    scaler: str
    seed: int
    duration_seconds: float
    latency_seconds: float
    """The SLO's target."""
    percentile: float
    """The SLO's percentile, in percent."""
    requests: int
    good: int
    """Requests answered successfully within the target."""
    rejected: int
    """Rejected: full queue, queue timeout, client timeout, or no pod ready."""
    lost: int
    """Held by a pod that died."""
    executions: int
    gpu_hours: float
    """Starting, ready and terminating pods alike."""
    changes: tuple[Change, ...]
    minutes: Minutes
    sample: Requests | None = None
    """Given when the run was asked to record."""

    @property
    def attainment(self) -> float:
        """Share of requests that were good, 0..1; 1 when there were none."""
        return self.good / self.requests if self.requests else 1.0

    @property
    def scale_events(self) -> int:
        """How often the desired replicas changed."""
        return len(self.changes)

    @property
    def direction_flips(self) -> int:
        """How often an increase followed a decrease or the other way round."""
        signs = [change.after > change.before for change in self.changes]
        return sum(first != second for first, second in pairwise(signs))

    @property
    def minutes_over_slo(self) -> int:
        """Minutes in which fewer than `percentile` percent of the requests were good."""
        return int(np.sum(self.minutes.good < self.minutes.arrivals * self.percentile / 100))

    def worst_minutes(self, count: int = 5) -> tuple[int, ...]:
        """Return the minutes with the smallest share of good requests, worst first."""
        share = self.minutes.good / np.maximum(self.minutes.arrivals, 1)
        share[self.minutes.arrivals == 0] = 1.0
        return tuple(int(minute) for minute in np.argsort(share, kind="stable")[:count])


AFTERTIME_SECONDS = 15.0
"""How far to go at once, after the trace's end, until every request has its answer."""


def simulate(
    trace: Trace,
    scaler: Scaler,
    server: ServerModel,
    plant: Plant,
    *,
    slo: Slo,
    faults: Sequence[Fault] = (),
    seed: int = 0,
    record: bool = False,
    chunk_seconds: float = 60.0,
) -> Run:
    """Replay a trace against a scaler. The same arguments give the same run, whatever `chunk_seconds`.

    `record` keeps every request's latency: for small runs. What is held at the trace's end is still answered.
    """
    fleet = Fleet.of(
        engine_rules(server, plant, slo, seed), server.instances, trace, record=record, chunk_seconds=chunk_seconds
    )
    simulation = _Simulation(fleet, scaler, plant, tuple(faults), seed)
    simulation.run()
    return simulation.result(slo, seed)


class _Simulation:
    """The run in progress."""

    def __init__(self, fleet: Fleet, scaler: Scaler, plant: Plant, faults: tuple[Fault, ...], seed: int) -> None:
        self._fleet, self._scaler, self._plant = fleet, scaler, plant
        self._agenda = Agenda()
        self._seconds = fleet.trace.duration_seconds
        self._cluster = Cluster(fleet, plant, self._agenda, seed, self._seconds)
        self._metrics = SimulatedMetrics(self._cluster, Outage(faults), seed)
        self._changes: list[Change] = []
        for fault in faults:
            self._arrange(fault)

    def run(self) -> None:
        """Run to the trace's end, and until all requests are answered."""
        start = self._plant.min_replicas if self._plant.initial_replicas is None else self._plant.initial_replicas
        self._cluster.begin(start)
        self._repeat(self._plant.scrape_seconds, self._metrics.scrape_directly, jitter=True)
        self._repeat(self._plant.prometheus_seconds, self._metrics.scrape_by_prometheus, jitter=True)
        self._repeat(self._scaler.interval_seconds, self._decide)
        while self._agenda.first_seconds < self._seconds:
            now, action = self._agenda.next()
            self._fleet.advance(now)
            action(now)
        self._fleet.advance(self._seconds)
        while self._fleet.state.totals["held"][0]:
            self._fleet.advance(self._fleet.now + AFTERTIME_SECONDS)

    def result(self, slo: Slo, seed: int) -> Run:
        """Return the result."""
        state, totals = self._fleet.state, self._fleet.state.totals[0]
        minutes = ceil(self._seconds / 60)
        cluster = self._cluster
        return Run(
            trace=self._fleet.trace.name,
            scaler=self._scaler.name,
            seed=seed,
            duration_seconds=self._seconds,
            latency_seconds=slo.latency_seconds,
            percentile=slo.percentile,
            requests=int(totals["seen"]),
            good=int(state.minute_good.sum()),
            rejected=int(totals["rejected"]),
            lost=int(totals["lost"]),
            executions=int(totals["executed"]),
            gpu_hours=cluster.billed.total() * self._plant.gpus_per_replica / 3600,
            changes=tuple(self._changes),
            minutes=Minutes(
                arrivals=state.minute_arrivals[:minutes],
                good=state.minute_good[:minutes],
                percentile_seconds=np.array(
                    [quantile_of_bins(bins, slo.percentile / 100) for bins in state.minute_bins[:minutes]]
                ),
                wanted=cluster.wanted.minutes(),
                ready=cluster.ready.minutes(),
                billed=cluster.billed.minutes(),
            ),
            sample=self._sample(),
        )

    def _sample(self) -> Requests | None:
        state = self._fleet.state
        if not len(state.sample_pod):
            return None
        arrivals = self._fleet.trace.arrivals(0.0, self._seconds)
        return Requests(arrivals, state.sample_latency, state.sample_pod, state.sample_batch)

    def _repeat(self, interval: float, action: Callable[[], None], *, jitter: bool = False) -> None:
        """Schedule an action at every multiple of an interval, with optional jitter."""

        def turn(number: int) -> None:
            late = self._metrics.jitter_seconds() if jitter else 0.0
            self._agenda.at(number * interval + late, lambda _: act(number))

        def act(number: int) -> None:
            action()
            turn(number + 1)

        turn(1)

    def _decide(self) -> None:
        now, before = self._fleet.now, self._cluster.replicas
        wanted = self._scaler.desired(now, before, self._cluster.states(), self._metrics)
        after = min(max(wanted, self._plant.min_replicas), self._plant.max_replicas)
        if after != before:
            self._changes.append(Change(now, before, after))
            self._cluster.scale(now, after)

    def _arrange(self, fault: Fault) -> None:
        """Schedule the cluster's faults; faults of the metrics are evaluated at each scrape."""
        cluster, at = self._cluster, self._agenda.at
        match fault:
            case Slower():
                at(fault.start_seconds, lambda _: self._fleet.slow_down(fault.factor))
                at(fault.end_seconds, lambda _: self._fleet.slow_down(1.0))
            case SlowStart():
                at(fault.start_seconds, lambda _: setattr(cluster, "start_factor", fault.factor))
                at(fault.end_seconds, lambda _: setattr(cluster, "start_factor", 1.0))
            case NodesFull():
                at(fault.start_seconds, lambda now: cluster.limit(now, fault.pods))
                at(fault.end_seconds, lambda now: cluster.limit(now, self._plant.schedulable))
            case PodLoss():
                at(fault.at_seconds, lambda now: cluster.lose(now, fault.pods))
            case ForeignWrite():
                at(fault.at_seconds, lambda now: cluster.scale(now, fault.replicas))
            case CounterReset():
                at(fault.at_seconds, lambda _: self._fleet.reset_counters())
            case _:
                pass
