"""What is remembered of the counters, and what one tick says of the fleet's arrivals and of the work of its batches."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tritonfleet.plan.autoscale.observation import Observation, PodSample, PodState
from tritonfleet.plan.autoscale.scrapes import FUTURE_SECONDS, Track, Work, follow, usable

SCRAPE_SECONDS = 5.0
"""The usual time between two scrapes."""
FAST_SECONDS = 10.0
"""Window f of the law: two scrapes."""
MIDDLE_SECONDS = 30.0
"""lambda_30 of the law."""
SLOW_SECONDS = 60.0
"""Window s of the law."""
FRESH_SECONDS = 20.0
"""A rate older than this no longer speaks for its pod: four scrapes of 5 s failed."""
FLAT_SECONDS = 30.0
FLAT_ARRIVALS = 20.0
"""A pod that counted nothing for so long, while its share was so many requests, is broken: by chance it is e^-20."""
ENOUGH_FRESH = 0.8
"""Share of the ready pods that must be seen before anything is taken away."""


class Tick(NamedTuple):
    """The fleet between two decisions."""

    clock: float
    seconds: float
    rate: float
    """Arrivals per second."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What is remembered of the counters."""

    tracks: Mapping[str, Track] = field(default_factory=dict)
    ticks: tuple[Tick, ...] = ()
    """The last minute, oldest first."""
    seen_clock: float = 0.0
    """When any pod was last seen."""
    began_seconds: float | None = None
    """Wall clock since which every pod that came up was seen to; None before the first tick."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one decision sees. Rates are arrivals per second."""

    ready: int
    """Ready pods that should be heard of by now."""
    fresh: int
    """Those of them whose rate is known and recent."""
    flat: int
    """Those of the fresh ones that count nothing while the others count."""
    silent: int
    """Ready pods whose server answers without a line about the model."""
    blind_seconds: float
    """How long nothing has been seen at all."""
    age_seconds: float | None
    """Age of the oldest sample that the rate rests on."""
    now: float | None
    """Between the last two scrapes; None when unknown."""
    fast: float | None
    """Over 10 s."""
    middle: float | None
    """Over 30 s."""
    slow: float | None
    """Over 60 s."""
    pending: float
    """Requests that wait in Triton's queues."""
    work: Mapping[str, Work]
    """By revision, since the last decision."""

    @property
    def enough(self) -> bool:
        """Whether enough pods are seen to take any away."""
        return self.fast is not None and self.fresh - self.flat >= ENOUGH_FRESH * self.ready


def ingest(
    signals: Signals, observation: Observation, now: float, clock: float, seconds: float
) -> tuple[Signals, Reading]:
    """Read the samples of one tick. `clock` is the law's own time, `seconds` how much went by since the last tick."""
    began = signals.began_seconds if signals.began_seconds is not None else now
    signals = replace(signals, began_seconds=began)
    samples = {sample.uid: sample for sample in observation.samples}
    tracks: dict[str, Track] = {}
    works: dict[str, Work] = {}
    for pod in observation.pods:
        sample = samples.get(pod.uid)
        track = signals.tracks.get(pod.uid)
        if sample is not None and usable(sample, now):
            unseen = _age_of_counters(pod, now, seconds) if sample.started_seconds >= began else None
            track, work = follow(track, sample, unseen, clock)
            if work is not None:
                works[sample.revision] = works[sample.revision].plus(work) if sample.revision in works else work
        if track is not None:
            tracks[pod.uid] = track
    survey = _survey(observation.pods, samples, tracks, now)
    return _conclude(signals, survey, tracks, works, clock, seconds)


def forget_pods(signals: Signals) -> Signals:
    """Drop what is remembered of each pod: after a step of the wall clock nobody knows how old it is."""
    return replace(signals, tracks={}, began_seconds=None)


def _age_of_counters(pod: PodState, now: float, seconds: float) -> float | None:
    """Return for how long a pod without a past can have counted: since the last tick if it was not ready then.

    Only for containers that started under our eyes: another may have been ready before, and have counted for days.
    """
    if pod.ready_seconds is None or now - pod.ready_seconds <= seconds:
        return seconds if seconds > 0 else None
    return None


class _Survey(NamedTuple):
    ready: int
    silent: int
    heard: tuple[Track, ...]
    oldest: float | None


def _survey(
    pods: tuple[PodState, ...], samples: Mapping[str, PodSample], tracks: Mapping[str, Track], now: float
) -> _Survey:
    """Sort the ready pods by whether they are heard of; one that has just become ready may still be silent."""
    heard: list[Track] = []
    missing = silent = 0
    oldest: float | None = None
    for pod in pods:
        if pod.ready_seconds is None:
            continue
        track = tracks.get(pod.uid)
        if track is not None and track.rate is not None and now - track.at_seconds <= FRESH_SECONDS:
            heard.append(track)
            age = max(0.0, now - track.at_seconds)
            oldest = age if oldest is None or age > oldest else oldest
        elif not -FUTURE_SECONDS <= now - pod.ready_seconds <= FRESH_SECONDS:
            missing += 1
            silent += pod.uid in samples and samples[pod.uid].counters is None
    return _Survey(len(heard) + missing, silent, tuple(heard), oldest)


def _conclude(
    signals: Signals,
    survey: _Survey,
    tracks: Mapping[str, Track],
    works: Mapping[str, Work],
    clock: float,
    seconds: float,
) -> tuple[Signals, Reading]:
    fresh = len(survey.heard)
    if not fresh:
        after = replace(signals, tracks=tracks)
        blind = clock - signals.seen_clock
        return after, Reading(survey.ready, 0, 0, survey.silent, blind, None, None, None, None, None, 0.0, works)
    # Pods that are not heard of are taken to be like the others.
    scale = survey.ready / fresh
    rate = scale * max(0.0, sum(track.rate or 0.0 for track in survey.heard))
    ticks = signals.ticks
    if works or not ticks:
        since = clock - SLOW_SECONDS
        ticks = (*(tick for tick in ticks if tick.clock > since), Tick(clock, max(seconds, 1.0), rate))
    return replace(signals, tracks=tracks, ticks=ticks, seen_clock=clock), Reading(
        ready=survey.ready,
        fresh=fresh,
        flat=_flat(survey.heard, clock, rate / survey.ready),
        silent=survey.silent,
        blind_seconds=0.0,
        age_seconds=survey.oldest,
        now=rate,
        fast=mean_rate(ticks, clock - FAST_SECONDS),
        middle=mean_rate(ticks, clock - MIDDLE_SECONDS),
        slow=mean_rate(ticks, clock - SLOW_SECONDS),
        pending=scale * sum(track.counters.pending for track in survey.heard),
        work=works,
    )


def _flat(heard: tuple[Track, ...], clock: float, share: float) -> int:
    """Count the pods that stay at zero while an equal share of the arrivals would long have moved them."""
    return sum(
        clock - track.counted_clock >= FLAT_SECONDS and share * (clock - track.counted_clock) >= FLAT_ARRIVALS
        for track in heard
    )


def mean_rate(ticks: tuple[Tick, ...], since: float) -> float:
    """Return the mean of the ticks that ended after `since`, weighted by their length; the last one counts always."""
    last = ticks[-1]
    seconds, requests = last.seconds, last.rate * last.seconds
    for tick in reversed(ticks[:-1]):
        if tick.clock <= since:
            break
        seconds += tick.seconds
        requests += tick.rate * tick.seconds
    return requests / seconds
