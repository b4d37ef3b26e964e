"""The simulated pods, from creation to deletion, and the requests that they hold.

`Cluster` acts as the Deployment controller: it keeps the desired number of pods, and puts their events on
the `Agenda`. `Fleet` is the servers' side: which slots take requests, carried through time by the compiled engine.
`Gauge` records numbers of pods as means over minutes. `run.simulate()` drives all three.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from tritonfleet.plan.autoscale import PodState
from tritonfleet.sim import engine
from tritonfleet.sim.scenario import Plant, Routing, ServerModel, Slo
from tritonfleet.sim.state import (
    BIN_WIDTH,
    COUNTERS,
    LOWEST_SECONDS,
    NONE,
    EngineRules,
    Floats,
    State,
    empty,
    reset_slot,
    with_nodes,
    with_slots,
)
from tritonfleet.sim.traffic import Trace


class Gauge:
    """A step function of time, 0 at first, over a run of `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._times = [0.0]
        self._values = [0.0]

    def set(self, now: float, value: float) -> None:
        """Set the value from a time on; times never decrease."""
        if value != self._values[-1]:
            self._times.append(now)
            self._values.append(value)

    def minutes(self) -> NDArray[np.float64]:
        """Return the mean of each minute; the last may be a short one."""
        edges = np.minimum(60.0 * np.arange(ceil(self._seconds / 60) + 1), self._seconds)
        return np.asarray(np.diff(self._integral(edges)) / np.diff(edges))

    def total(self) -> float:
        """Return the integral over the run, in value times seconds."""
        return float(self._integral(np.array([self._seconds]))[0])

    def _integral(self, until: NDArray[np.float64]) -> NDArray[np.float64]:
        times = np.array([*self._times, max(self._seconds, self._times[-1])])
        sums = np.concatenate(([0.0], np.cumsum(np.diff(times) * self._values)))
        return np.asarray(np.interp(until, times, sums))


NOISE_DRAWS = 1 << 16
"""Factors and choices drawn once and used in turn: enough that no pattern shows."""


def engine_rules(server: ServerModel, plant: Plant, slo: Slo, seed: int) -> EngineRules:
    """Return the server's rules for the engine; the noise has a mean of 1."""
    preferred = server.preferred_batch_sizes or (server.max_batch_size,)
    sizes = range(server.max_batch_size + 1)
    normal = np.random.default_rng((seed, 1)).standard_normal(NOISE_DRAWS)
    drawn = NOISE_DRAWS if plant.routing is Routing.RANDOM else 0
    return EngineRules(
        alpha=server.alpha_seconds,
        beta=server.beta_seconds,
        max_batch=server.max_batch_size,
        delay=server.max_queue_delay_seconds,
        max_queue=server.max_queue_size,
        timeout=server.queue_timeout_seconds or inf,
        patience=plant.client_timeout_seconds or inf,
        overhead=server.overhead_seconds,
        target=slo.latency_seconds,
        least_outstanding=plant.routing is Routing.LEAST_OUTSTANDING,
        draws=np.random.default_rng((seed, 4)).random(drawn),
        prefetch=not (server.queue_timeout_seconds or server.max_queue_size),
        preferred=np.array([size in preferred for size in sizes]),
        next_preferred=np.array(
            [min((one for one in preferred if one > size), default=min(preferred)) for size in sizes]
        ),
        max_preferred=max(preferred),
        noise=np.exp(server.noise * normal - server.noise**2 / 2),
        lowest_seconds=LOWEST_SECONDS,
        bin_width=BIN_WIDTH,
    )


@dataclass
class Fleet:
    """Slots with pods in them; time only moves forward."""

    rules: EngineRules
    state: State
    trace: Trace
    chunk_seconds: float
    """Arrivals are fetched for this long at once; results do not depend on it."""
    now: float = 0.0

    def __post_init__(self) -> None:
        self._free = list(range(len(self.state.held)))[::-1]
        self._arrivals: Floats = np.empty(0)
        self._fetched = 0.0

    @classmethod
    def of(
        cls, rules: EngineRules, instances: int, trace: Trace, *, record: bool, chunk_seconds: float = 60.0
    ) -> "Fleet":
        """Return a fleet without pods at the start of a trace."""
        requests = len(trace.arrivals(0.0, trace.duration_seconds)) if record else 0
        state = empty(slots=16, instances=instances, seconds=ceil(trace.duration_seconds), requests=requests)
        return cls(rules, state, trace, chunk_seconds)

    def advance(self, until: float) -> None:
        """Replay the trace up to `until` seconds."""
        while self.now < until:
            if self._fetched <= self.now:
                self._fetched += self.chunk_seconds
                self._arrivals = self.trace.arrivals(self.now, self._fetched)
            end = min(until, self._fetched)
            count = int(np.searchsorted(self._arrivals, end))
            self.state = with_nodes(self.state, count)
            engine.advance(self.rules, self.state, self._arrivals[:count], end)
            self._arrivals = self._arrivals[count:]
            self.now = end

    def open(self, serial: int) -> int:
        """Start routing requests to a new pod; return its slot."""
        if not self._free:
            before = len(self.state.held)
            self.state = with_slots(self.state, before)
            self._free = list(range(before, 2 * before))[::-1]
        slot = self._free.pop()
        state = self.state
        reset_slot(state, slot, serial)
        state.ready[state.totals["ready"][0]] = slot
        state.totals["ready"] += 1
        return slot

    def close(self, slot: int) -> None:
        """Stop routing requests to a slot; it completes those that it holds."""
        state = self.state
        kept = [one for one in state.ready[: state.totals["ready"][0]] if one != slot]
        state.ready[: len(kept)] = kept
        state.totals["ready"] = len(kept)

    def remove(self, slot: int) -> None:
        """Remove a pod with all requests that it still holds."""
        self.close(slot)
        engine.drop_all(self.state, slot, self.now)
        self._free.append(slot)

    def slow_down(self, factor: float) -> None:
        """Make executions that start from now on take `factor` times as long."""
        self.state.totals["slowdown"] = factor

    def reset_counters(self) -> None:
        """Reset every counter."""
        for name in COUNTERS:
            self.state.slots[name] = 0.0

    def pending(self, slot: int) -> int:
        """Return the queued requests of a slot."""
        return int(self.state.held[slot] - self.state.instances["size"][slot].sum())

    def busy_seconds(self, slot: int) -> float:
        """Return for how long the slot has been executing."""
        pod = self.state.slots[slot]
        running = self.now - pod["busy_since"] if pod["running"] else 0.0
        return float(pod["busy_seconds"] + running)


REVISION = "simulated"
DRAIN_CHECK_SECONDS = 1.0
"""How often a terminating pod is checked for remaining requests."""


@dataclass
class Agenda:
    """The events of a run by time; events at the same time in order of insertion."""

    _entries: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    _count: int = 0

    def at(self, seconds: float, action: Callable[[float], None]) -> None:
        """Schedule an action, which is called with the time."""
        heapq.heappush(self._entries, (seconds, self._count, action))
        self._count += 1

    def next(self) -> tuple[float, Callable[[float], None]]:
        """Take the first entry."""
        seconds, _, action = heapq.heappop(self._entries)
        return seconds, action

    @property
    def first_seconds(self) -> float:
        """When the first entry is due; infinite when there is none."""
        return self._entries[0][0] if self._entries else inf


@dataclass
class Pod:
    """One pod, until it is gone."""

    serial: int
    created: float
    scheduled: bool = False
    ready: float | None = None
    deleted: bool = False
    slot: int = NONE

    @property
    def uid(self) -> str:
        """Its identity."""
        return f"pod-{self.serial}"


@dataclass
class Cluster:
    """Keeps the desired number of pods."""

    fleet: Fleet
    plant: Plant
    agenda: Agenda
    seed: int
    seconds: float

    def __post_init__(self) -> None:
        self.replicas = 0
        self.schedulable = self.plant.schedulable
        self.start_factor = 1.0
        self.pods: list[Pod] = []
        self.wanted, self.ready, self.billed = (Gauge(self.seconds) for _ in range(3))
        self._created = 0
        self._states: tuple[PodState, ...] | None = None

    @property
    def live(self) -> list[Pod]:
        """Pods that are not being deleted, oldest first."""
        return [pod for pod in self.pods if not pod.deleted]

    @property
    def serving(self) -> list[Pod]:
        """Pods that take requests, oldest first."""
        return [pod for pod in self.pods if not pod.deleted and pod.ready is not None]

    def states(self) -> tuple[PodState, ...]:
        """Return the live pods as the API server shows them."""
        if self._states is None:
            self._states = tuple(
                PodState(pod.uid, REVISION, pod.created, pod.ready, schedulable=pod.scheduled) for pod in self.live
            )
        return self._states

    def begin(self, replicas: int) -> None:
        """Start with ready pods."""
        self.replicas = replicas
        for _ in range(replicas):
            pod = self._create(-self._ready_seconds(self._created))
            pod.scheduled = True
            self._become_ready(pod, 0.0)
        self._changed(0.0)

    def scale(self, now: float, replicas: int) -> None:
        """Set the desired number of pods: unready ones are deleted first, then the youngest."""
        self.replicas = replicas
        live = self.live
        for _ in range(replicas - len(live)):
            self._create(now)
        spare = sorted(live, key=lambda pod: (pod.ready is not None, -pod.created, -pod.serial))
        for pod in spare[: max(0, len(live) - replicas)]:
            self._delete(pod, now)
        self._schedule(now)

    def limit(self, now: float, schedulable: int | None) -> None:
        """Change how many pods the nodes can hold; those that run stay."""
        self.schedulable = schedulable
        self._schedule(now)

    def lose(self, now: float, pods: int) -> None:
        """Kill the oldest serving pods and create others in their place."""
        for pod in self.serving[:pods]:
            self._go(pod, now)
        self.scale(now, self.replicas)

    def _ready_seconds(self, serial: int) -> float:
        share = np.random.default_rng((self.seed, 2, serial)).random()
        return self.plant.ready.at(share) * self.start_factor

    def _create(self, now: float) -> Pod:
        pod = Pod(self._created, now)
        self._created += 1
        self.pods.append(pod)
        return pod

    def _schedule(self, now: float) -> None:
        held = sum(pod.scheduled for pod in self.pods)
        for pod in self.live:
            if not pod.scheduled and (self.schedulable is None or held < self.schedulable):
                pod.scheduled = True
                held += 1
                self.agenda.at(now + self._ready_seconds(pod.serial), partial(self._become_ready, pod))
        self._changed(now)

    def _become_ready(self, pod: Pod, now: float) -> None:
        if not pod.deleted:
            pod.ready = now
            pod.slot = self.fleet.open(pod.serial)
            self._changed(now)

    def _delete(self, pod: Pod, now: float) -> None:
        pod.deleted = True
        if pod.slot == NONE:
            self._go(pod, now)
        else:
            self.fleet.close(pod.slot)
            deadline = now + self.plant.grace_seconds
            self.agenda.at(now + self.plant.drain_seconds, lambda at: self._drain(pod, at, deadline))

    def _drain(self, pod: Pod, now: float, deadline: float) -> None:
        if self.fleet.state.held[pod.slot] and now < deadline:
            self.agenda.at(now + DRAIN_CHECK_SECONDS, lambda at: self._drain(pod, at, deadline))
        else:
            self._go(pod, now)
            self._schedule(now)

    def _go(self, pod: Pod, now: float) -> None:
        pod.deleted = True
        if pod.slot != NONE:
            self.fleet.remove(pod.slot)
        self.pods.remove(pod)
        self._changed(now)

    def _changed(self, now: float) -> None:
        self._states = None
        self.wanted.set(now, self.replicas)
        self.ready.set(now, len(self.serving))
        self.billed.set(now, sum(pod.scheduled for pod in self.pods))
