"""The pinned plan of a rollout, step by step."""

from collections.abc import Mapping
from typing import Any

from tritonfleet.api.canary import Canary, CapacityMode, ContractPolicy, Step, VerificationPolicy
from tritonfleet.api.rollout import Rollout, Strategy
from tritonfleet.plan.rollout.state import State
from tritonfleet.plan.rollout.weights import EVERYTHING

NO_BAKE = "0s"


def pinned(policy: Rollout) -> dict[str, Any]:
    """Return the plan of a rollout that begins now, as the state keeps it; later edits of the spec do not reach it."""
    canary = policy.canary
    if canary is None and policy.strategy is Strategy.CANARY:
        canary = Canary()
    if canary is None:
        return straight(_dumped(Canary(verification=VerificationPolicy(contract=ContractPolicy.OFF))))
    return _dumped(canary)


def straight(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan without steps and bake time: to everything as soon as the canary is verified."""
    canary = plan_of(plan)
    analysis = canary.analysis.model_copy(update={"bake": NO_BAKE})
    return _dumped(canary.model_copy(update={"steps": (), "analysis": analysis}))


def uncompared(plan: Mapping[str, Any]) -> dict[str, Any]:
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
    if steps and steps[-1].weight == EVERYTHING:
        return steps
    return (*steps, Step(weight=EVERYTHING))


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
    if weight >= EVERYTHING:
        return replicas
    share = -(-weight * replicas // EVERYTHING)
    beside = -(-weight * replicas // (EVERYTHING - weight))
    if not by_gateway and beside <= surge:
        return beside
    return max(1, min(share, replicas + surge - 1))


def _dumped(canary: Canary) -> dict[str, Any]:
    return canary.model_dump(mode="json", by_alias=True, exclude_defaults=True)
