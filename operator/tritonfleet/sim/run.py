"""One run: a trace, a scaler, a server, a plant and what goes wrong."""

from collections.abc import Callable, Sequence
from math import ceil

import numpy as np

from tritonfleet.sim.arrivals import Trace
from tritonfleet.sim.cluster import Agenda, Cluster
from tritonfleet.sim.faults import CounterReset, Fault, ForeignWrite, NodesFull, PodLoss, Slower, SlowStart
from tritonfleet.sim.fleet import Fleet, rules_of
from tritonfleet.sim.latency import quantile_of_bins
from tritonfleet.sim.metrics import SimulatedMetrics
from tritonfleet.sim.outage import Outage
from tritonfleet.sim.plant import Plant
from tritonfleet.sim.result import Change, Minutes, Requests, Run
from tritonfleet.sim.scaler import Scaler
from tritonfleet.sim.server import ServerModel
from tritonfleet.sim.slo import Slo

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
        rules_of(server, plant, slo, seed), server.instances, trace, record=record, chunk_seconds=chunk_seconds
    )
    course = _Course(fleet, scaler, plant, tuple(faults), seed)
    course.run()
    return course.result(slo, seed)


class _Course:
    """The run while it is under way."""

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
        """Carry everything to the trace's end, and the requests on to their answers."""
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
        """Return what it came to."""
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
        """Do something at every multiple of an interval, each time a little late if so wanted."""

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
        """Put what a fault does to the cluster on the agenda; faults of the metrics are asked for when they matter."""
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
