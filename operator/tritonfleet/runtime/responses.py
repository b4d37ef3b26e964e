"""What Triton's own histograms say of the last minute, where it keeps them."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tritonfleet.adapters.pods import Answer
from tritonfleet.plan.autoscale import LatencyReading, Policy
from tritonfleet.plan.histogram import Histogram, histogram

WINDOW_SECONDS = 60.0
FRESH_SECONDS = 15.0
"""A pod that has not been heard for so long says nothing of now."""


@dataclass(frozen=True, slots=True)
class _Page:
    """The buckets of one container at one moment."""

    at_seconds: float
    started_seconds: float
    buckets: Mapping[float, float]


class Responses:
    """The pages of one ModelDeployment's pods over a minute."""

    def __init__(self) -> None:
        self._pages: dict[str, deque[_Page]] = {}

    def hear(self, answers: Iterable[Answer]) -> None:
        """Take in the newest answer of every pod that is of interest; others are forgotten."""
        heard: dict[str, deque[_Page]] = {}
        for answer in answers:
            if answer.first_response:
                sample = answer.sample
                pages = heard[sample.uid] = self._pages.get(sample.uid) or deque()
                page = _Page(sample.at_seconds, sample.started_seconds, answer.first_response)
                if pages and (page.started_seconds, set(page.buckets)) != (
                    pages[-1].started_seconds,
                    set(pages[-1].buckets),
                ):
                    pages.clear()
                if not pages or page.at_seconds > pages[-1].at_seconds:
                    pages.append(page)
                while page.at_seconds - pages[0].at_seconds > WINDOW_SECONDS:
                    pages.popleft()
        self._pages = heard

    def reading(self, policy: Policy) -> LatencyReading | None:
        """Return what the buckets of all pods together have gained over the window; None where nothing was answered."""
        if policy.latency_target_seconds is None:
            return None
        newest = max((pages[-1].at_seconds for pages in self._pages.values()), default=0.0)
        rises = [
            rise
            for pages in self._pages.values()
            if pages[-1].at_seconds > newest - FRESH_SECONDS and (rise := _rise(pages[0], pages[-1])) is not None
        ]
        # Pods of two revisions may have different buckets, which cannot be added up: most requests decide.
        latency = max(_added_up(rises), key=lambda each: each.total, default=None)
        if latency is None or not latency.total:
            return None
        return LatencyReading(
            source="Triton",
            at_seconds=newest,
            percentile_seconds=latency.percentile(policy.percentile),
            within=latency.within(policy.latency_target_seconds) / latency.total,
            requests_per_second=latency.total,
        )


def _rise(first: _Page, last: _Page) -> Histogram | None:
    """Return, per second, what was gained between two pages; None if nothing can be said, as after a reset."""
    elapsed = last.at_seconds - first.at_seconds
    if elapsed <= 0:
        return None
    return histogram({bound / 1000: (count - first.buckets[bound]) / elapsed for bound, count in last.buckets.items()})


def _added_up(rises: Iterable[Histogram]) -> Iterator[Histogram]:
    """Add up those that have the same buckets."""
    counts: dict[tuple[float, ...], list[tuple[float, ...]]] = defaultdict(list)
    for rise in rises:
        counts[rise.bounds_seconds].append(rise.counts)
    for bounds, rows in counts.items():
        yield Histogram(bounds, tuple(map(sum, zip(*rows, strict=True))))
