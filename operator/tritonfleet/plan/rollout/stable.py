"""The phases without a canary, and the promotion that leads to them.

Initializing waits for the first revision, Stable and RolledBack serve one revision until another is wanted, and
Promoting, past the point of no return, waits until the canary serves all traffic. Stable also retains pods of the
previous revision, and switches back to them at once if the promoted one's pods fail, or so many of its requests that
the hard limit is exceeded. The planner dispatches to these handlers.
"""

from dataclasses import replace
from datetime import timedelta

from tritonfleet.api.canary import Canary, CapacityMode
from tritonfleet.api.quantities import counted, duration_seconds
from tritonfleet.plan.rollout.analysis import Outcome
from tritonfleet.plan.rollout.canary import watch_promoted
from tritonfleet.plan.rollout.context import REQUEUE_SECONDS, RolloutContext, StepResult, in_force
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.rollback import roll_back, with_rejection
from tritonfleet.plan.rollout.sizing import snapshot_plan, without_analysis
from tritonfleet.plan.rollout.state import FULL_WEIGHT, Attempt, Phase, Standby, State


def initializing(context: RolloutContext) -> StepResult:
    """Wait for every pod of the first revision, which cannot be compared with another.

    Once one of its pods serves, another revision needs a rollout.
    """
    started, replicas = context.attempt.canary, context.inputs.replicas
    first, state = context.wanted or started, replace(context.state, replicas=replicas)
    if not first:
        return context.stay()
    if first != started and context.canary.ready > 0:
        serves = f"{context.name(started)} is serving with {context.canary.ready}/{replicas} pods ready"
        message = f"{serves}; {context.name(first)} is next"
        serving = replace(state, attempt=None, stable=started)
        return context.go(Phase.STABLE, RolloutReason.SERVES, message, serving)
    if first != started or not state.reason:
        message = f"starting {counted(replicas, 'pod')} of {context.name(first)}"
        return context.say(RolloutReason.STARTING, message, replace(state, attempt=Attempt(canary=first)))
    if context.canary.ready < replicas:
        return context.stay(state)
    message = f"{context.name(first)} is serving with {context.canary.ready}/{replicas} pods ready"
    return context.go(Phase.STABLE, RolloutReason.SERVES, message, replace(state, attempt=None, stable=first))


def stable(context: RolloutContext) -> StepResult:
    """Start the rollout of another revision; while the previous one is retained, it can take over again at once."""
    state, wanted, standby = context.state, context.wanted, context.state.standby
    if standby is not None and _is_released(context, standby):
        return context.stay(replace(state, standby=None))
    if standby is not None:
        context, failed = _with_watch(context, standby)
        if failed is not None:
            return failed
        state, standby = context.state, context.state.standby
    wait = (standby.until - context.now).total_seconds() if standby is not None and standby.until is not None else None
    if wait is not None and context.stable.ready < context.inputs.replicas:
        # No event reports that a pod has not been ready for a minute.
        wait = min(wait, REQUEUE_SECONDS)
    if not wanted or wanted == state.stable:
        return _served(context, wait)
    if context.rejected(wanted):
        message = f"the spec has {context.name(wanted)}, which was rejected"
        alone = replace(state, standby=None, replicas=context.inputs.replicas)
        return context.go(Phase.ROLLED_BACK, RolloutReason.REJECTED, message, alone)
    retained = standby is not None and standby.revision == wanted
    if standby is not None and retained and context.previous.ready >= max(1, context.inputs.replicas):
        message = (
            f"switching back to {context.name(wanted)}, which still has {counted(context.previous.ready, 'ready pod')}"
        )
        return _flip(context, standby, RolloutReason.RETAINED_REVISION, message, rejecting=False)
    return _admit(context, wait)


def rolled_back(context: RolloutContext) -> StepResult:
    """Serve stable until a revision is wanted that was not rejected."""
    state, wanted = replace(context.state, replicas=context.inputs.replicas), context.wanted
    if not wanted or context.rejected(wanted):
        return context.stay(state)
    if wanted == state.stable:
        message = f"the spec has {context.name(wanted)} again, which is serving"
        return context.go(Phase.STABLE, RolloutReason.REVERTED, message, state)
    return _admit(context, None)


def _served(context: RolloutContext, wait: float | None) -> StepResult:
    state = replace(context.state, replicas=context.inputs.replicas)
    waited = (RolloutReason.PAUSED_BY_SPEC, RolloutReason.NO_REPLICAS)
    if state.reason and state.reason not in waited:
        return context.stay(state, wait_seconds=wait)
    message = f"{context.name(state.stable)} is serving"
    return context.say(RolloutReason.SERVES, message, state, wait_seconds=wait)


def _is_released(context: RolloutContext, standby: Standby) -> bool:
    """Return whether the previous revision's retention is over, or its pods take capacity that stable needs."""
    crowded = context.stable.ready < context.inputs.replicas and context.stable.lacks_room
    return standby.until is None or context.now >= standby.until or crowded


def _with_watch(context: RolloutContext, standby: Standby) -> tuple[RolloutContext, StepResult | None]:
    """Return the context after the newest window, and the rollback if the promoted revision has failed."""
    verdict = watch_promoted(context)
    if verdict is not None:
        if verdict.outcome is Outcome.FAILED and context.previous.asked:
            return context, _roll_back_promoted(context, standby, verdict.message)
        standby = replace(standby, analysis=verdict.progress)
        context = context.after(replace(context.state, standby=standby))
    if not _is_broken(context) or context.previous.ready <= context.stable.ready:
        return context, None
    trouble = context.stable.unsteady or (context.stable.finding.message if context.stable.finding else "")
    message = f"{context.name(context.state.stable)} has {counted(context.stable.ready, 'ready pod')}: {trouble}"
    return context, _flip(context, standby, RolloutReason.PROMOTED_REVISION_FAILED, message, rejecting=True)


def _is_broken(context: RolloutContext) -> bool:
    serving = context.stable
    stalled = serving.ready == 0 and serving.finding is not None and serving.finding.stalled
    return not context.inputs.suspended and (bool(serving.unsteady) or stalled)


def _flip(
    context: RolloutContext, standby: Standby, reason: RolloutReason, message: str, *, rejecting: bool
) -> StepResult:
    """Return the switch back to the previous revision, whose pods are retained: only the weight changes."""
    attempt = Attempt(
        canary=standby.revision,
        plan=without_analysis(Canary()),
        mode=CapacityMode.SURGE,
        surge=standby.surge,
        canary_replicas=context.inputs.replicas,
        step_entered_at=context.now,
        weight=FULL_WEIGHT,
        verified=True,
        rejecting=rejecting,
    )
    return context.go(Phase.PROMOTING, reason, message, _started(context, attempt))


def _roll_back_promoted(context: RolloutContext, standby: Standby, said: str) -> StepResult:
    """Return the rollback of the promoted revision: it is the canary again, with all of the traffic.

    Traffic returns as far as the retained pods can serve it, and others of them start for the rest.
    """
    promoted = Attempt(
        canary=context.state.stable,
        plan=without_analysis(snapshot_plan(context.inputs.policy)),
        mode=CapacityMode.SURGE,
        surge=standby.surge,
        canary_replicas=context.inputs.replicas,
        step_entered_at=context.now,
        weight=FULL_WEIGHT,
        applied_weight=FULL_WEIGHT,
        verified=True,
    )
    message = f"{context.name(promoted.canary)} fails after its promotion: {said}"
    state = replace(_started(context, promoted), stable=standby.revision)
    return roll_back(context.after(state), RolloutReason.PROMOTED_REVISION_FAILED, message, rejecting=True)


def _admit(context: RolloutContext, wait: float | None) -> StepResult:
    state, wanted, replicas = context.state, context.wanted, context.inputs.replicas
    if context.inputs.policy.paused:
        message = f"rollout of {context.name(wanted)} not started: spec.rollout.paused is set"
        return context.say(RolloutReason.PAUSED_BY_SPEC, message, replace(state, replicas=replicas), wait_seconds=wait)
    if replicas == 0:
        message = f"rollout of {context.name(wanted)} not started: replicas is 0"
        return context.say(RolloutReason.NO_REPLICAS, message, replace(state, replicas=0), wait_seconds=wait)
    plan, reason, how = snapshot_plan(context.inputs.policy), RolloutReason.NEW_REVISION, ""
    if context.inputs.older or wanted == state.override:
        plan, reason, how = without_analysis(plan), RolloutReason.OLDER_REVISION, ", without steps"
    message = f"starting rollout of {context.name(wanted)}, replacing {context.name(state.stable)}{how}"
    attempt = Attempt(canary=wanted, plan=plan, step_entered_at=context.now)
    return context.go(Phase.ADMITTING, reason, message, _started(context, attempt))


def _started(context: RolloutContext, attempt: Attempt) -> State:
    """Return the state in which another attempt has started; the previous revision is not retained any more."""
    return replace(
        context.state,
        attempt=attempt,
        attempts=context.state.attempts + 1,
        replicas=context.inputs.replicas,
        standby=None,
        verification=(),
        results=(),
    )


def promoting(context: RolloutContext) -> StepResult:
    """Wait until the canary has all traffic and as many ready pods as are wanted now.

    Do not wait for pods that lack capacity, which a retained pod may hold, nor for any pod while suspended.
    """
    if context.inputs.suspended:
        return _promoted(context)
    if context.attempt.applied_weight != context.attempt.weight:
        return in_force(context) or context.stay(wait_seconds=REQUEUE_SECONDS)
    needed = max(1, min(context.state.replicas, context.inputs.replicas))
    if context.canary.ready < needed and not (context.canary.ready > 0 and context.canary.lacks_room):
        return context.stay(wait_seconds=REQUEUE_SECONDS)
    return _promoted(context)


def _promoted(context: RolloutContext) -> StepResult:
    state, attempt = context.state, context.attempt
    serves = f"{context.name(attempt.canary)} is serving with {counted(context.canary.ready, 'ready pod')}"
    promoted = replace(state, stable=attempt.canary, attempt=None, replicas=context.inputs.replicas)
    if attempt.rejecting:
        message = f"{serves} again; {context.name(state.stable)} was rolled back: {state.message}"
        rejected = with_rejection(promoted, state.stable, context.now)
        return context.go(Phase.ROLLED_BACK, RolloutReason(state.reason), message, rejected)
    retention = context.inputs.policy.stable_retention
    if attempt.mode is not CapacityMode.SURGE or duration_seconds(retention) == 0 or not context.stable.asked:
        return context.go(Phase.STABLE, RolloutReason.PROMOTED, serves, promoted)
    until = context.now + timedelta(seconds=duration_seconds(retention))
    retained = counted(min(context.stable.asked, attempt.surge), "pod")
    message = f"{serves}; keeping {retained} of {context.name(state.stable)} for {retention}"
    promoted = replace(promoted, standby=Standby(state.stable, until, attempt.surge))
    return context.go(Phase.STABLE, RolloutReason.PROMOTED, message, promoted)
