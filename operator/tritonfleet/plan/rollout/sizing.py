"""The arithmetic of a rollout: how many pods each revision gets, and which weight the ready pods can serve.

Three questions, asked by the planner and by the handlers of the phases:

- Which steps does the plan have, and how many pods does a step give the canary? (`Attempt.steps`, `canary_pods`)
- Which weight can the ready pods of both revisions serve now? (`pods_for_weight`, `can_serve`, `reachable_weight`)
- How many pods should each revision have now? (`revision_sizes`)

At most `replicas + surge` pods exist, terminating ones included, and at least `min_ready` stay ready. Capacity that one
revision frees is given to the other only when the pod is gone.

Example: `InPlace`, 4 replicas, no surge, one step of 50% by a gateway. `canary_pods` gives the canary 2 pods, and
`min_ready` is 3. So 3 pods serve all traffic, and by `pods_for_weight` 1 ready pod is enough for 33% and 2 for 50%.

1. Stable goes from 4 pods to 3. The canary gets none yet: 4 pods exist until stable's is gone.
2. It is gone, so the canary gets 1 pod. Once that is ready, 33% is reachable: 1 pod for 33%, 2 stable pods for 67%.
3. 33% is applied. Stable needs 2 pods for its share, and 2 + 1 are still 3 ready pods, so stable goes to 2.
4. That pod is gone too, and the canary gets its second one. With 2 and 2 ready, 50% is reachable.
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
    """Return the plan of a rollout that starts now; later edits of the spec do not change it."""
    if policy.canary is not None:
        return policy.canary
    if policy.strategy is Strategy.CANARY:
        return Canary()
    return Canary(verification=VerificationPolicy(contract=ContractPolicy.OFF))


def without_steps(plan: Canary) -> Canary:
    """Return the plan without steps: 100% as soon as the canary is verified, and then the bake time."""
    return plan.model_copy(update={"steps": ()})


def without_analysis(plan: Canary) -> Canary:
    """Return the plan without steps and bake time: stable as soon as the canary is verified and has all traffic."""
    return plan.model_copy(update={"steps": (), "analysis": plan.analysis.model_copy(update={"bake_time": NO_BAKE})})


def without_contract_check(plan: Canary) -> Canary:
    """Return the plan without the contract check, which needs a ready stable pod to compare with."""
    return plan.model_copy(
        update={"verification": plan.verification.model_copy(update={"contract": ContractPolicy.OFF})}
    )


def canary_pods(weight: int, replicas: int, surge: int, *, by_gateway: bool) -> int:
    """Return the canary pods of a weight, given `replicas` pods for all traffic and at most `surge` more.

    Without a gateway the share of the traffic is the share of the pods, beside all of stable's pods if they fit.
    """
    if weight >= FULL_WEIGHT:
        return replicas
    share = -(-weight * replicas // FULL_WEIGHT)
    beside = -(-weight * replicas // (FULL_WEIGHT - weight))
    if not by_gateway and beside <= surge:
        return beside
    return max(1, min(share, replicas + surge - 1))


def pods_for_step(attempt: Attempt, replicas: int, *, by_gateway: bool) -> int:
    """Return the canary pods of the attempt's step."""
    return canary_pods(attempt.current_step.weight, replicas, attempt.surge, by_gateway=by_gateway)


def pods_for_weight(weight: int, pods: int) -> int:
    """Return how many of the `pods` for all traffic are needed for `weight` percent of it.

    A weight is a whole percent and stands for the nearest share of pods: one pod in three is 33%, and the other two are
    enough for 67%.
    """
    if weight <= 0:
        return 0
    if weight >= FULL_WEIGHT:
        return pods
    slack = min(pods, FULL_WEIGHT)
    return -(-(2 * weight * pods - slack) // (2 * FULL_WEIGHT))


def min_ready(state: State) -> int:
    """Return how many ready pods a rollout always keeps, both revisions together."""
    attempt = state.attempt or Attempt()
    if attempt.mode is CapacityMode.RECREATE:
        return 0
    return state.replicas if attempt.surge > 0 else state.replicas - 1


def min_ready_on_rollback(context: RolloutContext) -> int:
    """Return how many ready pods are kept during a rollback.

    If stable's pods lack capacity, which the canary may hold: one less than there are.
    """
    floor = min_ready(context.state)
    if not context.stable.lacks_room:
        return floor
    return max(0, min(floor, context.stable.placed + context.canary.ready - 1))


def min_ready_wanted(context: RolloutContext) -> int:
    """Return how many ready pods all traffic needs now: a rollout keeps pods that the autoscaler no longer wants."""
    return max(1, min(min_ready(context.state), context.inputs.replicas))


def stable_needed(context: RolloutContext) -> int:
    """Return how many ready pods stable needs for its share of the traffic."""
    return pods_for_weight(FULL_WEIGHT - context.attempt.applied_weight, min_ready_wanted(context))


def is_stable_lost(context: RolloutContext) -> bool:
    """Return whether stable cannot serve its share of the traffic, and not only briefly.

    Not on the way to 100%, where the canary is about to get all traffic.
    """
    stable = context.stable
    if context.goal == FULL_WEIGHT:
        return False
    if not 0 < context.attempt.applied_weight < FULL_WEIGHT or stable.ready >= stable_needed(context):
        return False
    return stable.ready == 0 or bool(stable.unsteady) or stable.finding is not None


def can_serve(context: RolloutContext, weight: int) -> bool:
    """Return whether the ready pods can serve `weight` percent on the canary and the rest on stable."""
    pods = max(1, min_ready(context.state))
    return context.canary.ready >= pods_for_weight(weight, pods) and context.stable.ready >= pods_for_weight(
        FULL_WEIGHT - weight, pods
    )


def reachable_weight(context: RolloutContext, goal: int) -> int:
    """Return the weight nearest to `goal` that both revisions can serve now; the applied one if none is nearer."""
    applied = context.attempt.applied_weight
    if goal < applied:
        return _down(context, goal)
    if goal == FULL_WEIGHT and context.stable.ready == 0 < context.canary.ready:
        # Stable has no ready pod: too few pods for all requests are better than none for some.
        return FULL_WEIGHT
    return next((weight for weight in range(goal, applied, -1) if can_serve(context, weight)), applied)


def _down(context: RolloutContext, goal: int) -> int:
    """Return how far the weight can fall: stable's ready pods limit it, and no traffic stays on missing canary pods."""
    canary, stable, applied = context.canary, context.stable, context.attempt.applied_weight
    is_rollback = context.state.phase is Phase.ROLLING_BACK
    pods = max(1, min_ready_on_rollback(context) if is_rollback else min_ready(context.state))
    nearer = range(goal, applied)
    weight = next((each for each in nearer if stable.ready >= pods_for_weight(FULL_WEIGHT - each, pods)), applied)
    if stable.ready > 0 and canary.ready < pods_for_weight(weight, pods):
        return max(goal, min(weight, FULL_WEIGHT * canary.ready // (canary.ready + stable.ready)))
    return weight


def revision_sizes(context: RolloutContext) -> Mapping[str, int]:
    """Return the desired pods of every revision that is needed, by hash."""
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
    """Scale the canary up to the step's pods, and stable down as far as its share of the traffic allows."""
    state, attempt, canary, stable = context.state, context.attempt, context.canary, context.stable
    most, floor, goal = state.replicas + attempt.surge, min_ready(state), attempt.canary_replicas
    # While stable is lost, the canary may have a higher weight than its step.
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
    """Scale stable up to its full size, and the canary down as far as its traffic allows; to 0 without any."""
    state, attempt, canary, stable = context.state, context.attempt, context.canary, context.stable
    most, floor = state.replicas + attempt.surge, min_ready_on_rollback(context)
    kept = 0
    if attempt.weight or attempt.applied_weight:
        needed = max(pods_for_weight(attempt.applied_weight, floor), floor - stable.ready)
        if canary.unsteady or canary.finding is not None:
            # Pods that are not ready serve no traffic, and are removed first if stable needs their capacity.
            needed = min(needed, canary.ready)
        kept = min(canary.asked, needed if stable.lacks_room else max(attempt.surge, needed))
    room = most - max(canary.existing, canary.asked, kept) - _ending(stable)
    return {state.stable: max(0, min(state.replicas, max(stable.asked, room))), attempt.canary: kept}


def _ending(pods: RevisionPods) -> int:
    """Return the number of terminating pods, which still hold their resources."""
    return max(0, pods.existing - pods.asked)
