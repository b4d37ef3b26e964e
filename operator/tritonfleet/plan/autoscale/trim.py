"""The slow loop: what is measured of latency trims what the model says a replica can take."""

from dataclasses import replace

from tritonfleet.plan.autoscale.attainment import Judgment
from tritonfleet.plan.autoscale.capacity import Capacity
from tritonfleet.plan.autoscale.fit import Fit
from tritonfleet.plan.autoscale.observation import Observation
from tritonfleet.plan.autoscale.policy import Policy
from tritonfleet.plan.autoscale.signals import Reading

KAPPA_MIN, KAPPA_MAX = 0.6, 1.1
"""How far the trim may go (research 5.5)."""
DOWN, UP = 0.98, 1.002
"""A tick too slow weighs ten times one with room to spare (research 5.2)."""
ROOM = 0.8
"""Latency below this share of the target, at a load near c, shows that there is more to c (research 5.2)."""
NEAR = 0.8
"""Share of c from which a load says something about c."""


def trim(
    fit: Fit, policy: Policy, observation: Observation, reading: Reading, capacity: Capacity, judged: Judgment
) -> Fit:
    """Return the fit of the serving revision with its trim; unchanged while anything else would explain the latency.

    Frozen while pods start or go, a rollout runs, data is not complete, a queue stands or the load is beyond c: then
    latency says something about the number of replicas, and nothing about each.
    """
    target, latency, rate = policy.latency_target_seconds, judged.percentile_seconds, reading.middle
    settled = reading.ready == len(observation.pods) == observation.replicas and not observation.rolling
    if target is None or latency is None or rate is None or not settled or not reading.enough or capacity.infeasible:
        return fit
    load = rate / reading.ready / capacity.rate
    if not NEAR <= load <= 1 or reading.pending > 0.5 * policy.max_batch_size * reading.ready:
        return fit
    if latency > target:
        return replace(fit, kappa=max(KAPPA_MIN, fit.kappa * DOWN))
    return replace(fit, kappa=min(KAPPA_MAX, fit.kappa * UP)) if latency < ROOM * target else fit
