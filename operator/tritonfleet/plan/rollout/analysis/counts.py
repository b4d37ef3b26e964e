"""Exact counts of one window, pod by pod, from raw counters read at its two ends.

Never `increase()`: that extrapolates, and it loses what a new pod counted before it was first read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

CLIENT_ACTS = frozenset({"CANCELED"})
"""Reasons of failure that say nothing about the server."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One pod's counters at one moment, all since its container started."""

    started_seconds: float
    """When the container started, since the epoch: another value means other counters."""
    success: float
    failures: Mapping[str, float] = field(default_factory=dict)
    """By reason."""
    buckets: Mapping[float, float] = field(default_factory=dict)
    """Requests that took at most so many seconds, by that bound; cumulative, `inf` included."""


@dataclass(frozen=True, slots=True)
class PodCounts:
    """What one pod did in one window."""

    requests: int
    """Successes and failures, but for those that the client caused."""
    errors: int
    timed: int = 0
    """Requests whose latency was measured."""
    within: Mapping[float, int] = field(default_factory=dict)
    """How many of `timed` took at most so many seconds."""

    def slower_than(self, bound_seconds: float) -> int:
        """Return how many of `timed` took longer; the bound must be one of the histogram's."""
        return self.timed - self.within.get(bound_seconds, self.timed)


@dataclass(frozen=True, slots=True)
class Revision:
    """What one revision's pods did in one window."""

    pods: Mapping[str, PodCounts] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    """Pods that exist but whose counts in this window are not known."""
    refused: int = 0
    """Requests that failed without any pod having counted them: only a gateway saw it."""
    edges: Mapping[str, PodCounts] = field(default_factory=dict)
    """What each instance of a gateway timed; its pods' own latencies do not count then."""

    @property
    def requests(self) -> int:
        """Return the requests of all pods, and those that reached none."""
        return sum(counts.requests for counts in self.pods.values()) + self.refused

    @property
    def timings(self) -> Mapping[str, PodCounts]:
        """Return who timed requests: a gateway's instances where they did, else the pods."""
        return self.edges or self.pods


def count(
    before: Mapping[str, Reading], after: Mapping[str, Reading], window_start_seconds: float, expected: frozenset[str]
) -> Revision:
    """Return what the `expected` pods did between two rounds of readings, each by the pod's uid.

    A counter that started again (another start, or a smaller value) counts from zero, and so does a pod that started
    within the window. A pod that is older than the window but was not read at its start is missing, not idle.
    """
    pods: dict[str, PodCounts] = {}
    for uid in sorted(expected & after.keys()):
        last, first = after[uid], before.get(uid)
        if first is None and last.started_seconds < window_start_seconds:
            continue
        pods[uid] = _counts(first, last)
    return Revision(pods, tuple(sorted(expected - pods.keys())))


def _counts(first: Reading | None, last: Reading) -> PodCounts:
    if first is None or _restarted(first, last):
        first = Reading(last.started_seconds, success=0)
    errors = sum(
        round(value - first.failures.get(reason, 0))
        for reason, value in last.failures.items()
        if reason not in CLIENT_ACTS
    )
    within = {
        bound: round(value - first.buckets.get(bound, 0))
        for bound, value in last.buckets.items()
        if bound < float("inf")
    }
    timed = round(last.buckets.get(float("inf"), 0) - first.buckets.get(float("inf"), 0))
    return PodCounts(round(last.success - first.success) + errors, errors, timed, within)


def _restarted(first: Reading, last: Reading) -> bool:
    fell = any(last.failures.get(reason, 0) < value for reason, value in first.failures.items()) or any(
        last.buckets.get(bound, 0) < value for bound, value in first.buckets.items()
    )
    return first.started_seconds != last.started_seconds or last.success < first.success or fell
