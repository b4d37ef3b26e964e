"""The clairvoyant: the cheapest schedule we can find that keeps the SLO, made with the arrivals in hand.

It knows every arrival, what a replica carries (measured in the engine, by no formula) and how long a pod takes to be
ready; it starts pods that long ahead and is billed for it. Replicas are levels: level k is needed while k - 1 replicas
would not do. A gap in a level that is shorter than a start costs less to sit through, and stretches that save few
requests for their GPU time are left out, cheapest sacrifice first, as far as the SLO's share allows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from tritonfleet.sim.arrivals import Trace
from tritonfleet.sim.capacity import Capacity
from tritonfleet.sim.faults import Fault, Slower
from tritonfleet.sim.fixed import Scheduled
from tritonfleet.sim.plant import Plant, Spread
from tritonfleet.sim.result import Run
from tritonfleet.sim.run import simulate
from tritonfleet.sim.server import ServerModel
from tritonfleet.sim.slo import Slo
from tritonfleet.sim.state import Floats, Ints

NAME = "clairvoyant"
WINDOW_SECONDS = 5
"""Demand is the mean over this long: queues even out what is shorter."""
LOADS = (0.8, 1.4)
"""Between these lies the share of the measured capacity that a schedule plans with."""
EASED = 0.95
"""Planning with this share of the largest load that will do leaves the allowed misses to the rarest peaks."""
SEARCH_STEPS = 5


@dataclass(frozen=True, slots=True)
class Stretch:
    """One time that one level is up, in whole seconds."""

    start: int
    end: int
    saved: float
    """Requests beyond what the levels below carry."""

    def worth(self, start_seconds: float) -> float:
        """Return the requests saved per second of GPU time."""
        return self.saved / (self.end - self.start + start_seconds)


def clairvoyant(
    trace: Trace,
    server: ServerModel,
    plant: Plant,
    *,
    slo: Slo,
    faults: Sequence[Fault] = (),
    seed: int = 0,
    attainment: float | None = None,
) -> Run:
    """Return the run with the fewest GPU-hours found at that attainment, 0..1; None for the SLO's percentile.

    Where no schedule within the plant's limits attains it, the run that attains most.
    """
    goal = slo.percentile / 100 if attainment is None else attainment
    demand = _demand(trace, faults)
    known = replace(plant, ready=Spread.always(plant.ready.mean()))
    capacity = Capacity.measured(server, slo, plant.routing, plant.max_replicas)

    def run(load: float, sacrifice: float) -> Run:
        steps = _schedule(demand, capacity, known, load, sacrifice)
        scheduled = replace(known, initial_replicas=steps[0][1])
        return simulate(trace, Scheduled(NAME, steps), server, scheduled, slo=slo, faults=faults, seed=seed)

    return _cheapest(run, goal)


def _cheapest(run: Callable[[float, float], Run], goal: float) -> Run:
    """Search the largest load that reaches the goal, then, at a little less, the largest sacrifice."""
    tried: list[Run] = []

    def reaches(load: float, sacrifice: float) -> bool:
        tried.append(run(load, sacrifice))
        return tried[-1].attainment >= goal

    load = _largest(LOADS, lambda load: reaches(load, 0.0))
    _largest((0.0, 2 * (1 - goal)), lambda sacrifice: reaches(EASED * load, sacrifice))
    good = [one for one in tried if one.attainment >= goal]
    return min(good, key=lambda one: one.gpu_hours) if good else max(tried, key=lambda one: one.attainment)


def _largest(between: tuple[float, float], holds: Callable[[float], bool]) -> float:
    low, high = between
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _demand(trace: Trace, faults: Sequence[Fault]) -> Floats:
    """Return requests per second, by second, as if executions always took their usual time."""
    seconds = int(np.ceil(trace.duration_seconds))
    counts = np.zeros(seconds)
    for start in range(0, seconds, 3600):
        times = trace.arrivals(start, start + 3600)
        counts[start : start + 3600] += np.bincount(times.astype(np.int64) - start, minlength=3600)[: seconds - start]
    for fault in faults:
        if isinstance(fault, Slower):
            counts[int(fault.start_seconds) : int(min(fault.end_seconds, seconds))] *= fault.factor
    smooth = np.convolve(counts, np.ones(WINDOW_SECONDS) / WINDOW_SECONDS, mode="same")
    return np.asarray(smooth)


def _schedule(
    demand: Floats, capacity: Capacity, plant: Plant, load: float, sacrifice: float
) -> list[tuple[float, int]]:
    """Return (seconds, replicas) that serve the demand but for a share of it."""
    start_seconds = plant.ready.mean()
    restart_seconds = start_seconds + plant.drain_seconds
    need = np.clip(capacity.replicas(demand / load), plant.min_replicas, plant.max_replicas)
    stretches = [
        stretch
        for level in range(plant.min_replicas + 1, int(need.max(initial=0)) + 1)
        for stretch in _stretches(need >= level, demand - load * capacity.rate(level - 1), restart_seconds)
    ]
    stretches.sort(key=lambda stretch: stretch.worth(restart_seconds))
    left = sacrifice * float(demand.sum())
    ups = np.zeros(len(demand) + 1, np.int64)
    for stretch in stretches:
        if stretch.saved <= left:
            left -= stretch.saved
            continue
        ups[max(0, int(stretch.start - start_seconds))] += 1
        ups[stretch.end] -= 1
    return _steps(plant.min_replicas + np.cumsum(ups))


def _stretches(needed: np.ndarray, excess: Floats, restart_seconds: float) -> list[Stretch]:
    """Return when a level is up: while it is needed, and through gaps that a restart would not pay for."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], needed.astype(np.int8), [0]))))
    spans = edges.reshape(-1, 2).tolist()
    joined = [spans[0]] if spans else []
    for (_, before), (start, end) in pairwise(spans):
        if start - before < restart_seconds:
            joined[-1] = [joined[-1][0], end]
        else:
            joined.append([start, end])
    return [Stretch(start, end, float(np.maximum(excess[start:end], 0).sum())) for start, end in joined]


def _steps(replicas: Ints) -> list[tuple[float, int]]:
    """Keep the moments that change anything."""
    changes = np.concatenate(([0], np.flatnonzero(np.diff(replicas)) + 1))
    return [(float(at), int(replicas[at])) for at in changes]
