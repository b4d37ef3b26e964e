"""How many requests arrive per second, from the counters that Triton exposes on each pod.

`autoscaler.decide()` calls `ingest()` once per tick with the newest scrape of every pod. Each scrape is compared with
the one before it from the same container (matched by UID and start time), and the differences become the fleet's
arrival rate over 10, 30 and 60 s, the work that the batches did (`Work`, from which `capacity.py` learns), and a
count of the pods that could not be seen. Counter resets, stale samples and impossible values are dropped.

Arrivals are `d success + d failure + d pending`, because completions alone saturate at what the fleet can serve. With
95 more successes in 5 s while the queue grew from 10 to 25 requests, arrivals are (95 + 0 + 15) / 5 = 22 per second.
Golden requests, which the operator itself sends to a canary, are subtracted: they are no demand of users.
Pods that were not seen are assumed to be like the others: 4 of 5 ready pods at 22 per second each make 110.

`update_noise()` learns how much that rate varies by chance, so that `demand.py` can tell a burst from noise.
Independent users arrive as a Poisson process, whose counts have a variance equal to their mean: an index of
dispersion of 1. Real requests come in clumps (retries, batches, rounded clocks) and vary several times as much. The
index is estimated from differences of neighbors, so that a slope does not count as noise (von Neumann, 1941).
"""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from operator import add
from typing import Any, NamedTuple

from tritonfleet.plan.autoscale.interface import Counters, Observation, PodSample, PodState

STALE_SECONDS = 45.0
"""Older samples are ignored."""
FUTURE_SECONDS = 5.0
"""A sample from further ahead than this was taken before the clock stepped back."""
MICROSECOND = 1e-6
LARGEST_COUNTER = 1e18
"""No counter gets this high: in microseconds it is thirty thousand years."""
NO_COUNTS = Counters(0, 0, 0, 0, 0, 0, 0, 0)
READ_COUNTERS = 8
"""Those read from a pod; golden requests are counted by each process from zero, so their number is not saved."""


class PodCounters(NamedTuple):
    """The last known counters of one pod."""

    started_seconds: float
    at_seconds: float
    counters: Counters
    rate: float | None
    """Arrivals per second between the last two scrapes; None after the first."""
    counted_clock: float
    """When, by the autoscaler's clock, it last counted anything."""

    def document(self, clock: float) -> list[Any]:
        """Serialize for the status."""
        rate = None if self.rate is None else round(self.rate, 3)
        idle = round(clock - self.counted_clock, 1)
        return [self.started_seconds, self.at_seconds, rate, idle, *map(round, astuple(self.counters)[:READ_COUNTERS])]

    @classmethod
    def restore(cls, document: Any, clock: float) -> "PodCounters":
        """Deserialize; ValueError or TypeError if it is malformed."""
        started, at, rate, idle, *parts = document
        if len(parts) != READ_COUNTERS:
            raise ValueError("not a pod's counters")
        counters = Counters(*(float(part) for part in parts))
        pod = cls(float(started), float(at), counters, None if rate is None else float(rate), clock - float(idle))
        if not math.isfinite(sum(astuple(counters)) + pod.at_seconds + pod.counted_clock + (pod.rate or 0.0)):
            raise ValueError("not a pod's counters")
        return pod


class Work(NamedTuple):
    """What the pods of one revision did between two scrapes, summed."""

    seconds: float
    """Pod-seconds."""
    success: float
    failure: float
    inferences: float
    executions: float
    request_seconds: float
    queue_seconds: float
    compute_seconds: float

    def plus(self, other: "Work") -> "Work":
        """Return the sum."""
        return Work(*map(add, self, other))


def usable(sample: PodSample, now: float) -> bool:
    """Return whether a sample has counters with possible values and a plausible time."""
    counters = sample.counters
    if counters is None or not -FUTURE_SECONDS <= now - sample.at_seconds <= STALE_SECONDS:
        return False
    parts = (
        counters.success,
        counters.failure,
        counters.inferences,
        counters.executions,
        counters.request_us,
        counters.queue_us,
        counters.compute_us,
        counters.pending,
    )
    # A sum is below the bound only if every part is; NaN is neither that nor >= 0.
    return sum(parts) < LARGEST_COUNTER and min(parts) >= 0


def track(
    pod: PodCounters | None, sample: PodSample, unseen_seconds: float | None, clock: float
) -> tuple[PodCounters, Work | None]:
    """Return a pod's counters after a usable sample, and its work since the last one; None if unknown.

    `unseen_seconds` is for how long a pod that was not seen before can have counted; None if unknown.
    """
    counters = sample.counters or NO_COUNTS
    if pod is None or pod.started_seconds != sample.started_seconds:
        first = PodCounters(sample.started_seconds, sample.at_seconds, counters, None, clock)
        if pod is not None or unseen_seconds is None:
            return first, None
        return _compare(NO_COUNTS, counters, unseen_seconds, first)
    seconds = sample.at_seconds - pod.at_seconds
    if seconds <= 0:
        return pod, None
    later = PodCounters(sample.started_seconds, sample.at_seconds, counters, pod.rate, pod.counted_clock)
    return _compare(pod.counters, counters, seconds, later, clock)


def _compare(
    before: Counters, after: Counters, seconds: float, pod: PodCounters, clock: float | None = None
) -> tuple[PodCounters, Work | None]:
    success, failure = after.success - before.success, after.failure - before.failure
    work = Work(
        seconds,
        success,
        failure,
        after.inferences - before.inferences,
        after.executions - before.executions,
        (after.request_us - before.request_us) * MICROSECOND,
        (after.queue_us - before.queue_us) * MICROSECOND,
        (after.compute_us - before.compute_us) * MICROSECOND,
    )
    if min(work) < 0:
        # The counters began again: this sample is only where the next difference starts.
        return pod._replace(rate=None), None
    # Completions saturate in overload; what arrived is what left plus what the queue grew by.
    arrivals = success + failure + after.pending - before.pending
    counted = clock if clock is not None and (arrivals > 0 or after.pending > 0) else pod.counted_clock
    # Their number falls when it is forgotten, with the end of the canary.
    arrivals -= max(0.0, after.probes - before.probes)
    return pod._replace(rate=arrivals / seconds, counted_clock=counted), work


SCRAPE_SECONDS = 5.0
"""The usual time between two scrapes."""
FAST_SECONDS = 10.0
"""The fast window: two scrapes."""
MIDDLE_SECONDS = 30.0
"""The middle window, that of lambda_30."""
SLOW_SECONDS = 60.0
"""The slow window."""
FRESH_SECONDS = 20.0
"""A rate older than this is no longer used: four scrapes of 5 s failed."""
FLAT_SECONDS = 30.0
FLAT_ARRIVALS = 20.0
"""A pod that counted nothing for so long, while its share was so many requests, is broken: by chance it is e^-20."""
ENOUGH_FRESH = 0.8
"""Share of the ready pods that must be seen before a replica may be removed."""


class Tick(NamedTuple):
    """The fleet's arrivals between two decisions."""

    clock: float
    seconds: float
    rate: float
    """Arrivals per second."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What is remembered from one tick to the next."""

    pod_counters: Mapping[str, PodCounters] = field(default_factory=dict)
    ticks: tuple[Tick, ...] = ()
    """The last minute, oldest first."""
    seen_clock: float = 0.0
    """When any pod was last seen."""
    began_seconds: float | None = None
    """Wall clock since which every new pod was observed from its start; None before the first tick."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one tick's samples say. Rates are arrivals per second."""

    ready: int
    """Ready pods that should have been scraped by now."""
    fresh: int
    """Those of them whose rate is known and recent."""
    flat: int
    """Fresh ones whose counters stand still while the others' move."""
    silent: int
    """Ready pods whose server answers without metrics of the model."""
    blind_seconds: float
    """How long no pod has been seen."""
    age_seconds: float | None
    """Age of the oldest sample that the rate rests on."""
    now: float | None
    """Between the last two scrapes; None if unknown."""
    fast: float | None
    """Over 10 s."""
    middle: float | None
    """Over 30 s."""
    slow: float | None
    """Over 60 s."""
    pending: float
    """Requests waiting in Triton's queues."""
    work: Mapping[str, Work]
    """By revision, since the last decision."""
    enough: bool
    """Whether enough pods are seen to remove replicas."""


def ingest(
    signals: Signals, observation: Observation, now: float, clock: float, seconds: float
) -> tuple[Signals, Reading]:
    """Process one tick's samples; `clock` is the autoscaler's own time, `seconds` the time since the last tick."""
    began = signals.began_seconds if signals.began_seconds is not None else now
    signals = replace(signals, began_seconds=began)
    samples = {sample.uid: sample for sample in observation.samples}
    pod_counters: dict[str, PodCounters] = {}
    works: dict[str, Work] = {}
    for pod in observation.pods:
        sample = samples.get(pod.uid)
        known = signals.pod_counters.get(pod.uid)
        if sample is not None and usable(sample, now):
            unseen = _age_of_counters(pod, now, seconds) if sample.started_seconds >= began else None
            known, work = track(known, sample, unseen, clock)
            if work is not None:
                works[sample.revision] = works[sample.revision].plus(work) if sample.revision in works else work
        if known is not None:
            pod_counters[pod.uid] = known
    survey = _survey(observation.pods, samples, pod_counters, now)
    return _conclude(signals, survey, pod_counters, works, clock, seconds)


def forget_pods(signals: Signals) -> Signals:
    """Drop each pod's counters: after a step of the wall clock their age is unknown."""
    return replace(signals, pod_counters={}, began_seconds=None)


def _age_of_counters(pod: PodState, now: float, seconds: float) -> float | None:
    """Return for how long a new pod can have counted: since the last tick, if it was not ready then.

    Only for containers whose start was observed: another may have been ready before, and have counted for days.
    """
    if pod.ready_seconds is None or now - pod.ready_seconds <= seconds:
        return seconds if seconds > 0 else None
    return None


class _Survey(NamedTuple):
    ready: int
    silent: int
    heard: tuple[PodCounters, ...]
    oldest: float | None


def _survey(
    pods: tuple[PodState, ...], samples: Mapping[str, PodSample], pod_counters: Mapping[str, PodCounters], now: float
) -> _Survey:
    """Sort the ready pods by whether they were scraped; one that has just become ready may still be silent."""
    heard: list[PodCounters] = []
    missing = silent = 0
    oldest: float | None = None
    for pod in pods:
        if pod.ready_seconds is None:
            continue
        known = pod_counters.get(pod.uid)
        if known is not None and known.rate is not None and now - known.at_seconds <= FRESH_SECONDS:
            heard.append(known)
            age = max(0.0, now - known.at_seconds)
            oldest = age if oldest is None or age > oldest else oldest
        elif not -FUTURE_SECONDS <= now - pod.ready_seconds <= FRESH_SECONDS:
            missing += 1
            silent += pod.uid in samples and samples[pod.uid].counters is None
    return _Survey(len(heard) + missing, silent, tuple(heard), oldest)


def _conclude(
    signals: Signals,
    survey: _Survey,
    pod_counters: Mapping[str, PodCounters],
    works: Mapping[str, Work],
    clock: float,
    seconds: float,
) -> tuple[Signals, Reading]:
    fresh = len(survey.heard)
    if not fresh:
        after = replace(signals, pod_counters=pod_counters)
        blind = clock - signals.seen_clock
        return after, Reading(
            ready=survey.ready,
            fresh=0,
            flat=0,
            silent=survey.silent,
            blind_seconds=blind,
            age_seconds=None,
            now=None,
            fast=None,
            middle=None,
            slow=None,
            pending=0.0,
            work=works,
            enough=False,
        )
    # Pods that were not scraped are assumed to be like the others.
    scale = survey.ready / fresh
    rate = scale * max(0.0, sum(known.rate or 0.0 for known in survey.heard))
    ticks = signals.ticks
    if works or not ticks:
        since = clock - SLOW_SECONDS
        ticks = (*(tick for tick in ticks if tick.clock > since), Tick(clock, max(seconds, 1.0), rate))
    flat = _flat(survey.heard, clock, rate / survey.ready)
    return replace(signals, pod_counters=pod_counters, ticks=ticks, seen_clock=clock), Reading(
        ready=survey.ready,
        fresh=fresh,
        flat=flat,
        silent=survey.silent,
        blind_seconds=0.0,
        age_seconds=survey.oldest,
        now=rate,
        fast=mean_rate(ticks, clock - FAST_SECONDS),
        middle=mean_rate(ticks, clock - MIDDLE_SECONDS),
        slow=mean_rate(ticks, clock - SLOW_SECONDS),
        pending=scale * sum(known.counters.pending for known in survey.heard),
        work=works,
        enough=fresh - flat >= ENOUGH_FRESH * survey.ready,
    )


def _flat(heard: tuple[PodCounters, ...], clock: float, share: float) -> int:
    """Count the pods whose counters stand still although an equal share of the arrivals would have moved them."""
    return sum(
        clock - known.counted_clock >= FLAT_SECONDS and share * (clock - known.counted_clock) >= FLAT_ARRIVALS
        for known in heard
    )


def mean_rate(ticks: tuple[Tick, ...], since: float) -> float:
    """Return the mean of the ticks that ended after `since`, weighted by their length; the last one always counts."""
    last = ticks[-1]
    seconds, requests = last.seconds, last.rate * last.seconds
    for tick in reversed(ticks[:-1]):
        if tick.clock <= since:
            break
        seconds += tick.seconds
        requests += tick.rate * tick.seconds
    return requests / seconds


NOISE_MEMORY_SECONDS = 600.0
"""Time constant of the mean of squared differences: that of the usual level in `demand.py`."""
NOISE_OUTLIER = 9.0
"""A squared difference counts as three standard deviations at most: the edge of a burst is not noise."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The index of dispersion of arrivals, and the rate it was last compared with."""

    dispersion: float = 1.0
    """Variance of the count of a scrape over its mean, at least a Poisson process's 1."""
    last: float | None = None
    """Requests per second at the last tick."""

    @classmethod
    def restore(cls, document: Any) -> "Noise":
        """Deserialize the dispersion; ValueError or TypeError if it is malformed."""
        dispersion = float(document)
        if not dispersion >= 1:
            raise ValueError("not an index of dispersion")
        return cls(dispersion)


def update_noise(noise: Noise, rate: float, seconds: float) -> Noise:
    """Return the noise after one more tick of `seconds` at `rate` requests per second."""
    if noise.last is None or noise.last + rate <= 0:
        return replace(noise, last=rate)
    squared = (rate - noise.last) ** 2 * seconds / (noise.last + rate)
    share = min(1.0, seconds / NOISE_MEMORY_SECONDS)
    learned = noise.dispersion + share * (min(squared, NOISE_OUTLIER * noise.dispersion) - noise.dispersion)
    return Noise(max(1.0, learned), rate)
