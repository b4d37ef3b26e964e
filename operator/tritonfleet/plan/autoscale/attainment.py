"""Whether the SLO is kept, by the best source there is, and how fast its error budget is spent."""

import math
from typing import NamedTuple

from tritonfleet.plan.autoscale.capacity import Capacity
from tritonfleet.plan.autoscale.ledger import BUCKET_SECONDS, BUCKETS, HOUR_BUCKETS, Ledger
from tritonfleet.plan.autoscale.observation import LatencyReading
from tritonfleet.plan.autoscale.policy import Policy
from tritonfleet.plan.autoscale.scrapes import Work
from tritonfleet.plan.autoscale.signals import Reading
from tritonfleet.plan.autoscale.verdict import Attainment, ScaleReason

WINDOW_SECONDS = 300.0
"""Whether the SLO is kept is said of the last five minutes."""
LATENCY_FRESH_SECONDS = 60.0
"""An older histogram is not believed."""
ESTIMATED = "Estimated"


class Judgment(NamedTuple):
    """What one tick says."""

    source: str
    percentile_seconds: float | None
    requests: float
    misses: float


def judge(
    policy: Policy,
    latency: LatencyReading | None,
    reading: Reading,
    capacity: Capacity | None,
    now: float,
    seconds: float,
) -> Judgment:
    """Say of one tick what the best source says: the gateway, Triton's histogram, or the counters and the model."""
    target = policy.latency_target_seconds
    if latency is not None and 0 <= now - latency.at_seconds <= LATENCY_FRESH_SECONDS and _sane(latency):
        requests = latency.requests_per_second * seconds
        return Judgment(latency.source, latency.percentile_seconds, requests, requests * (1 - latency.within))
    requests = misses = 0.0
    slowest: float | None = None
    for work in reading.work.values():
        requests += work.success + work.failure
        misses += work.failure
        if work.success > 0 and target is not None:
            share, percentile = _estimate(policy, work, capacity, target)
            misses += work.success * (1 - share)
            slowest = percentile if slowest is None else max(slowest, percentile)
    return Judgment(ESTIMATED, slowest, requests, misses)


def _sane(latency: LatencyReading) -> bool:
    return (
        math.isfinite(latency.percentile_seconds)
        and 0 <= latency.within <= 1
        and 0 <= latency.requests_per_second < math.inf
    )


def _estimate(policy: Policy, work: Work, capacity: Capacity | None, target: float) -> tuple[float, float]:
    """Return the share of requests within the target and the percentile, from means.

    Waits are spread evenly up to twice their mean, as they are for the rest of a running batch; a batch at the
    percentile is larger than the mean one.
    """
    wait, service = work.queue_seconds / work.success, work.compute_seconds / work.success
    share = min(1.0, max(0.0, (target - service) / (2 * wait))) if wait > 0 else float(service <= target)
    measured = service + 2 * wait * policy.percentile / 100
    modelled = capacity.latency_at(work.success / work.seconds) if capacity is not None and work.seconds > 0 else None
    return share, measured if modelled is None or modelled == math.inf else max(measured, modelled)


def report(
    policy: Policy,
    ledger: Ledger,
    judgment: Judgment,
    capacity: Capacity | None,
    ready: int,
    clock: float,
    blind: ScaleReason | None,
) -> Attainment:
    """Return the SLO against what was measured; `blind` says why nothing was."""
    budget = 1 - policy.percentile / 100
    requests, misses = ledger.misses(clock, max(1, round(WINDOW_SECONDS / BUCKET_SECONDS)) + 1)
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
        percentile_seconds=judgment.percentile_seconds,
        source=judgment.source,
        within=within,
        throughput=throughput,
        window_seconds=WINDOW_SECONDS,
        burn_1h=ledger.burn(clock, HOUR_BUCKETS, budget),
        burn_6h=ledger.burn(clock, BUCKETS, budget),
    )
