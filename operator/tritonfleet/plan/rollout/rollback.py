"""What triggers a rollback automatically, and the phase RollingBack.

`keep_safe` is the planner's first check in every pass: pods of the canary that restart or are gone while it gets
traffic roll it back; a stable that cannot carry its share stops the rollout (StableLost). `roll_back` is the one way
into RollingBack, for every other module too: it takes as much traffic off the canary at once as stable can carry.
`rolling_back` repeats that as stable's pods return, and ends when the canary has neither traffic nor pods.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from tritonfleet.plan.rollout.context import REQUEUE_SECONDS, RolloutContext, StepResult, in_force, pods_take
from tritonfleet.plan.rollout.sizing import FULL_WEIGHT, min_ready_wanted, pods_for_weight, reachable_weight
from tritonfleet.plan.rollout.state import BEFORE_RETURN, Phase, Rejection, RolloutReason, State

MAY_LOSE_STABLE: Final = frozenset(
    {Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY, Phase.SHIFTING, Phase.ANALYZING}
    | {Phase.AWAITING_APPROVAL, Phase.HELD}
)


def keep_safe(context: RolloutContext) -> StepResult | None:
    """Return the way back from a canary that harms users, or from a stable that cannot take them; None if all is well.

    Only while the canary gets traffic: what goes wrong before that harms nobody, and is its phase's own affair.
    """
    state = context.state
    if state.phase not in BEFORE_RETURN | {Phase.PROMOTING} or max(state.weight, state.applied_weight) == 0:
        return None
    share = f"{max(state.weight, state.applied_weight)} % of the traffic"
    name = context.name(state.canary)
    if context.canary.unsteady:
        message = f"{name} got {share} with {context.canary.ready} ready pods: {context.canary.unsteady}"
        return roll_back(context, RolloutReason.CANARY_UNSTEADY, message, rejecting=True)
    if context.canary.ready == 0 and state.applied_weight > 0:
        trouble = f": {context.canary.finding.message}" if context.canary.finding is not None else ""
        message = f"{name} got {share} and none of its {context.canary.asked} pods is ready{trouble}"
        return roll_back(context, RolloutReason.CANARY_LOST, message, rejecting=True)
    if state.phase in MAY_LOSE_STABLE and is_stable_lost(context):
        message = (
            f"{context.name(state.stable)} has {context.stable.ready} ready pods and needs {_needed(context)} for "
            f"{FULL_WEIGHT - state.applied_weight} % of the traffic; {name} has {context.canary.ready}"
        )
        resume = Phase.HELD if state.phase is Phase.HELD else Phase.PROVISIONING
        return context.go(Phase.STABLE_LOST, RolloutReason.STABLE_LOST, message, resume=resume, settled_at=None)
    return None


def is_stable_lost(context: RolloutContext) -> bool:
    """Tell whether stable cannot carry the traffic that it gets, and not only for a moment.

    On the way to 100 % that is no news: the canary is about to take it all.
    """
    stable = context.stable
    if context.goal == FULL_WEIGHT:
        return False
    if not 0 < context.state.applied_weight < FULL_WEIGHT or stable.ready >= _needed(context):
        return False
    return stable.ready == 0 or bool(stable.unsteady) or stable.finding is not None


def _needed(context: RolloutContext) -> int:
    return pods_for_weight(FULL_WEIGHT - context.state.applied_weight, min_ready_wanted(context.state, context.inputs))


REJECTED_MAX: Final = 5


def roll_back(
    context: RolloutContext, reason: RolloutReason, message: str, *, rejecting: bool, **changes: Any
) -> StepResult:
    """Return the transition to RollingBack: as much traffic as stable can take leaves the canary at once."""
    # What was asked for last may be in force already, so the canary keeps the pods for the larger of the two.
    applied = max(context.state.applied_weight, context.state.weight)
    state = replace(context.state, phase=Phase.ROLLING_BACK, applied_weight=applied)
    return context.go(
        Phase.ROLLING_BACK,
        reason,
        f"{message}{_missing(context)}",
        **{
            "weight": reachable_weight(state, context.inputs, 0),
            "applied_weight": applied,
            "settled_at": None,
            "resume": None,
            "rejecting": rejecting,
            **changes,
        },
    )


def _missing(context: RolloutContext) -> str:
    """Say how long users wait for stable's pods, where some made room for the canary."""
    state = context.state
    missing = state.replicas - context.stable.ready
    if missing < 1 or max(state.weight, state.applied_weight) == 0:
        return ""
    turns = 1 if state.surge >= missing else missing
    return f"; {missing} pods of {context.name(state.stable)} are to come back{pods_take(context, turns)}"


def rolling_back(context: RolloutContext) -> StepResult:
    """Take the weight down as far as stable's ready pods carry it, until it is 0 and the canary's pods are let go."""
    state = context.state
    if state.weight != state.applied_weight:
        lower = reachable_weight(state, context.inputs, 0)
        if lower < state.weight:
            return context.stay(weight=lower, settled_at=None, wait_seconds=REQUEUE_SECONDS)
        return in_force(context) or context.stay(wait_seconds=REQUEUE_SECONDS)
    if state.weight > 0:
        lower = reachable_weight(state, context.inputs, 0)
        return context.stay(weight=lower, settled_at=None, wait_seconds=REQUEUE_SECONDS)
    if context.canary.asked > 0:
        return context.stay(wait_seconds=REQUEUE_SECONDS)
    return _end(context)


def _end(context: RolloutContext) -> StepResult:
    state = context.state
    back = f"{context.name(state.stable)} has all traffic with {context.stable.ready} ready pods"
    message = f"{back}; {context.name(state.canary)} was taken back: {state.message}"
    reason = RolloutReason(state.reason)
    if not state.rejecting:
        return context.go(Phase.STABLE, reason, message, **cleared_attempt(context))
    ended: dict[str, Any] = {
        **cleared_attempt(context),
        "rejected": with_rejection(state, state.canary, context.now),
    }
    if state.override == state.canary:
        ended |= {"override": "", "override_of": ""}
    return context.go(Phase.ROLLED_BACK, reason, message, **ended)


def with_rejection(state: State, revision: str, now: datetime) -> tuple[Rejection, ...]:
    """Return the rejections with one more, for the reason that the state gives."""
    others = tuple(each for each in state.rejected if each.revision != revision)
    return (*others, Rejection(revision, state.reason, state.message, now))[-REJECTED_MAX:]


def cleared_attempt(context: RolloutContext) -> dict[str, Any]:
    """Return what every state says in which no rollout is under way; mode and results stay to be read."""
    return {
        "canary": "",
        "previous": "",
        "retained_until": None,
        "plan": {},
        "surge": 0,
        "replicas": context.inputs.replicas,
        "canary_replicas": 0,
        "step": 0,
        "weight": 0,
        "opening": False,
        "applied_weight": 0,
        "settled_at": None,
        "measured_share": None,
        "verified": False,
        "analysis": {},
        "metrics_lost_since": None,
        "resume": None,
        "reverts": (),
        "rejecting": False,
    }
