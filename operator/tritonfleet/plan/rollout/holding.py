"""Where nothing goes on by itself: held for a person or a cause, or because stable is gone."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tritonfleet.plan.rollout.analysis import Outcome
from tritonfleet.plan.rollout.capacity import room, uncounted
from tritonfleet.plan.rollout.looking import Look, begun, failed, look_at
from tritonfleet.plan.rollout.moment import LOOK_AGAIN_SECONDS, Advance, Moment
from tritonfleet.plan.rollout.on_steps import is_shared_incident
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.safety import is_stable_lost
from tritonfleet.plan.rollout.split_force import in_force
from tritonfleet.plan.rollout.weights import EVERYTHING, floor_of, floor_wanted, pods_needed, towards


def held(moment: Moment) -> Advance:
    """Look at the canary for its safety, and go on when the cause of the hold is over."""
    look = look_at(moment)
    rolled_back = failed(moment, look)
    if rolled_back is not None:
        return rolled_back
    changes = look.changes if look is not None else {}
    is_over = ENDS_WHEN.get(moment.state.reason)
    if is_over is not None and is_over(moment, look):
        return resume(moment, RolloutReason.RESUMED, f"no longer: {moment.state.message}", **changes)
    return moment.stay(wait_seconds=LOOK_AGAIN_SECONDS, **changes)


def resume(moment: Moment, reason: RolloutReason, message: str, **changes: Any) -> Advance:
    """Return the transition to where the rollout was held; a comparison begins anew."""
    target = moment.state.resume or Phase.PROVISIONING
    cleared = {**changes, "resume": None, "reverts": (), "blind_since": None}
    if target in (Phase.PROVISIONING, Phase.HELD):
        return moment.provision(reason, message, **cleared)
    if target is Phase.ANALYZING:
        cleared["analysis"] = begun(moment)
    return moment.go(target, reason, message, **cleared)


def stable_lost(moment: Moment) -> Advance:
    """Wait for stable; if nothing of it is left and the canary can, the canary takes everything meanwhile."""
    state = moment.state
    back = pods_needed(EVERYTHING - moment.goal, floor_wanted(state, moment.facts))
    if moment.stable.ready >= max(1, back) and not is_stable_lost(moment):
        message = f"{moment.name(state.stable)} has {moment.stable.ready} ready pods again"
        # What the canary was given last may be in force already: it keeps the pods for it.
        given = {"applied_weight": max(state.weight, state.applied_weight), "settled_at": None}
        if state.resume is Phase.HELD:
            text = f"{message}; the rollout was held before, and a person resumes it"
            return moment.go(Phase.HELD, RolloutReason.STABLE_BACK, text, resume=Phase.PROVISIONING, **given)
        return moment.provision(RolloutReason.STABLE_BACK, message, resume=None, **given)
    needed = pods_needed(EVERYTHING, max(1, floor_of(state)))
    if state.weight < EVERYTHING and moment.stable.ready == 0 and moment.canary.ready >= needed:
        message = f"{state.message}; {moment.name(state.canary)} takes all traffic until it is back"
        everything = {"weight": EVERYTHING, "opening": False, "settled_at": None}
        return moment.stay(**everything, message=message, wait_seconds=LOOK_AGAIN_SECONDS)
    if state.weight != state.applied_weight:
        return in_force(moment) or moment.stay(wait_seconds=LOOK_AGAIN_SECONDS)
    return moment.stay(wait_seconds=LOOK_AGAIN_SECONDS)


def _metrics_are_back(_moment: Moment, look: Look | None) -> bool:
    return look is not None and look.verdict.outcome is not Outcome.ERROR


def _incident_is_over(moment: Moment, look: Look | None) -> bool:
    return _metrics_are_back(moment, look) and look is not None and not is_shared_incident(look)


def _route_is_taken(moment: Moment, _look: Look | None) -> bool:
    return not moment.facts.split.problem and moment.facts.split.settled


def _has_room(moment: Moment, _look: Look | None) -> bool:
    if moment.state.mode:
        return not moment.canary.lacks_room
    return not uncounted(moment.facts) and room(moment) is not None


def _pods_are_gone(moment: Moment, _look: Look | None) -> bool:
    return moment.stable.existing <= moment.stable.asked


def _can_move(moment: Moment, _look: Look | None) -> bool:
    return towards(moment.state, moment.facts, moment.goal) != moment.state.applied_weight


def _is_unpaused(moment: Moment, _look: Look | None) -> bool:
    return not moment.facts.policy.paused


def _is_unsuspended(moment: Moment, _look: Look | None) -> bool:
    return not moment.facts.suspended


ENDS_WHEN: Final[Mapping[str, Callable[[Moment, Look | None], bool]]] = {
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
