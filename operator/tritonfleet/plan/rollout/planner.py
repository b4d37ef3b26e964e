"""The rollout's planner: from the status and the cluster to pods, traffic and the next state.

`plan/reconcile.py` calls it in every pass, in this order:

1. `plan_rollout()` restores the state, gathers the inputs, and computes the desired pods and traffic.
2. `record_conflicts()` records a change of the traffic by another writer, before it is reverted.
3. `advance()` decides on the next state, once the cluster has been asked for the present one.

`advance()` runs `CHECKS` in order of priority: safety of users first, then commands, then the spec. The first check
that returns a result decides; if none does, the handler of the phase decides.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from tritonfleet.api import names
from tritonfleet.api.canary import CapacityMode
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import counted
from tritonfleet.api.resources import HTTP_ROUTE
from tritonfleet.api.rollout import Strategy
from tritonfleet.plan.objects import split_seen
from tritonfleet.plan.pods import RevisionPods, count_pods
from tritonfleet.plan.revisions import KnownRevision, serving_hash
from tritonfleet.plan.rollout.canary import (
    analyze_window,
    analyzing,
    awaiting,
    failed,
    provisioning,
    shifting,
    verifying,
    watched,
)
from tritonfleet.plan.rollout.capacity import admitting, waiting
from tritonfleet.plan.rollout.commands import answer_request, requests_of
from tritonfleet.plan.rollout.context import RolloutContext, StepResult
from tritonfleet.plan.rollout.holds import held, stable_lost
from tritonfleet.plan.rollout.inputs import RolloutInputs, observed_split
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.rollback import roll_back, rolling_back
from tritonfleet.plan.rollout.sizing import is_stable_lost, pods_for_step, revision_sizes, stable_needed
from tritonfleet.plan.rollout.stable import initializing, promoting, rolled_back, stable
from tritonfleet.plan.rollout.state import FULL_WEIGHT, Attempt, Phase, State
from tritonfleet.plan.rollout.status import restore_state
from tritonfleet.plan.world import ChildId, Event, Manifest, Observed


@dataclass(frozen=True, slots=True)
class DesiredRollout:
    """Pods and traffic by revision hash. Other revisions are not needed any more."""

    sizes: Mapping[str, int]
    """Desired pods of each revision, 0 included."""
    split: Mapping[str, int]
    """Percent of the traffic; adds up to 100, or empty while no revision can serve."""
    stable: str
    """The stable revision, or the first one while it starts; empty for none."""
    opened: frozenset[str] = frozenset()
    """Revisions without traffic that stay a backend of the gateway."""


def desired_rollout(context: RolloutContext) -> DesiredRollout:
    """Return what to render: the traffic follows from the state alone, the pods also from those that exist."""
    state = context.state
    stable = context.attempt.canary if state.phase is Phase.INITIALIZING else state.stable
    pods, split = revision_sizes(context), _split(state, stable)
    return DesiredRollout(pods, split, stable, frozenset(_opened(context, pods, split)))


def _split(state: State, stable: str) -> Mapping[str, int]:
    if not stable:
        return {}
    if state.attempt is not None and state.canary != stable:
        return {stable: FULL_WEIGHT - state.attempt.routed_weight, state.canary: state.attempt.routed_weight}
    if state.standby is not None:
        return {stable: FULL_WEIGHT, state.standby.revision: 0}
    return {stable: FULL_WEIGHT}


def _opened(context: RolloutContext, pods: Mapping[str, int], split: Mapping[str, int]) -> Iterator[str]:
    """Yield the revisions without a share that may get one soon, or had one until now.

    A canary is among them only while the weight changes: neither before it is verified nor after a rollback.
    """
    moving = context.attempt.weight != context.attempt.applied_weight
    for revision in (each for each, percent in split.items() if percent == 0):
        existing = (context.inputs.revisions.get(revision) or RevisionPods()).existing
        takes_over = revision != context.attempt.canary and (pods.get(revision) or existing)
        if moving or takes_over:
            yield revision


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The state of the last pass, the present inputs, and the cluster that the state asks for."""

    state: State
    inputs: RolloutInputs
    desired: DesiredRollout

    @property
    def is_contested(self) -> bool:
        """Whether another writer keeps changing the route, which is not reverted until a person resumes."""
        return self.state.phase is Phase.HELD and self.state.reason == RolloutReason.ROUTE_CONFLICT


def is_planned(deployment: ModelDeployment, body: Manifest) -> bool:
    """Return whether the planner decides: the spec has steps or Recreate, or such a rollout is in progress.

    A rejection and an override also stay in effect if the steps are removed from the spec.
    """
    rollout = deployment.spec.rollout
    if rollout.canary is not None or rollout.strategy in (Strategy.CANARY, Strategy.RECREATE):
        return True
    state = written_state(body)
    if state is None:
        return False
    return state.traits.under_way or state.phase is Phase.ROLLED_BACK or bool(state.override)


def written_state(body: Manifest) -> State | None:
    """Return the state in the status; None if there is none, or if it is invalid."""
    document = (body.get("status") or {}).get("rollout")
    return restore_state(document) if isinstance(document, dict) else None


def plan_rollout(
    deployment: ModelDeployment,
    observed: Observed,
    known: Mapping[str, KnownRevision],
    target: str | None,
    replicas: int,
    now: datetime,
) -> RolloutPlan:
    """Return the rollout; `target` is the hash of the spec's revision, None if it cannot be rendered.

    `replicas` is the number of pods that the spec or the autoscaler wants. A state that was lost, or that names a
    stable revision that does not exist, is derived from the traffic now: a canary that gets some of it is rolled back,
    as far as stable has the pods for it, and tried again.
    """
    state = written_state(observed.body)
    if state is None or (state.stable and state.stable not in known and state.phase is not Phase.INITIALIZING):
        state = _interrupted_state(observed, known, target, replicas, now) or _initial_state(
            observed, known, target, now
        )
    state = _not_ahead(state, now)
    inputs = _gather_inputs(deployment, observed, known, target, replicas, state, now)
    if (
        state.phase is Phase.INITIALIZING
        and target
        and not (inputs.revisions.get(state.canary) or RevisionPods()).ready
    ):
        # No traffic is served yet, so following the spec loses nothing.
        state = replace(state, attempt=Attempt(canary=target))
    return RolloutPlan(state, inputs, desired_rollout(RolloutContext(state, inputs, now)))


def _not_ahead(state: State, now: datetime) -> State:
    """Return the state without times in the future, which a clock that was ahead has left: they would delay phases.

    The end of the last window is kept, or that window would be analyzed twice.
    """
    attempt = state.attempt
    if attempt is not None:
        metrics_lost_since = min(attempt.metrics_lost_since, now) if attempt.metrics_lost_since is not None else None
        attempt = replace(
            attempt, step_entered_at=min(attempt.step_entered_at, now), metrics_lost_since=metrics_lost_since
        )
    return replace(state, entered_at=min(state.entered_at, now), attempt=attempt)


def _initial_state(observed: Observed, known: Mapping[str, KnownRevision], target: str | None, now: datetime) -> State:
    stable = serving_hash(observed, known)
    # The front Service selects the first revision before any of its pods is ready.
    if stable is None or (stable == target and len(known) == 1 and not known[stable].can_serve(1)):
        return State(entered_at=now, attempt=Attempt(canary=target) if target else None)
    return State(phase=Phase.STABLE, entered_at=now, stable=stable)


def _interrupted_state(
    observed: Observed, known: Mapping[str, KnownRevision], target: str | None, replicas: int, now: datetime
) -> State | None:
    """Return the state that rolls back a canary whose rollout state was lost; None if no canary has traffic."""
    shares = _shares(observed, known)
    if len(shares) != 2:
        return None
    remembered = str(((observed.body.get("status") or {}).get("revision") or {}).get("stable") or "")[-10:]
    stable = remembered if remembered in shares else next((each for each in shares if each != target), "")
    canary = next(each for each in shares if each != stable)
    weight = round(FULL_WEIGHT * shares[canary] / sum(shares.values()))
    pods = int((known[canary].deployment or {}).get("spec", {}).get("replicas", 0))
    attempt = Attempt(canary, mode=CapacityMode.SURGE, surge=pods, canary_replicas=pods, step_entered_at=now)
    attempt = replace(attempt, weight=weight, applied_weight=weight, verified=True)
    message = f"status.rollout was lost while revision {canary} had {weight}% of the traffic"
    lost = RolloutReason.STATE_LOST.value
    return State(Phase.ROLLING_BACK, now, lost, message, stable, replicas=replicas, attempt=attempt)


def _shares(observed: Observed, known: Mapping[str, KnownRevision]) -> Mapping[str, int]:
    """Return what each revision has of the traffic, by the HTTPRoute or by the pods behind a Service that all share."""
    name = observed.body["metadata"]["name"]
    route = observed.children.get(ChildId(HTTP_ROUTE.kind, name))
    service = observed.children.get(ChildId("Service", name))
    if route is not None:
        rules = split_seen(route)
        found = dict(rules[-1]) if rules else {}
    elif service is not None and names.REVISION_LABEL not in (service["spec"].get("selector") or {}):
        found = {each.hash: each.ready_replicas for each in known.values()}
    else:
        return {}
    return {each: share for each, share in found.items() if share > 0 and each in known and known[each].deployment}


def _gather_inputs(
    deployment: ModelDeployment,
    observed: Observed,
    known: Mapping[str, KnownRevision],
    target: str | None,
    replicas: int,
    state: State,
    now: datetime,
) -> RolloutInputs:
    spec = deployment.spec
    scaled_to_zero = replicas == 0 and not spec.suspend and not spec.scaled_by_us and state.traits.under_way
    return RolloutInputs(
        target=target or "",
        replicas=replicas,
        policy=spec.rollout,
        revisions=_count_revisions(deployment, observed, known, state, now),
        by_gateway=spec.traffic.gateway is not None,
        split=observed_split(observed, state, by_gateway=spec.traffic.gateway is not None),
        headroom=observed.headroom,
        gpus_per_pod=spec.server.gpu.count,
        evidence=observed.evidence,
        requests=requests_of(observed.body, spec.rollout),
        slo=spec.slo,
        suspended=spec.suspend or scaled_to_zero,
        scaled_to_zero=scaled_to_zero,
        older=spec.rollback is not None,
    )


def _count_revisions(
    deployment: ModelDeployment,
    observed: Observed,
    known: Mapping[str, KnownRevision],
    state: State,
    now: datetime,
) -> Mapping[str, RevisionPods]:
    entries = {entry["name"]: entry for entry in (observed.body.get("status") or {}).get("revisions") or ()}
    since = _trusted_since(state)
    return {
        revision.hash: count_pods(
            revision,
            entries.get(names.revision_name(deployment.metadata.name, revision.hash), {}),
            observed.gpus,
            since,
            now,
        )
        for revision in known.values()
    }


def _trusted_since(state: State) -> datetime:
    """Return since when failures of the canary's pods count: since the first pods of this rollout were ready."""
    since = state.entered_at
    for record in state.history:
        if record.target is Phase.ADMITTING:
            break
        if record.target in (Phase.VERIFYING, Phase.SHIFTING):
            since = record.at
    return since


CONFLICT_WINDOW: Final = timedelta(minutes=5)
CONFLICT_REVERTS: Final = 3
REVERT_APART: Final = timedelta(seconds=5)
"""Changes of the route by another writer that are closer together count as one."""

_PHASES: Final[Mapping[Phase, Callable[[RolloutContext], StepResult]]] = {
    Phase.INITIALIZING: initializing,
    Phase.STABLE: stable,
    Phase.ROLLED_BACK: rolled_back,
    Phase.ADMITTING: admitting,
    Phase.PROVISIONING: provisioning,
    Phase.WAITING_FOR_CAPACITY: waiting,
    Phase.VERIFYING: verifying,
    Phase.SHIFTING: shifting,
    Phase.ANALYZING: analyzing,
    Phase.AWAITING_APPROVAL: awaiting,
    Phase.HELD: held,
    Phase.STABLE_LOST: stable_lost,
    Phase.PROMOTING: promoting,
    Phase.ROLLING_BACK: rolling_back,
}


def advance(state: State, inputs: RolloutInputs, now: datetime) -> StepResult:
    """Return the next state, and at most one transition. Call it only once the cluster matches what `state` asks for.

    The first of `CHECKS` that returns a result decides, else the handler of the phase.
    """
    context = RolloutContext(state, inputs, now)
    context, events = _follow_spec(context) if not inputs.suspended else (context, ())
    if state.traits.between_steps and not inputs.suspended:
        context = analyze_window(context)
    found = next((found for check in CHECKS if (found := check(context)) is not None), None)
    found = found or _PHASES[state.phase](context)
    return replace(found, state=state if found.state == state else found.state, events=(*events, *found.events))


def record_conflicts(state: State, inputs: RolloutInputs, now: datetime) -> State:
    """Return the state with a change of the traffic by another writer recorded, before it is reverted."""
    if state.attempt is None or not (inputs.split.foreign and state.traits.before_promotion):
        return state
    recent = tuple(at for at in state.attempt.reverts if now - at < CONFLICT_WINDOW)
    another = not recent or not timedelta(0) <= now - recent[-1] < REVERT_APART
    return replace(state, attempt=replace(state.attempt, reverts=(*recent, now))) if another else state


def _suspended(context: RolloutContext) -> StepResult | None:
    """Hold the rollout while no pod may run: waiting for pods would only exceed deadlines.

    The canary's weight is reset, or it would be rolled back for having no ready pod once it is resumed.
    """
    state, attempt = context.state, context.attempt
    if not context.inputs.suspended:
        return None
    if state.phase is Phase.PROMOTING:
        return promoting(context)
    resume = Phase.PROVISIONING if attempt.mode is not None else Phase.WAITING_FOR_CAPACITY
    without_share = replace(attempt, weight=0, applied_weight=0, settled_at=None)
    if state.traits.can_hold or state.phase is Phase.STABLE_LOST:
        reason, why = RolloutReason.SUSPENDED, "suspended"
        if context.inputs.scaled_to_zero:
            reason, why = RolloutReason.NO_REPLICAS, "replicas is 0: held"
        message = f"{why} in {state.phase} at {attempt.applied_weight}%"
        return context.hold(reason, message, without_share, resume=resume)
    if state.phase is Phase.HELD and max(attempt.weight, attempt.applied_weight) > 0:
        return context.stay(replace(without_share, resume=resume))
    return context.stay()


def _follow_spec(context: RolloutContext) -> tuple[RolloutContext, tuple[Event, ...]]:
    """Return the updates of every phase, with their events: the end of an override, size, stable's variance."""
    state, inputs, events = context.state, context.inputs, tuple[Event, ...]()
    if state.override and inputs.target not in ("", state.override_of):
        message = f"override by {context.name(state.override)} ended: the spec has {context.name(inputs.target)}"
        events = (Event("Normal", RolloutReason.OVERRIDE_ENDED.value, message),)
        state = replace(state, override="", override_of="")
    if state.attempt is not None and state.traits.under_way and inputs.replicas > state.replicas:
        state = replace(state, replicas=inputs.replicas)
        if state.attempt is not None and state.attempt.canary_replicas > 0:
            pods = pods_for_step(state.attempt, state.replicas, by_gateway=inputs.by_gateway)
            state = replace(state, attempt=replace(state.attempt, canary_replicas=pods))
    if state.traits.before_traffic:
        state = replace(state, attempt=watched(context.after(state)))
    return context.after(state), events


def _keep_safe(context: RolloutContext) -> StepResult | None:
    """Return the rollback of a canary that harms users, or StableLost if stable cannot serve its share; else None.

    Only while the canary has traffic: earlier failures affect no user, and the phase handles them.
    """
    state, attempt = context.state, context.attempt
    given = max(attempt.weight, attempt.applied_weight)
    if not (state.traits.before_promotion or state.phase is Phase.PROMOTING) or given == 0:
        return None
    share = f"{given}% of the traffic"
    name = context.name(attempt.canary)
    if context.canary.unsteady:
        message = (
            f"{name} failed with {share} and {counted(context.canary.ready, 'ready pod')}: {context.canary.unsteady}"
        )
        return roll_back(context, RolloutReason.CANARY_UNSTEADY, message, rejecting=True)
    if context.canary.ready == 0 and attempt.applied_weight > 0:
        trouble = f": {context.canary.finding.message}" if context.canary.finding is not None else ""
        message = f"{name} has {share} and 0/{context.canary.asked} pods ready{trouble}"
        if context.canary.replaced:
            gone = f"{name} has {share} and its ready pods are gone, not by their own doing{trouble}"
            return roll_back(context, RolloutReason.CANARY_EVICTED, gone, rejecting=False)
        return roll_back(context, RolloutReason.CANARY_LOST, message, rejecting=True)
    if state.traits.stable_may_be_lost and is_stable_lost(context):
        message = (
            f"{context.name(state.stable)} has {counted(context.stable.ready, 'ready pod')} "
            f"and needs {stable_needed(context)} for "
            f"{FULL_WEIGHT - attempt.applied_weight}% of the traffic; {name} has {context.canary.ready}"
        )
        resume = Phase.HELD if state.phase is Phase.HELD else Phase.PROVISIONING
        lost = replace(attempt, resume=resume, settled_at=None)
        return context.go(Phase.STABLE_LOST, RolloutReason.STABLE_LOST, message, lost)
    return None


def _conflict(context: RolloutContext) -> StepResult | None:
    """Return the hold of a rollout whose weights another writer keeps changing."""
    recent = [at for at in context.attempt.reverts if context.now - at < CONFLICT_WINDOW]
    if len(recent) < CONFLICT_REVERTS or not context.state.traits.can_hold:
        return None
    message = (
        f"another writer changed the weights {len(recent)} times within "
        f"{CONFLICT_WINDOW.total_seconds() / 60:.0f}m; stop it, then resume"
    )
    return context.hold(RolloutReason.ROUTE_CONFLICT, message)


def _superseded(context: RolloutContext) -> StepResult | None:
    """Return the rollback of a canary that is not wanted any more; it is not rejected."""
    state, attempt, wanted = context.state, context.attempt, context.wanted
    if not state.traits.before_promotion or not wanted or wanted == attempt.canary:
        return None
    reason = RolloutReason.REVERTED if wanted == state.stable else RolloutReason.SUPERSEDED
    message = f"{context.name(wanted)} requested instead of {context.name(attempt.canary)}"
    return roll_back(context, reason, f"{message}, which had {attempt.applied_weight}%", rejecting=False)


def _paused(context: RolloutContext) -> StepResult | None:
    if not context.inputs.policy.paused or not context.state.traits.can_hold:
        return None
    message = f"spec.rollout.paused is set: held in {context.state.phase} at {context.attempt.applied_weight}%"
    return context.hold(RolloutReason.PAUSED_BY_SPEC, message)


CHECKS: Final[tuple[Callable[[RolloutContext], StepResult | None], ...]] = (
    # `spec.suspend` is set, so no pod may run.
    _suspended,
    # The canary harms users, or stable cannot serve its share.
    _keep_safe,
    # A request has not been handled yet.
    answer_request,
    # The canary failed the analysis between two steps; in other phases the handlers analyze windows themselves.
    failed,
    # The spec has another revision than the canary.
    _superseded,
    # Another writer keeps changing the weights.
    _conflict,
    # `spec.rollout.paused` is set.
    _paused,
)
"""The checks before the handler of the phase, in order of priority."""
