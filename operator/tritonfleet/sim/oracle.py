"""The clairvoyant: the cheapest schedule we can find that meets the SLO, with all arrivals known.

It knows every arrival, the capacity of a replica (measured in the engine by `Capacity`) and how long a pod
takes to be ready; it starts pods that long ahead and is billed for it. Replicas are levels: level k is needed while
k - 1 replicas would not do. A gap in a level that is shorter than a start costs less to sit through, and stretches that
save few requests for their GPU time are left out, cheapest sacrifice first, as far as the SLO's share allows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from tritonfleet.sim.run import Run, simulate
from tritonfleet.sim.scalers import Fixed, Scheduled
from tritonfleet.sim.scenario import Distribution, Fault, Plant, Routing, ServerModel, Slo, Slower
from tritonfleet.sim.state import Floats, Ints
from tritonfleet.sim.traffic import RateTrace, Trace

PROBE_REQUESTS = 20_000
"""Requests of one measurement: a share of 99% is then known within 0.1 points."""
PROBE_STEPS = 10


@dataclass(frozen=True, slots=True)
class Capacity:
    """The largest rates of Poisson arrivals at which the SLO's share of requests is good."""

    sizes: Ints
    """Replicas, rising from 0."""
    rates: Floats
    """Requests per second of the whole fleet."""

    @classmethod
    def measured(cls, server: ServerModel, slo: Slo, routing: Routing, max_replicas: int) -> "Capacity":
        """Measure fleets of 1, 2, 4 and so on, up to the largest; a fleet carries more than its pods do alone."""
        sizes = sorted({*(1 << power for power in range(max_replicas.bit_length())), max_replicas})
        rates = [
            _largest_rate(server, slo, Plant(routing=routing, min_replicas=size, max_replicas=size)) for size in sizes
        ]
        return cls(np.array([0, *sizes]), np.array([0.0, *rates]))

    def rate(self, replicas: int) -> float:
        """Return the capacity of a number of replicas, in requests per second."""
        return float(np.interp(replicas, self.sizes, self.rates))

    def replicas(self, rates: Floats) -> Ints:
        """Return the fewest replicas that carry each rate; beyond what was measured, one more than the largest."""
        carried = np.interp(np.arange(self.sizes[-1] + 1), self.sizes, self.rates)
        return np.searchsorted(carried, rates)


def _largest_rate(server: ServerModel, slo: Slo, plant: Plant) -> float:
    """Bisect between nothing and what full batches could do."""
    full = server.max_batch_size / server.execution_seconds(server.max_batch_size)
    low, high = 0.0, plant.max_replicas * server.instances * full
    for _ in range(PROBE_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _can_serve(middle, server, slo, plant) else (low, middle)
    return low


def _can_serve(rate: float, server: ServerModel, slo: Slo, plant: Plant) -> bool:
    trace = RateTrace("probe", PROBE_REQUESTS / rate, np.array([rate]))
    run = simulate(trace, Fixed(plant.max_replicas), server, plant, slo=slo)
    return run.attainment >= slo.percentile / 100


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
    known = replace(plant, ready=Distribution.always(plant.ready.mean()))
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
    """Keep the times at which something changes."""
    changes = np.concatenate(([0], np.flatnonzero(np.diff(replicas)) + 1))
    return [(float(at), int(replicas[at])) for at in changes]
