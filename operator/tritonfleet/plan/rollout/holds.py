"""The phases in which nothing goes on by itself, Held and StableLost, and what ends a hold.

A hold whose reason is in `ENDS_WHEN` ends as soon as its cause is gone; every other one waits for a person
(`commands.py`). Meanwhile the canary is still analyzed for its safety, and only a failure counts. StableLost gives all
traffic to the canary if nothing is left of stable and the canary's pods can carry it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tritonfleet.plan.rollout.analysis import Outcome
from tritonfleet.plan.rollout.canary import WindowResult, analyze_window, failed, is_shared_incident, reset_analysis
from tritonfleet.plan.rollout.capacity import choose_capacity, uncounted
from tritonfleet.plan.rollout.context import REQUEUE_SECONDS, RolloutContext, StepResult, in_force
from tritonfleet.plan.rollout.rollback import is_stable_lost
from tritonfleet.plan.rollout.sizing import FULL_WEIGHT, min_ready, min_ready_wanted, pods_for_weight, reachable_weight
from tritonfleet.plan.rollout.state import Phase, RolloutReason


def held(context: RolloutContext) -> StepResult:
    """Look at the canary for its safety, and go on when the cause of the hold is over."""
    look = analyze_window(context)
    rolled_back = failed(context, look)
    if rolled_back is not None:
        return rolled_back
    changes = look.changes if look is not None else {}
    is_over = ENDS_WHEN.get(context.state.reason)
    if is_over is not None and is_over(context, look):
        return resume(context, RolloutReason.RESUMED, f"no longer: {context.state.message}", **changes)
    return context.stay(wait_seconds=REQUEUE_SECONDS, **changes)


def resume(context: RolloutContext, reason: RolloutReason, message: str, **changes: Any) -> StepResult:
    """Return the transition to where the rollout was held; a comparison begins anew."""
    target = context.state.resume or Phase.PROVISIONING
    cleared = {**changes, "resume": None, "reverts": (), "metrics_lost_since": None}
    if target in (Phase.PROVISIONING, Phase.HELD):
        return context.provision(reason, message, **cleared)
    if target is Phase.ANALYZING:
        cleared["analysis"] = reset_analysis(context)
    return context.go(target, reason, message, **cleared)


def stable_lost(context: RolloutContext) -> StepResult:
    """Wait for stable; if nothing of it is left and the canary can, the canary takes everything meanwhile."""
    state = context.state
    back = pods_for_weight(FULL_WEIGHT - context.goal, min_ready_wanted(state, context.inputs))
    if context.stable.ready >= max(1, back) and not is_stable_lost(context):
        message = f"{context.name(state.stable)} has {context.stable.ready} ready pods again"
        # What the canary was given last may be in force already: it keeps the pods for it.
        given = {"applied_weight": max(state.weight, state.applied_weight), "settled_at": None}
        if state.resume is Phase.HELD:
            text = f"{message}; the rollout was held before, and a person resumes it"
            return context.go(Phase.HELD, RolloutReason.STABLE_BACK, text, resume=Phase.PROVISIONING, **given)
        return context.provision(RolloutReason.STABLE_BACK, message, resume=None, **given)
    needed = pods_for_weight(FULL_WEIGHT, max(1, min_ready(state)))
    if state.weight < FULL_WEIGHT and context.stable.ready == 0 and context.canary.ready >= needed:
        message = f"{state.message}; {context.name(state.canary)} takes all traffic until it is back"
        everything = {"weight": FULL_WEIGHT, "opening": False, "settled_at": None}
        return context.stay(**everything, message=message, wait_seconds=REQUEUE_SECONDS)
    if state.weight != state.applied_weight:
        return in_force(context) or context.stay(wait_seconds=REQUEUE_SECONDS)
    return context.stay(wait_seconds=REQUEUE_SECONDS)


def _metrics_are_back(_context: RolloutContext, look: WindowResult | None) -> bool:
    return look is not None and look.verdict.outcome is not Outcome.ERROR


def _incident_is_over(context: RolloutContext, look: WindowResult | None) -> bool:
    return _metrics_are_back(context, look) and look is not None and not is_shared_incident(look)


def _route_is_taken(context: RolloutContext, _look: WindowResult | None) -> bool:
    return not context.inputs.split.problem and context.inputs.split.settled


def _has_room(context: RolloutContext, _look: WindowResult | None) -> bool:
    if context.state.mode:
        return not context.canary.lacks_room
    return not uncounted(context.inputs) and choose_capacity(context) is not None


def _pods_are_gone(context: RolloutContext, _look: WindowResult | None) -> bool:
    return context.stable.existing <= context.stable.asked


def _can_move(context: RolloutContext, _look: WindowResult | None) -> bool:
    return reachable_weight(context.state, context.inputs, context.goal) != context.state.applied_weight


def _is_unpaused(context: RolloutContext, _look: WindowResult | None) -> bool:
    return not context.inputs.policy.paused


def _is_unsuspended(context: RolloutContext, _look: WindowResult | None) -> bool:
    return not context.inputs.suspended


ENDS_WHEN: Final[Mapping[str, Callable[[RolloutContext, WindowResult | None], bool]]] = {
    RolloutReason.PAUSED_BY_SPEC: _is_unpaused,
    RolloutReason.SUSPENDED: _is_unsuspended,
    RolloutReason.NO_CAPACITY: _has_room,
    RolloutReason.ROUTE_REFUSED: _route_is_taken,
    RolloutReason.ROUTE_UNSETTLED: _route_is_taken,
    RolloutReason.METRICS_LOST: _metrics_are_back,
    RolloutReason.SHARED_INCIDENT: _incident_is_over,
    RolloutReason.STABLE_PODS_REMAIN: _pods_are_gone,
    RolloutReason.STABLE_NOT_READY: _can_move,
}
"""Holds that end by themselves; every other one waits for a person."""
