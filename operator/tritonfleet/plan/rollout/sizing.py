"""The arithmetic of a rollout: how many pods each revision gets, and which weight the ready ones can carry.

Three questions, asked by the planner and by the handlers of the phases:

- Which steps does the plan have, and how many pods does a step give the canary? (`Attempt.steps`, `canary_pods`)
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
from typing import Final

from tritonfleet.api.canary import Canary, CapacityMode, ContractPolicy, VerificationPolicy
from tritonfleet.api.rollout import Rollout, Strategy
from tritonfleet.plan.pods import RevisionPods
from tritonfleet.plan.rollout.context import RolloutContext
from tritonfleet.plan.rollout.state import FULL_WEIGHT, Attempt, Phase, State

NO_BAKE: Final = "0s"


def snapshot_plan(policy: Rollout) -> Canary:
    """Return the plan of a rollout that begins now; later edits of the spec do not reach it."""
    if policy.canary is not None:
        return policy.canary
    if policy.strategy is Strategy.CANARY:
        return Canary()
    return without_steps(Canary(verification=VerificationPolicy(contract=ContractPolicy.OFF)))


def without_steps(plan: Canary) -> Canary:
    """Return the plan without steps and bake time: to everything as soon as the canary is verified."""
    return plan.model_copy(update={"steps": (), "analysis": plan.analysis.model_copy(update={"bake_time": NO_BAKE})})


def without_contract_check(plan: Canary) -> Canary:
    """Return the plan without a look at the contract: no pod of stable is there to compare it with."""
    return plan.model_copy(
        update={"verification": plan.verification.model_copy(update={"contract": ContractPolicy.OFF})}
    )


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


def pods_for_step(attempt: Attempt, replicas: int, *, by_gateway: bool) -> int:
    """Return the pods that the attempt's step gives the canary."""
    return canary_pods(attempt.current_step.weight, replicas, attempt.surge, by_gateway=by_gateway)


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
    attempt = state.attempt or Attempt()
    if attempt.mode is CapacityMode.RECREATE:
        return 0
    return state.replicas if attempt.surge > 0 else state.replicas - 1


def min_ready_on_rollback(context: RolloutContext) -> int:
    """Return how many ready pods are kept while a canary is taken back.

    One less than there are where stable's pods find no place: it may be the canary that holds it.
    """
    floor = min_ready(context.state)
    if not context.stable.lacks_room:
        return floor
    return max(0, min(floor, context.stable.placed + context.canary.ready - 1))


def min_ready_wanted(context: RolloutContext) -> int:
    """Return how many ready pods carry what is asked for now: a rollout keeps pods that the scaler has given up."""
    return max(1, min(min_ready(context.state), context.inputs.replicas))


def stable_needed(context: RolloutContext) -> int:
    """Return how many ready pods stable needs for the traffic that it gets."""
    return pods_for_weight(FULL_WEIGHT - context.attempt.applied_weight, min_ready_wanted(context))


def is_stable_lost(context: RolloutContext) -> bool:
    """Tell whether stable cannot carry the traffic that it gets, and not only for a moment.

    On the way to 100 % that is no news: the canary is about to take it all.
    """
    stable = context.stable
    if context.goal == FULL_WEIGHT:
        return False
    if not 0 < context.attempt.applied_weight < FULL_WEIGHT or stable.ready >= stable_needed(context):
        return False
    return stable.ready == 0 or bool(stable.unsteady) or stable.finding is not None


def can_serve(context: RolloutContext, weight: int) -> bool:
    """Tell whether the ready pods of both revisions carry `weight` percent for the canary and the rest for stable."""
    pods = max(1, min_ready(context.state))
    return context.canary.ready >= pods_for_weight(weight, pods) and context.stable.ready >= pods_for_weight(
        FULL_WEIGHT - weight, pods
    )


def reachable_weight(context: RolloutContext, goal: int) -> int:
    """Return the weight nearest to `goal` that both sides carry now; the one in force if nothing nearer is."""
    applied = context.attempt.applied_weight
    if goal < applied:
        return _down(context, goal)
    if goal == FULL_WEIGHT and context.stable.ready == 0 < context.canary.ready:
        # Nobody is left to share with: few pods for all requests are better than none for some.
        return FULL_WEIGHT
    return next((weight for weight in range(goal, applied, -1) if can_serve(context, weight)), applied)


def _down(context: RolloutContext, goal: int) -> int:
    """Return how far the weight can fall: only stable's pods count, and requests never stay for pods that are gone."""
    canary, stable, applied = context.canary, context.stable, context.attempt.applied_weight
    is_rollback = context.state.phase is Phase.ROLLING_BACK
    pods = max(1, min_ready_on_rollback(context) if is_rollback else min_ready(context.state))
    nearer = range(goal, applied)
    weight = next((each for each in nearer if stable.ready >= pods_for_weight(FULL_WEIGHT - each, pods)), applied)
    if stable.ready > 0 and canary.ready < pods_for_weight(weight, pods):
        return max(goal, min(weight, FULL_WEIGHT * canary.ready // (canary.ready + stable.ready)))
    return weight


def revision_sizes(context: RolloutContext) -> Mapping[str, int]:
    """Return the pods of every revision that is of use, by hash."""
    state, canary, wanted = context.state, context.attempt.canary, context.inputs.replicas
    previous = state.standby.revision if state.standby is not None else ""
    if context.inputs.suspended:
        return {revision: 0 for revision in (state.stable, canary, previous) if revision}
    if state.phase is Phase.INITIALIZING:
        return {canary: wanted} if canary else {}
    if state.phase in (Phase.STABLE, Phase.ROLLED_BACK):
        standby = state.standby
        standing_by = {previous: min(wanted, standby.surge, context.previous.asked)} if standby is not None else {}
        return {state.stable: wanted, **standing_by}
    if state.phase is Phase.ADMITTING:
        return {state.stable: state.replicas, canary: 0}
    if state.phase is Phase.ROLLING_BACK:
        return _scale_back_to_stable(context)
    return _scale_up_canary(context)


def _scale_up_canary(context: RolloutContext) -> Mapping[str, int]:
    """Grow the canary to what the step gives it, and shrink stable as far as it is not needed."""
    state, attempt, canary, stable = context.state, context.attempt, context.canary, context.stable
    most, floor, goal = state.replicas + attempt.surge, min_ready(state), attempt.canary_replicas
    # While stable is lost the canary may have been given more of the traffic than its step gives it.
    carrying = pods_for_weight(max(attempt.weight, attempt.applied_weight), floor)
    goal = max(goal, carrying if state.phase is Phase.STABLE_LOST else min(carrying, canary.asked))
    wanted = max(
        min(state.replicas, most - goal),
        pods_for_weight(FULL_WEIGHT - attempt.applied_weight, floor),
        floor - canary.ready,
    )
    stable_size = min(wanted, max(stable.asked, most - max(canary.existing, canary.asked) - _ending(stable)))
    room = most - max(stable.existing, stable.asked, stable_size) - _ending(canary)
    canary_size = min(goal, max(0, room, min(canary.asked, most - stable_size)))
    return {state.stable: stable_size, attempt.canary: canary_size}


def _scale_back_to_stable(context: RolloutContext) -> Mapping[str, int]:
    """Grow stable to its full size, and shrink the canary as far as it is not needed; to nothing without traffic."""
    state, attempt, canary, stable = context.state, context.attempt, context.canary, context.stable
    most, floor = state.replicas + attempt.surge, min_ready_on_rollback(context)
    kept = 0
    if attempt.weight or attempt.applied_weight:
        needed = max(pods_for_weight(attempt.applied_weight, floor), floor - stable.ready)
        if canary.unsteady or canary.finding is not None:
            # Pods that serve nobody keep no place that stable needs; those that are not ready go first.
            needed = min(needed, canary.ready)
        kept = min(canary.asked, needed if stable.lacks_room else max(attempt.surge, needed))
    room = most - max(canary.existing, canary.asked, kept) - _ending(stable)
    return {state.stable: max(0, min(state.replicas, max(stable.asked, room))), attempt.canary: kept}


def _ending(pods: RevisionPods) -> int:
    """Return the pods that are on their way out and still hold what they were given."""
    return max(0, pods.existing - pods.asked)
