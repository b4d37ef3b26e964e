"""From what the demand asks for to what the Deployment may be set to, and which limit binds."""

import math
from dataclasses import dataclass

from tritonfleet.plan.autoscale.policy import Policy
from tritonfleet.plan.autoscale.verdict import ScaleReason


@dataclass(frozen=True, slots=True)
class Limited:
    """Replicas, and the limit that changed them; None when none did."""

    replicas: int
    reason: ScaleReason | None = None


def bound(policy: Policy, wanted: int, replicas: int, schedulable: int | None) -> Limited:
    """Keep to the limits that always hold: the user's minimum and maximum, and what the nodes can take.

    Nodes that cannot take more are no reason to take away: a pod that waits for one may yet get it.
    """
    low, high = policy.min_replicas, max(policy.min_replicas, policy.max_replicas)
    bounded = min(max(wanted, low), high)
    if schedulable is not None and bounded > max(schedulable, replicas):
        return Limited(max(schedulable, min(replicas, bounded), low), ScaleReason.NOT_SCHEDULABLE)
    if wanted > high:
        return Limited(high, ScaleReason.AT_MAX_REPLICAS)
    return Limited(bounded, ScaleReason.AT_MIN_REPLICAS if wanted < low else None)


def step(policy: Policy, replicas: int, target: int) -> int:
    """Keep one decision from going further than the user allows; from nothing the first step is to the minimum."""
    if target > replicas:
        return min(target, max(math.floor(policy.scale_up_factor * replicas), replicas + 1, policy.min_replicas))
    removable = max(1, math.floor(replicas * policy.scale_down_percent / 100))
    return max(target, replicas - removable)
