"""Whether the SLO is met, and what the autoscaler does about it.

Four steps of `autoscaler.decide()`, once per tick:

- `evaluate_slo()` counts the tick's requests and misses from the best source there is: a gateway's histogram,
  Triton's own, or an estimate from the counters and the latency model of `capacity.py`;
- `record()` enters them into the `ErrorBudget` of the last six hours, and `attainment_of()` reports it for the
  status;
- `adjust()` moves the `Headroom`: more is kept while counted misses exceed their share of the budget, less while they
  do not. Misses of bursts, which no headroom prevents, and estimated ones do not count;
- `trim()` corrects a replica's modelled capacity slowly by the latency that was measured.

Example: a p99 SLO has a budget of 1%. If 720 of 36,000 requests missed within an hour, the burn rate is (720 /
36,000) / 0.01 = 2.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tritonfleet.plan.autoscale.arrivals import Reading, Work
from tritonfleet.plan.autoscale.capacity import NODES, WEIGHTS, Capacity, Fit, Z, share_waiting
from tritonfleet.plan.autoscale.interface import (
    LATENCY_FRESH_SECONDS,
    Attainment,
    LatencyReading,
    Observation,
    Policy,
    ScaleReason,
)

ESTIMATED = "Estimated"
"""The source without a histogram: means, from the counters."""


class SloEvaluation(NamedTuple):
    """Requests and misses of one tick."""

    source: str
    percentile_seconds: float | None
    requests: float
    misses: float
    doubt: float = 0.0
    """By how much there may be fewer misses, or more: 0 where they were counted."""
    failures: float = 0.0
    answered: float = 0.0
    """Requests that Triton answered, and the seconds that these waited in its queue."""
    queue_seconds: float = 0.0


BUCKET_SECONDS = 300.0
HOUR_BUCKETS, BUCKETS = 12, 72
"""Burn rates over 1 h and 6 h (The Site Reliability Workbook, chapter 5)."""


class Bucket(NamedTuple):
    """Five minutes."""

    number: int
    requests: float = 0.0
    misses: float = 0.0
    doubt: float = 0.0
    failures: float = 0.0
    answered: float = 0.0
    queue_seconds: float = 0.0

    def plus(self, other: "Bucket | SloEvaluation") -> "Bucket":
        """Return the sum under this number."""
        return Bucket(
            self.number,
            self.requests + other.requests,
            self.misses + other.misses,
            self.doubt + other.doubt,
            self.failures + other.failures,
            self.answered + other.answered,
            self.queue_seconds + other.queue_seconds,
        )


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """Requests and misses by five minutes of the autoscaler's clock, oldest first."""

    buckets: tuple[Bucket, ...] = ()

    def lately(self, clock: float, buckets: int) -> Bucket:
        """Return the sum of the last `buckets` buckets."""
        since = int(clock // BUCKET_SECONDS) - buckets
        total = Bucket(since)
        for bucket in self.buckets:
            if bucket.number > since:
                total = total.plus(bucket)
        return total

    def burn(self, clock: float, buckets: int, budget: float) -> float | None:
        """Return the share of requests that missed, over the share that may; None without requests."""
        lately = self.lately(clock, buckets)
        return lately.misses / lately.requests / budget if lately.requests > 0 else None

    def document(self, clock: float) -> list[list[float]]:
        """Serialize for the status: age in buckets, requests, misses, their doubt, and failures if there are any.

        Waits are not kept: they are of interest for some minutes.
        """
        now = int(clock // BUCKET_SECONDS)
        return [
            [now - bucket.number, round(bucket.requests), *(round(each, 1) for each in bucket[2:4])]
            + ([round(bucket.failures, 1)] if bucket.failures else [])
            for bucket in self.buckets
        ]

    @classmethod
    def restore(cls, document: Any, clock: float) -> "ErrorBudget":
        """Deserialize; ValueError or TypeError if it is malformed."""
        now = int(clock // BUCKET_SECONDS)
        return cls(tuple(Bucket(now - int(age), *map(float, counts)) for age, *counts in document))


def record(error_budget: ErrorBudget, evaluation: SloEvaluation, clock: float) -> ErrorBudget:
    """Return the error budget after one more tick."""
    index = int(clock // BUCKET_SECONDS)
    buckets = error_budget.buckets
    if buckets and buckets[-1].number == index:
        return ErrorBudget((*buckets[:-1], buckets[-1].plus(evaluation)))
    kept = tuple(bucket for bucket in buckets if bucket.number > index - BUCKETS)
    return ErrorBudget((*kept, Bucket(index).plus(evaluation)))


BUDGET_AIM = 0.6
"""Share of the error budget that is spent on purpose: the rest is for the unforeseen."""
HEADROOM_GAIN = 0.03
"""Largest change of the logarithm of the factor that few misses bring, per minute."""
LEAST_FACTOR, MOST_FACTOR = 0.3, 3.0
HEADROOM_MEMORY_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Headroom:
    """How far counted misses move the share of requests that growth may exceed the headroom with."""

    factor: float = 1.0
    """Of that share: below 1 there is more headroom."""
    requests: float = 0.0
    misses: float = 0.0
    """Counted outside of bursts, over about an hour."""

    def excess(self, share: float, percentile: float) -> float:
        """Return the share of requests that may exceed the headroom, given that share of the budget without misses."""
        return share * self.factor * (1 - percentile / 100)

    def document(self) -> list[float]:
        """Serialize for the status."""
        return [round(self.factor, 4), round(self.requests, 1), round(self.misses, 2)]

    @classmethod
    def restore(cls, document: Any) -> "Headroom":
        """Deserialize; ValueError or TypeError if it is malformed."""
        factor, requests, misses = map(float, document)
        if not LEAST_FACTOR <= factor <= MOST_FACTOR or not 0 <= misses <= requests < math.inf:
            raise ValueError("not a headroom")
        return cls(factor, requests, misses)


def adjust(headroom: Headroom, evaluation: SloEvaluation, policy: Policy, seconds: float, *, calm: bool) -> Headroom:
    """Return the headroom after one tick; only counted misses outside of bursts teach, estimated ones do not.

    No headroom could have prevented the misses of a burst: they fall within a pod's start.
    """
    counted = evaluation.source != ESTIMATED and policy.latency_target_seconds is not None
    if not counted or not calm or evaluation.requests <= 0:
        return headroom
    kept = math.exp(-seconds / HEADROOM_MEMORY_SECONDS)
    requests = headroom.requests * kept + evaluation.requests
    misses = headroom.misses * kept + min(evaluation.misses, evaluation.requests)
    spent = misses / requests / (BUDGET_AIM * (1 - policy.percentile / 100))
    change = math.exp(HEADROOM_GAIN * seconds / 60 * (1 - min(3.0, spent)))
    return Headroom(min(MOST_FACTOR, max(LEAST_FACTOR, headroom.factor * change)), requests, misses)


ATTAINMENT_WINDOW_SECONDS = 300.0
"""Attainment is reported for the last five minutes."""


def evaluate_slo(
    policy: Policy,
    latency: LatencyReading | None,
    reading: Reading,
    capacity: Capacity | None,
    now: float,
    seconds: float,
) -> SloEvaluation:
    """Evaluate one tick by the best source: the gateway, Triton's histogram, or the counters and the model."""
    target = policy.latency_target_seconds
    success = failed = queued = 0.0
    for work in reading.work.values():
        success, failed, queued = success + work.success, failed + work.failure, queued + work.queue_seconds
    if latency is not None and 0 <= now - latency.at_seconds <= LATENCY_FRESH_SECONDS and _sane(latency):
        requests = latency.requests_per_second * seconds
        share = latency.failed if latency.failed is not None else failed / (success + failed) if failed else 0.0
        misses = requests * (1 - latency.within)
        return SloEvaluation(
            latency.source, latency.percentile_seconds, requests, misses, 0.0, requests * share, success, queued
        )
    fewest = most = failed
    slowest: float | None = None
    for work in reading.work.values():
        if work.success > 0 and target is not None:
            few, many, percentile = _estimate(policy, work, capacity, reading.ready, target)
            fewest, most = fewest + work.success * few, most + work.success * many
            slowest = percentile if slowest is None else max(slowest, percentile)
    misses, doubt = (fewest + most) / 2, (most - fewest) / 2
    return SloEvaluation(ESTIMATED, slowest, success + failed, misses, doubt, failed, success, queued)


def _sane(latency: LatencyReading) -> bool:
    return (
        math.isfinite(latency.percentile_seconds)
        and 0 <= latency.within <= 1
        and 0 <= (latency.failed or 0.0) <= 1
        and 0 <= latency.requests_per_second < math.inf
    )


UNKNOWN_SIGMA = 0.2
"""Standard deviation of the logarithm of a time, before it is learned."""
SIGMA_DOUBT = 0.1
"""A learned one may be too large by this: batches of different sizes count as noise."""
LONG_WAITS = 12.0
"""Waits of so many times their mean do not matter, whatever their distribution."""
BATCH_WAIT = 1.6
"""A mean wait of up to so many executions is one for the rest of a running batch and for the one that is formed."""
FEWEST_WAIT = 0.02
"""Share of requests that have to wait, at least: fewer long waits would make the same mean of them."""


def _estimate(
    policy: Policy, work: Work, capacity: Capacity | None, ready: int, target: float
) -> tuple[float, float, float]:
    """Return the least and the largest share of requests that may have missed, and the percentile, from means.

    A mean says little of a tail: waits may all be alike, uniform as for the rest of a running batch, or exponential
    for those who wait at all, as in a queue that is often empty.
    """
    wait, service = work.queue_seconds / work.success, work.compute_seconds / work.success
    sigma = UNKNOWN_SIGMA if capacity is None or capacity.own is None else capacity.own.sigma
    rank = Z.get(policy.percentile, 2.0)
    own, queued = service * (math.exp(rank * sigma - sigma * sigma / 2) - 1), wait * (policy.percentile / 50 - 1)
    percentile = service + wait + math.hypot(max(0.0, own), queued)
    batched = policy.max_batch_size > 1 and wait <= BATCH_WAIT * service
    longest = 2 * max(wait, service) if batched else LONG_WAITS * wait
    if target - service * math.exp(4 * sigma) > longest:
        return 0.0, 0.0, percentile
    low = max(0.0, sigma - SIGMA_DOUBT)
    alike, even = late_share(target - wait, service, low, 0.0), late_share(target, service, low, wait)
    if batched:
        # No request waits for more than the batch that is running and the one that is formed.
        most = max(late_share(target, service, sigma, wait), late_share(target, service, sigma, service))
    else:
        waiting = _waiting_share(policy, work, capacity, ready)
        most = max(
            late_share(target, service, sigma, wait),
            late_share(target, service, sigma, wait, waiting=1.0),
            late_share(target, service, sigma, wait, waiting=waiting),
        )
    return min(alike, even, most), most, percentile


def _waiting_share(policy: Policy, work: Work, capacity: Capacity | None, ready: int) -> float:
    """Return the least share of requests that had to wait; where batches queue, all of them did."""
    if policy.max_batch_size > 1 or capacity is None or capacity.server is None or work.seconds <= 0:
        return 1.0
    busy = min(0.99, work.compute_seconds / work.seconds / max(1, policy.instances))
    return max(FEWEST_WAIT, share_waiting(capacity.server, ready, busy))


def late_share(target: float, service: float, sigma: float, wait: float, *, waiting: float | None = None) -> float:
    """Return the share of requests later than the target, all in seconds; times are lognormal, `wait` is a mean.

    Waits are uniform up to twice their mean, or, given the share that is `waiting`, exponential for that share.
    """
    late = 0.0
    for z, weight in zip(NODES, WEIGHTS, strict=True):
        left = target - service * math.exp(sigma * z - sigma * sigma / 2)
        if left <= 0:
            late += weight
        elif wait > 0 and waiting is None:
            late += weight * max(0.0, 1 - left / (2 * wait))
        elif wait > 0 and waiting is not None:
            late += weight * waiting * math.exp(-left * waiting / wait)
    return late


def attainment_of(
    policy: Policy,
    error_budget: ErrorBudget,
    evaluation: SloEvaluation,
    capacity: Capacity | None,
    ready: int,
    clock: float,
    blind: ScaleReason | None,
) -> Attainment:
    """Report whether the SLO is met; `blind` is why nothing was measured, if so."""
    budget = 1 - policy.percentile / 100
    lately = error_budget.lately(clock, max(1, round(ATTAINMENT_WINDOW_SECONDS / BUCKET_SECONDS)) + 1)
    within = 1 - lately.misses / lately.requests if lately.requests > 0 else None
    throughput = capacity.rate(ready) if capacity is not None else None
    met: bool | None = None
    reason = blind
    available = 1 - lately.failures / lately.requests if lately.requests > 0 else None
    queue_seconds = lately.queue_seconds / lately.answered if lately.answered > 0 else None
    if blind is None and (within is not None or policy.latency_target_seconds is None):
        parts = (
            True if policy.latency_target_seconds is None else _kept(lately, budget),
            policy.throughput <= 0 or throughput is None or throughput >= policy.throughput,
            policy.availability is None or available is None or available >= policy.availability / 100,
            policy.queue_seconds is None or queue_seconds is None or queue_seconds <= policy.queue_seconds,
        )
        met = False if False in parts else None if None in parts else True
        reason = ScaleReason.SLO_UNCERTAIN if met is None else None
    if blind is None and capacity is not None and capacity.infeasible:
        reason = ScaleReason.SLO_INFEASIBLE
    return Attainment(
        met=met,
        reason=reason,
        percentile_seconds=evaluation.percentile_seconds,
        source=evaluation.source,
        within=within,
        throughput=throughput,
        window_seconds=ATTAINMENT_WINDOW_SECONDS,
        burn_1h=error_budget.burn(clock, HOUR_BUCKETS, budget),
        burn_6h=error_budget.burn(clock, BUCKETS, budget),
        available=available,
        queue_seconds=queue_seconds,
    )


def _kept(lately: Bucket, budget: float) -> bool | None:
    """Return whether the latency's part of the SLO was kept; None if an estimate cannot tell."""
    allowed = budget * lately.requests
    if lately.misses + lately.doubt <= allowed:
        return True
    return False if lately.misses - lately.doubt > allowed else None


TRIM_MIN, TRIM_MAX = 0.6, 1.1
"""Bounds of the trim."""
TRIM_DOWN, TRIM_UP = 0.98, 1.002
"""Factors per tick: one that is too slow weighs ten times one with room to spare."""
TRIM_ROOM = 0.8
"""Latency below this share of the target, at a load near c, shows that c is too low."""
TRIM_NEAR = 0.8
"""Share of c from which the load is informative."""


def trim(
    fits: Mapping[str, Fit],
    policy: Policy,
    observation: Observation,
    reading: Reading,
    capacity: Capacity | None,
    evaluation: SloEvaluation,
) -> Mapping[str, Fit]:
    """Return the fits with that of the serving revision trimmed, unless anything else may explain the latency.

    Frozen while pods start or stop, a rollout runs, data is incomplete, a queue persists or the load exceeds c: then
    latency depends on the number of replicas, and not on what each can carry.
    """
    if capacity is None or capacity.own is None or observation.serving is None:
        return fits
    target, latency, rate = policy.latency_target_seconds, evaluation.percentile_seconds, reading.middle
    settled = reading.ready == len(observation.pods) == observation.replicas and not observation.rolling
    counted = evaluation.source != ESTIMATED and not capacity.infeasible
    if target is None or latency is None or rate is None or not settled or not reading.enough or not counted:
        return fits
    load = rate / capacity.rate(reading.ready)
    if not TRIM_NEAR <= load <= 1 or reading.pending > 0.5 * policy.max_batch_size * reading.ready:
        return fits
    kappa = capacity.own.kappa
    if latency > target:
        kappa = max(TRIM_MIN, kappa * TRIM_DOWN)
    elif latency < TRIM_ROOM * target:
        kappa = min(TRIM_MAX, kappa * TRIM_UP)
    return {**fits, observation.serving: replace(capacity.own, kappa=kappa)}
