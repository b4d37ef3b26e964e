"""The data of one window of traffic, and how its counts are derived from raw counters.

`runtime/windows.py` reads every pod's counters at both ends of a window; `count_window()` turns the two readings into
exact counts. It does not use PromQL's `increase()`, which extrapolates, and misses what a new pod counted before its
first scrape. Example: a pod that counted 100 successes at the start and 40 at the end has restarted; the window has 40.
`Window` combines the counts with probe runs and query answers: the input of one evaluation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tritonfleet.api.quantities import counted

Cell = tuple[int, int]
"""Bad requests and requests of one pod in one window."""
FADING = 0.9
"""Part of their weight that older latencies keep from window to window."""
CLIENT_FAILURES = frozenset({"CANCELED"})
"""Failure reasons that are caused by the client."""


@dataclass(frozen=True, slots=True)
class CounterReading:
    """One pod's counters at one time, all since its container started."""

    started_seconds: float
    """Start of the container, in seconds since the epoch: another value means that the counters were reset."""
    success: float
    failures: Mapping[str, float] = field(default_factory=dict)
    """Failures by reason."""
    buckets: Mapping[float, float] = field(default_factory=dict)
    """Cumulative requests by upper bound in seconds, `inf` included."""


@dataclass(frozen=True, slots=True)
class PodCounts:
    """One pod's counts in one window."""

    requests: int
    """Successes and failures, without those that the client caused."""
    errors: int
    timed: int = 0
    """Requests whose latency was measured."""
    within: Mapping[float, int] = field(default_factory=dict)
    """How many of `timed` were within each upper bound in seconds."""
    canceled: int = 0
    """Requests that the client gave up on, which are not among `requests`."""

    def slower_than(self, bound_seconds: float) -> int:
        """Return how many of `timed` took longer than a bound of the histogram."""
        return self.timed - self.within.get(bound_seconds, self.timed)


@dataclass(frozen=True, slots=True)
class RevisionCounts:
    """One revision's counts in one window."""

    pods: Mapping[str, PodCounts] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    """Pods that exist but whose counts in this window are unknown."""
    refused: int = 0
    """Failed requests that only a gateway saw, and no pod counted."""
    abandoned: int = 0
    """Requests that clients gave up on and that only a gateway saw."""
    cold: frozenset[str] = frozenset()
    """Pods that were still warming up when the window began."""
    products: Mapping[str, str] = field(default_factory=dict)
    """The GPU of each pod, as far as it is known."""
    gateways: Mapping[str, PodCounts] = field(default_factory=dict)
    """Requests timed by each instance of a gateway, in place of the pods' own latencies."""

    @property
    def requests(self) -> int:
        """Return the requests of all pods, and those that reached no pod."""
        return sum(counts.requests for counts in self.pods.values()) + self.refused

    @property
    def timings(self) -> Mapping[str, PodCounts]:
        """Return the timed requests: by gateway instance if there are any, else by pod."""
        return self.gateways or self.pods

    def with_latencies(self, before: PodCounts) -> PodCounts:
        """Return latencies with those of this window; the older ones fade, or are forgotten if the bounds differ."""
        fresh = [counts for counts in self.timings.values() if counts.timed and counts.within]
        if not fresh:
            return before
        bounds = set.intersection(*(set(counts.within) for counts in fresh))
        known = before if before.within.keys() == bounds else PodCounts(0, 0)
        within = {
            bound: round(FADING * known.within.get(bound, 0)) + sum(counts.within[bound] for counts in fresh)
            for bound in sorted(bounds)
        }
        return PodCounts(0, 0, round(FADING * known.timed) + sum(counts.timed for counts in fresh), within)

    @property
    def is_cold(self) -> bool:
        """Whether latencies contain those of pods that warm up and cannot be told apart from the others."""
        return bool(self.cold) and (bool(self.gateways) or self.cold >= self.pods.keys())

    @property
    def requests_per_pod(self) -> float:
        """Return the mean number of requests per pod."""
        return self.requests / max(1, len(self.pods))

    def error_cells(self) -> tuple[Cell, ...]:
        """Return errors and requests of each pod, with its share of the failures that only a gateway saw.

        Those belong to no pod. In a cell of their own they would look like a pod that fails every request, and make
        the variation by chance too large for any test.
        """
        pods = list(self.pods.values())
        shares = spread(self.refused, [counts.requests for counts in pods])
        return tuple(
            (counts.errors + share, counts.requests + share) for counts, share in zip(pods, shares, strict=True)
        )

    def canceled_cells(self) -> tuple[Cell, ...]:
        """Return canceled and all requests of each pod, with its share of those that only a gateway saw."""
        pods = list(self.pods.values())
        shares = spread(self.abandoned, [counts.requests for counts in pods])
        return tuple(
            (counts.canceled + share, counts.requests + counts.canceled + share)
            for counts, share in zip(pods, shares, strict=True)
        )

    def latency_cells(self, bound_seconds: float) -> tuple[Cell, ...]:
        """Return requests above the bound and timed requests, by pod or gateway instance; of warm pods if there are."""
        timings = self.timings
        warm = {name: counts for name, counts in timings.items() if name not in self.cold} or timings
        return tuple((counts.slower_than(bound_seconds), counts.timed) for counts in warm.values())


def spread(total: int, weights: Sequence[int]) -> list[int]:
    """Return `total` in whole parts in proportion to `weights`, or in equal ones if all of them are 0."""
    scale = list(weights) if any(weights) else [1] * len(weights)
    parts, given, passed = [], 0, 0
    for weight in scale:
        passed += weight
        parts.append(total * passed // sum(scale) - given)
        given += parts[-1]
    return parts


WARM_REQUESTS = 300
"""Requests that a pod has to answer until it is warm: caches fill and kernels are chosen by requests, not by time."""
LONGEST_WARMUPS = 4
"""Factor on the time of the warm-up after which a pod is warm however few requests it had."""


def is_cold(age_seconds: float, requests: float, warmup_seconds: float) -> bool:
    """Return whether a pod still warms up, so long after its first traffic and after so many requests."""
    if age_seconds >= LONGEST_WARMUPS * warmup_seconds:
        return False
    return age_seconds < warmup_seconds or requests < WARM_REQUESTS


def count_window(
    before: Mapping[str, CounterReading],
    after: Mapping[str, CounterReading],
    window_start_seconds: float,
    expected: frozenset[str],
) -> RevisionCounts:
    """Return the counts of the `expected` pods between two readings, by pod UID.

    A counter that was reset (another start time, or a smaller value) counts from zero, and so does a pod that started
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
    canceled = sum(round(last.failures.get(reason, 0) - first.failures.get(reason, 0)) for reason in CLIENT_FAILURES)
    return PodCounts(round(last.success - first.success) + errors, errors, timed, within, canceled)


def _restarted(first: CounterReading, last: CounterReading) -> bool:
    fell = any(last.failures.get(reason, 0) < value for reason, value in first.failures.items()) or any(
        last.buckets.get(bound, 0) < value for bound, value in first.buckets.items()
    )
    return first.started_seconds != last.started_seconds or last.success < first.success or fell


@dataclass(frozen=True, slots=True)
class ScrapeInterval:
    """Both revisions' requests between two scrapes, on GPUs of one product as far as it is known."""

    canary: int = 0
    """Successful requests."""
    canary_seconds: float = 0.0
    """Sum of their latencies."""
    stable: int = 0
    stable_seconds: float = 0.0
    canary_queue_seconds: float = 0.0
    """How much of it they waited for their turn."""
    stable_queue_seconds: float = 0.0
    canary_batch: float = 1.0
    """Inferences per execution of the model."""
    stable_batch: float = 1.0


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """Golden requests sent to the canary in one window."""

    right: int = 0
    wrong: int = 0
    """Answered wrong or not at all."""
    first_wrong: str = ""
    """The first mismatch."""


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """The result of one custom query."""

    name: str
    values: tuple[float, ...] = ()
    """One value per series of the canary."""
    baseline: tuple[float, ...] = ()
    """One value per series of the baseline query, if there is one."""
    error: str = ""
    """Why the query failed; empty if it did not."""


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a step. Windows do not overlap, and are identified by their end."""

    end_seconds: float
    """Since the epoch."""
    canary: RevisionCounts = field(default_factory=RevisionCounts)
    stable: RevisionCounts = field(default_factory=RevisionCounts)
    desired_share: float = 0.0
    """Share of all requests that the route sends to the canary, 0..1."""
    unreachable: str = ""
    """Why no counters could be read; empty if they could."""
    untimed: str = ""
    """Why latencies, which have a separate source, could not be read; empty if they could."""
    intervals: tuple[ScrapeInterval, ...] | None = None
    """Counts between consecutive scrapes, if there is no latency histogram; None if there is one."""
    service: tuple[ScrapeInterval, ...] = ()
    """Counts between consecutive scrapes, also if there is a histogram: what Triton itself needed for the requests."""
    probe: ProbeRun | None = None
    """None if no golden requests are configured or none could be sent."""
    probe_expected: bool = False
    """Whether golden requests are configured."""
    answers: tuple[QueryAnswer, ...] = ()

    def latency_gap(self, bound_seconds: float | None, *, alone: bool) -> str:
        """Return why requests above the bound cannot be counted in this window; empty if they can."""
        if self.untimed:
            return self.untimed
        timed = [counts for revision in (self.canary, self.stable) for counts in revision.timings.values()]
        if bound_seconds is None or any(counts.timed and bound_seconds not in counts.within for counts in timed):
            return "no latency histogram with a suitable bound"
        for name, revision in (("canary", self.canary), ("stable", self.stable)):
            served = revision.requests > revision.refused and not (alone and revision is self.stable)
            if served and not any(counts.timed for counts in revision.timings.values()):
                return f"no latency measured for the {name}, which had {counted(revision.requests, 'request')}"
        return ""
