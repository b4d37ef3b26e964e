"""Latency readings: from the gateway through Prometheus, or from Triton's own histograms.

`Gateway` queries Prometheus every 15 s in its own task, with backoff, so that no decision waits for it; after a
start it also reads the arrival rates of the last day once. `Responses` keeps the histograms of Triton's pods
for 60 s and returns their increase over that time. The autoscaler uses the gateway's reading
if it is at most 60 s old, and Triton's otherwise.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from tritonfleet.adapters.pods import Answer
from tritonfleet.adapters.prometheus import GatewayTraffic, Past, Prometheus, Series
from tritonfleet.adapters.store import Key
from tritonfleet.errors import Transient
from tritonfleet.plan.autoscale import History, LatencyReading, Policy
from tritonfleet.plan.histogram import Histogram, histogram

log = logging.getLogger(__name__)

QUERY_INTERVAL_SECONDS = 15.0
LONGEST_BACKOFF_SECONDS = 120.0
HISTORY_DAYS = 1
HISTORY_STEP_SECONDS = 30.0
HISTORY_WINDOW_SECONDS = 60.0
"""Rates are taken over two scrapes of 30 s."""
PAST_KEPT_SECONDS = 3600.0
"""By then every ModelDeployment with an SLO has received its history."""

WINDOW_SECONDS = 60.0
FRESH_SECONDS = 15.0
"""Older pages are ignored."""


class Gateway:
    """Keeps the latest traffic from Prometheus, and after a start the past rates."""

    def __init__(self, prometheus: Prometheus, now: Callable[[], datetime]) -> None:
        self._prometheus = prometheus
        self._now = now
        self._traffic: Mapping[tuple[str, str], GatewayTraffic] = {}
        self._at_seconds = 0.0
        self._past: Past | None = None
        self._clock = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Query until canceled: every 15 seconds, less often after failures."""
        failures = 0
        asked_at = 0.0
        try:
            while True:
                if self._clock() - asked_at > PAST_KEPT_SECONDS:
                    self._past = None
                try:
                    await self.ask()
                    if not asked_at:
                        self._past = await self._prometheus.arrivals(
                            self._now(), HISTORY_DAYS, HISTORY_STEP_SECONDS, HISTORY_WINDOW_SECONDS
                        )
                        asked_at = self._clock()
                    failures = 0
                except Transient as error:
                    failures += 1
                    log.warning("Prometheus query failed", extra={"error": str(error)})
                except Exception as error:
                    # The operator works without Prometheus: no response may end it.
                    failures += 1
                    log.exception("Prometheus query failed unexpectedly", extra={"reason": type(error).__name__})
                await asyncio.sleep(min(LONGEST_BACKOFF_SECONDS, QUERY_INTERVAL_SECONDS * 2 ** min(failures, 8)))
        finally:
            self._prometheus.close()

    async def ask(self) -> None:
        """Query the traffic of all gateways once."""
        self._traffic = await self._prometheus.gateway()
        self._at_seconds = self._now().timestamp()

    def reading(self, key: Key, policy: Policy) -> LatencyReading | None:
        """Return the gateway's latest traffic of one ModelDeployment, however old; None if it had no requests."""
        traffic = self._traffic.get(key)
        target = policy.latency_target_seconds
        if traffic is None or not traffic.latency.total or (target is None and policy.availability is None):
            return None
        total = traffic.latency.total
        within = max(0.0, (total if target is None else traffic.latency.within(target)) - traffic.failed)
        return LatencyReading(
            source="Gateway",
            at_seconds=self._at_seconds,
            percentile_seconds=traffic.latency.percentile(policy.percentile),
            within=within / total,
            requests_per_second=total,
            failed=min(1.0, traffic.failed / total),
        )

    def history(self, key: Key, model: str) -> History | None:
        """Return the past rates, once."""
        if self._past is None:
            return None
        rates = self._past.rates.pop(Series(*key, model), None)
        if rates is None:
            return None
        return History(self._past.start_seconds, self._past.step_seconds, tuple(rates))


@dataclass(frozen=True, slots=True)
class _Page:
    """The buckets of one container at one time."""

    at_seconds: float
    started_seconds: float
    buckets: Mapping[float, float]


class Responses:
    """The histograms of one ModelDeployment's pods over the last minute."""

    def __init__(self) -> None:
        self._pages: dict[str, deque[_Page]] = {}

    def record(self, answers: Iterable[Answer]) -> None:
        """Record the newest page of each of these pods; forget all others."""
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
        """Return the increase of all pods' buckets over the window; None if no request was answered."""
        if policy.latency_target_seconds is None:
            return None
        newest = max((pages[-1].at_seconds for pages in self._pages.values()), default=0.0)
        rises = [
            rise
            for pages in self._pages.values()
            if pages[-1].at_seconds > newest - FRESH_SECONDS and (rise := _rise(pages[0], pages[-1])) is not None
        ]
        # Different buckets of two revisions cannot be added: use those with the most requests.
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
    """Return the increase per second between two pages; None if unknown, as after a reset."""
    elapsed = last.at_seconds - first.at_seconds
    if elapsed <= 0:
        return None
    return histogram({bound / 1000: (count - first.buckets[bound]) / elapsed for bound, count in last.buckets.items()})


def _added_up(rises: Iterable[Histogram]) -> Iterator[Histogram]:
    """Add histograms with equal buckets."""
    counts: dict[tuple[float, ...], list[tuple[float, ...]]] = defaultdict(list)
    for rise in rises:
        counts[rise.bounds_seconds].append(rise.counts)
    for bounds, rows in counts.items():
        yield Histogram(bounds, tuple(map(sum, zip(*rows, strict=True))))
