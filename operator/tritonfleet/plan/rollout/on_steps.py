"""While a canary gets its share: the weight is moved, the canary is compared, and the next step is decided on."""

from typing import Any

from tritonfleet.api.canary import OnMetricsError
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.plan.rollout.analysis import AnalysisVerdict, Outcome, Why
from tritonfleet.plan.rollout.back import roll_back
from tritonfleet.plan.rollout.looking import Look, begun, failed, look_at, silence_from
from tritonfleet.plan.rollout.moment import LOOK_AGAIN_SECONDS, Advance, Moment
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.reasons import RolloutReason, of_why
from tritonfleet.plan.rollout.split_force import in_force
from tritonfleet.plan.rollout.state import State
from tritonfleet.plan.rollout.steps import is_last, step_of
from tritonfleet.plan.rollout.weights import EVERYTHING

ROUTE_GRACE_SECONDS = 30.0
"""A gateway may find a Service that was just made not yet there."""


def shifting(moment: Moment) -> Advance:
    """Wait until the weight is in force; a part of the step's makes room for the canary's next pods."""
    state, split = moment.state, moment.facts.split
    since = (moment.now - state.entered_at).total_seconds()
    forced = in_force(moment)
    if forced is not None and forced.state.applied_weight == state.weight and forced.state.settled_at is None:
        return _moved(moment, forced.state)
    if split.problem and since >= ROUTE_GRACE_SECONDS:
        return moment.hold(RolloutReason.ROUTE_REFUSED, f"{state.weight} % is not in force: {split.problem}")
    deadline = moment.facts.policy.progress_deadline
    if forced is None and moment.seconds_left(state.entered_at, deadline) <= 0:
        message = f"{state.weight} % is not in force after {deadline}, and nothing is said against it"
        return moment.hold(RolloutReason.ROUTE_UNSETTLED, message)
    return forced or moment.stay(wait_seconds=LOOK_AGAIN_SECONDS)


def analyzing(moment: Moment) -> Advance:
    """Look at every window once, and go on only when the step has passed."""
    look = look_at(moment)
    if look is None:
        silent = moment.state.blind_since or silence_from(moment)
        return _blind(moment, {}) or moment.stay(blind_since=silent, wait_seconds=LOOK_AGAIN_SECONDS)
    return failed(moment, look) or _looked(moment, look)


def _looked(moment: Moment, look: Look) -> Advance:
    verdict = look.verdict
    if verdict.outcome is Outcome.PASSED:
        reason = RolloutReason.UNPROVEN if verdict.unproven else RolloutReason.ANALYSIS_PASSED
        return passed(moment, reason, verdict.message, **look.changes)
    if is_shared_incident(look):
        return moment.hold(RolloutReason.SHARED_INCIDENT, _worst(verdict), **look.changes)
    if verdict.needs_person:
        return moment.hold(of_why(verdict.why), f"a person has to decide: {verdict.message}", **look.changes)
    blind = _blind(moment, look.changes) if verdict.outcome is Outcome.ERROR else None
    message = f"step {moment.state.step + 1} at {moment.state.applied_weight} %: {verdict.message}"
    return blind or moment.say(RolloutReason.LOOKING, message, wait_seconds=LOOK_AGAIN_SECONDS, **look.changes)


def awaiting(moment: Moment) -> Advance:
    """Wait for a person or a time; the canary is still looked at, and only a failure counts."""
    look = look_at(moment)
    rolled_back = failed(moment, look)
    if rolled_back is not None:
        return rolled_back
    changes = look.changes if look is not None else {}
    pause = step_of(moment.state).pause
    if pause is None or pause.duration is None:
        return moment.stay(wait_seconds=LOOK_AGAIN_SECONDS, **changes)
    left = moment.seconds_left(moment.state.entered_at, pause.duration)
    if left > 0:
        return moment.stay(wait_seconds=min(left, LOOK_AGAIN_SECONDS), **changes)
    return go_on(moment, RolloutReason.PAUSE_OVER, f"paused for {pause.duration}", **changes)


def passed(moment: Moment, reason: RolloutReason, message: str, **changes: Any) -> Advance:
    """Return what follows from a step that has passed: its pause, or the next one."""
    state, step = moment.state, step_of(moment.state)
    if step.pause is None:
        return go_on(moment, reason, message, **changes)
    until = f"for {step.pause.duration}" if step.pause.duration else f"until step {state.step + 1} is approved"
    text = f"step {state.step + 1} at {step.weight} % passed and waits {until}: {message}"
    fresh = {**changes, "analysis": begun(moment.changed(**changes))}
    return moment.go(Phase.AWAITING_APPROVAL, RolloutReason.PAUSE_BETWEEN_STEPS, text, **fresh)


def go_on(moment: Moment, reason: RolloutReason, message: str, **changes: Any) -> Advance:
    """Return the transition to the next step, or to Promoting after the last one."""
    state = moment.state
    done = f"step {state.step + 1} at {step_of(state).weight} %: {message}"
    if is_last(state):
        return moment.go(Phase.PROMOTING, reason, done, **changes)
    fresh = {**changes, "analysis": begun(moment.changed(**changes)), "blind_since": None}
    return moment.provision(reason, done, step=state.step + 1, step_entered_at=moment.now, **fresh)


def is_shared_incident(look: Look) -> bool:
    """Tell whether both revisions are beyond an objective."""
    return any(result.why is Why.SHARED_INCIDENT for result in look.verdict.results)


def _moved(moment: Moment, after: State) -> Advance:
    state = moment.state
    applied = {"applied_weight": after.applied_weight, "settled_at": None}
    message = f"{state.weight} % of the traffic is at {moment.name(state.canary)}"
    if state.weight != moment.goal:
        text = f"{message}; {moment.goal} % follows when there are more pods"
        return moment.provision(RolloutReason.WEIGHT_IN_FORCE, text, **applied)
    fresh = {"analysis": begun(moment), "step_entered_at": moment.now, "blind_since": None}
    if state.weight >= EVERYTHING and duration_seconds(moment.plan.analysis.bake) == 0:
        return passed(moment, RolloutReason.WEIGHT_IN_FORCE, f"{message}, without a bake time", **applied, **fresh)
    return moment.go(Phase.ANALYZING, RolloutReason.WEIGHT_IN_FORCE, message, **applied, **fresh)


def _blind(moment: Moment, changes: dict[str, Any]) -> Advance | None:
    """Return what follows when the metrics have stayed away for as long as they may; a wait is never a pass."""
    since, analysis = changes.get("blind_since", moment.state.blind_since), moment.plan.analysis
    if since is None or moment.seconds_left(since, analysis.metrics_timeout) > 0:
        return None
    why = next((entry["message"] for entry in changes.get("results", ()) if entry["outcome"] == "Error"), "")
    message = f"no answer from the metrics for {analysis.metrics_timeout}{': ' if why else ''}{why}"
    if analysis.on_metrics_error is OnMetricsError.ROLLBACK:
        return roll_back(moment, RolloutReason.METRICS_LOST, message, rejecting=True, **changes)
    return moment.hold(RolloutReason.METRICS_LOST, message, **changes)


def _worst(verdict: AnalysisVerdict) -> str:
    return next(result.message for result in verdict.results if result.why is Why.SHARED_INCIDENT)
