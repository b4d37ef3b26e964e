"""The phases with no canary under way, and the promotion that leads there.

Initializing waits for the first revision, Stable and RolledBack serve one revision until another is wanted, and
Promoting, past the point of no return, waits until the canary serves all traffic. Stable also keeps the retained
pods of the revision before, and switches back to them at once when the promoted one breaks. The planner dispatches to
these handlers.
"""

from datetime import timedelta
from typing import Any

from tritonfleet.api.canary import CapacityMode
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.plan.rollout.context import REQUEUE_SECONDS, RolloutContext, StepResult, in_force
from tritonfleet.plan.rollout.rollback import cleared_attempt, with_rejection
from tritonfleet.plan.rollout.sizing import FULL_WEIGHT, snapshot_plan, without_contract_check, without_steps
from tritonfleet.plan.rollout.state import Phase, RolloutReason


def initializing(context: RolloutContext) -> StepResult:
    """Wait for every pod of the first revision; there is nothing to compare it with.

    Once it serves at all, another revision does not take its place without a rollout.
    """
    first, replicas = context.wanted or context.state.canary, context.inputs.replicas
    if not first:
        return context.stay()
    if first != context.state.canary and context.canary.ready > 0:
        serves = f"{context.name(context.state.canary)} serves with {context.canary.ready} of {replicas} pods ready"
        message = f"{serves}, and {context.name(first)} is wanted"
        promoted = {**cleared_attempt(context), "stable": context.state.canary}
        return context.go(Phase.STABLE, RolloutReason.SERVES, message, **promoted)
    if first != context.state.canary or not context.state.reason:
        message = f"{replicas} pods of {context.name(first)} are being started"
        return context.say(RolloutReason.STARTING, message, canary=first, replicas=replicas)
    if context.canary.ready < replicas:
        return context.stay(replicas=replicas)
    message = f"{context.name(first)} serves with {context.canary.ready} of {replicas} pods ready"
    return context.go(Phase.STABLE, RolloutReason.SERVES, message, **{**cleared_attempt(context), "stable": first})


def stable(context: RolloutContext) -> StepResult:
    """Let another revision begin; until `retained_until` the one before can take over again at once."""
    state, wanted = context.state, context.wanted
    if state.previous and _is_released(context):
        return context.stay(previous="", retained_until=None, surge=0)
    wait = (state.retained_until - context.now).total_seconds() if state.retained_until is not None else None
    if wait is not None and context.stable.ready < context.inputs.replicas:
        # A pod that has not been ready for a minute is told by nobody.
        wait = min(wait, REQUEUE_SECONDS)
    if state.previous and _is_broken(context) and context.previous.ready > context.stable.ready:
        trouble = context.stable.unsteady or (context.stable.finding.message if context.stable.finding else "")
        message = f"{context.name(state.stable)} has {context.stable.ready} ready pods: {trouble}"
        return _flip(context, RolloutReason.PROMOTED_BROKE, message, rejecting=True)
    if not wanted or wanted == state.stable:
        return _served(context, wait)
    if context.rejected(wanted):
        message = f"the spec asks for {context.name(wanted)}, which was rejected"
        return context.go(Phase.ROLLED_BACK, RolloutReason.REJECTED, message, **cleared_attempt(context))
    if wanted == state.previous and context.previous.ready >= max(1, context.inputs.replicas):
        message = f"{context.name(wanted)} is wanted back and still has {context.previous.ready} ready pods"
        return _flip(context, RolloutReason.RETAINED_REVISION, message, rejecting=False)
    return _admit(context, wait)


def rolled_back(context: RolloutContext) -> StepResult:
    """Serve stable until something else is wanted than what was rejected."""
    state, wanted = context.state, context.wanted
    if not wanted or context.rejected(wanted):
        return context.stay(replicas=context.inputs.replicas)
    if wanted == state.stable:
        message = f"the spec asks for {context.name(wanted)}, which serves"
        return context.go(Phase.STABLE, RolloutReason.REVERTED, message, **cleared_attempt(context))
    return _admit(context, None)


def _served(context: RolloutContext, wait: float | None) -> StepResult:
    state = context.state
    waited = (RolloutReason.PAUSED_BY_SPEC, RolloutReason.NO_REPLICAS)
    if state.reason and state.reason not in waited:
        return context.stay(replicas=context.inputs.replicas, wait_seconds=wait)
    message = f"{context.name(state.stable)} serves"
    return context.say(RolloutReason.SERVES, message, wait_seconds=wait, replicas=context.inputs.replicas)


def _is_released(context: RolloutContext) -> bool:
    """Tell whether the revision before has stood by for long enough, or stands in the way of stable's own pods."""
    until = context.state.retained_until
    crowded = context.stable.ready < context.inputs.replicas and context.stable.lacks_room
    return until is None or context.now >= until or crowded


def _is_broken(context: RolloutContext) -> bool:
    serving = context.stable
    stalled = serving.ready == 0 and serving.finding is not None and serving.finding.stalled
    return not context.inputs.suspended and (bool(serving.unsteady) or stalled)


def _flip(context: RolloutContext, reason: RolloutReason, message: str, *, rejecting: bool) -> StepResult:
    """Return the way back to the revision before, whose pods still stand by: nothing but a weight changes."""
    state = context.state
    replicas = context.inputs.replicas
    begun = _begin_attempt(context, state.previous, without_steps({}))
    flipped = {"verified": True, "weight": FULL_WEIGHT, "canary_replicas": replicas, "rejecting": rejecting}
    kept = {"mode": state.mode, "surge": state.surge}
    return context.go(Phase.PROMOTING, reason, message, **{**begun, **flipped, **kept})


def _admit(context: RolloutContext, wait: float | None) -> StepResult:
    state, wanted, replicas = context.state, context.wanted, context.inputs.replicas
    if context.inputs.policy.paused:
        message = f"{context.name(wanted)} is wanted and waits: spec.rollout.paused is set"
        return context.say(RolloutReason.PAUSED_BY_SPEC, message, wait_seconds=wait, replicas=replicas)
    if replicas == 0:
        message = f"{context.name(wanted)} is wanted and waits: replicas is 0"
        return context.say(RolloutReason.NO_REPLICAS, message, wait_seconds=wait, replicas=0)
    plan, reason, how = snapshot_plan(context.inputs.policy), RolloutReason.NEW_REVISION, ""
    if context.inputs.older or wanted == state.override:
        plan, reason, how = without_steps(plan), RolloutReason.OLDER_REVISION, ", verified and without steps"
    elif context.stable.ready == 0:
        plan = without_contract_check(without_steps(plan))
        how = f", without steps: {context.name(state.stable)} has no ready pod to compare it with"
    message = f"{context.name(wanted)} is wanted in the place of {context.name(state.stable)}{how}"
    return context.go(Phase.ADMITTING, reason, message, **_begin_attempt(context, wanted, plan))


def _begin_attempt(context: RolloutContext, canary: str, plan: dict[str, Any]) -> dict[str, Any]:
    return {
        **cleared_attempt(context),
        "canary": canary,
        "attempt": context.state.attempt + 1,
        "plan": plan,
        "mode": "",
        "step_entered_at": context.now,
        "verification": (),
        "results": (),
    }


def promoting(context: RolloutContext) -> StepResult:
    """Wait until the canary has as many ready pods as are wanted now and all traffic is seen to be at it.

    It does not wait for pods that find no place: what they need may be held by a pod that stands by. Nor for any while
    all are suspended.
    """
    state = context.state
    if context.inputs.suspended:
        return _promoted(context)
    if state.applied_weight != state.weight:
        return in_force(context) or context.stay(wait_seconds=REQUEUE_SECONDS)
    needed = max(1, min(state.replicas, context.inputs.replicas))
    if context.canary.ready < needed and not (context.canary.ready > 0 and context.canary.lacks_room):
        return context.stay(wait_seconds=REQUEUE_SECONDS)
    return _promoted(context)


def _promoted(context: RolloutContext) -> StepResult:
    state = context.state
    serves = f"{context.name(state.canary)} serves with {context.canary.ready} ready pods"
    promoted: dict[str, Any] = {**cleared_attempt(context), "stable": state.canary}
    if state.rejecting:
        promoted["rejected"] = with_rejection(state, state.stable, context.now)
        if state.override == state.stable:
            promoted |= {"override": "", "override_of": ""}
        message = f"{serves} again; {context.name(state.stable)} was taken back: {state.message}"
        return context.go(Phase.ROLLED_BACK, RolloutReason(state.reason), message, **promoted)
    retention = context.inputs.policy.stable_retention
    if state.mode != CapacityMode.SURGE or duration_seconds(retention) == 0 or not context.stable.asked:
        return context.go(Phase.STABLE, RolloutReason.PROMOTED, serves, **promoted)
    until = context.now + timedelta(seconds=duration_seconds(retention))
    promoted |= {"previous": state.stable, "retained_until": until, "surge": state.surge}
    standing_by = min(context.stable.asked, state.surge)
    message = f"{serves}; {standing_by} pods of {context.name(state.stable)} stand by for {retention}"
    return context.go(Phase.STABLE, RolloutReason.PROMOTED, message, **promoted)
