"""Are more of the canary's requests slow?

What is compared is the share above a bound of the histogram, a count: a percentile read from buckets is a guess
between two bounds and has no exact test. The bound is chosen once a step, before the canary is looked at.
"""

from collections.abc import Iterable

from tritonfleet.plan.rollout.analysis.counts import PodCounts, Revision
from tritonfleet.plan.rollout.analysis.evidence import Cell
from tritonfleet.plan.rollout.analysis.policy import LatencyObjective, Policy
from tritonfleet.plan.rollout.analysis.share_check import Cells, Rule
from tritonfleet.plan.rollout.analysis.text import seconds_of
from tritonfleet.plan.rollout.analysis.window import Window

CHECK = "slow"
OBJECTIVE_CHECK = "slo"
NO_HISTOGRAM = "no latency histogram, or none with a bound that fits"
TAIL = 0.01
"""The share above a p99."""


def bound_nearest_p99(stable: Iterable[PodCounts]) -> float | None:
    """Return the histogram's bound nearest to stable's p99, in seconds; None when nothing was timed.

    The p99 is placed by a straight line within its bucket, as Prometheus does. Above the last bound it is that bound.
    """
    pods = [pod for pod in stable if pod.timed and pod.within]
    total = sum(pod.timed for pod in pods)
    bounds = sorted(set.intersection(*(set(pod.within) for pod in pods))) if pods else []
    below, low = 0, 0.0
    for bound in bounds:
        within = sum(pod.within[bound] for pod in pods)
        if within >= (1 - TAIL) * total:
            p99 = low + (bound - low) * ((1 - TAIL) * total - below) / max(1, within - below)
            return min(bounds, key=lambda candidate: (abs(candidate - p99), candidate))
        below, low = within, bound
    return bounds[-1] if bounds else None


def bound_at_least(objective: LatencyObjective, stable: Iterable[PodCounts]) -> float | None:
    """Return the smallest bound not below the objective: what is above it is surely too slow. None: there is none."""
    bounds = {bound for pod in stable for bound in pod.within if bound >= objective.seconds}
    return min(bounds, default=None)


def rule(policy: Policy, check: str, bound_seconds: float, *, alone: bool) -> Rule:
    """Return what is asked of the share above the bound: `slow` compares, `slo` also keeps the objective."""
    allowed = policy.latency.share if check == OBJECTIVE_CHECK and policy.latency is not None else None
    bad = f"above {seconds_of(bound_seconds)}"
    return Rule(check, bad, policy.slow_margin, policy.min_slow_requests, allowed, alone=alone)


def cells(window: Window, bound_seconds: float) -> Cells:
    """Return slow and timed requests by each who timed them."""
    return Cells(slow_requests(window.canary, bound_seconds), slow_requests(window.stable, bound_seconds))


def is_overloaded(window: Window, policy: Policy) -> bool:
    """Tell whether the canary's pods carried so much more than stable's that being slower proves nothing.

    Carrying less is no excuse: a pod with little to do is faster, so one that is slower all the same is worse.
    """
    canary, stable = (revision.requests / max(1, len(revision.pods)) for revision in (window.canary, window.stable))
    return canary > policy.load_tolerance * stable


def slow_requests(revision: Revision, bound_seconds: float) -> tuple[Cell, ...]:
    """Return slow and timed requests by each who timed those of one revision."""
    return tuple((counts.slower_than(bound_seconds), counts.timed) for counts in revision.timings.values())


def gap(window: Window, bound_seconds: float | None, *, alone: bool) -> str:
    """Return why requests above the bound cannot be counted in this window; empty if they can."""
    if window.untimed:
        return window.untimed
    timed = [counts for revision in (window.canary, window.stable) for counts in revision.timings.values()]
    if bound_seconds is None or any(counts.timed and bound_seconds not in counts.within for counts in timed):
        return NO_HISTOGRAM
    for name, revision in (("canary", window.canary), ("stable", window.stable)):
        served = revision.requests > revision.refused and not (alone and revision is window.stable)
        if served and not any(counts.timed for counts in revision.timings.values()):
            return f"no latency of the {name} was measured, though it got {revision.requests:,} requests"
    return ""
