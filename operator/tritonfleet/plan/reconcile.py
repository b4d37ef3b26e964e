"""One decision about one ModelDeployment, from what is observed to what must be written.

`runtime/controller.py` calls `reconcile()` in each pass with everything observed (`Observed`) and the time, and
executes the `Plan`: applies, deletes, status, Events, and when to reconcile again. A pass

1. parses the spec; an object that cannot be parsed only gets a status that says so,
2. decides the desired state (`_decide()`): the number of pods, the revision of the spec, how many pods and which share
   of the traffic each revision gets, by a canary rollout or at once, and renders the objects,
3. compares it with the cluster (`_plan()`); if another owner has an object of a needed name, nothing is written,
4. once nothing is left to write, or the API server rejects a write, advances the rollout. The new state is written
   before anything else is done, so that a restarted operator continues from it.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tritonfleet.api.conditions import Reason
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.resources import HTTP_ROUTE
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.gateway import gateway_report
from tritonfleet.plan.objects import (
    Learned,
    Revision,
    build_revision,
    linger_seconds,
    refuse_unroutable,
    revision_children,
    revision_deployment,
    revision_from,
    shared_children,
)
from tritonfleet.plan.pods import Finding, diagnose, wakes_at
from tritonfleet.plan.revisions import KnownRevision, known_revisions, next_number, retired_at, serving_hash
from tritonfleet.plan.rolling_update import RevisionRoles, assign_roles, at_once
from tritonfleet.plan.rollout import (
    DesiredRollout,
    RolloutPlan,
    StepResult,
    advance,
    is_planned,
    plan_rollout,
    record_conflicts,
    resolve_revision,
)
from tritonfleet.plan.scaling import Size, learned, size_of
from tritonfleet.plan.scaling_status import scale_report
from tritonfleet.plan.sequences import refuse_split_sequences
from tritonfleet.plan.status import Assessment, status_and_events, unreadable_status
from tritonfleet.plan.world import ChildId, Manifest, Observed, Plan, WriteFailure
from tritonfleet.plan.writes import applies_to, deletes_from, foreign_child

GATEWAY_SECONDS = 15.0
"""How often to look whether a Gateway leads to the model by now: Gateways and others' routes are not watched."""
AT_ONCE_SECONDS = 0.1
"""A rollout that has advanced is acted upon in the next pass, which starts from the written state."""


def reconcile(observed: Observed, now: datetime) -> Plan:
    """Return everything to be written so that the cluster matches the spec; nothing if it already does."""
    try:
        deployment = ModelDeployment.parse(observed.body)
    except InvalidSpec as problem:
        status, events = unreadable_status(observed.body, problem, now)
        return Plan(status=status, events=events)
    decision = _decide(deployment, observed, now)
    conflict = foreign_child(decision.desired, observed)
    if conflict is not None:
        return _plan(decision, observed, now, failure=conflict)
    return _plan(decision, observed, now, failure=observed.failure)


@dataclass(frozen=True, slots=True)
class _Decision:
    """What one pass decided, before it is compared with the cluster."""

    deployment: ModelDeployment
    known: dict[str, KnownRevision]
    roles: RevisionRoles
    desired: tuple[Manifest, ...]
    problem: InvalidSpec | None
    linger: timedelta
    size: Size
    rollout: RolloutPlan | None
    """None where changes are not rolled out in steps."""


def _decide(deployment: ModelDeployment, observed: Observed, now: datetime) -> _Decision:
    known = dict(known_revisions(observed))
    serves = serving_hash(observed, known)
    size = size_of(deployment, observed, known.get(serves or ""), now)
    wanted, problem = _wanted_revision(deployment, observed, known, learned(deployment, observed, serves, now))
    if size.problem is not None:
        wanted, problem = None, size.problem
    target = wanted.hash if wanted is not None else None
    if is_planned(deployment, observed.body):
        rollout = plan_rollout(deployment, observed, known, target, size.replicas, now)
        shares = rollout.desired
    else:
        rollout, shares = None, at_once(target, serves, known, size.replicas)
    retired = {name.removeprefix(f"{deployment.metadata.name}-"): at for name, at in retired_at(observed.body).items()}
    linger = timedelta(seconds=linger_seconds(deployment))
    running = frozenset(shares.sizes)
    roles = assign_roles(target, shares.stable or None, running, known, retired, now, linger)
    desired = tuple(_desired(deployment, wanted, known, shares, observed))
    route = ChildId(HTTP_ROUTE.kind, deployment.metadata.name)
    if rollout is not None and rollout.is_contested and route in observed.children:
        desired = tuple(each for each in desired if each["kind"] != HTTP_ROUTE.kind)
    return _Decision(deployment, known, roles, desired, problem, linger, size, rollout)


def _desired(
    deployment: ModelDeployment,
    wanted: Revision | None,
    known: dict[str, KnownRevision],
    shares: DesiredRollout,
    observed: Observed,
) -> Iterator[Manifest]:
    for revision_hash, replicas in shares.sizes.items():
        if wanted is not None and revision_hash == wanted.hash:
            number = next_number(known, wanted.hash)
            yield from revision_children(deployment, wanted, number, replicas)
        elif revision_hash in known:
            yield from _old_children(deployment, known[revision_hash], replicas)
    if shares.split:
        route = observed.children.get(ChildId(HTTP_ROUTE.kind, deployment.metadata.name))
        yield from shared_children(deployment, shares.split, observed.defaults, route, opened=shares.opened)


def _old_children(deployment: ModelDeployment, old: KnownRevision, replicas: int) -> tuple[Manifest, ...]:
    """Return the children of a revision in use that is not the spec's.

    If its record is lost or unreadable, only its number of pods is changed.
    """
    if old.record is not None:
        with contextlib.suppress(InvalidSpec):
            return revision_children(deployment, revision_from(old.record), old.number, replicas)
    if old.deployment is None:
        return ()
    return (revision_deployment(deployment, old.hash, old.number, replicas, old.deployment["spec"]["template"]),)


def _wanted_revision(
    deployment: ModelDeployment, observed: Observed, known: dict[str, KnownRevision], knowledge: Learned
) -> tuple[Revision | None, InvalidSpec | None]:
    """Return the revision of the spec, as first written if it was written before, or why there is none."""
    try:
        refuse_unroutable(deployment, observed.defaults)
        if deployment.spec.rollback is not None:
            return _older_revision(deployment, known), None
        wanted = build_revision(deployment, observed.defaults, knowledge)
        existing = known.get(wanted.hash)
        if existing is not None and existing.record is not None:
            wanted = revision_from(existing.record)
        refuse_split_sequences(deployment, wanted, existing, observed.body)
    except InvalidSpec as problem:
        return None, problem
    return wanted, None


def _older_revision(deployment: ModelDeployment, known: dict[str, KnownRevision]) -> Revision:
    word = deployment.spec.rollback.to_revision if deployment.spec.rollback is not None else ""
    kept = {revision.number: revision.record for revision in known.values() if revision.record is not None}
    found = known.get(resolve_revision(word, {revision.hash: revision.number for revision in known.values()}) or "")
    if found is None or found.record is None:
        numbers = ", ".join(str(number) for number in sorted(kept)) or "none"
        raise InvalidSpec(f"spec.rollback.toRevision: revision '{word}' not found; available: {numbers}")
    return revision_from(found.record)


def _plan(decision: _Decision, observed: Observed, now: datetime, failure: WriteFailure | None) -> Plan:
    writable = failure is None or failure is observed.failure
    limit = decision.deployment.spec.rollout.revision_history_limit
    applies = tuple(applies_to(decision.desired, observed)) if writable else ()
    deletes = tuple(deletes_from(decision.desired, decision.known, decision.roles, observed, limit)) if writable else ()
    refused = failure is not None and writable
    moved = _move(decision, now, asked=writable and (refused or not (applies or deletes)))
    roles = decision.roles
    if moved is not None:
        roles = replace(roles, serving=moved.state.stable or None)
    if _is_news(decision, moved):
        # Persist the new state before doing anything else.
        applies, deletes = (), ()
    gateway = gateway_report(decision.deployment, observed, now)
    status, events = status_and_events(
        Assessment(
            deployment=decision.deployment,
            observed=observed,
            replicas=decision.size.replicas,
            report=scale_report(decision.deployment, observed.body, observed.scaling, decision.size.limits, now),
            known=decision.known,
            roles=roles,
            problem=decision.problem,
            finding=_finding(decision, observed, failure, now),
            rollout=moved.state if moved is not None else None,
            failure=failure,
            gateway=gateway,
        ),
        now,
    )
    return Plan(
        status=status,
        applies=applies,
        deletes=deletes,
        events=(*events, *(moved.events if moved is not None else ())),
        requeue_after_seconds=_requeue_after(decision, moved, GATEWAY_SECONDS if gateway.blocks else None, now),
        replicas=decision.size.replicas,
        guarded=moved is not None,
    )


def _move(decision: _Decision, now: datetime, *, asked: bool) -> StepResult | None:
    """Advance the rollout, once the cluster matches its current state."""
    if decision.rollout is None:
        return None
    state, inputs = decision.rollout.state, decision.rollout.inputs
    return advance(state, inputs, now) if asked else StepResult(record_conflicts(state, inputs, now))


def _is_news(decision: _Decision, moved: StepResult | None) -> bool:
    return moved is not None and decision.rollout is not None and moved.state != decision.rollout.state


def _finding(decision: _Decision, observed: Observed, failure: WriteFailure | None, now: datetime) -> Finding | None:
    """Return what keeps the target from being ready: the spec first, then the API server, then the pods."""
    if decision.problem is not None:
        return Finding(Reason(decision.problem.reason), str(decision.problem), stalled=True)
    if failure is not None:
        return Finding(failure.reason, failure.message, stalled=failure.reason is not Reason.PREDECESSOR_REMAINS)
    target = decision.known.get(decision.roles.target or "")
    return diagnose(target, observed.gpus, now) if target is not None else None


def _requeue_after(decision: _Decision, moved: StepResult | None, at_most: float | None, now: datetime) -> float | None:
    if _is_news(decision, moved):
        return AT_ONCE_SECONDS
    moments = [decision.roles.next_expiry(decision.linger)]
    moments.extend(wakes_at(revision, now) for revision in decision.known.values())
    waits = [(moment - now).total_seconds() for moment in moments if moment is not None]
    waits.extend(wait for wait in (moved.wait_seconds if moved is not None else None, at_most) if wait is not None)
    return max(0.1, min(waits)) if waits else None
