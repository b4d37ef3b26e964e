"""Where a rollout is decided: from the status and the cluster to pods, traffic and the next state.

`plan/reconcile.py` calls this in every pass, in this order:

1. `plan_rollout()` restores the state, gathers the inputs, and returns with them what the state asks of the cluster.
2. `record_conflicts()` notes that somebody else changed the traffic, before the change is undone.
3. `advance()` decides on the next state, once nothing is left to be written for the present one.

`advance()` runs the checks in the order of whom they protect: users, then people's commands, then the spec. Only if
none of them has anything to say does the handler of the present phase decide.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.rollout import Strategy
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
from tritonfleet.plan.rollout.context import RolloutContext, StepResult, pods_for_step
from tritonfleet.plan.rollout.holds import held, stable_lost
from tritonfleet.plan.rollout.inputs import RevisionPods, RolloutInputs, count_pods, observed_split
from tritonfleet.plan.rollout.rollback import keep_safe, roll_back, rolling_back
from tritonfleet.plan.rollout.sizing import FULL_WEIGHT, revision_pods, revision_sizes
from tritonfleet.plan.rollout.stable import initializing, promoting, rolled_back, stable
from tritonfleet.plan.rollout.state import BEFORE_RETURN, HOLDABLE, RUNNING, Phase, RolloutReason, State
from tritonfleet.plan.rollout.status import restore_state
from tritonfleet.plan.world import Event, Manifest, Observed


@dataclass(frozen=True, slots=True)
class DesiredRollout:
    """Pods and traffic by revision hash. Revisions that are not named are of no more use."""

    sizes: Mapping[str, int]
    """Pods of every revision that has any, or is to have any."""
    split: Mapping[str, int]
    """Percent of the traffic; adds up to 100, and is empty while nothing can serve."""
    stable: str
    """Serves, or will be the first to; empty for none."""
    opened: frozenset[str] = frozenset()
    """Revisions without a share that a gateway keeps a way to."""


def desired_rollout(state: State, inputs: RolloutInputs) -> DesiredRollout:
    """Return what to render: who serves comes from the state alone, how many pods also from those that are there."""
    stable = state.canary if state.phase is Phase.INITIALIZING else state.stable
    pods, split = revision_sizes(state, inputs), _split(state, stable)
    return DesiredRollout(pods, split, stable, frozenset(_opened(state, inputs, pods, split)))


def _split(state: State, stable: str) -> Mapping[str, int]:
    if not stable:
        return {}
    if state.canary and state.canary != stable:
        return {stable: FULL_WEIGHT - state.routed_weight, state.canary: state.routed_weight}
    if state.previous:
        return {stable: FULL_WEIGHT, state.previous: 0}
    return {stable: FULL_WEIGHT}


def _opened(state: State, inputs: RolloutInputs, pods: Mapping[str, int], split: Mapping[str, int]) -> Iterator[str]:
    """Yield those without a share that may get requests at any moment, or got some until now.

    A canary is one of them only while the weight moves: not before it is verified, nor once it was taken back.
    """
    moving = state.weight != state.applied_weight
    for revision in (each for each, percent in split.items() if percent == 0):
        takes_over = revision != state.canary and (pods.get(revision) or revision_pods(inputs, revision).existing)
        if moving or takes_over:
            yield revision


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """A rollout as it was written down last, beside what is seen now."""

    state: State
    inputs: RolloutInputs
    desired: DesiredRollout

    @property
    def is_contested(self) -> bool:
        """Whether somebody else keeps writing the route, which is left to them until a person has settled it."""
        return self.state.phase is Phase.HELD and self.state.reason == RolloutReason.ROUTE_CONFLICT


def is_planned(deployment: ModelDeployment, body: Manifest) -> bool:
    """Tell whether the planner decides: steps or a Recreate are asked for, or a rollout that had them is under way.

    Nor is forgotten, when the steps are taken away, that a revision was rejected or that a person asked for another.
    """
    rollout = deployment.spec.rollout
    if rollout.canary is not None or rollout.strategy in (Strategy.CANARY, Strategy.RECREATE):
        return True
    state = written_state(body)
    return state is not None and (state.phase in {*RUNNING, Phase.ROLLED_BACK} or bool(state.override))


def written_state(body: Manifest) -> State | None:
    """Return the state that the status holds; None if there is none, or none that can be read."""
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
    """Return the rollout; `target` is the hash of the revision that the spec asks for, None if it has none.

    `replicas` is how many pods the spec or the autoscaler wants.

    A state that was lost, or was made to name a stable revision that does not exist, is taken from where clients are
    sent now.
    """
    state = written_state(observed.body)
    if state is None or (state.stable and state.stable not in known and state.phase is not Phase.INITIALIZING):
        state = _initial_state(observed, known, target, now)
    state = _not_ahead(state, now)
    inputs = _gather_inputs(deployment, observed, known, target, replicas, state, now)
    if (
        state.phase is Phase.INITIALIZING
        and target
        and not (inputs.revisions.get(state.canary) or RevisionPods()).ready
    ):
        # Nobody is served yet, so nothing is lost by following the spec.
        state = replace(state, canary=target)
    return RolloutPlan(state, inputs, desired_rollout(state, inputs))


def _not_ahead(state: State, now: datetime) -> State:
    """Return the state with no moment later than now: a clock that was ahead would have everybody wait for it.

    When the last window ended stays as it is, or that one would be looked at twice.
    """
    moments = ("entered_at", "step_entered_at", "metrics_lost_since")
    changes: dict[str, Any] = {name: now for name in moments if (getattr(state, name) or now) > now}
    return replace(state, **changes) if changes else state


def _initial_state(observed: Observed, known: Mapping[str, KnownRevision], target: str | None, now: datetime) -> State:
    stable = serving_hash(observed, known)
    # The front Service leads to the first revision before any of its pods is ready.
    if stable is None or (stable == target and len(known) == 1 and not known[stable].carries(1)):
        return State(entered_at=now, canary=target or "")
    return State(phase=Phase.STABLE, entered_at=now, stable=stable)


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
        suspended=spec.suspend,
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
    """Return since when a canary's pods are expected not to end: while they start, other rules hold.

    That is since the first ones of this rollout were ready, whether they were asked anything or not.
    """
    since = state.entered_at
    for passage in state.history:
        if passage.target is Phase.ADMITTING:
            break
        if passage.target in (Phase.VERIFYING, Phase.SHIFTING):
            since = passage.at
    return since


CONFLICT_WINDOW: Final = timedelta(minutes=5)
CONFLICT_REVERTS: Final = 3
REVERT_APART: Final = timedelta(seconds=5)
"""Changes of a route by somebody else that are closer together are one."""

_ON_THE_WAY: Final = frozenset({Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY, Phase.SHIFTING, Phase.STABLE_LOST})
"""Between two steps a canary has its share still: there it is looked at for a failure, and nothing else counts."""

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
    """Return the state after this moment. Called only when the cluster has been asked for what `state` says.

    What harms users comes first, then people, then the spec, then the phase's own affairs.
    """
    context = RolloutContext(state, inputs, now)
    if inputs.suspended:
        return _suspended(context)
    kept, events = _follow_spec(context)
    look = analyze_window(context) if state.phase in _ON_THE_WAY else None
    context = context.changed(**kept, **(look.changes if look is not None else {}))
    found = (
        keep_safe(context)
        or answer_request(context)
        or failed(context, look)
        or _superseded(context)
        or _conflict(context)
        or _paused(context)
        or _PHASES[context.state.phase](context)
    )
    return replace(found, events=(*events, *found.events))


def record_conflicts(state: State, inputs: RolloutInputs, now: datetime) -> State:
    """Return the state that remembers what somebody else did to the traffic, before it is undone."""
    recent = tuple(at for at in state.reverts if now - at < CONFLICT_WINDOW)
    another = not recent or not timedelta(0) <= now - recent[-1] < REVERT_APART
    if inputs.split.foreign and state.phase in BEFORE_RETURN and another:
        return replace(state, reverts=(*recent, now))
    return state


def _suspended(context: RolloutContext) -> StepResult:
    """Stand still: what waits for pods would only run out of time. No pod is left to weigh the traffic for.

    A share that a canary had is forgotten, or it would be blamed for having no pods when it is wanted again.
    """
    state = context.state
    if state.phase is Phase.PROMOTING:
        return promoting(context)
    resume = Phase.PROVISIONING if state.mode else Phase.WAITING_FOR_CAPACITY
    nothing = {"weight": 0, "applied_weight": 0, "settled_at": None}
    if state.phase in (*HOLDABLE, Phase.STABLE_LOST):
        message = f"suspended in {state.phase} at {state.applied_weight} %"
        return context.hold(RolloutReason.SUSPENDED, message, resume, **nothing)
    if state.phase is Phase.HELD and max(state.weight, state.applied_weight) > 0:
        return context.stay(resume=resume, **nothing)
    return context.stay()


def _follow_spec(context: RolloutContext) -> tuple[dict[str, Any], tuple[Event, ...]]:
    """Return what changes in every phase, and what is to be told of it: size, override, what others did."""
    state, inputs = context.state, context.inputs
    changes: dict[str, Any] = {}
    events: tuple[Event, ...] = ()
    if state.override and inputs.target not in ("", state.override_of):
        changes = {"override": "", "override_of": ""}
        message = (
            f"{context.name(state.override)} is no longer asked for: the spec asks for {context.name(inputs.target)}"
        )
        events = (Event("Normal", RolloutReason.OVERRIDE_ENDED.value, message),)
    if state.phase in RUNNING and inputs.replicas > state.replicas:
        grown = replace(state, replicas=inputs.replicas)
        changes["replicas"] = inputs.replicas
        if state.canary_replicas > 0:
            changes["canary_replicas"] = pods_for_step(grown, by_gateway=inputs.by_gateway)
    if state.applied_weight == 0 and state.phase in (Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY, Phase.VERIFYING):
        changes |= watched(context)
    return changes, events


def _conflict(context: RolloutContext) -> StepResult | None:
    """Return the hold of a rollout whose weights somebody else keeps changing: they are not fought over."""
    state = context.state
    recent = [at for at in state.reverts if context.now - at < CONFLICT_WINDOW]
    if len(recent) < CONFLICT_REVERTS or state.phase not in HOLDABLE:
        return None
    message = (
        f"somebody else changed the traffic's weights {len(recent)} times in "
        f"{CONFLICT_WINDOW.total_seconds() / 60:.0f} minutes; take the route out of their hands, then resume"
    )
    return context.hold(RolloutReason.ROUTE_CONFLICT, message)


def _superseded(context: RolloutContext) -> StepResult | None:
    """Return the way back from a canary that nobody asks for any more; nothing is held against it."""
    state, wanted = context.state, context.wanted
    if state.phase not in BEFORE_RETURN or not wanted or wanted == state.canary:
        return None
    reason = RolloutReason.REVERTED if wanted == state.stable else RolloutReason.SUPERSEDED
    message = f"{context.name(wanted)} is wanted, and no longer {context.name(state.canary)}"
    return roll_back(context, reason, f"{message}, which had {state.applied_weight} %", rejecting=False)


def _paused(context: RolloutContext) -> StepResult | None:
    if not context.inputs.policy.paused or context.state.phase not in HOLDABLE:
        return None
    message = f"spec.rollout.paused is set: held in {context.state.phase} at {context.state.applied_weight} %"
    return context.hold(RolloutReason.PAUSED_BY_SPEC, message)
