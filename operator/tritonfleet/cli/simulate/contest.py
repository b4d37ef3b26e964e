"""Every scaler on the same requests, several at a time, with word on how far they are."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from ctypes import Array, c_double
from dataclasses import dataclass
from multiprocessing import get_context

from tritonfleet.cli.simulate import roster
from tritonfleet.cli.simulate.fleet import Fleet
from tritonfleet.plan.autoscale import PodState
from tritonfleet.sim import SEARCH_STEPS, Fault, Metrics, Run, Scaler, Times, Trace, clairvoyant, simulate

LOOK_SECONDS = 0.5
"""How often a person is told how far it is."""

SEARCH_PASSES = 2 * SEARCH_STEPS + 1
"""How often the clairvoyant goes through a trace: once to look, once for each schedule that it tries."""

Told = Callable[[float], None]
"""Called with the share of the work that is done, 0..1."""


@dataclass(frozen=True, slots=True)
class Arena:
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


def compete(arena: Arena, names: Sequence[str], *, jobs: int, told: Told) -> list[Run]:
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


def _compete_in_processes(arena: Arena, names: Sequence[str], jobs: int, told: Told) -> list[Run]:
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


def _run(arena: Arena, name: str, told: Told) -> Run:
    fleet, trace = arena.fleet, arena.trace
    if name == roster.CLAIRVOYANT:
        trace = _Followed(trace, told)
        return clairvoyant(trace, fleet.server, fleet.plant, faults=arena.faults, seed=arena.seed, slo=fleet.slo)
    scaler = _Watched(roster.make(name, fleet), trace.duration_seconds, told)
    return simulate(trace, scaler, fleet.server, fleet.plant, faults=arena.faults, seed=arena.seed, slo=fleet.slo)


_arena: Arena
_shares: Array[c_double]


def _share(arena: Arena, shares: "Array[c_double]") -> None:
    """Take over, in a process of the pool, what all its runs have in common: a trace is handed over once."""
    global _arena, _shares
    _arena, _shares = arena, shares


def _run_shared(index: int, name: str) -> Run:
    def told(done: float) -> None:
        _shares[index] = done

    return _run(_arena, name, told)
