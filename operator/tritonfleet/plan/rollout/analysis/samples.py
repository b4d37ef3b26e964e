"""What one window of traffic is made of, and how its counts follow from raw counters.

`runtime/windows.py` reads every pod's counters at both ends of a window; `count_window()` turns the two readings into
exact counts. It never uses PromQL's `increase()`, which extrapolates, and which loses what a new pod counted before its
first scrape. Example: a pod that counted 100 successes at the start and 40 at the end has restarted; the window has 40.
`Window` bundles the counts with probe runs and query answers; it is all that one evaluation sees.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Cell = tuple[int, int]
"""Bad requests and requests of one pod in one window."""
CLIENT_FAILURES = frozenset({"CANCELED"})
"""Reasons of failure that say nothing about the server."""


@dataclass(frozen=True, slots=True)
class CounterReading:
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
class RevisionCounts:
    """What one revision's pods did in one window."""

    pods: Mapping[str, PodCounts] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    """Pods that exist but whose counts in this window are not known."""
    refused: int = 0
    """Requests that failed without any pod having counted them: only a gateway saw it."""
    gateways: Mapping[str, PodCounts] = field(default_factory=dict)
    """What each instance of a gateway timed; its pods' own latencies do not count then."""

    @property
    def requests(self) -> int:
        """Return the requests of all pods, and those that reached none."""
        return sum(counts.requests for counts in self.pods.values()) + self.refused

    @property
    def timings(self) -> Mapping[str, PodCounts]:
        """Return who timed requests: a gateway's instances where they did, else the pods."""
        return self.gateways or self.pods

    @property
    def requests_per_pod(self) -> float:
        """Return the requests of a pod, on average."""
        return self.requests / max(1, len(self.pods))

    def error_cells(self) -> tuple[Cell, ...]:
        """Return errors and requests of each pod, and those that reached no pod."""
        refused = ((self.refused, self.refused),) if self.refused else ()
        return (*((counts.errors, counts.requests) for counts in self.pods.values()), *refused)

    def slow_cells(self, bound_seconds: float) -> tuple[Cell, ...]:
        """Return requests above the bound, and timed ones, by each who timed them."""
        return tuple((counts.slower_than(bound_seconds), counts.timed) for counts in self.timings.values())


def count_window(
    before: Mapping[str, CounterReading],
    after: Mapping[str, CounterReading],
    window_start_seconds: float,
    expected: frozenset[str],
) -> RevisionCounts:
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
    return RevisionCounts(pods, tuple(sorted(expected - pods.keys())))


def _counts(first: CounterReading | None, last: CounterReading) -> PodCounts:
    if first is None or _restarted(first, last):
        first = CounterReading(last.started_seconds, success=0)
    errors = sum(
        round(value - first.failures.get(reason, 0))
        for reason, value in last.failures.items()
        if reason not in CLIENT_FAILURES
    )
    within = {
        bound: round(value - first.buckets.get(bound, 0))
        for bound, value in last.buckets.items()
        if bound < float("inf")
    }
    timed = round(last.buckets.get(float("inf"), 0) - first.buckets.get(float("inf"), 0))
    return PodCounts(round(last.success - first.success) + errors, errors, timed, within)


def _restarted(first: CounterReading, last: CounterReading) -> bool:
    fell = any(last.failures.get(reason, 0) < value for reason, value in first.failures.items()) or any(
        last.buckets.get(bound, 0) < value for bound, value in first.buckets.items()
    )
    return first.started_seconds != last.started_seconds or last.success < first.success or fell


@dataclass(frozen=True, slots=True)
class ScrapeInterval:
    """What both revisions did between two scrapes."""

    canary: int = 0
    """Requests that succeeded."""
    canary_seconds: float = 0.0
    """What they took, added up."""
    stable: int = 0
    stable_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """Golden requests sent to the canary within one window."""

    right: int = 0
    wrong: int = 0
    """Answered wrong, or not at all."""
    first_wrong: str = ""
    """What was wrong with the first of them."""


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """What the metrics source said to one custom query."""

    name: str
    values: tuple[float, ...] = ()
    """One for each series of the canary."""
    baseline: tuple[float, ...] = ()
    """The same for stable, where a baseline query is given."""
    error: str = ""
    """Why there is no answer; empty when there is one."""


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a step. Windows do not overlap, and each is known by its end."""

    end_seconds: float
    """Since the epoch."""
    canary: RevisionCounts = field(default_factory=RevisionCounts)
    stable: RevisionCounts = field(default_factory=RevisionCounts)
    desired_share: float = 0.0
    """Of all requests, that the route sends to the canary; 0..1."""
    unreachable: str = ""
    """Why no counters could be read; empty when they could."""
    untimed: str = ""
    """Why latencies, which are measured elsewhere, could not be read; empty when they could."""
    intervals: tuple[ScrapeInterval, ...] | None = None
    """What was counted from one scrape to the next, where nothing keeps a histogram; None where something does."""
    probe: ProbeRun | None = None
    """None when no golden requests are configured or none could be sent."""
    probe_expected: bool = False
    """Whether golden requests are configured."""
    answers: tuple[QueryAnswer, ...] = ()
