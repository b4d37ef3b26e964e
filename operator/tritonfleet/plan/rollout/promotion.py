"""The point of no return: the canary carries everything, and becomes stable."""

from datetime import timedelta
from typing import Any

from tritonfleet.api.canary import CapacityMode
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.plan.rollout.back import at_rest, rejecting
from tritonfleet.plan.rollout.moment import LOOK_AGAIN_SECONDS, Advance, Moment
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.split_force import in_force


def promoting(moment: Moment) -> Advance:
    """Wait until the canary has as many ready pods as are wanted now and all traffic is seen to be at it.

    It does not wait for pods that find no place: what they need may be held by a pod that stands by. Nor for any while
    all are suspended.
    """
    state = moment.state
    if moment.facts.suspended:
        return _promoted(moment)
    if state.applied_weight != state.weight:
        return in_force(moment) or moment.stay(wait_seconds=LOOK_AGAIN_SECONDS)
    needed = max(1, min(state.replicas, moment.facts.replicas))
    if moment.canary.ready < needed and not (moment.canary.ready > 0 and moment.canary.lacks_room):
        return moment.stay(wait_seconds=LOOK_AGAIN_SECONDS)
    return _promoted(moment)


def _promoted(moment: Moment) -> Advance:
    state = moment.state
    serves = f"{moment.name(state.canary)} serves with {moment.canary.ready} ready pods"
    promoted: dict[str, Any] = {**at_rest(moment), "stable": state.canary}
    if state.rejecting:
        promoted["rejected"] = rejecting(state, state.stable, moment.now)
        if state.override == state.stable:
            promoted |= {"override": "", "override_of": ""}
        message = f"{serves} again; {moment.name(state.stable)} was taken back: {state.message}"
        return moment.go(Phase.ROLLED_BACK, RolloutReason(state.reason), message, **promoted)
    retention = moment.facts.policy.stable_retention
    if state.mode != CapacityMode.SURGE or duration_seconds(retention) == 0 or not moment.stable.asked:
        return moment.go(Phase.STABLE, RolloutReason.PROMOTED, serves, **promoted)
    until = moment.now + timedelta(seconds=duration_seconds(retention))
    promoted |= {"previous": state.stable, "retained_until": until, "surge": state.surge}
    standing_by = min(moment.stable.asked, state.surge)
    message = f"{serves}; {standing_by} pods of {moment.name(state.stable)} stand by for {retention}"
    return moment.go(Phase.STABLE, RolloutReason.PROMOTED, message, **promoted)
