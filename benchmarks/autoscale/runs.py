"""Every contender on every scene, two at a time."""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context

from benchmarks.autoscale.contenders import FAMILIES, INFORMED, Contender
from benchmarks.autoscale.scenes import Scene
from tritonfleet.sim import (
    Blackout,
    CounterReset,
    Fault,
    ForeignWrite,
    PodLoss,
    Run,
    Trace,
    Tritonfleet,
    clairvoyant,
    simulate,
)

PROCESSES = 2
CLAIRVOYANT = "clairvoyant"


@dataclass(frozen=True, slots=True)
class Score:
    """What one run came to."""

    scene: str
    family: str
    contender: str
    seed: int
    gpu_hours: float
    miss: float
    events: int
    flips: int
    minutes_over: int
    minutes_over_after_fault: int
    """Within the hour after the first fault began."""
    downs_in_blackout: int
    seconds: float
    """How long it took to simulate."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run; the clairvoyant has no family."""

    scene: Scene
    seed: int
    family: str = CLAIRVOYANT
    knob: float = 0.0


def jobs(scenes: Iterable[Scene], contenders: Sequence[Contender], seeds: int) -> list[Job]:
    """Return all runs, those of one trace together."""
    return [
        job
        for scene in scenes
        for seed in range(seeds)
        for job in (
            *([Job(scene, seed)] if scene.swept else []),
            *(
                Job(scene, seed, contender.family.name, contender.knob)
                for contender in contenders
                if scene.takes(contender)
            ),
        )
    ]


def play(waiting: Sequence[Job], processes: int = PROCESSES) -> Iterator[tuple[Job, Score]]:
    """Yield every job with its score, in whatever order they end."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(score, job): job for job in waiting}
        for done in as_completed(running):
            yield running[done], done.result()


def score(job: Job) -> Score:
    """Play one run."""
    start = time.perf_counter()
    scene = job.scene
    trace = _trace(scene, job.seed)
    faults = scene.faults(trace)
    setting = scene.setting
    plant = setting.plant(trace)
    if job.family == CLAIRVOYANT:
        name = CLAIRVOYANT
        run = clairvoyant(trace, setting.server, plant, faults=faults, seed=job.seed, slo=setting.slo)
    else:
        family = next(each for each in FAMILIES if each.name == job.family)
        contender = Contender(family, job.knob)
        name = contender.name
        scaler = contender.make(setting)
        if job.family == INFORMED:
            scaler = Tritonfleet(setting.policy(), history=scene.history(job.seed))
        run = simulate(trace, scaler, setting.server, plant, faults=faults, seed=job.seed, slo=setting.slo)
    return Score(
        scene.name,
        job.family,
        name,
        job.seed,
        run.gpu_hours,
        1.0 - run.attainment,
        run.scale_events,
        run.direction_flips,
        run.minutes_over_slo,
        _minutes_over_after(run, faults),
        _downs(run, [fault for fault in faults if isinstance(fault, Blackout)]),
        time.perf_counter() - start,
    )


@lru_cache(maxsize=2)
def _trace(scene: Scene, seed: int) -> Trace:
    return scene.trace(seed)


def _minutes_over_after(run: Run, faults: Sequence[Fault]) -> int:
    if not faults:
        return 0
    first = int(min(_start(fault) for fault in faults) // 60)
    minutes = slice(first, first + 60)
    return int((run.minutes.good[minutes] < run.minutes.arrivals[minutes] * run.percentile / 100).sum())


def _start(fault: Fault) -> float:
    return fault.at_seconds if isinstance(fault, CounterReset | PodLoss | ForeignWrite) else fault.start_seconds


def _downs(run: Run, blackouts: Sequence[Blackout]) -> int:
    """Return how often fewer replicas were asked for while nothing could be seen."""
    return sum(
        change.after < change.before and blackout.start_seconds <= change.at_seconds < blackout.end_seconds
        for change in run.changes
        for blackout in blackouts
    )
