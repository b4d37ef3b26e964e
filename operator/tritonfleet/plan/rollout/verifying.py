"""What the canary is asked before any user asks it."""

from typing import Any, Final

from tritonfleet.plan.rollout.analysis import CheckResult, Outcome, Verification
from tritonfleet.plan.rollout.back import roll_back
from tritonfleet.plan.rollout.moment import LOOK_AGAIN_SECONDS, Advance, Moment
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.provisioning import shift, trouble
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.weights import towards

CHECKS_MAX: Final = 10


def verifying(moment: Moment) -> Advance:
    """Wait for what the canary answers before any user asks it."""
    state, evidence = moment.state, moment.facts.evidence
    if moment.canary.unsteady:
        message = f"{moment.name(state.canary)} before any traffic: {moment.canary.unsteady}"
        return roll_back(moment, RolloutReason.CANARY_UNSTEADY, message, rejecting=True)
    found = trouble(moment)
    if found is not None:
        return found
    if evidence is None or (evidence.canary, evidence.attempt) != (state.canary, state.attempt):
        return _unanswered(moment, {}, "nothing was answered yet")
    if evidence.verification is None:
        return _unanswered(moment, {}, "nothing was answered yet")
    return _answered(moment, evidence.verification)


def _answered(moment: Moment, answer: Verification) -> Advance:
    kept = {"verification": tuple(check.document() for check in answer.checks)[:CHECKS_MAX]}
    worst = next((check for check in answer.checks if check.outcome is answer.outcome), None)
    said = f"{worst.check}: {worst.message}" if worst is not None else "nothing was asked"
    if answer.outcome is Outcome.FAILED:
        return roll_back(moment, _broken(worst), said, rejecting=True, **kept)
    if answer.outcome is not Outcome.PASSED or answer.pods < 1:
        return _unanswered(moment, kept, said)
    return _verified(moment, f"{len(answer.checks)} checks passed on {answer.pods} pods; {said}", kept)


def _broken(worst: CheckResult | None) -> RolloutReason:
    if worst is not None and worst.check.startswith("contract"):
        return RolloutReason.CONTRACT_BROKEN
    return RolloutReason.GOLDEN_FAILED


def _verified(moment: Moment, message: str, kept: dict[str, Any]) -> Advance:
    state = moment.state
    if moment.canary.changed:
        name = moment.name(state.canary)
        message = f"{name} is not what it was: {moment.canary.changed}; resume it to use it anyway"
        return moment.hold(RolloutReason.ROLLBACK_UNSAFE, message, Phase.PROVISIONING, verified=True, **kept)
    reach = towards(state, moment.facts, moment.goal)
    if reach == state.applied_weight:
        return moment.provision(RolloutReason.VERIFIED, message, verified=True, **kept)
    return shift(moment, RolloutReason.VERIFIED, reach, message, verified=True, **kept)


def _unanswered(moment: Moment, kept: dict[str, Any], said: str) -> Advance:
    left = moment.seconds_left(moment.state.entered_at, moment.facts.policy.progress_deadline)
    if left > 0:
        return moment.stay(wait_seconds=min(left, LOOK_AGAIN_SECONDS), **kept)
    message = f"not verified after {moment.facts.policy.progress_deadline}: {said}"
    return moment.hold(RolloutReason.VERIFICATION_UNANSWERED, message, **kept)
