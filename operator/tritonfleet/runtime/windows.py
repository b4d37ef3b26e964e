"""One window of a canary analysis, from the first scrape to the finished `Window`.

`WindowRecorder` records each scrape during the window, and adds up each container's increase. A container is
identified by its pod and its start, so counts from before a crash are kept. `WindowFinalizer` adds what the pods
cannot know: golden requests, results of users' PromQL, and the gateway's latencies and errors. Golden requests are
sent between two windows, so that pods' counters hold nothing but users' requests. `canary_monitor.py` uses both.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

from tritonfleet.adapters.pods import Answer, Target
from tritonfleet.adapters.store import Key
from tritonfleet.api.quantities import counted
from tritonfleet.api.slo import MetricsSource
from tritonfleet.plan.rollout import (
    GatewayCounters,
    GatewayCounts,
    GatewayFailures,
    MeasurementSpec,
    count_gateway,
    merge_gateway_counts,
)
from tritonfleet.plan.rollout.analysis import (
    CounterReading,
    RevisionCounts,
    ScrapeInterval,
    Window,
    count_window,
    is_cold,
    shorten,
)
from tritonfleet.runtime.probes import CanaryProber, Route

RefusalOf = Callable[[str], str]
"""Returns why a pod's page was beyond the limits, given its uid; empty if it was not."""
AnswerOf = Callable[[str], Answer | None]
"""Returns the newest answer of a pod, given its uid."""

Snapshot = Mapping[Route, GatewayCounters] | str
"""The gateways' counters at one time, or why they are unknown."""


@dataclass(frozen=True, slots=True)
class _Page:
    """One container's counters at one time."""

    at_seconds: float
    revision: str
    reading: CounterReading
    work: "Work"
    """Since the container started."""


class Work(NamedTuple):
    """Successful requests, and what Triton needed for them."""

    requests: float = 0.0
    seconds: float = 0.0
    queue_seconds: float = 0.0
    """How much of it they waited for their turn."""
    inferences: float = 0.0
    executions: float = 0.0

    def plus(self, other: "Work") -> "Work":
        """Return the sums of both."""
        return Work._make(one + more for one, more in zip(self, other, strict=True))

    def minus(self, other: "Work") -> "Work":
        """Return what came since `other`; nothing where no request was done."""
        gained = Work._make(one - less for one, less in zip(self, other, strict=True))
        return gained if gained.requests > 0 and gained.seconds > 0 else Work()

    @property
    def batch(self) -> float:
        """Return the inferences per execution."""
        return self.inferences / self.executions if self.executions > 0 else 1.0


class Gained(NamedTuple):
    """Whose work was done between two scrapes."""

    revision: str
    product: str
    """The GPU; empty if unknown."""
    cold: bool


class WindowRecorder:
    """Records every scrape of a window.

    A container is identified by its pod and its start, so counts from before a crash are kept.
    """

    def __init__(
        self,
        spec: MeasurementSpec,
        start_seconds: float,
        fresh_seconds: float,
        products: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Begin a window; `products` are the GPUs of the nodes, as far as they are known."""
        self.spec = spec
        self._products = products
        self._cold: dict[str, bool] = {}
        self._product: dict[str, str] = {}
        self.start_seconds = self.heard_seconds = start_seconds
        self._fresh_seconds = fresh_seconds
        self._at_start: frozenset[str] | None = None
        self._first: dict[str, _Page] = {}
        self._last: dict[str, _Page] = {}
        self._heard: dict[str, float] = {}
        self._targets: tuple[Target, ...] = ()
        self._scrapes: list[Mapping[Gained, Work]] = []
        self._shares: list[float] = []
        self._refused: dict[str, str] = {}

    def record(
        self, targets: Sequence[Target], answer_of: AnswerOf, now: float, refusal_of: RefusalOf = lambda _uid: ""
    ) -> None:
        """Record the newest pages of all ready pods."""
        self._refused = {target.uid: refusal_of(target.uid) for target in targets}
        self._targets, self.heard_seconds = tuple(targets), now
        canary, stable = self.spec.key.canary, self.spec.stable
        self._shares.append(self.spec.desired_share(self._ready(canary), self._ready(stable)))
        gained: dict[Gained, Work] = {}
        for target in targets:
            answer = answer_of(target.uid)
            if answer is None or answer.sample.started_seconds != target.started_seconds:
                continue
            if not self._is_fresh(answer.sample.at_seconds, now):
                continue
            container = _container(target)
            self._heard[container] = answer.sample.at_seconds
            page = _page(answer)
            if page is not None and target.revision in (canary, stable):
                whose = self._whose(container, target, page)
                gained[whose] = gained.get(whose, Work()).plus(self._take(container, page))
        self._scrapes.append(gained)
        if self._at_start is None:
            self._at_start = frozenset(map(_container, targets))

    def window(self, now: float) -> Window:
        """Return the counts since the start."""
        canary, stable = self._revision(self.spec.key.canary, now), self._revision(self.spec.stable, now)
        timed = any(page.reading.buckets for page in self._last.values())
        return Window(
            end_seconds=now,
            canary=canary,
            stable=stable,
            desired_share=sum(self._shares) / len(self._shares) if self._shares else 0.0,
            unreachable=self._unreachable(now),
            intervals=None if timed else tuple(self._intervals()),
            service=tuple(self._intervals()),
        )

    def _whose(self, container: str, target: Target, page: _Page) -> Gained:
        """Return whose work a container does; whether it is cold is decided once for the window."""
        self._product[container] = product = self._products.get(target.node, "")
        if target.revision != self.spec.key.canary:
            return Gained(target.revision, product, cold=False)
        since = max(target.ready_seconds, self.spec.traffic_since_seconds)
        cold = is_cold(self.start_seconds - since, page.reading.success, self.spec.pod_warmup_seconds)
        return Gained(target.revision, product, self._cold.setdefault(container, cold))

    def _intervals(self) -> Iterator[ScrapeInterval]:
        """Yield the work between two scrapes on each GPU that both revisions have, of warm pods if there are.

        All GPUs count as alike if those of some pods are unknown.
        """
        seen = {whose for scrape in self._scrapes for whose in scrape}
        known = all(whose.product for whose in seen)
        revisions = (self.spec.key.canary, self.spec.stable)
        ours, theirs = ({each.product for each in seen if each.revision == revision} for revision in revisions)
        for product in sorted(ours & theirs) if known else [""]:
            own = [each for each in seen if not known or each.product == product]
            canary = [each for each in own if each.revision == revisions[0]]
            canary = [each for each in canary if not each.cold] or canary
            stable = [each for each in own if each.revision == revisions[1]]
            for scrape in self._scrapes:
                one, other = (_total(scrape.get(each, Work()) for each in side) for side in (canary, stable))
                yield ScrapeInterval(
                    round(one.requests),
                    one.seconds,
                    round(other.requests),
                    other.seconds,
                    one.queue_seconds,
                    other.queue_seconds,
                    one.batch,
                    other.batch,
                )

    def _take(self, container: str, page: _Page) -> Work:
        """Record a page; return the work since the previous one."""
        before = self._last.get(container)
        self._last[container] = page
        if before is None:
            if self._at_start is None or (
                container not in self._at_start and page.reading.started_seconds < self.start_seconds
            ):
                self._first[container] = page
            return Work()
        return page.work.minus(before.work)

    def _revision(self, revision: str, now: float) -> RevisionCounts:
        there = {_container(target) for target in self._targets if target.revision == revision}
        seen = {
            container: page
            for container, page in self._last.items()
            if page.revision == revision and (container not in there or self._is_fresh(page.at_seconds, now))
        }
        counts = count_window(
            {container: page.reading for container, page in self._first.items()},
            {container: page.reading for container, page in seen.items()},
            self.start_seconds,
            frozenset(there | seen.keys()),
        )
        products = {container: self._product.get(container, "") for container in counts.pods}
        return replace(
            counts,
            cold=frozenset(container for container in counts.pods if self._cold.get(container)),
            products=products if all(products.values()) else {},
        )

    def _unreachable(self, now: float) -> str:
        """Return why there are no counters; empty if pods answer, with or without metrics of the model."""
        for role, revision in self._asked():
            there = [_container(target) for target in self._targets if target.revision == revision]
            if there and not any(self._is_fresh(self._heard.get(each, 0.0), now) for each in there):
                pods = [target.uid for target in self._targets if target.revision == revision]
                why = next((f"; {text}" for uid in pods if (text := self._refused.get(uid))), "")
                return f"no metrics from the {role}: scrapes of {counted(len(there), 'ready pod')} failed{why}"
        return ""

    def _asked(self) -> Iterator[tuple[str, str]]:
        if self.spec.key.weight > 0:
            yield "canary", self.spec.key.canary
        if not self.spec.alone:
            yield "stable", self.spec.stable

    def _is_fresh(self, at_seconds: float, now: float) -> bool:
        return now - at_seconds <= self._fresh_seconds

    def _ready(self, revision: str) -> int:
        return sum(target.revision == revision for target in self._targets)


def of_rollout(spec: MeasurementSpec, targets: Iterable[Target]) -> tuple[Target, ...]:
    """Return the pods of the two revisions."""
    return tuple(target for target in targets if target.revision in (spec.key.canary, spec.stable))


def _total(parts: Iterable[Work]) -> Work:
    whole = Work()
    for part in parts:
        whole = whole.plus(part)
    return whole


def _container(target: Target) -> str:
    return f"{target.uid}/{target.started_seconds:.0f}"


def _page(answer: Answer) -> _Page | None:
    sample = answer.sample
    if sample.counters is None:
        return None
    reading = CounterReading(
        sample.started_seconds,
        sample.counters.success,
        answer.failures,
        {bound / 1000: value for bound, value in answer.first_response.items()},
    )
    counters = sample.counters
    seconds, queue = counters.request_us / 1e6, counters.queue_us / 1e6
    work = Work(counters.success, seconds, queue, counters.inferences, counters.executions)
    return _Page(sample.at_seconds, sample.revision, reading, work)


@dataclass(slots=True)
class WindowFinalizer:
    """Completes the windows of one step in sequence."""

    key: Key
    spec: MeasurementSpec
    failures: dict[str, GatewayFailures] = field(default_factory=dict)
    """By revision."""
    probing: bool = False
    """Whether golden requests are being sent. Pods count them like those of users, so no window includes them."""

    async def complete(
        self,
        prober: CanaryProber,
        window: Window,
        pods: Sequence[str],
        clusters: Mapping[str, str] | None,
        before: asyncio.Task[Snapshot] | None,
        after: asyncio.Task[Snapshot] | None,
    ) -> Window:
        """Return the window with golden requests, queries, and the gateway's counts.

        `pods` are the addresses of the canary's ready pods, `clusters` the gateway's names of the revisions; None
        without a gateway. Takes at most a minute.
        """
        spec, namespace = self.spec, self.key.namespace
        try:
            run = await prober.probe(namespace, spec, pods) if spec.probes else None
        finally:
            self.probing = False
        answers = await prober.answers(namespace, spec, datetime.fromtimestamp(window.end_seconds, UTC))
        window = replace(window, probe=run, probe_expected=spec.probes, answers=answers)
        if before is None or after is None or clusters is None:
            return window
        # Shared with other rollouts: canceling this one must not cancel theirs.
        first, last = await asyncio.gather(asyncio.shield(before), asyncio.shield(after))
        return self._timed(window, clusters, first, last)

    def _timed(self, window: Window, clusters: Mapping[str, str], before: Snapshot, after: Snapshot) -> Window:
        """Return the window with the gateway's latencies, and failures that only it saw."""
        for said in (before, after):
            if isinstance(said, str):
                return replace(window, untimed=shorten(said), intervals=None)
        first, last = (said.get(self.key, {}) if not isinstance(said, str) else {} for said in (before, after))
        if self.spec.source is MetricsSource.AUTO and not first and not last:
            # Without metrics of the gateway the pods' own are used.
            return window
        if not first or not last:
            moment = "end" if first else "start"
            text = f"Prometheus had no series of HTTPRoute '{self.key}' at the window's {moment}"
            return replace(window, untimed=text, intervals=None)
        found = count_gateway(first, last, clusters)
        return replace(
            window,
            canary=self._merged(self.spec.key.canary, window.canary, found),
            stable=self._merged(self.spec.stable, window.stable, found),
            intervals=None,
        )

    def _merged(self, revision: str, counts: RevisionCounts, found: Mapping[str, GatewayCounts]) -> RevisionCounts:
        if revision not in found:
            return counts
        before = self.failures.get(revision, GatewayFailures())
        counts, self.failures[revision] = merge_gateway_counts(counts, found[revision], before, alone=self.spec.alone)
        return counts
