"""Where no rollout is under way: the first revision starts, one serves, or one was taken back."""

from typing import Any

from tritonfleet.plan.rollout.back import at_rest
from tritonfleet.plan.rollout.moment import LOOK_AGAIN_SECONDS, Advance, Moment
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.steps import pinned, straight, uncompared
from tritonfleet.plan.rollout.weights import EVERYTHING


def initializing(moment: Moment) -> Advance:
    """Wait for every pod of the first revision; there is nothing to compare it with.

    Once it serves at all, another revision does not take its place without a rollout.
    """
    first, replicas = moment.wanted or moment.state.canary, moment.facts.replicas
    if not first:
        return moment.stay()
    if first != moment.state.canary and moment.canary.ready > 0:
        serves = f"{moment.name(moment.state.canary)} serves with {moment.canary.ready} of {replicas} pods ready"
        message = f"{serves}, and {moment.name(first)} is wanted"
        promoted = {**at_rest(moment), "stable": moment.state.canary}
        return moment.go(Phase.STABLE, RolloutReason.SERVES, message, **promoted)
    if first != moment.state.canary or not moment.state.reason:
        message = f"{replicas} pods of {moment.name(first)} are being started"
        return moment.say(RolloutReason.STARTING, message, canary=first, replicas=replicas)
    if moment.canary.ready < replicas:
        return moment.stay(replicas=replicas)
    message = f"{moment.name(first)} serves with {moment.canary.ready} of {replicas} pods ready"
    return moment.go(Phase.STABLE, RolloutReason.SERVES, message, **{**at_rest(moment), "stable": first})


def stable(moment: Moment) -> Advance:
    """Let another revision begin; until `retained_until` the one before can take over again at once."""
    state, wanted = moment.state, moment.wanted
    if state.previous and _is_released(moment):
        return moment.stay(previous="", retained_until=None, surge=0)
    wait = (state.retained_until - moment.now).total_seconds() if state.retained_until is not None else None
    if wait is not None and moment.stable.ready < moment.facts.replicas:
        # A pod that has not been ready for a minute is told by nobody.
        wait = min(wait, LOOK_AGAIN_SECONDS)
    if state.previous and _is_broken(moment) and moment.previous.ready > moment.stable.ready:
        trouble = moment.stable.unsteady or (moment.stable.finding.message if moment.stable.finding else "")
        message = f"{moment.name(state.stable)} has {moment.stable.ready} ready pods: {trouble}"
        return _flip(moment, RolloutReason.PROMOTED_BROKE, message, rejecting=True)
    if not wanted or wanted == state.stable:
        return _served(moment, wait)
    if moment.rejected(wanted):
        message = f"the spec asks for {moment.name(wanted)}, which was rejected"
        return moment.go(Phase.ROLLED_BACK, RolloutReason.REJECTED, message, **at_rest(moment))
    if wanted == state.previous and moment.previous.ready >= max(1, moment.facts.replicas):
        message = f"{moment.name(wanted)} is wanted back and still has {moment.previous.ready} ready pods"
        return _flip(moment, RolloutReason.RETAINED_REVISION, message, rejecting=False)
    return _admit(moment, wait)


def rolled_back(moment: Moment) -> Advance:
    """Serve stable until something else is wanted than what was rejected."""
    state, wanted = moment.state, moment.wanted
    if not wanted or moment.rejected(wanted):
        return moment.stay(replicas=moment.facts.replicas)
    if wanted == state.stable:
        message = f"the spec asks for {moment.name(wanted)}, which serves"
        return moment.go(Phase.STABLE, RolloutReason.REVERTED, message, **at_rest(moment))
    return _admit(moment, None)


def _served(moment: Moment, wait: float | None) -> Advance:
    state = moment.state
    waited = (RolloutReason.PAUSED_BY_SPEC, RolloutReason.NO_REPLICAS)
    if state.reason and state.reason not in waited:
        return moment.stay(replicas=moment.facts.replicas, wait_seconds=wait)
    message = f"{moment.name(state.stable)} serves"
    return moment.say(RolloutReason.SERVES, message, wait_seconds=wait, replicas=moment.facts.replicas)


def _is_released(moment: Moment) -> bool:
    """Tell whether the revision before has stood by for long enough, or stands in the way of stable's own pods."""
    until = moment.state.retained_until
    crowded = moment.stable.ready < moment.facts.replicas and moment.stable.lacks_room
    return until is None or moment.now >= until or crowded


def _is_broken(moment: Moment) -> bool:
    serving = moment.stable
    stalled = serving.ready == 0 and serving.finding is not None and serving.finding.stalled
    return not moment.facts.suspended and (bool(serving.unsteady) or stalled)


def _flip(moment: Moment, reason: RolloutReason, message: str, *, rejecting: bool) -> Advance:
    """Return the way back to the revision before, whose pods still stand by: nothing but a weight changes."""
    state = moment.state
    replicas = moment.facts.replicas
    begun = _begun(moment, state.previous, straight({}))
    flipped = {"verified": True, "weight": EVERYTHING, "canary_replicas": replicas, "rejecting": rejecting}
    kept = {"mode": state.mode, "surge": state.surge}
    return moment.go(Phase.PROMOTING, reason, message, **{**begun, **flipped, **kept})


def _admit(moment: Moment, wait: float | None) -> Advance:
    state, wanted, replicas = moment.state, moment.wanted, moment.facts.replicas
    if moment.facts.policy.paused:
        message = f"{moment.name(wanted)} is wanted and waits: spec.rollout.paused is set"
        return moment.say(RolloutReason.PAUSED_BY_SPEC, message, wait_seconds=wait, replicas=replicas)
    if replicas == 0:
        message = f"{moment.name(wanted)} is wanted and waits: replicas is 0"
        return moment.say(RolloutReason.NO_REPLICAS, message, wait_seconds=wait, replicas=0)
    plan, reason, how = pinned(moment.facts.policy), RolloutReason.NEW_REVISION, ""
    if moment.facts.older or wanted == state.override:
        plan, reason, how = straight(plan), RolloutReason.OLDER_REVISION, ", verified and without steps"
    elif moment.stable.ready == 0:
        plan = uncompared(straight(plan))
        how = f", without steps: {moment.name(state.stable)} has no ready pod to compare it with"
    message = f"{moment.name(wanted)} is wanted in the place of {moment.name(state.stable)}{how}"
    return moment.go(Phase.ADMITTING, reason, message, **_begun(moment, wanted, plan))


def _begun(moment: Moment, canary: str, plan: dict[str, Any]) -> dict[str, Any]:
    return {
        **at_rest(moment),
        "canary": canary,
        "attempt": moment.state.attempt + 1,
        "plan": plan,
        "mode": "",
        "step_entered_at": moment.now,
        "verification": (),
        "results": (),
    }
