"""Pods: created, scheduled, ready, deleted, drained, gone. The Deployment's side of scaling."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf

import numpy as np

from tritonfleet.plan.autoscale import PodState
from tritonfleet.sim.fleet import Fleet
from tritonfleet.sim.gauge import Gauge
from tritonfleet.sim.plant import Plant
from tritonfleet.sim.state import NONE

REVISION = "simulated"
LOOK_AGAIN_SECONDS = 1.0
"""How often a terminating pod is asked whether it is empty."""


@dataclass
class Agenda:
    """What happens when, in order of time; what was put first happens first."""

    _entries: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    _count: int = 0

    def at(self, seconds: float, action: Callable[[float], None]) -> None:
        """Have an action called, with the time, at that time."""
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
    """Keeps as many pods as are asked for."""

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
        """Start with pods that are ready already."""
        self.replicas = replicas
        for _ in range(replicas):
            pod = self._create(-self._ready_seconds(self._created))
            pod.scheduled = True
            self._become_ready(pod, 0.0)
        self._changed(0.0)

    def scale(self, now: float, replicas: int) -> None:
        """Ask for that many pods from now on: unready ones go first, then the youngest."""
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
            self.agenda.at(now + LOOK_AGAIN_SECONDS, lambda at: self._drain(pod, at, deadline))
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
