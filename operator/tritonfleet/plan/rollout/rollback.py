"""The rollback to stable: the transition to RollingBack, its handler, and the record of a rejection.

`roll_back` is the only transition to RollingBack, for all modules: it moves as much traffic off the canary at once as
stable can serve. The automatic triggers are in `planner.CHECKS` and in `canary.py`. `rolling_back` moves the rest as
stable's pods become ready, and ends when the canary has neither traffic nor pods.
"""

from dataclasses import replace
from datetime import datetime

from tritonfleet.api.quantities import counted
from tritonfleet.api.rollout_status import REJECTED_MAX
from tritonfleet.plan.rollout.context import REQUEUE_SECONDS, RolloutContext, StepResult, in_force, pods_take
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.sizing import reachable_weight
from tritonfleet.plan.rollout.state import Phase, Rejection, State


def roll_back(context: RolloutContext, reason: RolloutReason, message: str, *, rejecting: bool) -> StepResult:
    """Return the transition to RollingBack: as much traffic as stable can serve leaves the canary at once."""
    # The desired weight may already be applied, so the canary keeps the pods for the larger of the two.
    applied = max(context.attempt.applied_weight, context.attempt.weight)
    attempt = replace(context.attempt, applied_weight=applied, settled_at=None, resume=None, rejecting=rejecting)
    rolled_back = context.after(replace(context.state, phase=Phase.ROLLING_BACK, attempt=attempt))
    attempt = replace(attempt, weight=reachable_weight(rolled_back, 0))
    return context.go(Phase.ROLLING_BACK, reason, f"{message}{_missing(context)}", attempt)


def _missing(context: RolloutContext) -> str:
    """Return how long the rollback waits for stable pods that were replaced; empty if none were."""
    state, attempt = context.state, context.attempt
    missing = state.replicas - context.stable.ready
    if missing < 1 or max(attempt.weight, attempt.applied_weight) == 0:
        return ""
    turns = 1 if attempt.surge >= missing else missing
    return f"; restarting {counted(missing, 'pod')} of {context.name(state.stable)}{pods_take(context, turns)}"


def rolling_back(context: RolloutContext) -> StepResult:
    """Lower the weight as far as stable's ready pods allow, until it is 0 and the canary's pods are removed."""
    attempt = context.attempt
    if attempt.weight != attempt.applied_weight:
        lower = reachable_weight(context, 0)
        if lower < attempt.weight:
            return context.stay(replace(attempt, weight=lower, settled_at=None), wait_seconds=REQUEUE_SECONDS)
        return in_force(context) or context.stay(wait_seconds=REQUEUE_SECONDS)
    if attempt.weight > 0:
        lower = reachable_weight(context, 0)
        return context.stay(replace(attempt, weight=lower, settled_at=None), wait_seconds=REQUEUE_SECONDS)
    if context.canary.asked > 0:
        return context.stay(wait_seconds=REQUEUE_SECONDS)
    return _end(context)


def _end(context: RolloutContext) -> StepResult:
    state, canary = context.state, context.attempt.canary
    serving = f"{context.name(state.stable)} has all traffic ({counted(context.stable.ready, 'ready pod')})"
    message = f"{serving}; {context.name(canary)} was rolled back: {state.message}"
    reason = RolloutReason(state.reason)
    ended = replace(state, attempt=None, replicas=context.inputs.replicas)
    if not context.attempt.rejecting:
        return context.go(Phase.STABLE, reason, message, ended)
    return context.go(Phase.ROLLED_BACK, reason, message, with_rejection(ended, canary, context.now))


def with_rejection(state: State, revision: str, now: datetime) -> State:
    """Return the state with one more rejected revision, for the state's reason."""
    others = tuple(each for each in state.rejected if each.revision != revision)
    rejected = (*others, Rejection(revision, state.reason, state.message, now))[-REJECTED_MAX:]
    if state.override == revision:
        state = replace(state, override="", override_of="")
    return replace(state, rejected=rejected)
