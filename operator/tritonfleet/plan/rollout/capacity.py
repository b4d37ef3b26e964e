"""Capacity for the canary's pods: Admitting and WaitingForCapacity, and the choice of the capacity mode.

The mode is chosen once, from the plan and the GPUs that are free now. `Surge` adds pods beyond `replicas`, `InPlace`
replaces stable's pods one at a time, `Recreate` stops all of them first; `Auto` is Surge if a pod fits, else InPlace.
Example: 4 replicas with 1 GPU each, `maxSurge: 2` and 3 free GPUs give Surge with 2 extra pods; with no free GPU, Auto
is InPlace, which keeps 3 of the 4 pods ready.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from tritonfleet.api.canary import Capacity, CapacityMode, OnTimeout
from tritonfleet.api.conditions import Reason
from tritonfleet.api.quantities import counted, duration_seconds
from tritonfleet.api.rollout import Strategy
from tritonfleet.plan.rollout.canary import provision, trouble
from tritonfleet.plan.rollout.context import REQUEUE_SECONDS, RolloutContext, StepResult, pods_take
from tritonfleet.plan.rollout.inputs import RolloutInputs
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.rollback import roll_back
from tritonfleet.plan.rollout.sizing import without_contract_check, without_steps
from tritonfleet.plan.rollout.state import Phase

GPU: Final = "GPU"


@dataclass(frozen=True, slots=True)
class CapacityChoice:
    """The chosen mode, and why."""

    mode: CapacityMode
    surge: int
    """Pods beyond `replicas`."""
    message: str


def uncounted(inputs: RolloutInputs) -> bool:
    """Return whether free GPUs are needed and not counted yet."""
    return inputs.gpus_per_pod > 0 and inputs.headroom is None


def fitting(inputs: RolloutInputs, most: int) -> int:
    """Return how many more pods fit now, at most `most`, by the free GPUs of the nodes."""
    if inputs.gpus_per_pod == 0 or inputs.headroom is None:
        return most
    if inputs.headroom.largest_free_on_one_node < inputs.gpus_per_pod:
        return 0
    return min(most, inputs.headroom.free // inputs.gpus_per_pod)


def choose_capacity(context: RolloutContext) -> CapacityChoice | None:
    """Return the mode that the plan and the free GPUs allow; None if there is no capacity."""
    capacity, replicas = context.attempt.plan.capacity, context.state.replicas
    if _is_recreate(context):
        said = (
            f"stopping {counted(replicas, 'stable pod')} first, an outage until the canary is ready"
            f"{pods_take(context, 1)}; contract not compared, as no stable pod is left"
        )
        return CapacityChoice(CapacityMode.RECREATE, 0, said)
    if capacity.mode is CapacityMode.IN_PLACE and replicas > 1:
        return CapacityChoice(CapacityMode.IN_PLACE, 0, _in_place(context))
    surge = fitting(context.inputs, min(capacity.max_surge or replicas, replicas))
    if surge > 0:
        said = f"up to {counted(surge, 'extra pod')}{_free(context.inputs)}{pods_take(context, 1)}"
        return CapacityChoice(CapacityMode.SURGE, surge, said)
    if capacity.mode is CapacityMode.AUTO and replicas > 1:
        return CapacityChoice(CapacityMode.IN_PLACE, 0, f"{_in_place(context)}{_free(context.inputs)}")
    return None


def shortage(context: RolloutContext) -> str:
    """Return a message with the capacity that is missing."""
    inputs, capacity = context.inputs, context.attempt.plan.capacity
    resource = inputs.headroom.resource if inputs.headroom is not None else GPU
    return (
        f"a canary pod needs {inputs.gpus_per_pod} {resource}{_free(inputs)}; waiting up to {capacity.wait_timeout}"
        + ("; the only stable pod cannot be replaced first" if _would_empty(capacity, context.state.replicas) else "")
    )


def _is_recreate(context: RolloutContext) -> bool:
    by_strategy = context.inputs.policy.strategy is Strategy.RECREATE
    return by_strategy or context.attempt.plan.capacity.mode is CapacityMode.RECREATE


def _would_empty(capacity: Capacity, replicas: int) -> bool:
    return replicas == 1 and capacity.mode in (CapacityMode.AUTO, CapacityMode.IN_PLACE)


def _in_place(context: RolloutContext) -> str:
    replicas = context.state.replicas
    return f"replacing stable pods one at a time, {replicas - 1}/{replicas} stay ready{pods_take(context, replicas)}"


def _free(inputs: RolloutInputs) -> str:
    pool = inputs.headroom
    if inputs.gpus_per_pod == 0 or pool is None:
        return ""
    free, nodes = counted(pool.free, "free GPU"), counted(pool.matching_nodes, "matching node")
    return f", {free} on {nodes}, at most {pool.largest_free_on_one_node} per node"


COUNTING: Final = timedelta(seconds=30)
"""How long to wait for the count of free GPUs before a rollout starts without it."""
MEASURING_WINDOWS: Final = 2
"""For how many windows Recreate waits for one of stable, before a rollout starts without it."""


def admitting(context: RolloutContext) -> StepResult:
    """Choose the capacity mode once the pods of earlier rollouts are gone."""
    left = context.seconds_left(context.state.entered_at, context.attempt.plan.capacity.wait_timeout)
    ending = _ending(context)
    # A Service that selects all pods would send traffic to these again.
    serving = any(context.inputs.revisions[each].ready for each in ending if each != context.state.stable)
    if ending and (left > 0 or serving):
        message = f"waiting for pods of {', '.join(context.name(each) for each in ending)} to terminate"
        return context.say(RolloutReason.PODS_ENDING, message, wait_seconds=REQUEUE_SECONDS)
    if context.stable.ready == 0 and not _is_recreate(context):
        if context.attempt.plan.steps and _may_start(context):
            message = f"waiting for a ready pod of {context.name(context.state.stable)} to compare with"
            return context.say(RolloutReason.STABLE_NOT_READY, message, wait_seconds=REQUEUE_SECONDS)
        alone = without_contract_check(without_steps(context.attempt.plan))
        context = context.after(replace(context.attempt, plan=alone))
    if uncounted(context.inputs) and context.now - context.state.entered_at < COUNTING:
        message = f"counting free GPUs: a canary pod needs {context.inputs.gpus_per_pod}"
        return context.say(RolloutReason.COUNTING_GPUS, message, wait_seconds=REQUEUE_SECONDS)
    found = choose_capacity(context)
    if found is None:
        return context.go(Phase.WAITING_FOR_CAPACITY, RolloutReason.NO_CAPACITY, shortage(context))
    if found.mode is CapacityMode.RECREATE and _is_unmeasured(context):
        message = f"measuring {context.name(context.state.stable)} for a window, before its pods are stopped"
        return context.say(RolloutReason.MEASURING_STABLE, message, wait_seconds=REQUEUE_SECONDS)
    return _admitted(context, found, RolloutReason.ADMITTED)


def _may_start(context: RolloutContext) -> bool:
    """Return whether stable, which has no ready pod, may get one: it has just been scaled up, or lost its pods."""
    stable = context.stable
    if stable.unsteady or (stable.finding is not None and stable.finding.reason is not Reason.PODS_LOST):
        return False
    return context.seconds_left(context.state.entered_at, context.inputs.policy.progress_deadline) > 0


def _is_unmeasured(context: RolloutContext) -> bool:
    """Return whether stable serves, and a window of it that the canary can be compared with may still come."""
    analysis, progress = context.attempt.plan.analysis, context.attempt.analysis
    if context.stable.ready == 0 or (progress is not None and progress.last_end_seconds is not None):
        return False
    return context.now - context.state.entered_at < MEASURING_WINDOWS * timedelta(
        seconds=duration_seconds(analysis.interval)
    )


def waiting(context: RolloutContext) -> StepResult:
    """Wait for capacity: by the count of free GPUs until the mode is chosen, then by what the scheduler reports."""
    state = context.state
    if context.attempt.mode is None:
        found = choose_capacity(context)
        if found is not None:
            return _admitted(context, found, RolloutReason.CAPACITY_FOUND)
    elif not context.canary.lacks_room:
        message = f"pods of {context.name(context.attempt.canary)} are scheduled"
        return trouble(context) or provision(context, RolloutReason.CAPACITY_FOUND, message, context.attempt)
    left = context.seconds_left(state.entered_at, context.attempt.plan.capacity.wait_timeout)
    return context.stay(wait_seconds=min(left, REQUEUE_SECONDS)) if left > 0 else _timed_out(context)


def _timed_out(context: RolloutContext) -> StepResult:
    state, attempt, capacity = context.state, context.attempt, context.attempt.plan.capacity
    message = f"no capacity within {capacity.wait_timeout}: {state.message}"
    if capacity.on_timeout is OnTimeout.FAIL:
        return roll_back(context, RolloutReason.NO_CAPACITY, message, rejecting=True)
    if capacity.on_timeout is OnTimeout.IN_PLACE and attempt.mode in (None, CapacityMode.SURGE) and state.replicas > 1:
        text = f"{message}; replacing stable pods in place"
        fallen = replace(attempt, mode=CapacityMode.IN_PLACE, surge=0)
        return provision(context, RolloutReason.FELL_BACK_IN_PLACE, text, fallen)
    return context.hold(RolloutReason.NO_CAPACITY, message)


def _ending(context: RolloutContext) -> list[str]:
    """Return the revisions with terminating pods, whose resources are not free yet."""
    current = (context.state.stable, context.attempt.canary)
    return [
        revision
        for revision, pods in sorted(context.inputs.revisions.items())
        if pods.existing > (pods.asked if revision in current else 0)
    ]


def _admitted(context: RolloutContext, found: CapacityChoice, reason: RolloutReason) -> StepResult:
    attempt = context.attempt
    alone = ""
    if context.stable.ready == 0 and found.mode is not CapacityMode.RECREATE:
        alone = f"; without steps: {context.name(context.state.stable)} has no ready pod to compare it with"
    steps = counted(len(attempt.steps), "step")
    message = f"attempt {context.state.attempts}, {steps}, {found.mode}: {found.message}{alone}"
    plan = without_contract_check(attempt.plan) if found.mode is CapacityMode.RECREATE else attempt.plan
    admitted = replace(attempt, mode=found.mode, surge=found.surge, plan=plan)
    return provision(context, reason, message, admitted)
