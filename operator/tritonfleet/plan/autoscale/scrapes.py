"""Two scrapes of one pod become what it did in between: keyed by UID and start, aware of resets and of nonsense."""

import math
from dataclasses import astuple
from operator import add
from typing import Any, NamedTuple

from tritonfleet.plan.autoscale.observation import Counters, PodSample

STALE_SECONDS = 45.0
"""Older answers are not looked at."""
FUTURE_SECONDS = 5.0
"""A sample from further ahead than this was stamped before the clock stepped."""
MICROSECOND = 1e-6
LARGEST = 1e18
"""No counter gets there: in microseconds it is thirty thousand years."""
NOTHING = Counters(0, 0, 0, 0, 0, 0, 0, 0)


class Track(NamedTuple):
    """What is remembered of one pod."""

    started_seconds: float
    at_seconds: float
    counters: Counters
    rate: float | None
    """Arrivals per second between the last two scrapes; None after the first."""
    counted_clock: float
    """When, by the law's clock, it last counted anything."""

    def document(self, clock: float) -> list[Any]:
        """Return it for the status."""
        rate = None if self.rate is None else round(self.rate, 3)
        idle = round(clock - self.counted_clock, 1)
        return [self.started_seconds, self.at_seconds, rate, idle, *map(round, astuple(self.counters))]

    @classmethod
    def restore(cls, document: Any, clock: float) -> "Track":
        """Read it back; ValueError or TypeError if it is none."""
        started, at, rate, idle, *parts = document
        counters = Counters(*(float(part) for part in parts))
        track = cls(float(started), float(at), counters, None if rate is None else float(rate), clock - float(idle))
        if not math.isfinite(sum(astuple(counters)) + track.at_seconds + track.counted_clock + (track.rate or 0.0)):
            raise ValueError("not a pod's counters")
        return track


class Work(NamedTuple):
    """What pods of one revision did between two scrapes, added up."""

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
        """Add two up."""
        return Work(*map(add, self, other))


def usable(sample: PodSample, now: float) -> bool:
    """Whether a sample has counters, all of them possible, and a time that can be true."""
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
    return sum(parts) < LARGEST and min(parts) >= 0


def follow(
    track: Track | None, sample: PodSample, unseen_seconds: float | None, clock: float
) -> tuple[Track, Work | None]:
    """Return what to remember of a pod after a usable sample, and its work since the last one; None when unknown.

    `unseen_seconds` is for how long a pod without a past can have counted; None when nobody knows.
    """
    counters = sample.counters or NOTHING
    if track is None or track.started_seconds != sample.started_seconds:
        first = Track(sample.started_seconds, sample.at_seconds, counters, None, clock)
        if track is not None or unseen_seconds is None:
            return first, None
        return _compare(NOTHING, counters, unseen_seconds, first)
    seconds = sample.at_seconds - track.at_seconds
    if seconds <= 0:
        return track, None
    later = Track(sample.started_seconds, sample.at_seconds, counters, track.rate, track.counted_clock)
    return _compare(track.counters, counters, seconds, later, clock)


def _compare(
    before: Counters, after: Counters, seconds: float, track: Track, clock: float | None = None
) -> tuple[Track, Work | None]:
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
        return track._replace(rate=None), None
    # Completions saturate in overload; what came in is what left and what the queue grew by.
    arrivals = success + failure + after.pending - before.pending
    counted = clock if clock is not None and (arrivals > 0 or after.pending > 0) else track.counted_clock
    return track._replace(rate=arrivals / seconds, counted_clock=counted), work
