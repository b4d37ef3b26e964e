"""The phases Held and StableLost, and what ends a hold.

A hold whose reason is in `ENDS_WHEN` ends as soon as its cause is gone; all others wait for a command
(`commands.py`). Meanwhile the analysis continues, but only a failure has an effect. StableLost shifts all traffic to
the canary if stable has no ready pod and the canary's pods can serve it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from tritonfleet.api.quantities import counted
from tritonfleet.plan.rollout.analysis import Outcome
from tritonfleet.plan.rollout.canary import (
    analyze_window,
    failed,
    is_shared_incident,
    provision,
    reset_analysis,
)
from tritonfleet.plan.rollout.capacity import choose_capacity, uncounted
from tritonfleet.plan.rollout.context import REQUEUE_SECONDS, RolloutContext, StepResult, in_force
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.sizing import (
    is_stable_lost,
    min_ready,
    min_ready_wanted,
    pods_for_weight,
    reachable_weight,
)
from tritonfleet.plan.rollout.state import FULL_WEIGHT, Attempt, Phase


def held(context: RolloutContext) -> StepResult:
    """Roll back a canary that fails the analysis, and resume when the cause of the hold is gone."""
    before, context = context.attempt, analyze_window(context)
    rolled_back = failed(context)
    if rolled_back is not None:
        return rolled_back
    is_over = ENDS_WHEN.get(context.state.reason)
    if is_over is not None and is_over(context):
        return resume(context, RolloutReason.RESUMED, f"resolved: {context.state.message}", before)
    return context.stay(wait_seconds=REQUEUE_SECONDS)


def resume(context: RolloutContext, reason: RolloutReason, message: str, before: Attempt | None = None) -> StepResult:
    """Return the transition to the phase in which the rollout was held; the comparison starts over.

    The window that ended a hold is the first of the new comparison: `before` is the attempt without it. A hold that
    waited for requests ends with the comparison of them, which is kept.
    """
    target = context.attempt.resume or Phase.PROVISIONING
    waited = context.state.reason == RolloutReason.TOO_FEW_REQUESTS and before is not None
    resumed = replace(context.attempt, resume=None, reverts=(), metrics_lost_since=None)
    if target in (Phase.PROVISIONING, Phase.HELD):
        return provision(context, reason, message, resumed)
    if target is Phase.ANALYZING and not waited:
        resumed = reset_analysis(replace(resumed, analysis=(before or context.attempt).analysis))
    return context.go(target, reason, message, resumed)


def stable_lost(context: RolloutContext) -> StepResult:
    """Wait for stable's pods; if none is ready and the canary can serve all traffic, shift it there meanwhile."""
    state, attempt = context.state, context.attempt
    back = pods_for_weight(FULL_WEIGHT - context.goal, min_ready_wanted(context))
    if context.stable.ready >= max(1, back) and not is_stable_lost(context):
        message = f"{context.name(state.stable)} has {counted(context.stable.ready, 'ready pod')} again"
        # The canary's last weight may already be applied, so it keeps the pods for it.
        given = replace(attempt, applied_weight=max(attempt.weight, attempt.applied_weight), settled_at=None)
        if attempt.resume is Phase.HELD:
            text = f"{message}; the rollout was held before, resume to continue"
            return context.hold(RolloutReason.STABLE_BACK, text, given, resume=Phase.PROVISIONING)
        return provision(context, RolloutReason.STABLE_BACK, message, replace(given, resume=None))
    needed = pods_for_weight(FULL_WEIGHT, max(1, min_ready(state)))
    if attempt.weight < FULL_WEIGHT and context.stable.ready == 0 and context.canary.ready >= needed:
        message = f"{state.message}; {context.name(attempt.canary)} gets all traffic until stable is back"
        full = replace(attempt, weight=FULL_WEIGHT, opening=False, settled_at=None)
        return context.stay(replace(state, attempt=full, message=message), wait_seconds=REQUEUE_SECONDS)
    if attempt.weight != attempt.applied_weight:
        return in_force(context) or context.stay(wait_seconds=REQUEUE_SECONDS)
    return context.stay(wait_seconds=REQUEUE_SECONDS)


def _metrics_are_back(context: RolloutContext) -> bool:
    return context.verdict is not None and context.verdict.outcome is not Outcome.ERROR


def _incident_is_over(context: RolloutContext) -> bool:
    verdict = context.verdict
    return verdict is not None and verdict.outcome is not Outcome.ERROR and not is_shared_incident(verdict)


def _requests_came(context: RolloutContext) -> bool:
    return context.verdict is not None and context.verdict.outcome is Outcome.PASSED


def _route_is_taken(context: RolloutContext) -> bool:
    return not context.inputs.split.problem and context.inputs.split.settled


def _has_room(context: RolloutContext) -> bool:
    if context.attempt.mode is not None:
        return not context.canary.lacks_room
    return not uncounted(context.inputs) and choose_capacity(context) is not None


def _pods_are_gone(context: RolloutContext) -> bool:
    return context.stable.existing <= context.stable.asked


def _can_move(context: RolloutContext) -> bool:
    return reachable_weight(context, context.goal) != context.attempt.applied_weight


def _canary_is_back(context: RolloutContext) -> bool:
    return context.canary.ready > 0


def _is_unpaused(context: RolloutContext) -> bool:
    return not context.inputs.policy.paused


def _is_unsuspended(context: RolloutContext) -> bool:
    return not context.inputs.suspended


ENDS_WHEN: Final[Mapping[str, Callable[[RolloutContext], bool]]] = {
    RolloutReason.PAUSED_BY_SPEC: _is_unpaused,
    RolloutReason.SUSPENDED: _is_unsuspended,
    RolloutReason.NO_REPLICAS: _is_unsuspended,
    RolloutReason.NO_CAPACITY: _has_room,
    RolloutReason.CANARY_EVICTED: _canary_is_back,
    RolloutReason.ROUTE_REFUSED: _route_is_taken,
    RolloutReason.ROUTE_UNSETTLED: _route_is_taken,
    RolloutReason.METRICS_LOST: _metrics_are_back,
    RolloutReason.SHARED_INCIDENT: _incident_is_over,
    RolloutReason.TOO_FEW_REQUESTS: _requests_came,
    RolloutReason.STABLE_PODS_REMAIN: _pods_are_gone,
    RolloutReason.STABLE_NOT_READY: _can_move,
}
"""Holds that end automatically; all others wait for a command."""
