"""Whether the SLO is met, and what the autoscaler does about it.

Four steps of `autoscaler.decide()`, once per tick:

- `evaluate_slo()` counts the tick's requests and misses from the best source there is: a gateway's histogram,
  Triton's own, or an estimate from the counters and the latency model of `capacity.py`;
- `record()` enters them into the `ErrorBudget` of the last six hours, and `attainment_of()` reports it for the
  status;
- `adjust()` moves the `Headroom`: the quantile q of growth to provision for. Each missed request raises it and each
  second without one lowers it, so that in the long run misses settle at their share of the budget (adaptive conformal
  inference, Gibbs and Candes 2021, with the logit of q as its variable);
- `trim()` corrects a replica's modelled capacity slowly by the latency that was measured.

Examples: a p99 SLO has a budget of 1%. If 720 of 36,000 requests missed within an hour, the burn rate is (720 /
36,000) / 0.01 = 2. A minute in which every request is missed moves the logit of q by 0.02 * 60 * 0.994 = 1.19, which
takes q from 0.75 to 0.91.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tritonfleet.plan.autoscale.arrivals import Reading, Work
from tritonfleet.plan.autoscale.capacity import Capacity, Fit
from tritonfleet.plan.autoscale.interface import (
    LATENCY_FRESH_SECONDS,
    Attainment,
    LatencyReading,
    Observation,
    Policy,
    ScaleReason,
)


class SloEvaluation(NamedTuple):
    """Requests and misses of one tick."""

    source: str
    percentile_seconds: float | None
    requests: float
    misses: float


BUCKET_SECONDS = 300.0
HOUR_BUCKETS, BUCKETS = 12, 72
"""Burn rates over 1 h and 6 h (The Site Reliability Workbook, chapter 5)."""


class Bucket(NamedTuple):
    """Five minutes."""

    number: int
    requests: float
    misses: float


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """Requests and misses by five minutes of the autoscaler's clock, oldest first."""

    buckets: tuple[Bucket, ...] = ()

    def misses(self, clock: float, buckets: int) -> tuple[float, float]:
        """Return requests and misses of the last `buckets` buckets."""
        since = int(clock // BUCKET_SECONDS) - buckets
        lately = [bucket for bucket in self.buckets if bucket.number > since]
        return sum(bucket.requests for bucket in lately), sum(bucket.misses for bucket in lately)

    def burn(self, clock: float, buckets: int, budget: float) -> float | None:
        """Return the share of requests that missed, over the share that may; None without requests."""
        requests, misses = self.misses(clock, buckets)
        return misses / requests / budget if requests > 0 else None

    def document(self, clock: float) -> list[list[float]]:
        """Serialize for the status: age in buckets, requests, misses."""
        now = int(clock // BUCKET_SECONDS)
        return [[now - bucket.number, round(bucket.requests), round(bucket.misses, 1)] for bucket in self.buckets]

    @classmethod
    def restore(cls, document: Any, clock: float) -> "ErrorBudget":
        """Deserialize; ValueError or TypeError if it is malformed."""
        now = int(clock // BUCKET_SECONDS)
        return cls(tuple(Bucket(now - int(age), float(requests), float(misses)) for age, requests, misses in document))


def record(error_budget: ErrorBudget, evaluation: SloEvaluation, clock: float) -> ErrorBudget:
    """Return the error budget after one more tick."""
    index = int(clock // BUCKET_SECONDS)
    buckets = error_budget.buckets
    if buckets and buckets[-1].number == index:
        last = buckets[-1]
        newest = Bucket(index, last.requests + evaluation.requests, last.misses + evaluation.misses)
        return ErrorBudget((*buckets[:-1], newest))
    kept = tuple(bucket for bucket in buckets if bucket.number > index - BUCKETS)
    return ErrorBudget((*kept, Bucket(index, evaluation.requests, evaluation.misses)))


BUDGET_AIM = 0.6
"""Share of the error budget that is spent on purpose: the rest is for the unforeseen."""
HEADROOM_GAIN = 0.02
"""Logits per second's worth of missed requests."""
HEADROOM_START = math.log(0.9 / 0.1)
HEADROOM_LEAST, HEADROOM_MOST = math.log(0.5 / 0.5), math.log(0.998 / 0.002)
"""From the median to one step in five hundred."""


@dataclass(frozen=True, slots=True)
class Headroom:
    """How much of the possible growth to provision for: the logit of q."""

    logit: float = HEADROOM_START

    @property
    def quantile(self) -> float:
        """q, the share of horizons whose growth is covered."""
        return 1 / (1 + math.exp(-self.logit))

    @classmethod
    def restore(cls, document: Any) -> "Headroom":
        """Deserialize; ValueError or TypeError if it is malformed."""
        logit = float(document)
        if not HEADROOM_LEAST <= logit <= HEADROOM_MOST:
            raise ValueError("not a headroom")
        return cls(logit)


def adjust(headroom: Headroom, evaluation: SloEvaluation, policy: Policy, usual: float | None, rate: float) -> Headroom:
    """Return the headroom after one tick's requests and misses; a second's worth is the larger of both rates."""
    if not usual or evaluation.requests <= 0:
        return headroom
    budget = 1 - policy.percentile / 100
    excess = (evaluation.misses - BUDGET_AIM * budget * evaluation.requests) / max(usual, rate)
    return Headroom(min(HEADROOM_MOST, max(HEADROOM_LEAST, headroom.logit + HEADROOM_GAIN * excess)))


ATTAINMENT_WINDOW_SECONDS = 300.0
"""Attainment is reported for the last five minutes."""
ESTIMATED = "Estimated"


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
    if latency is not None and 0 <= now - latency.at_seconds <= LATENCY_FRESH_SECONDS and _sane(latency):
        requests = latency.requests_per_second * seconds
        return SloEvaluation(latency.source, latency.percentile_seconds, requests, requests * (1 - latency.within))
    requests = misses = 0.0
    slowest: float | None = None
    for work in reading.work.values():
        requests += work.success + work.failure
        misses += work.failure
        if work.success > 0 and target is not None:
            share, percentile = _estimate(policy, work, capacity, target)
            misses += work.success * (1 - share)
            slowest = percentile if slowest is None else max(slowest, percentile)
    return SloEvaluation(ESTIMATED, slowest, requests, misses)


def _sane(latency: LatencyReading) -> bool:
    return (
        math.isfinite(latency.percentile_seconds)
        and 0 <= latency.within <= 1
        and 0 <= latency.requests_per_second < math.inf
    )


def _estimate(policy: Policy, work: Work, capacity: Capacity | None, target: float) -> tuple[float, float]:
    """Return the share of requests within the target and the percentile, from means.

    Waits are assumed to be uniform up to twice their mean, as they are for the rest of a running batch; a batch at
    the percentile is larger than the mean one.
    """
    wait, service = work.queue_seconds / work.success, work.compute_seconds / work.success
    share = min(1.0, max(0.0, (target - service) / (2 * wait))) if wait > 0 else float(service <= target)
    measured = service + 2 * wait * policy.percentile / 100
    modelled = capacity.latency_at(work.success / work.seconds) if capacity is not None and work.seconds > 0 else None
    return share, measured if modelled is None or modelled == math.inf else max(measured, modelled)


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
    requests, misses = error_budget.misses(clock, max(1, round(ATTAINMENT_WINDOW_SECONDS / BUCKET_SECONDS)) + 1)
    within = 1 - misses / requests if requests > 0 else None
    throughput = capacity.rate * ready if capacity is not None else None
    met: bool | None = None
    reason = blind
    if blind is None and (within is not None or policy.latency_target_seconds is None):
        met = (within is None or policy.latency_target_seconds is None or 1 - within <= budget) and (
            policy.throughput <= 0 or throughput is None or throughput >= policy.throughput
        )
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
    )


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
    if target is None or latency is None or rate is None or not settled or not reading.enough or capacity.infeasible:
        return fits
    load = rate / reading.ready / capacity.rate
    if not TRIM_NEAR <= load <= 1 or reading.pending > 0.5 * policy.max_batch_size * reading.ready:
        return fits
    kappa = capacity.own.kappa
    if latency > target:
        kappa = max(TRIM_MIN, kappa * TRIM_DOWN)
    elif latency < TRIM_ROOM * target:
        kappa = min(TRIM_MAX, kappa * TRIM_UP)
    return {**fits, observation.serving: replace(capacity.own, kappa=kappa)}
