"""Single requests through queues in pods, and the counters that a gateway and Triton keep of them.

Unlike `draw.py`, which draws counts, this sends requests one by one: arrivals are Poisson, a gateway splits them by
weight, one of a revision's pods serves each in turn, alone or in batches. So latencies contain queues, and a pod with
more load is slower through no fault of its version. `Fleet.window` returns what happened in one window.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tritonfleet.plan.rollout import (
    GATEWAY_BUCKETS,
    GATEWAY_CLUSTER,
    GATEWAY_RESETS,
    GATEWAY_STATUSES,
    GatewayCounts,
    count_gateway,
)
from tritonfleet.plan.rollout.analysis import (
    CounterReading,
    RevisionCounts,
    ScrapeInterval,
    Window,
    count_window,
    is_cold,
)

Values = NDArray[np.float64]

WINDOW_SECONDS = 60.0
SCRAPE_SECONDS = 5.0
WARMUP_SECONDS = 240.0
"""How long pods warm up by default."""
PATIENCE_SECONDS = 2.0
"""When clients give up on a request that hangs."""
BOUNDS_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Envoy's default bounds."""


class Routing(StrEnum):
    """How the gateway chooses one of a revision's pods."""

    RANDOM = "random"
    LEAST_REQUEST = "least request"
    ROUND_ROBIN = "round robin"


@dataclass(frozen=True, slots=True)
class Version:
    """How one revision behaves; chances are 0..1."""

    errors: float = 0.002
    hangs: float = 0.0
    slower: float = 1.0
    fault_from: int = 0
    """The first window, from 0, in which `errors`, `hangs` and `slower` apply; before, and between, it is as stable."""
    fault_every: int = 1
    """It applies in each window whose number, counted from `fault_from`, is a multiple of this."""
    bad_windows: int = 10_000
    """How many windows it applies in at most."""
    cold_requests: int = 0
    cold_seconds: float = 0.0
    cold_factor: float = 1.0
    """How much slower a pod is for its first requests or seconds."""

    def is_at_fault(self, window: int) -> bool:
        """Return whether the fault applies in a window, from 0."""
        since = window - self.fault_from
        return since >= 0 and since % self.fault_every == 0 and since // self.fault_every < self.bad_windows


@dataclass(frozen=True, slots=True)
class Service:
    """What is common to both revisions."""

    seconds: float = 0.08
    spread: float = 0.3
    """Of the logarithm of the time that a request takes by itself."""
    batch: int = 1
    """Most requests in a batch; each takes 0.4 of a lone one's time more."""
    routing: Routing = Routing.RANDOM
    client_errors: float = 0.0
    """Share of requests that are wrong and that Triton refuses without counting them."""


@dataclass(slots=True)
class Pod:
    """One pod: what is waiting in it, and what it has done so far."""

    name: str
    speed: float = 1.0
    """Factor of its GPU on the time of a request."""
    product: str = ""
    free_at: float = 0.0
    begun: float | None = None
    """When it got its first request."""
    taken: int = 0
    done: Values = field(default_factory=lambda: np.zeros((0, 6)))
    """Requests not reported yet: when each was done, its latency, queue and compute time, what became of it, its part
    of an execution."""


GATEWAY, HISTOGRAM, MEANS = "gateway", "histogram", "means"
"""Where latencies come from."""
OK, FAILED, CANCELED, REFUSED = 0.0, 1.0, 2.0, 3.0


@dataclass(frozen=True, slots=True)
class Done:
    """What a revision's pods finished in one window, by pod."""

    pods: dict[str, Values]
    products: dict[str, str]
    cold: frozenset[str] = frozenset()
    """Pods that were warming up when the window began."""
    received: int = 0
    """Requests that the gateway sent to the revision."""

    def all(self) -> Values:
        """Return the requests of all pods."""
        return np.concatenate([*self.pods.values(), np.zeros((0, 6))])


@dataclass(slots=True)
class Fleet:
    """The pods of one revision, fed window by window."""

    version: Version
    baseline: Version
    service: Service
    pods: list[Pod]
    random: np.random.Generator
    turn: int = 0

    def window(self, number: int, start: float, arrivals: Values) -> Done:
        """Return what is done within the window of that number and start, given the times of its new requests."""
        cold = frozenset(pod.name for pod in self.pods if _is_cold(pod, start))
        refused = self.random.random(len(arrivals)) < self.service.client_errors
        served, wrong = arrivals[~refused], arrivals[refused]
        version = self.version if self.version.is_at_fault(number) else self.baseline
        for pod, mine in self._routed(served, version):
            self._serve(pod, mine, version)
        end = start + WINDOW_SECONDS
        found: dict[str, Values] = {}
        for pod in self.pods:
            over = pod.done[:, 0] <= end
            found[pod.name], pod.done = pod.done[over], pod.done[~over]
        if len(wrong):
            rows = np.zeros((len(wrong), 6))
            rows[:, 0], rows[:, 1], rows[:, 4] = wrong, 0.001, REFUSED
            first = self.pods[0].name
            found[first] = np.concatenate([found[first], rows])
        return Done(found, {pod.name: pod.product for pod in self.pods}, cold, len(arrivals))

    def _routed(self, times: Values, version: Version) -> list[tuple[Pod, Values]]:
        number = len(self.pods)
        if not number:
            return []
        if self.service.routing is Routing.LEAST_REQUEST and number > 1:
            return self._by_requests(times, version)
        if self.service.routing is Routing.ROUND_ROBIN:
            to = (np.arange(len(times)) + self.turn) % number
            self.turn = (self.turn + len(times)) % number
        else:
            to = self.random.integers(0, number, len(times))
        return [(pod, times[to == index]) for index, pod in enumerate(self.pods)]

    def _by_requests(self, times: Values, version: Version) -> list[tuple[Pod, Values]]:
        """Return the better of two pods for each request, as Envoy chooses; queues are followed approximately."""
        pairs = self.random.integers(0, len(self.pods), (len(times), 2)).tolist()
        load = [max(pod.free_at, 0.0) for pod in self.pods]
        mean = [self.service.seconds * version.slower * pod.speed for pod in self.pods]
        to = []
        for at, (one, other) in zip(times.tolist(), pairs, strict=True):
            a, b = max(load[one] - at, 0.0) / mean[one], max(load[other] - at, 0.0) / mean[other]
            best = one if a <= b else other
            load[best] = max(load[best], at) + mean[best]
            to.append(best)
        chosen = np.array(to, dtype=int)
        return [(pod, times[chosen == index]) for index, pod in enumerate(self.pods)]

    def _serve(self, pod: Pod, times: Values, version: Version) -> None:
        if not len(times):
            return
        hangs = self.random.random(len(times)) < version.hangs
        if hangs.any():
            rows = np.zeros((int(hangs.sum()), 6))
            rows[:, 0], rows[:, 1], rows[:, 4] = times[hangs] + PATIENCE_SECONDS, PATIENCE_SECONDS, CANCELED
            pod.done = np.concatenate([pod.done, rows])
            times = times[~hangs]
            if not len(times):
                return
        pod.begun = times[0] // WINDOW_SECONDS * WINDOW_SECONDS if pod.begun is None else pod.begun
        spread = self.service.spread
        work = self.service.seconds * version.slower * pod.speed * self._cold(pod, times)
        work = work * np.exp(self.random.normal(-spread * spread / 2, spread, len(times)))
        rows = self._batched(pod, times, work) if self.service.batch > 1 else _alone(pod, times, work)
        rows[:, 4] = np.where(self.random.random(len(times)) < version.errors, FAILED, OK)
        pod.taken += len(times)
        pod.done = np.concatenate([pod.done, rows])

    def _cold(self, pod: Pod, times: Values) -> Values:
        own = self.version
        by_count = pod.taken + np.arange(len(times)) < own.cold_requests
        by_time = times - (pod.begun or 0.0) < own.cold_seconds
        return np.where(by_count | by_time, own.cold_factor, 1.0)

    def _batched(self, pod: Pod, times: Values, work: Values) -> Values:
        rows, begin = np.zeros((len(times), 6)), 0
        while begin < len(times):
            start = max(pod.free_at, times[begin])
            end = min(begin + self.service.batch, max(begin + 1, int(np.searchsorted(times, start, "right"))))
            size = end - begin
            compute = work[begin] * (0.6 + 0.4 * size)
            pod.free_at = start + compute
            rows[begin:end, 0], rows[begin:end, 3], rows[begin:end, 5] = pod.free_at, compute, 1 / size
            rows[begin:end, 2] = start - times[begin:end]
            begin = end
        rows[:, 1] = rows[:, 2] + rows[:, 3]
        return rows


def _alone(pod: Pod, times: Values, work: Values) -> Values:
    """Return requests that are served one after the other, in the order of their arrival."""
    total = np.cumsum(work)
    done = total + np.maximum.accumulate(np.maximum(times, pod.free_at) - (total - work))
    pod.free_at = float(done[-1])
    rows = np.zeros((len(times), 6))
    rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 5] = done, done - times, done - times - work, work, 1.0
    return rows


def _is_cold(pod: Pod, now: float) -> bool:
    """Return whether a pod warms up, as the operator takes it."""
    return is_cold(now - (pod.begun if pod.begun is not None else now), pod.taken, WARMUP_SECONDS)


def split(times: Values, share: float, random: np.random.Generator) -> tuple[Values, Values]:
    """Return the requests that the gateway sends to the canary and to stable."""
    canary = random.random(len(times)) < share
    return times[canary], times[~canary]


def by_scrape(rows: Values, start: float, weights: Sequence[Values]) -> list[Values]:
    """Return sums over the scrapes of a window, one for each of the weights."""
    edges = start + np.arange(0, WINDOW_SECONDS + SCRAPE_SECONDS / 2, SCRAPE_SECONDS)
    at = np.clip(rows[:, 0], edges[0], edges[-1] - 1e-6)
    return [np.histogram(at, edges, weights=each)[0] for each in weights]


def counters(done: Done, source: str) -> RevisionCounts:
    """Return what the pods of a revision counted."""
    zero = {name: CounterReading(1.0, 0.0) for name in done.pods}
    after = {}
    for name, rows in done.pods.items():
        good = rows[rows[:, 4] == OK]
        failed = {
            word: float((rows[:, 4] == kind).sum()) for word, kind in (("BACKEND", FAILED), ("CANCELED", CANCELED))
        }
        buckets = _buckets(good[:, 1]) if source == HISTOGRAM else {}
        after[name] = CounterReading(1.0, float(len(good)), failed, buckets)
    found = count_window(zero, after, 2.0, frozenset(done.pods))
    return replace(found, cold=done.cold, products=done.products)


def _buckets(seconds: Values) -> dict[float, float]:
    within = np.searchsorted(np.sort(seconds), BOUNDS_SECONDS, "right").tolist()
    return {**dict(zip(BOUNDS_SECONDS, map(float, within), strict=True)), math.inf: float(len(seconds))}


def intervals(canary: Done, stable: Done, start: float) -> Iterator[ScrapeInterval]:
    """Yield both revisions' requests between two scrapes, on each GPU that both have, of warm pods if there are."""
    for product in sorted({*canary.products.values()} & {*stable.products.values()}):
        sums = []
        for done in (canary, stable):
            pods = [name for name in done.pods if done.products[name] == product]
            warm = [name for name in pods if name not in done.cold] or pods
            rows = np.concatenate([done.pods[name] for name in warm])
            rows = rows[rows[:, 4] == OK]
            sums.append(by_scrape(rows, start, [np.ones(len(rows)), rows[:, 1], rows[:, 2], rows[:, 5]]))
        for one, other in zip(zip(*sums[0], strict=True), zip(*sums[1], strict=True), strict=True):
            batches = (each[0] / each[3] if each[3] else 1.0 for each in (one, other))
            yield ScrapeInterval(int(one[0]), one[1], int(other[0]), other[1], one[2], other[2], *map(float, batches))


def gateway_counts(done: dict[str, Done], instances: int, missing: int) -> Mapping[str, GatewayCounts]:
    """Return what the gateway's instances counted; one may be missing from the scrape at the window's end."""
    before, after = {}, {}
    for revision, found in done.items():
        rows = found.all()
        for instance in range(instances):
            mine = rows[instance::instances]
            answered = mine[mine[:, 4] != CANCELED]
            labels = {(GATEWAY_CLUSTER, revision), ("pod", f"gateway-{instance}")}
            series = {
                frozenset({*labels, ("__name__", GATEWAY_BUCKETS), ("le", f"{1000 * bound:g}")}): count
                for bound, count in _buckets(answered[:, 1]).items()
            }
            for word, kind in (("4", REFUSED), ("5", FAILED)):
                name = frozenset({*labels, ("__name__", GATEWAY_STATUSES), ("envoy_response_code_class", word)})
                series[name] = float((mine[:, 4] == kind).sum())
            resets = frozenset({*labels, ("__name__", GATEWAY_RESETS)})
            series[resets] = float((mine[:, 4] == CANCELED).sum())
            before.update(dict.fromkeys(series, 0.0))
            if instance != missing:
                after.update(series)
    return count_gateway(before, after, {name: name for name in done})


@dataclass(frozen=True, slots=True)
class Look:
    """One window, as every rule sees it."""

    window: Window
    canary: Done
    stable: Done
    start: float

    def shares(self) -> tuple[float, float]:
        """Return the share of requests that failed with an error of the server, for canary and stable."""
        rows = (self.canary.all(), self.stable.all())
        canary, stable = (float(np.mean(each[:, 4] == FAILED)) if len(each) else math.nan for each in rows)
        return canary, stable

    def means(self) -> tuple[float, float]:
        """Return the mean latency of canary and stable, seconds."""
        rows = (self.canary.all(), self.stable.all())
        canary, stable = (
            float(each[each[:, 4] == OK, 1].mean()) if (each[:, 4] == OK).any() else math.nan for each in rows
        )
        return canary, stable

    def points(self) -> list[list[tuple[float, float]]]:
        """Return the share of errors and the mean latency of each interval, for canary and stable."""
        found = []
        for done in (self.canary, self.stable):
            rows = done.all()
            served = (rows[:, 4] == OK) | (rows[:, 4] == FAILED)
            count, bad, seconds = by_scrape(
                rows, self.start, [served * 1.0, (rows[:, 4] == FAILED) * 1.0, served * rows[:, 1]]
            )
            found.append([(b / n, s / n) for n, b, s in zip(count, bad, seconds, strict=True) if n])
        return found
