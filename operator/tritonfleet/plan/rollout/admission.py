"""Where a rollout gets its room from: the capacity mode is chosen once, and waited for if need be."""

from datetime import timedelta
from typing import Final

from tritonfleet.api.canary import CapacityMode, OnTimeout
from tritonfleet.plan.rollout.back import roll_back
from tritonfleet.plan.rollout.capacity import Room, room, shortage, uncounted
from tritonfleet.plan.rollout.moment import LOOK_AGAIN_SECONDS, Advance, Moment
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.provisioning import trouble
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.steps import steps_of, uncompared

COUNTING: Final = timedelta(seconds=30)
"""How long to wait for somebody to count free GPUs before a rollout begins without."""


def admitting(moment: Moment) -> Advance:
    """Choose the capacity mode once nothing is left of what was before."""
    left = moment.seconds_left(moment.state.entered_at, moment.plan.capacity.wait_timeout)
    ending = _ending(moment)
    # A Service that leads to all pods would lead to these again.
    serving = any(moment.facts.tracks[each].ready for each in ending if each != moment.state.stable)
    if ending and (left > 0 or serving):
        message = f"waiting until pods of {', '.join(moment.name(each) for each in ending)} are gone"
        return moment.say(RolloutReason.PODS_ENDING, message, wait_seconds=LOOK_AGAIN_SECONDS)
    if uncounted(moment.facts) and moment.now - moment.state.entered_at < COUNTING:
        message = f"a pod needs {moment.facts.gpus_per_pod} GPUs: counting the free ones"
        return moment.say(RolloutReason.COUNTING_GPUS, message, wait_seconds=LOOK_AGAIN_SECONDS)
    found = room(moment)
    if found is None:
        return moment.go(Phase.WAITING_FOR_CAPACITY, RolloutReason.NO_CAPACITY, shortage(moment))
    return _admitted(moment, found, RolloutReason.ADMITTED)


def waiting(moment: Moment) -> Advance:
    """Wait for room: before the mode is chosen by the count of free GPUs, after that by what the scheduler says."""
    state = moment.state
    if not state.mode:
        found = room(moment)
        if found is not None:
            return _admitted(moment, found, RolloutReason.CAPACITY_FOUND)
    elif not moment.canary.lacks_room:
        message = f"the pods of {moment.name(state.canary)} have a node"
        return trouble(moment) or moment.provision(RolloutReason.CAPACITY_FOUND, message)
    left = moment.seconds_left(state.entered_at, moment.plan.capacity.wait_timeout)
    return moment.stay(wait_seconds=min(left, LOOK_AGAIN_SECONDS)) if left > 0 else _timed_out(moment)


def _timed_out(moment: Moment) -> Advance:
    state, capacity = moment.state, moment.plan.capacity
    message = f"no room within {capacity.wait_timeout}: {state.message}"
    if capacity.on_timeout is OnTimeout.FAIL:
        return roll_back(moment, RolloutReason.NO_CAPACITY, message, rejecting=True)
    if capacity.on_timeout is OnTimeout.IN_PLACE and state.mode in ("", CapacityMode.SURGE) and state.replicas > 1:
        fallen = {"mode": CapacityMode.IN_PLACE.value, "surge": 0}
        return moment.provision(RolloutReason.FELL_BACK_IN_PLACE, f"{message}; stable's pods make room", **fallen)
    return moment.hold(RolloutReason.NO_CAPACITY, message)


def _ending(moment: Moment) -> list[str]:
    """Return the revisions with pods that are on their way out: what they hold is not free yet."""
    current = (moment.state.stable, moment.state.canary)
    return [
        revision
        for revision, track in sorted(moment.facts.tracks.items())
        if track.existing > (track.asked if revision in current else 0)
    ]


def _admitted(moment: Moment, found: Room, reason: RolloutReason) -> Advance:
    state = moment.state
    message = f"attempt {state.attempt}, {len(steps_of(state))} steps, {found.mode}: {found.message}"
    plan = uncompared(state.plan) if found.mode is CapacityMode.RECREATE else state.plan
    return moment.provision(reason, message, mode=found.mode.value, surge=found.surge, plan=plan)
