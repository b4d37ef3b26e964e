"""The arithmetic of a rollout: how many pods each revision gets, and which weight the ready ones can carry.

Three questions, asked by the planner and by the handlers of the phases:

- Which steps does the plan have, and how many pods does a step give the canary? (`steps_of`, `canary_pods`)
- Which weight can the ready pods of both revisions carry now? (`pods_for_weight`, `can_serve`, `reachable_weight`)
- How many pods is each revision to have now? (`revision_sizes`)

At most `replicas + surge` pods exist, those that are ending included, and at least `min_ready` stay ready. What one
revision frees is given to the other only when it is really gone.

Example: `InPlace`, 4 replicas, no surge, one step of 50% by a gateway. `canary_pods` gives the canary 2 pods, and
`min_ready` is 3. So 3 pods carry all traffic, and by `pods_for_weight` 1 ready pod is enough for 33% and 2 for 50%.

1. Stable goes from 4 pods to 3. The canary gets none yet: 4 pods exist until stable's is really gone.
2. It is gone, so the canary gets 1 pod. Once that is ready, 33% is reachable: 1 pod for 33%, 2 of stable's for 67%.
3. 33% is in force. Stable needs 2 pods for its share, and 2 + 1 are still 3 ready ones, so stable goes to 2.
4. That one is gone too, and the canary gets its second pod. With 2 and 2 ready, 50% is reachable.
"""

from collections.abc import Mapping
from typing import Any

from tritonfleet.api.canary import Canary, CapacityMode, ContractPolicy, Step, VerificationPolicy
from tritonfleet.api.rollout import Rollout, Strategy
from tritonfleet.plan.rollout.inputs import RevisionPods, RolloutInputs
from tritonfleet.plan.rollout.state import Phase, State

FULL_WEIGHT = 100


def pods_for_weight(weight: int, pods: int) -> int:
    """Return how many of the `pods` that carry everything are needed for `weight` percent of the traffic.

    A weight is a whole percent and stands for the share of pods nearest to it: one pod in three is 33 %, and the other
    two are enough for 67 %.
    """
    if weight <= 0:
        return 0
    if weight >= FULL_WEIGHT:
        return pods
    slack = min(pods, FULL_WEIGHT)
    return -(-(2 * weight * pods - slack) // (2 * FULL_WEIGHT))


def min_ready(state: State) -> int:
    """Return how many ready pods a rollout always keeps, of both revisions together."""
    if state.mode == CapacityMode.RECREATE:
        return 0
    return state.replicas if state.surge > 0 else state.replicas - 1


def min_ready_on_rollback(state: State, inputs: RolloutInputs) -> int:
    """Return how many ready pods are kept while a canary is taken back.

    One less than there are where stable's pods find no place: it may be the canary that holds it.
    """
    floor, stable = min_ready(state), revision_pods(inputs, state.stable)
    if not stable.lacks_room:
        return floor
    return max(0, min(floor, stable.placed + revision_pods(inputs, state.canary).ready - 1))


def min_ready_wanted(state: State, inputs: RolloutInputs) -> int:
    """Return how many ready pods carry what is asked for now: a rollout keeps pods that the scaler has given up."""
    return max(1, min(min_ready(state), inputs.replicas))


def revision_pods(inputs: RolloutInputs, revision: str) -> RevisionPods:
    """Return one revision's pods; none if there is no such revision."""
    return inputs.revisions.get(revision) or RevisionPods()


def can_serve(state: State, inputs: RolloutInputs, weight: int) -> bool:
    """Tell whether the ready pods of both revisions carry `weight` percent for the canary and the rest for stable."""
    pods = max(1, min_ready(state))
    canary, stable = revision_pods(inputs, state.canary), revision_pods(inputs, state.stable)
    return canary.ready >= pods_for_weight(weight, pods) and stable.ready >= pods_for_weight(FULL_WEIGHT - weight, pods)


def reachable_weight(state: State, inputs: RolloutInputs, goal: int) -> int:
    """Return the weight nearest to `goal` that both sides carry now; the one in force if nothing nearer is."""
    if goal < state.applied_weight:
        return _down(state, inputs, goal)
    if (
        goal == FULL_WEIGHT
        and revision_pods(inputs, state.stable).ready == 0 < revision_pods(inputs, state.canary).ready
    ):
        # Nobody is left to share with: few pods for all requests are better than none for some.
        return FULL_WEIGHT
    nearer = range(goal, state.applied_weight, -1)
    return next((weight for weight in nearer if can_serve(state, inputs, weight)), state.applied_weight)


def _down(state: State, inputs: RolloutInputs, goal: int) -> int:
    """Return how far the weight can fall: only stable's pods count, and requests never stay for pods that are gone."""
    pods = max(1, min_ready_on_rollback(state, inputs) if state.phase is Phase.ROLLING_BACK else min_ready(state))
    canary, stable = revision_pods(inputs, state.canary), revision_pods(inputs, state.stable)
    nearer = range(goal, state.applied_weight)
    weight = next(
        (weight for weight in nearer if stable.ready >= pods_for_weight(FULL_WEIGHT - weight, pods)),
        state.applied_weight,
    )
    if stable.ready > 0 and canary.ready < pods_for_weight(weight, pods):
        return max(goal, min(weight, FULL_WEIGHT * canary.ready // (canary.ready + stable.ready)))
    return weight


NO_BAKE = "0s"


def snapshot_plan(policy: Rollout) -> dict[str, Any]:
    """Return the plan of a rollout that begins now, as the state keeps it; later edits of the spec do not reach it."""
    canary = policy.canary
    if canary is None and policy.strategy is Strategy.CANARY:
        canary = Canary()
    if canary is None:
        return without_steps(_dumped(Canary(verification=VerificationPolicy(contract=ContractPolicy.OFF))))
    return _dumped(canary)


def without_steps(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan without steps and bake time: to everything as soon as the canary is verified."""
    canary = plan_of(plan)
    analysis = canary.analysis.model_copy(update={"bake_time": NO_BAKE})
    return _dumped(canary.model_copy(update={"steps": (), "analysis": analysis}))


def without_contract_check(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan without a look at the contract: no pod of stable is there to compare it with."""
    canary = plan_of(plan)
    verification = canary.verification.model_copy(update={"contract": ContractPolicy.OFF})
    return _dumped(canary.model_copy(update={"verification": verification}))


def plan_of(plan: Mapping[str, Any]) -> Canary:
    """Return what a state keeps as its plan."""
    return Canary.model_validate(plan)


def steps_of(state: State) -> tuple[Step, ...]:
    """Return all steps; the last one is always 100 %. With Recreate there is no other: nothing is left to compare."""
    steps = plan_of(state.plan).steps if state.mode != CapacityMode.RECREATE else ()
    if steps and steps[-1].weight == FULL_WEIGHT:
        return steps
    return (*steps, Step(weight=FULL_WEIGHT))


def step_of(state: State) -> Step:
    """Return the step that the rollout is at."""
    steps = steps_of(state)
    return steps[min(state.step, len(steps) - 1)]


def is_last(state: State) -> bool:
    """Tell whether no other step follows."""
    return state.step >= len(steps_of(state)) - 1


def canary_pods(weight: int, replicas: int, surge: int, *, by_gateway: bool) -> int:
    """Return the pods that a weight gives the canary, of `replicas` that carry everything and `surge` beyond.

    Without a gateway the ratio of pods is the share of the traffic: beside all of stable's pods where there is room.
    """
    if weight >= FULL_WEIGHT:
        return replicas
    share = -(-weight * replicas // FULL_WEIGHT)
    beside = -(-weight * replicas // (FULL_WEIGHT - weight))
    if not by_gateway and beside <= surge:
        return beside
    return max(1, min(share, replicas + surge - 1))


def _dumped(canary: Canary) -> dict[str, Any]:
    return canary.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def revision_sizes(state: State, inputs: RolloutInputs) -> Mapping[str, int]:
    """Return the pods of every revision that is of use, by hash."""
    if inputs.suspended:
        return {revision: 0 for revision in (state.stable, state.canary, state.previous) if revision}
    if state.phase is Phase.INITIALIZING:
        return {state.canary: inputs.replicas} if state.canary else {}
    if state.phase in (Phase.STABLE, Phase.ROLLED_BACK):
        return _at_rest(state, inputs)
    if state.phase is Phase.ADMITTING:
        return {state.stable: state.replicas, state.canary: 0}
    if state.phase is Phase.ROLLING_BACK:
        return _scale_back_to_stable(state, inputs)
    return _scale_up_canary(state, inputs)


def _at_rest(state: State, inputs: RolloutInputs) -> Mapping[str, int]:
    if not state.previous:
        return {state.stable: inputs.replicas}
    standing_by = min(inputs.replicas, state.surge, revision_pods(inputs, state.previous).asked)
    return {state.stable: inputs.replicas, state.previous: standing_by}


def _scale_up_canary(state: State, inputs: RolloutInputs) -> Mapping[str, int]:
    """Grow the canary to what the step gives it, and shrink stable as far as it is not needed."""
    canary, stable = revision_pods(inputs, state.canary), revision_pods(inputs, state.stable)
    most, floor, goal = state.replicas + state.surge, min_ready(state), state.canary_replicas
    # While stable is lost the canary may have been given more of the traffic than its step gives it.
    carrying = pods_for_weight(max(state.weight, state.applied_weight), floor)
    goal = max(goal, carrying if state.phase is Phase.STABLE_LOST else min(carrying, canary.asked))
    wanted = max(
        min(state.replicas, most - goal),
        pods_for_weight(FULL_WEIGHT - state.applied_weight, floor),
        floor - canary.ready,
    )
    stable_size = min(wanted, max(stable.asked, most - max(canary.existing, canary.asked) - _ending(stable)))
    room = most - max(stable.existing, stable.asked, stable_size) - _ending(canary)
    canary_size = min(goal, max(0, room, min(canary.asked, most - stable_size)))
    return {state.stable: stable_size, state.canary: canary_size}


def _scale_back_to_stable(state: State, inputs: RolloutInputs) -> Mapping[str, int]:
    """Grow stable to its full size, and shrink the canary as far as it is not needed; to nothing without traffic."""
    canary, stable = revision_pods(inputs, state.canary), revision_pods(inputs, state.stable)
    most, floor = state.replicas + state.surge, min_ready_on_rollback(state, inputs)
    kept = 0
    if state.weight or state.applied_weight:
        needed = max(pods_for_weight(state.applied_weight, floor), floor - stable.ready)
        if canary.unsteady or canary.finding is not None:
            # Pods that serve nobody keep no place that stable needs; those that are not ready go first.
            needed = min(needed, canary.ready)
        kept = min(canary.asked, needed if stable.lacks_room else max(state.surge, needed))
    room = most - max(canary.existing, canary.asked, kept) - _ending(stable)
    return {state.stable: max(0, min(state.replicas, max(stable.asked, room))), state.canary: kept}


def _ending(track: RevisionPods) -> int:
    """Return the pods that are on their way out and still hold what they were given."""
    return max(0, track.existing - track.asked)
