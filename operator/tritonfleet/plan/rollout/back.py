"""Taking a canary back, and ending that."""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from tritonfleet.plan.rollout.capacity import pods_take
from tritonfleet.plan.rollout.moment import LOOK_AGAIN_SECONDS, Advance, Moment
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.split_force import in_force
from tritonfleet.plan.rollout.state import Rejection, State
from tritonfleet.plan.rollout.weights import towards

REJECTED_MAX: Final = 5


def roll_back(moment: Moment, reason: RolloutReason, message: str, *, rejecting: bool, **changes: Any) -> Advance:
    """Return the transition to RollingBack: as much traffic as stable can take leaves the canary at once."""
    # What was asked for last may be in force already, so the canary keeps the pods for the larger of the two.
    applied = max(moment.state.applied_weight, moment.state.weight)
    state = replace(moment.state, phase=Phase.ROLLING_BACK, applied_weight=applied)
    return moment.go(
        Phase.ROLLING_BACK,
        reason,
        f"{message}{_missing(moment)}",
        **{
            "weight": towards(state, moment.facts, 0),
            "applied_weight": applied,
            "settled_at": None,
            "resume": None,
            "rejecting": rejecting,
            **changes,
        },
    )


def _missing(moment: Moment) -> str:
    """Say how long users wait for stable's pods, where some made room for the canary."""
    state = moment.state
    missing = state.replicas - moment.stable.ready
    if missing < 1 or max(state.weight, state.applied_weight) == 0:
        return ""
    turns = 1 if state.surge >= missing else missing
    return f"; {missing} pods of {moment.name(state.stable)} are to come back{pods_take(moment, turns)}"


def rolling_back(moment: Moment) -> Advance:
    """Take the weight down as far as stable's ready pods carry it, until it is 0 and the canary's pods are let go."""
    state = moment.state
    if state.weight != state.applied_weight:
        lower = towards(state, moment.facts, 0)
        if lower < state.weight:
            return moment.stay(weight=lower, settled_at=None, wait_seconds=LOOK_AGAIN_SECONDS)
        return in_force(moment) or moment.stay(wait_seconds=LOOK_AGAIN_SECONDS)
    if state.weight > 0:
        lower = towards(state, moment.facts, 0)
        return moment.stay(weight=lower, settled_at=None, wait_seconds=LOOK_AGAIN_SECONDS)
    if moment.canary.asked > 0:
        return moment.stay(wait_seconds=LOOK_AGAIN_SECONDS)
    return _end(moment)


def _end(moment: Moment) -> Advance:
    state = moment.state
    back = f"{moment.name(state.stable)} has all traffic with {moment.stable.ready} ready pods"
    message = f"{back}; {moment.name(state.canary)} was taken back: {state.message}"
    reason = RolloutReason(state.reason)
    if not state.rejecting:
        return moment.go(Phase.STABLE, reason, message, **at_rest(moment))
    ended: dict[str, Any] = {
        **at_rest(moment),
        "rejected": rejecting(state, state.canary, moment.now),
    }
    if state.override == state.canary:
        ended |= {"override": "", "override_of": ""}
    return moment.go(Phase.ROLLED_BACK, reason, message, **ended)


def rejecting(state: State, revision: str, now: datetime) -> tuple[Rejection, ...]:
    """Return the rejections with one more, for the reason that the state gives."""
    others = tuple(each for each in state.rejected if each.revision != revision)
    return (*others, Rejection(revision, state.reason, state.message, now))[-REJECTED_MAX:]


def at_rest(moment: Moment) -> dict[str, Any]:
    """Return what every state says in which no rollout is under way; mode and results stay to be read."""
    return {
        "canary": "",
        "previous": "",
        "retained_until": None,
        "plan": {},
        "surge": 0,
        "replicas": moment.facts.replicas,
        "canary_replicas": 0,
        "step": 0,
        "weight": 0,
        "opening": False,
        "applied_weight": 0,
        "settled_at": None,
        "measured_share": None,
        "verified": False,
        "analysis": {},
        "blind_since": None,
        "resume": None,
        "reverts": (),
        "rejecting": False,
    }
