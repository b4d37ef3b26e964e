"""Which weight the ready pods of both revisions can carry: asked before every change of the traffic."""

from tritonfleet.api.canary import CapacityMode
from tritonfleet.plan.rollout.facts import Facts, Track
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.state import State

EVERYTHING = 100


def pods_needed(weight: int, pods: int) -> int:
    """Return how many of the `pods` that carry everything are needed for `weight` percent of the traffic.

    A weight is a whole percent and stands for the share of pods nearest to it: one pod in three is 33 %, and the other
    two are enough for 67 %.
    """
    if weight <= 0:
        return 0
    if weight >= EVERYTHING:
        return pods
    slack = min(pods, EVERYTHING)
    return -(-(2 * weight * pods - slack) // (2 * EVERYTHING))


def floor_of(state: State) -> int:
    """Return how many ready pods a rollout always keeps, of both revisions together."""
    if state.mode == CapacityMode.RECREATE:
        return 0
    return state.replicas if state.surge > 0 else state.replicas - 1


def floor_back(state: State, facts: Facts) -> int:
    """Return how many ready pods are kept while a canary is taken back.

    One less than there are where stable's pods find no place: it may be the canary that holds it.
    """
    floor, stable = floor_of(state), track_of(facts, state.stable)
    if not stable.lacks_room:
        return floor
    return max(0, min(floor, stable.placed + track_of(facts, state.canary).ready - 1))


def floor_wanted(state: State, facts: Facts) -> int:
    """Return how many ready pods carry what is asked for now: a rollout keeps pods that the scaler has given up."""
    return max(1, min(floor_of(state), facts.replicas))


def track_of(facts: Facts, revision: str) -> Track:
    """Return one revision's pods; none if there is no such revision."""
    return facts.tracks.get(revision) or Track()


def carries(state: State, facts: Facts, weight: int) -> bool:
    """Tell whether the ready pods of both revisions carry `weight` percent for the canary and the rest for stable."""
    pods = max(1, floor_of(state))
    canary, stable = track_of(facts, state.canary), track_of(facts, state.stable)
    return canary.ready >= pods_needed(weight, pods) and stable.ready >= pods_needed(EVERYTHING - weight, pods)


def towards(state: State, facts: Facts, goal: int) -> int:
    """Return the weight nearest to `goal` that both sides carry now; the one in force if nothing nearer is."""
    if goal < state.applied_weight:
        return _down(state, facts, goal)
    if goal == EVERYTHING and track_of(facts, state.stable).ready == 0 < track_of(facts, state.canary).ready:
        # Nobody is left to share with: few pods for all requests are better than none for some.
        return EVERYTHING
    nearer = range(goal, state.applied_weight, -1)
    return next((weight for weight in nearer if carries(state, facts, weight)), state.applied_weight)


def _down(state: State, facts: Facts, goal: int) -> int:
    """Return how far the weight can fall: only stable's pods count, and requests never stay for pods that are gone."""
    pods = max(1, floor_back(state, facts) if state.phase is Phase.ROLLING_BACK else floor_of(state))
    canary, stable = track_of(facts, state.canary), track_of(facts, state.stable)
    nearer = range(goal, state.applied_weight)
    weight = next(
        (weight for weight in nearer if stable.ready >= pods_needed(EVERYTHING - weight, pods)), state.applied_weight
    )
    if stable.ready > 0 and canary.ready < pods_needed(weight, pods):
        return max(goal, min(weight, EVERYTHING * canary.ready // (canary.ready + stable.ready)))
    return weight
