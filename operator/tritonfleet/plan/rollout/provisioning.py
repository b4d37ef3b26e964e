"""The canary's pods of a step, and the moment when they may get more of the traffic."""

from datetime import timedelta
from typing import Any, Final

from tritonfleet.api.canary import ContractPolicy
from tritonfleet.api.conditions import Reason
from tritonfleet.plan.rollout.back import roll_back
from tritonfleet.plan.rollout.moment import Advance, Moment
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.reasons import RolloutReason, of_finding
from tritonfleet.plan.rollout.sizes import sizes
from tritonfleet.plan.rollout.weights import towards

IMAGE_GRACE: Final = timedelta(seconds=60)
"""A registry may be away for a moment."""


def provisioning(moment: Moment) -> Advance:
    """Wait for the canary's pods, and move the weight as soon as both revisions carry more of the step's."""
    state = moment.state
    asked = sizes(state, moment.facts)[state.canary]
    reach = towards(state, moment.facts, moment.goal)
    if moment.canary.ready >= max(1, asked) and (reach != state.applied_weight or reach == moment.goal):
        if state.verified:
            return shift(moment, RolloutReason.CAPACITY_READY, reach)
        return _ask(moment, reach)
    found = trouble(moment)
    if found is not None:
        return found
    if moment.canary.ready < asked and moment.canary.lacks_room and moment.canary.finding is not None:
        message = f"{moment.canary.ready} of {asked} pods are ready: {moment.canary.finding.message}"
        return moment.go(Phase.WAITING_FOR_CAPACITY, RolloutReason.NO_CAPACITY, message)
    left = moment.seconds_left(state.entered_at, moment.facts.policy.progress_deadline)
    return moment.stay(wait_seconds=left) if left > 0 else _overdue(moment, asked)


def shift(moment: Moment, reason: RolloutReason, weight: int, said: str = "", **changes: Any) -> Advance:
    """Return the transition to Shifting: the weight is written down here, before anybody carries it out.

    A gateway is first made to know a canary that it sends nothing to: requests that it sends to a backend which it has
    learned of in the same moment fail. If nobody else answers, that is no reason to wait.
    """
    state = moment.state
    unknown = moment.facts.by_gateway and state.weight == state.applied_weight == 0 and moment.stable.ready > 0
    opening = unknown or (state.opening and state.weight > 0)
    message = (
        f"{weight} % for {moment.name(state.canary)} with {moment.canary.ready} ready pods, "
        f"{100 - weight} % for {moment.name(state.stable)} with {moment.stable.ready}"
    )
    if said:
        message = f"{said}; {message}"
    return moment.go(Phase.SHIFTING, reason, message, weight=weight, opening=opening, settled_at=None, **changes)


def trouble(moment: Moment) -> Advance | None:
    """Return the way back when the canary's pods will not become ready by waiting."""
    finding = moment.canary.finding
    if finding is None or finding.lacks_room:
        return None
    pulling = finding.reason is Reason.IMAGE_PULL_FAILED and moment.now - moment.state.entered_at >= IMAGE_GRACE
    if not finding.stalled and not pulling:
        return None
    message = f"{moment.name(moment.state.canary)} has {moment.canary.ready} ready pods: {finding.message}"
    return roll_back(moment, of_finding(finding), message, rejecting=True)


def _ask(moment: Moment, reach: int) -> Advance:
    policy = moment.plan.verification
    ready = f"{moment.canary.ready} pods of {moment.name(moment.state.canary)} are ready"
    if policy.contract is ContractPolicy.OFF and policy.golden is None and not moment.canary.changed:
        return shift(moment, RolloutReason.VERIFIED, reach, f"{ready}; nothing is to be asked", verified=True)
    return moment.go(Phase.VERIFYING, RolloutReason.CANARY_READY, f"{ready} to be asked")


def _overdue(moment: Moment, asked: int) -> Advance:
    state, stable, deadline = moment.state, moment.stable, moment.facts.policy.progress_deadline
    if moment.canary.ready < max(1, asked) and moment.canary.asked > 0:
        finding = moment.canary.finding
        cause = f": {finding.message}" if finding is not None else ""
        message = f"{moment.canary.ready} of {asked} pods are ready after {deadline}{cause}"
        return roll_back(moment, of_finding(finding), message, rejecting=True)
    if stable.existing > stable.asked:
        message = (
            f"{stable.existing - stable.asked} pods of {moment.name(state.stable)} that were to make room "
            f"are still ending after {deadline}"
        )
        return moment.hold(RolloutReason.STABLE_PODS_REMAIN, message)
    message = (
        f"{stable.ready} of {stable.asked} pods of {moment.name(state.stable)} are ready after {deadline}, "
        f"too few beside {moment.goal} % for {moment.name(state.canary)}"
    )
    return moment.hold(RolloutReason.STABLE_NOT_READY, message)
