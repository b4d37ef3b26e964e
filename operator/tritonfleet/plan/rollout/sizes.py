"""How many pods each revision is to have: one rule for every capacity mode, moving a pod at a time where it must.

No more than `replicas + surge` pods exist, ending ones included, and of the ready ones no more are taken away than
leaves the floor. What is freed by one revision is given to the other only when it is really gone.
"""

from collections.abc import Mapping

from tritonfleet.plan.rollout.facts import Facts, Track
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.state import State
from tritonfleet.plan.rollout.weights import EVERYTHING, floor_back, floor_of, pods_needed, track_of


def sizes(state: State, facts: Facts) -> Mapping[str, int]:
    """Return the pods of every revision that is of use, by hash."""
    if facts.suspended:
        return {revision: 0 for revision in (state.stable, state.canary, state.previous) if revision}
    if state.phase is Phase.INITIALIZING:
        return {state.canary: facts.replicas} if state.canary else {}
    if state.phase in (Phase.STABLE, Phase.ROLLED_BACK):
        return _at_rest(state, facts)
    if state.phase is Phase.ADMITTING:
        return {state.stable: state.replicas, state.canary: 0}
    if state.phase is Phase.ROLLING_BACK:
        return _back(state, facts)
    return _forth(state, facts)


def _at_rest(state: State, facts: Facts) -> Mapping[str, int]:
    if not state.previous:
        return {state.stable: facts.replicas}
    standing_by = min(facts.replicas, state.surge, track_of(facts, state.previous).asked)
    return {state.stable: facts.replicas, state.previous: standing_by}


def _forth(state: State, facts: Facts) -> Mapping[str, int]:
    """Grow the canary to what the step gives it, and shrink stable as far as it is not needed."""
    canary, stable = track_of(facts, state.canary), track_of(facts, state.stable)
    most, floor, goal = state.replicas + state.surge, floor_of(state), state.canary_replicas
    # While stable is lost the canary may have been given more of the traffic than its step gives it.
    carrying = pods_needed(max(state.weight, state.applied_weight), floor)
    goal = max(goal, carrying if state.phase is Phase.STABLE_LOST else min(carrying, canary.asked))
    wanted = max(
        min(state.replicas, most - goal),
        pods_needed(EVERYTHING - state.applied_weight, floor),
        floor - canary.ready,
    )
    stable_size = min(wanted, max(stable.asked, most - max(canary.existing, canary.asked) - _ending(stable)))
    room = most - max(stable.existing, stable.asked, stable_size) - _ending(canary)
    canary_size = min(goal, max(0, room, min(canary.asked, most - stable_size)))
    return {state.stable: stable_size, state.canary: canary_size}


def _back(state: State, facts: Facts) -> Mapping[str, int]:
    """Grow stable to its full size, and shrink the canary as far as it is not needed; to nothing without traffic."""
    canary, stable = track_of(facts, state.canary), track_of(facts, state.stable)
    most, floor = state.replicas + state.surge, floor_back(state, facts)
    kept = 0
    if state.weight or state.applied_weight:
        needed = max(pods_needed(state.applied_weight, floor), floor - stable.ready)
        if canary.unsteady or canary.finding is not None:
            # Pods that serve nobody keep no place that stable needs; those that are not ready go first.
            needed = min(needed, canary.ready)
        kept = min(canary.asked, needed if stable.lacks_room else max(state.surge, needed))
    room = most - max(canary.existing, canary.asked, kept) - _ending(stable)
    return {state.stable: max(0, min(state.replicas, max(stable.asked, room))), state.canary: kept}


def _ending(track: Track) -> int:
    """Return the pods that are on their way out and still hold what they were given."""
    return max(0, track.existing - track.asked)
