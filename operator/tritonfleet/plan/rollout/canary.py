"""The phases of a step: Provisioning, Verifying, Shifting, Analyzing, AwaitingApproval.

A step runs through them in this order. Its pods start (`provisioning`); contract and golden requests are checked before
the first traffic (`verifying`); the weight is raised as far as the ready pods can serve it (`shifting`); windows of
traffic are compared until the step passes or fails (`analyzing`); a pause waits for an approval or a duration
(`awaiting`). `go_on` then provisions the next step, or promotes after the last one.

`analyze_window` is the only place that analyzes a window: it returns the context with the verdict and with the state
that records it. The planner dispatches to the handlers; `holds.py` and `commands.py` use `go_on`, `analyze_window` and
`failed`.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from tritonfleet.api.canary import ContractPolicy, OnMetricsError
from tritonfleet.api.conditions import Reason
from tritonfleet.api.quantities import counted, duration_seconds
from tritonfleet.api.rollout_status import CHECKS_MAX
from tritonfleet.plan.rollout.analysis import (
    AnalysisVerdict,
    CheckResult,
    Outcome,
    Progress,
    Verification,
    Why,
    Window,
    analysis_policy,
    analyze,
    bake,
    record_stable,
    title_of,
    watch,
)
from tritonfleet.plan.rollout.context import REQUEUE_SECONDS, RolloutContext, StepResult, in_force
from tritonfleet.plan.rollout.reasons import RolloutReason, of_finding, of_why
from tritonfleet.plan.rollout.rollback import roll_back
from tritonfleet.plan.rollout.sizing import pods_for_step, reachable_weight, revision_sizes
from tritonfleet.plan.rollout.state import FULL_WEIGHT, WATCHED_STEP, Attempt, Phase

IMAGE_GRACE: Final = timedelta(seconds=60)
"""A registry may be unavailable briefly."""


def provisioning(context: RolloutContext) -> StepResult:
    """Wait for the canary's pods; shift traffic once the ready pods of both revisions can serve a higher weight."""
    attempt = context.attempt
    asked = revision_sizes(context)[attempt.canary]
    reach = reachable_weight(context, context.goal)
    if context.canary.ready >= max(1, asked) and (reach != attempt.applied_weight or reach == context.goal):
        if attempt.verified:
            return shift(context, RolloutReason.CAPACITY_READY, attempt, reach)
        return _ask(context, reach)
    found = trouble(context)
    if found is not None:
        return found
    if context.canary.ready < asked and context.canary.lacks_room and context.canary.finding is not None:
        message = f"{context.canary.ready}/{asked} pods ready: {context.canary.finding.message}"
        return context.go(Phase.WAITING_FOR_CAPACITY, RolloutReason.NO_CAPACITY, message)
    left = context.seconds_left(context.state.entered_at, context.inputs.policy.progress_deadline)
    return context.stay(wait_seconds=left) if left > 0 else _overdue(context, asked)


def provision(context: RolloutContext, reason: RolloutReason, message: str, attempt: Attempt) -> StepResult:
    """Return the transition to Provisioning, with the number of canary pods of the attempt's step."""
    pods = pods_for_step(attempt, context.state.replicas, by_gateway=context.inputs.by_gateway)
    return context.go(Phase.PROVISIONING, reason, message, replace(attempt, canary_replicas=pods))


def shift(context: RolloutContext, reason: RolloutReason, attempt: Attempt, weight: int, said: str = "") -> StepResult:
    """Return the transition to Shifting: the weight is recorded in the status before it is applied.

    A new canary is first added to the gateway without traffic: requests to a backend that is added in the same write
    fail. If stable has no ready pod, there is no reason to wait for that.
    """
    unknown = context.inputs.by_gateway and attempt.weight == attempt.applied_weight == 0 and context.stable.ready > 0
    opening = unknown or (attempt.opening and attempt.weight > 0)
    canary, stable = counted(context.canary.ready, "ready pod"), counted(context.stable.ready, "ready pod")
    message = (
        f"shifting traffic: {weight}% to {context.name(attempt.canary)} ({canary}), "
        f"{100 - weight}% to {context.name(context.state.stable)} ({stable})"
    )
    if said:
        message = f"{said}; {message}"
    shifting_to = replace(attempt, weight=weight, opening=opening, settled_at=None)
    return context.go(Phase.SHIFTING, reason, message, shifting_to)


def trouble(context: RolloutContext) -> StepResult | None:
    """Return the rollback if the canary's pods will not become ready; None if waiting may help."""
    finding = context.canary.finding
    if finding is None or finding.lacks_room:
        return None
    pulling = finding.reason is Reason.IMAGE_PULL_FAILED and context.now - context.state.entered_at >= IMAGE_GRACE
    if not finding.stalled and not pulling:
        return None
    message = (
        f"{context.name(context.attempt.canary)} has {counted(context.canary.ready, 'ready pod')}: {finding.message}"
    )
    return roll_back(context, of_finding(finding), message, rejecting=True)


def _ask(context: RolloutContext, reach: int) -> StepResult:
    attempt, policy = context.attempt, context.attempt.plan.verification
    pods, are = counted(context.canary.ready, "pod"), "is" if context.canary.ready == 1 else "are"
    ready = f"{pods} of {context.name(attempt.canary)} {are} ready"
    if policy.contract is ContractPolicy.OFF and policy.golden is None and not context.canary.changed:
        verified = replace(attempt, verified=True)
        return shift(context, RolloutReason.VERIFIED, verified, reach, f"{ready}; nothing to verify")
    return context.go(Phase.VERIFYING, RolloutReason.CANARY_READY, f"{ready}; starting verification")


def _overdue(context: RolloutContext, asked: int) -> StepResult:
    state, stable, deadline = context.state, context.stable, context.inputs.policy.progress_deadline
    if context.canary.ready < max(1, asked) and context.canary.asked > 0:
        finding = context.canary.finding
        cause = f": {finding.message}" if finding is not None else ""
        message = f"{context.canary.ready}/{asked} pods ready after {deadline}{cause}"
        if finding is not None and finding.reason is Reason.PODS_LOST:
            return context.hold(RolloutReason.CANARY_EVICTED, message)
        return roll_back(context, of_finding(finding), message, rejecting=True)
    if stable.existing > stable.asked:
        pods = counted(stable.existing - stable.asked, "pod")
        message = f"{pods} of {context.name(state.stable)} still terminating after {deadline}"
        return context.hold(RolloutReason.STABLE_PODS_REMAIN, message)
    message = (
        f"{context.name(state.stable)} has {stable.ready}/{stable.asked} pods ready after {deadline}, "
        f"too few to shift {context.goal}% to {context.name(context.attempt.canary)}"
    )
    return context.hold(RolloutReason.STABLE_NOT_READY, message)


def verifying(context: RolloutContext) -> StepResult:
    """Wait for the results of contract check and golden requests, before the canary gets any traffic."""
    evidence = context.inputs.evidence
    if context.canary.unsteady:
        message = f"{context.name(context.attempt.canary)} failed before any traffic: {context.canary.unsteady}"
        return roll_back(context, RolloutReason.CANARY_UNSTEADY, message, rejecting=True)
    found = trouble(context)
    if found is not None:
        return found
    current = (context.attempt.canary, context.state.attempts)
    if evidence is None or evidence.verification is None or (evidence.canary, evidence.attempt) != current:
        return _unanswered(context, "no result yet")
    return _answered(context, evidence.verification)


def _answered(context: RolloutContext, answer: Verification) -> StepResult:
    checks = tuple(map(CheckResult.document, answer.checks))[:CHECKS_MAX]
    context = context.after(replace(context.state, verification=checks))
    worst = next((check for check in answer.checks if check.outcome is answer.outcome), None)
    said = f"{title_of(worst.check)}: {worst.message}" if worst is not None else "nothing to verify"
    if answer.outcome is Outcome.FAILED:
        return roll_back(context, _broken(worst), said, rejecting=True)
    if answer.outcome is not Outcome.PASSED or answer.pods < 1:
        return _unanswered(context, said)
    return _verified(context, f"{counted(len(answer.checks), 'check')} passed on {counted(answer.pods, 'pod')}; {said}")


def _broken(worst: CheckResult | None) -> RolloutReason:
    if worst is not None and worst.check.startswith("contract"):
        return RolloutReason.CONTRACT_BROKEN
    return RolloutReason.GOLDEN_FAILED


def _verified(context: RolloutContext, message: str) -> StepResult:
    verified = replace(context.attempt, verified=True)
    if context.canary.changed:
        name = context.name(verified.canary)
        message = f"{name} has changed since its first start: {context.canary.changed}; resume to use it anyway"
        return context.hold(RolloutReason.ROLLBACK_UNSAFE, message, verified, resume=Phase.PROVISIONING)
    reach = reachable_weight(context, context.goal)
    if reach == verified.applied_weight:
        return provision(context, RolloutReason.VERIFIED, message, verified)
    return shift(context, RolloutReason.VERIFIED, verified, reach, message)


def _unanswered(context: RolloutContext, said: str) -> StepResult:
    left = context.seconds_left(context.state.entered_at, context.inputs.policy.progress_deadline)
    if left > 0:
        return context.stay(wait_seconds=min(left, REQUEUE_SECONDS))
    message = f"not verified within {context.inputs.policy.progress_deadline}: {said}"
    return context.hold(RolloutReason.VERIFICATION_UNANSWERED, message)


SILENT_WINDOWS: Final = 3
"""Number of overdue windows after which metrics count as lost."""


def analyze_window(context: RolloutContext) -> RolloutContext:
    """Return the context after the analysis of the newest window with traffic; unchanged if there is no new one."""
    state, attempt, window = context.state, context.attempt, fresh_window(context)
    if window is None or attempt.applied_weight == 0:
        return context
    policy = analysis_policy(attempt.plan.analysis, context.inputs.slo)
    progress = attempt.analysis or Progress()
    if attempt.applied_weight >= FULL_WEIGHT:
        since = attempt.step_entered_at.timestamp()
        verdict = bake(policy, progress, window, since, unseen=len(attempt.steps) == 1)
    else:
        if not 0 < window.desired_share < 1:
            window = replace(window, desired_share=attempt.applied_weight / FULL_WEIGHT)
        verdict = analyze(policy, progress, window)
    total = window.canary.requests + window.stable.requests
    blind = verdict.outcome is Outcome.ERROR
    analyzed = replace(
        attempt,
        analysis=verdict.progress,
        measured_share=round(window.canary.requests / total, 4) if total else attempt.measured_share,
        metrics_lost_since=(attempt.metrics_lost_since or context.now) if blind else None,
    )
    results = tuple(map(CheckResult.document, verdict.results))[:CHECKS_MAX]
    return context.after(replace(state, attempt=analyzed, results=results), verdict)


def watch_promoted(context: RolloutContext) -> AnalysisVerdict | None:
    """Return the verdict on the promoted revision after the newest window, while the previous one is retained.

    Only the hard limit fails it. None if there is no new window.
    """
    state, evidence = context.state, context.inputs.evidence
    if evidence is None or evidence.window is None or state.standby is None:
        return None
    own = (evidence.canary, evidence.attempt, evidence.step) == (state.stable, state.attempts, WATCHED_STEP)
    if not own or evidence.window.end_seconds <= state.entered_at.timestamp():
        return None
    verdict = watch(state.standby.analysis or Progress(), evidence.window)
    return verdict if verdict.progress is not state.standby.analysis else None


def fresh_window(context: RolloutContext) -> Window | None:
    """Return the newest window of this canary, attempt and step, if it has not been analyzed yet."""
    attempt, evidence = context.attempt, context.inputs.evidence
    if evidence is None or evidence.window is None:
        return None
    if (evidence.canary, evidence.attempt, evidence.step) != (attempt.canary, context.state.attempts, attempt.step):
        return None
    last = attempt.analysis.last_end_seconds if attempt.analysis is not None else None
    began = attempt.step_entered_at.timestamp()
    end = evidence.window.end_seconds
    return evidence.window if end > began and (last is None or end > last) else None


def reset_analysis(attempt: Attempt) -> Attempt:
    """Return the attempt with a new comparison, which keeps only stable's variance estimate."""
    return replace(attempt, analysis=(attempt.analysis or Progress()).next_step())


def watched(context: RolloutContext) -> Attempt:
    """Return the attempt with stable's variance from the newest window before any canary traffic."""
    attempt, window = context.attempt, fresh_window(context)
    if window is None or attempt.applied_weight > 0:
        return attempt
    policy = analysis_policy(attempt.plan.analysis, context.inputs.slo)
    return replace(attempt, analysis=record_stable(policy, attempt.analysis or Progress(), window))


def failed(context: RolloutContext) -> StepResult | None:
    """Return the rollback of a canary that failed the analysis; None if it did not."""
    attempt, verdict = context.attempt, context.verdict
    if verdict is None or verdict.outcome is not Outcome.FAILED:
        return None
    step = f"step {attempt.step + 1} at {attempt.applied_weight}%, window {verdict.progress.windows}"
    return roll_back(context, of_why(verdict.why), f"{step}: {verdict.message}", rejecting=True)


def silence_from(context: RolloutContext) -> datetime | None:
    """Return since when metrics count as lost; None while the next window is not overdue."""
    attempt, analysis = context.attempt, context.attempt.plan.analysis
    last = attempt.analysis.last_end_seconds if attempt.analysis is not None else None
    heard = max(attempt.step_entered_at.timestamp(), context.state.entered_at.timestamp(), last or 0.0)
    patience = duration_seconds(analysis.warmup) + SILENT_WINDOWS * duration_seconds(analysis.interval)
    return context.now if context.now.timestamp() - heard > patience else None


ROUTE_GRACE_SECONDS = 30.0
"""A gateway may not know a new Service yet."""


def shifting(context: RolloutContext) -> StepResult:
    """Wait until the weight is applied; if it is less than the step's, provision the next canary pods."""
    state, attempt, split = context.state, context.attempt, context.inputs.split
    since = (context.now - state.entered_at).total_seconds()
    forced = in_force(context)
    after = forced.state.attempt if forced is not None else None
    if after is not None and after.applied_weight == attempt.weight and after.settled_at is None:
        return _moved(context.after(after))
    if split.problem and since >= ROUTE_GRACE_SECONDS:
        return context.hold(RolloutReason.ROUTE_REFUSED, f"{attempt.weight}% not applied: {split.problem}")
    deadline = context.inputs.policy.progress_deadline
    if forced is None and context.seconds_left(state.entered_at, deadline) <= 0:
        message = f"{attempt.weight}% not applied after {deadline}, and no error reported"
        return context.hold(RolloutReason.ROUTE_UNSETTLED, message)
    return forced or context.stay(wait_seconds=REQUEUE_SECONDS)


def _moved(context: RolloutContext) -> StepResult:
    """Return the result once the weight is applied."""
    attempt = context.attempt
    message = f"{context.name(attempt.canary)} gets {attempt.weight}% of the traffic"
    if attempt.weight != context.goal:
        text = f"{message}; {context.goal}% follows when more pods are ready"
        return provision(context, RolloutReason.WEIGHT_IN_FORCE, text, attempt)
    fresh = replace(reset_analysis(attempt), step_entered_at=context.now, metrics_lost_since=None)
    if attempt.weight >= FULL_WEIGHT and duration_seconds(attempt.plan.analysis.bake_time) == 0:
        text = f"{message}; no bake time"
        return passed(context.after(fresh), RolloutReason.WEIGHT_IN_FORCE, text)
    return context.go(Phase.ANALYZING, RolloutReason.WEIGHT_IN_FORCE, message, fresh)


def analyzing(context: RolloutContext) -> StepResult:
    """Analyze every window once, and continue only when the step has passed."""
    context = analyze_window(context)
    verdict = context.verdict
    if verdict is None:
        silent = context.attempt.metrics_lost_since or silence_from(context)
        unheard = replace(context.attempt, metrics_lost_since=silent)
        return _blind(context, "") or context.stay(unheard, wait_seconds=REQUEUE_SECONDS)
    rolled_back = failed(context)
    if rolled_back is not None:
        return rolled_back
    if verdict.outcome is Outcome.PASSED:
        reason = RolloutReason.UNPROVEN if verdict.unproven else RolloutReason.ANALYSIS_PASSED
        return passed(context, reason, verdict.message)
    if is_shared_incident(verdict):
        return context.hold(RolloutReason.SHARED_INCIDENT, _worst(verdict))
    if verdict.needs_person:
        return context.hold(of_why(verdict.why), f"needs a decision: {verdict.message}")
    blind = None
    if verdict.outcome is Outcome.ERROR:
        blind = _blind(context, next((each.message for each in verdict.results if each.outcome is Outcome.ERROR), ""))
    message = f"step {context.attempt.step + 1} at {context.attempt.applied_weight}%: {verdict.message}"
    return blind or context.say(RolloutReason.ANALYSIS_RUNNING, message, wait_seconds=REQUEUE_SECONDS)


def _blind(context: RolloutContext, why: str) -> StepResult | None:
    """Return the hold or rollback once metrics are missing for `metricsTimeout`; missing metrics never pass a step."""
    since, analysis = context.attempt.metrics_lost_since, context.attempt.plan.analysis
    if since is None or context.seconds_left(since, analysis.metrics_timeout) > 0:
        return None
    message = f"no metrics for {analysis.metrics_timeout}{': ' if why else ''}{why}"
    if analysis.on_metrics_error is OnMetricsError.ROLLBACK:
        return roll_back(context, RolloutReason.METRICS_LOST, message, rejecting=True)
    return context.hold(RolloutReason.METRICS_LOST, message)


def _worst(verdict: AnalysisVerdict) -> str:
    return next(result.message for result in verdict.results if result.why is Why.SHARED_INCIDENT)


def is_shared_incident(verdict: AnalysisVerdict) -> bool:
    """Return whether both revisions violate an objective."""
    return any(result.why is Why.SHARED_INCIDENT for result in verdict.results)


def awaiting(context: RolloutContext) -> StepResult:
    """Wait for an approval or a duration; the analysis continues, but only a failure has an effect."""
    context = analyze_window(context)
    rolled_back = failed(context)
    if rolled_back is not None:
        return rolled_back
    pause = context.attempt.current_step.pause
    if pause is None or pause.duration is None:
        return context.stay(wait_seconds=REQUEUE_SECONDS)
    left = context.seconds_left(context.state.entered_at, pause.duration)
    if left > 0:
        return context.stay(wait_seconds=min(left, REQUEUE_SECONDS))
    return go_on(context, RolloutReason.PAUSE_OVER, f"pause of {pause.duration} is over")


def passed(context: RolloutContext, reason: RolloutReason, message: str) -> StepResult:
    """Return the transition after a passed step: to its pause, or to the next step."""
    attempt, step = context.attempt, context.attempt.current_step
    if step.pause is None:
        return go_on(context, reason, message)
    pause = f"pausing for {step.pause.duration}" if step.pause.duration else "waiting for approval"
    text = f"step {attempt.step + 1} at {step.weight}% passed, {pause}: {message}"
    return context.go(Phase.AWAITING_APPROVAL, RolloutReason.PAUSE_BETWEEN_STEPS, text, reset_analysis(attempt))


def go_on(context: RolloutContext, reason: RolloutReason, message: str) -> StepResult:
    """Return the transition to the next step, or to Promoting after the last one."""
    attempt = context.attempt
    done = f"step {attempt.step + 1} at {context.goal}%: {message}"
    if attempt.is_last_step:
        return context.go(Phase.PROMOTING, reason, done)
    fresh = replace(
        reset_analysis(attempt), step=attempt.step + 1, step_entered_at=context.now, metrics_lost_since=None
    )
    return provision(context, reason, done, fresh)
