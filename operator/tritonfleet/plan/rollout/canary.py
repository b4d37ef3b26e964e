"""The phases in which a canary gets its share: Provisioning, Verifying, Shifting, Analyzing, AwaitingApproval.

One step runs through them in this order. Its pods start (`provisioning`), are asked for their contract and for golden
requests before the first traffic (`verifying`), the weight moves as far as the ready pods carry it (`shifting`), the
windows of traffic are compared until the step passes or fails (`analyzing`), and a pause waits for a person or a time
(`awaiting`). `go_on` then provisions the next step, or promotes after the last one.

A window is analyzed in one place, `analyze_window`, for whoever asks: it returns the verdict with what it changes in
the state. The planner dispatches to the handlers; `holds.py` and `commands.py` use `go_on`, `analyze_window` and
`failed`.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from tritonfleet.api.canary import ContractPolicy, OnMetricsError
from tritonfleet.api.conditions import Reason
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.plan.rollout.analysis import (
    AnalysisVerdict,
    CheckResult,
    Outcome,
    Verification,
    Why,
    Window,
    analysis_policy,
    analyze,
    bake,
    record_stable,
)
from tritonfleet.plan.rollout.context import REQUEUE_SECONDS, RolloutContext, StepResult, in_force
from tritonfleet.plan.rollout.rollback import roll_back
from tritonfleet.plan.rollout.sizing import FULL_WEIGHT, is_last, reachable_weight, revision_sizes, step_of
from tritonfleet.plan.rollout.state import Phase, RolloutReason, State, of_finding, of_why

IMAGE_GRACE: Final = timedelta(seconds=60)
"""A registry may be away for a moment."""


def provisioning(context: RolloutContext) -> StepResult:
    """Wait for the canary's pods, and move the weight as soon as both revisions carry more of the step's."""
    state = context.state
    asked = revision_sizes(state, context.inputs)[state.canary]
    reach = reachable_weight(state, context.inputs, context.goal)
    if context.canary.ready >= max(1, asked) and (reach != state.applied_weight or reach == context.goal):
        if state.verified:
            return shift(context, RolloutReason.CAPACITY_READY, reach)
        return _ask(context, reach)
    found = trouble(context)
    if found is not None:
        return found
    if context.canary.ready < asked and context.canary.lacks_room and context.canary.finding is not None:
        message = f"{context.canary.ready} of {asked} pods are ready: {context.canary.finding.message}"
        return context.go(Phase.WAITING_FOR_CAPACITY, RolloutReason.NO_CAPACITY, message)
    left = context.seconds_left(state.entered_at, context.inputs.policy.progress_deadline)
    return context.stay(wait_seconds=left) if left > 0 else _overdue(context, asked)


def shift(context: RolloutContext, reason: RolloutReason, weight: int, said: str = "", **changes: Any) -> StepResult:
    """Return the transition to Shifting: the weight is written down here, before anybody carries it out.

    A gateway is first made to know a canary that it sends nothing to: requests that it sends to a backend which it has
    learned of in the same moment fail. If nobody else answers, that is no reason to wait.
    """
    state = context.state
    unknown = context.inputs.by_gateway and state.weight == state.applied_weight == 0 and context.stable.ready > 0
    opening = unknown or (state.opening and state.weight > 0)
    message = (
        f"{weight} % for {context.name(state.canary)} with {context.canary.ready} ready pods, "
        f"{100 - weight} % for {context.name(state.stable)} with {context.stable.ready}"
    )
    if said:
        message = f"{said}; {message}"
    return context.go(Phase.SHIFTING, reason, message, weight=weight, opening=opening, settled_at=None, **changes)


def trouble(context: RolloutContext) -> StepResult | None:
    """Return the way back when the canary's pods will not become ready by waiting."""
    finding = context.canary.finding
    if finding is None or finding.lacks_room:
        return None
    pulling = finding.reason is Reason.IMAGE_PULL_FAILED and context.now - context.state.entered_at >= IMAGE_GRACE
    if not finding.stalled and not pulling:
        return None
    message = f"{context.name(context.state.canary)} has {context.canary.ready} ready pods: {finding.message}"
    return roll_back(context, of_finding(finding), message, rejecting=True)


def _ask(context: RolloutContext, reach: int) -> StepResult:
    policy = context.plan.verification
    ready = f"{context.canary.ready} pods of {context.name(context.state.canary)} are ready"
    if policy.contract is ContractPolicy.OFF and policy.golden is None and not context.canary.changed:
        return shift(context, RolloutReason.VERIFIED, reach, f"{ready}; nothing is to be asked", verified=True)
    return context.go(Phase.VERIFYING, RolloutReason.CANARY_READY, f"{ready} to be asked")


def _overdue(context: RolloutContext, asked: int) -> StepResult:
    state, stable, deadline = context.state, context.stable, context.inputs.policy.progress_deadline
    if context.canary.ready < max(1, asked) and context.canary.asked > 0:
        finding = context.canary.finding
        cause = f": {finding.message}" if finding is not None else ""
        message = f"{context.canary.ready} of {asked} pods are ready after {deadline}{cause}"
        return roll_back(context, of_finding(finding), message, rejecting=True)
    if stable.existing > stable.asked:
        message = (
            f"{stable.existing - stable.asked} pods of {context.name(state.stable)} that were to make room "
            f"are still ending after {deadline}"
        )
        return context.hold(RolloutReason.STABLE_PODS_REMAIN, message)
    message = (
        f"{stable.ready} of {stable.asked} pods of {context.name(state.stable)} are ready after {deadline}, "
        f"too few beside {context.goal} % for {context.name(state.canary)}"
    )
    return context.hold(RolloutReason.STABLE_NOT_READY, message)


CHECKS_MAX: Final = 10


def verifying(context: RolloutContext) -> StepResult:
    """Wait for what the canary answers before any user asks it."""
    state, evidence = context.state, context.inputs.evidence
    if context.canary.unsteady:
        message = f"{context.name(state.canary)} before any traffic: {context.canary.unsteady}"
        return roll_back(context, RolloutReason.CANARY_UNSTEADY, message, rejecting=True)
    found = trouble(context)
    if found is not None:
        return found
    if evidence is None or (evidence.canary, evidence.attempt) != (state.canary, state.attempt):
        return _unanswered(context, {}, "nothing was answered yet")
    if evidence.verification is None:
        return _unanswered(context, {}, "nothing was answered yet")
    return _answered(context, evidence.verification)


def _answered(context: RolloutContext, answer: Verification) -> StepResult:
    kept = {"verification": tuple(check.document() for check in answer.checks)[:CHECKS_MAX]}
    worst = next((check for check in answer.checks if check.outcome is answer.outcome), None)
    said = f"{worst.check}: {worst.message}" if worst is not None else "nothing was asked"
    if answer.outcome is Outcome.FAILED:
        return roll_back(context, _broken(worst), said, rejecting=True, **kept)
    if answer.outcome is not Outcome.PASSED or answer.pods < 1:
        return _unanswered(context, kept, said)
    return _verified(context, f"{len(answer.checks)} checks passed on {answer.pods} pods; {said}", kept)


def _broken(worst: CheckResult | None) -> RolloutReason:
    if worst is not None and worst.check.startswith("contract"):
        return RolloutReason.CONTRACT_BROKEN
    return RolloutReason.GOLDEN_FAILED


def _verified(context: RolloutContext, message: str, kept: dict[str, Any]) -> StepResult:
    state = context.state
    if context.canary.changed:
        name = context.name(state.canary)
        message = f"{name} is not what it was: {context.canary.changed}; resume it to use it anyway"
        return context.hold(RolloutReason.ROLLBACK_UNSAFE, message, Phase.PROVISIONING, verified=True, **kept)
    reach = reachable_weight(state, context.inputs, context.goal)
    if reach == state.applied_weight:
        return context.provision(RolloutReason.VERIFIED, message, verified=True, **kept)
    return shift(context, RolloutReason.VERIFIED, reach, message, verified=True, **kept)


def _unanswered(context: RolloutContext, kept: dict[str, Any], said: str) -> StepResult:
    left = context.seconds_left(context.state.entered_at, context.inputs.policy.progress_deadline)
    if left > 0:
        return context.stay(wait_seconds=min(left, REQUEUE_SECONDS), **kept)
    message = f"not verified after {context.inputs.policy.progress_deadline}: {said}"
    return context.hold(RolloutReason.VERIFICATION_UNANSWERED, message, **kept)


RESULTS_MAX: Final = 10
SILENT_WINDOWS: Final = 3
"""So many windows may be late before there counts as being no word from the metrics."""


@dataclass(frozen=True, slots=True)
class WindowResult:
    """What a window came to."""

    verdict: AnalysisVerdict
    changes: dict[str, Any]
    """Of the state."""


def analyze_window(context: RolloutContext) -> WindowResult | None:
    """Return the verdict on the newest window with traffic; None if there is none that was not looked at before."""
    state, window = context.state, fresh_window(context)
    if window is None or state.applied_weight == 0:
        return None
    policy = analysis_policy(context.plan.analysis, context.inputs.slo)
    if state.applied_weight >= FULL_WEIGHT:
        verdict = bake(policy, context.progress, window, state.step_entered_at.timestamp())
    else:
        if not 0 < window.desired_share < 1:
            window = replace(window, desired_share=state.applied_weight / FULL_WEIGHT)
        verdict = analyze(policy, context.progress, window)
    return WindowResult(verdict, _changes(context, window, verdict))


def fresh_window(context: RolloutContext) -> Window | None:
    """Return the newest window of this canary, attempt and step, if it was not looked at before."""
    state, evidence = context.state, context.inputs.evidence
    if evidence is None or evidence.window is None:
        return None
    if (evidence.canary, evidence.attempt, evidence.step) != (state.canary, state.attempt, state.step):
        return None
    last = context.progress.last_end_seconds
    began = state.step_entered_at.timestamp()
    end = evidence.window.end_seconds
    return evidence.window if end > began and (last is None or end > last) else None


def reset_analysis(context: RolloutContext) -> dict[str, Any]:
    """Return the analysis of a comparison that begins now: how stable varies is all that is remembered."""
    return context.progress.next_step().document()


def watched(context: RolloutContext) -> dict[str, Any]:
    """Return what a window before the canary's traffic teaches about stable; nothing if there is no new one."""
    window = fresh_window(context)
    if window is None or context.state.applied_weight > 0:
        return {}
    progress = record_stable(analysis_policy(context.plan.analysis, context.inputs.slo), context.progress, window)
    return {"analysis": progress.document()}


def failed(context: RolloutContext, look: WindowResult | None) -> StepResult | None:
    """Return the way back from a canary that the look found wanting; None if it did not."""
    if look is None or look.verdict.outcome is not Outcome.FAILED:
        return None
    state, verdict = context.state, look.verdict
    step = f"step {state.step + 1} at {state.applied_weight} %, window {verdict.progress.windows}"
    return roll_back(context, of_why(verdict.why), f"{step}: {verdict.message}", rejecting=True, **look.changes)


def silence_from(context: RolloutContext) -> datetime | None:
    """Return since when there is no word from the metrics; None while the next one is not overdue."""
    analysis, state = context.plan.analysis, context.state
    last = context.progress.last_end_seconds
    heard = max(state.step_entered_at.timestamp(), state.entered_at.timestamp(), last or 0.0)
    patience = duration_seconds(analysis.warmup) + SILENT_WINDOWS * duration_seconds(analysis.interval)
    return context.now if context.now.timestamp() - heard > patience else None


def _changes(context: RolloutContext, window: Window, verdict: AnalysisVerdict) -> dict[str, Any]:
    total = window.canary.requests + window.stable.requests
    blind = verdict.outcome is Outcome.ERROR
    return {
        "analysis": verdict.progress.document(),
        "results": tuple(result.document() for result in verdict.results)[:RESULTS_MAX],
        "measured_share": round(window.canary.requests / total, 4) if total else context.state.measured_share,
        "metrics_lost_since": (context.state.metrics_lost_since or context.now) if blind else None,
    }


ROUTE_GRACE_SECONDS = 30.0
"""A gateway may find a Service that was just made not yet there."""


def shifting(context: RolloutContext) -> StepResult:
    """Wait until the weight is in force; a part of the step's makes room for the canary's next pods."""
    state, split = context.state, context.inputs.split
    since = (context.now - state.entered_at).total_seconds()
    forced = in_force(context)
    if forced is not None and forced.state.applied_weight == state.weight and forced.state.settled_at is None:
        return _moved(context, forced.state)
    if split.problem and since >= ROUTE_GRACE_SECONDS:
        return context.hold(RolloutReason.ROUTE_REFUSED, f"{state.weight} % is not in force: {split.problem}")
    deadline = context.inputs.policy.progress_deadline
    if forced is None and context.seconds_left(state.entered_at, deadline) <= 0:
        message = f"{state.weight} % is not in force after {deadline}, and nothing is said against it"
        return context.hold(RolloutReason.ROUTE_UNSETTLED, message)
    return forced or context.stay(wait_seconds=REQUEUE_SECONDS)


def analyzing(context: RolloutContext) -> StepResult:
    """Look at every window once, and go on only when the step has passed."""
    look = analyze_window(context)
    if look is None:
        silent = context.state.metrics_lost_since or silence_from(context)
        return _blind(context, {}) or context.stay(metrics_lost_since=silent, wait_seconds=REQUEUE_SECONDS)
    return failed(context, look) or _looked(context, look)


def _looked(context: RolloutContext, look: WindowResult) -> StepResult:
    verdict = look.verdict
    if verdict.outcome is Outcome.PASSED:
        reason = RolloutReason.UNPROVEN if verdict.unproven else RolloutReason.ANALYSIS_PASSED
        return passed(context, reason, verdict.message, **look.changes)
    if is_shared_incident(look):
        return context.hold(RolloutReason.SHARED_INCIDENT, _worst(verdict), **look.changes)
    if verdict.needs_person:
        return context.hold(of_why(verdict.why), f"a person has to decide: {verdict.message}", **look.changes)
    blind = _blind(context, look.changes) if verdict.outcome is Outcome.ERROR else None
    message = f"step {context.state.step + 1} at {context.state.applied_weight} %: {verdict.message}"
    return blind or context.say(RolloutReason.LOOKING, message, wait_seconds=REQUEUE_SECONDS, **look.changes)


def awaiting(context: RolloutContext) -> StepResult:
    """Wait for a person or a time; the canary is still looked at, and only a failure counts."""
    look = analyze_window(context)
    rolled_back = failed(context, look)
    if rolled_back is not None:
        return rolled_back
    changes = look.changes if look is not None else {}
    pause = step_of(context.state).pause
    if pause is None or pause.duration is None:
        return context.stay(wait_seconds=REQUEUE_SECONDS, **changes)
    left = context.seconds_left(context.state.entered_at, pause.duration)
    if left > 0:
        return context.stay(wait_seconds=min(left, REQUEUE_SECONDS), **changes)
    return go_on(context, RolloutReason.PAUSE_OVER, f"paused for {pause.duration}", **changes)


def passed(context: RolloutContext, reason: RolloutReason, message: str, **changes: Any) -> StepResult:
    """Return what follows from a step that has passed: its pause, or the next one."""
    state, step = context.state, step_of(context.state)
    if step.pause is None:
        return go_on(context, reason, message, **changes)
    until = f"for {step.pause.duration}" if step.pause.duration else f"until step {state.step + 1} is approved"
    text = f"step {state.step + 1} at {step.weight} % passed and waits {until}: {message}"
    fresh = {**changes, "analysis": reset_analysis(context.changed(**changes))}
    return context.go(Phase.AWAITING_APPROVAL, RolloutReason.PAUSE_BETWEEN_STEPS, text, **fresh)


def go_on(context: RolloutContext, reason: RolloutReason, message: str, **changes: Any) -> StepResult:
    """Return the transition to the next step, or to Promoting after the last one."""
    state = context.state
    done = f"step {state.step + 1} at {step_of(state).weight} %: {message}"
    if is_last(state):
        return context.go(Phase.PROMOTING, reason, done, **changes)
    fresh = {**changes, "analysis": reset_analysis(context.changed(**changes)), "metrics_lost_since": None}
    return context.provision(reason, done, step=state.step + 1, step_entered_at=context.now, **fresh)


def is_shared_incident(look: WindowResult) -> bool:
    """Tell whether both revisions are beyond an objective."""
    return any(result.why is Why.SHARED_INCIDENT for result in look.verdict.results)


def _moved(context: RolloutContext, after: State) -> StepResult:
    state = context.state
    applied = {"applied_weight": after.applied_weight, "settled_at": None}
    message = f"{state.weight} % of the traffic is at {context.name(state.canary)}"
    if state.weight != context.goal:
        text = f"{message}; {context.goal} % follows when there are more pods"
        return context.provision(RolloutReason.WEIGHT_IN_FORCE, text, **applied)
    fresh = {"analysis": reset_analysis(context), "step_entered_at": context.now, "metrics_lost_since": None}
    if state.weight >= FULL_WEIGHT and duration_seconds(context.plan.analysis.bake_time) == 0:
        return passed(context, RolloutReason.WEIGHT_IN_FORCE, f"{message}, without a bake time", **applied, **fresh)
    return context.go(Phase.ANALYZING, RolloutReason.WEIGHT_IN_FORCE, message, **applied, **fresh)


def _blind(context: RolloutContext, changes: dict[str, Any]) -> StepResult | None:
    """Return what follows when the metrics have stayed away for as long as they may; a wait is never a pass."""
    since, analysis = changes.get("metrics_lost_since", context.state.metrics_lost_since), context.plan.analysis
    if since is None or context.seconds_left(since, analysis.metrics_timeout) > 0:
        return None
    why = next((entry["message"] for entry in changes.get("results", ()) if entry["outcome"] == "Error"), "")
    message = f"no answer from the metrics for {analysis.metrics_timeout}{': ' if why else ''}{why}"
    if analysis.on_metrics_error is OnMetricsError.ROLLBACK:
        return roll_back(context, RolloutReason.METRICS_LOST, message, rejecting=True, **changes)
    return context.hold(RolloutReason.METRICS_LOST, message, **changes)


def _worst(verdict: AnalysisVerdict) -> str:
    return next(result.message for result in verdict.results if result.why is Why.SHARED_INCIDENT)
