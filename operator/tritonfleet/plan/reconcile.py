"""One decision about one ModelDeployment, from what is observed to what must be written."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tritonfleet.api import names
from tritonfleet.api.conditions import Reason
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan import drift, revisions, serving
from tritonfleet.plan.assessment import Assessment
from tritonfleet.plan.children import (
    Learned,
    Revision,
    build_revision,
    linger_seconds,
    revision_children,
    revision_from,
    shared_children,
)
from tritonfleet.plan.diagnosis import Finding, diagnose, wakes_at
from tritonfleet.plan.replicas import Size, size_of
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.scale_report import scale_report
from tritonfleet.plan.scaling import learned
from tritonfleet.plan.status import status_and_events, unreadable_status
from tritonfleet.plan.world import Apply, ChildId, Delete, Manifest, Observed, Plan, WriteFailure


def reconcile(observed: Observed, now: datetime) -> Plan:
    """Return everything to be written so that the cluster matches the spec; nothing if it already does."""
    try:
        deployment = ModelDeployment.parse(observed.body)
    except InvalidSpec as problem:
        status, events = unreadable_status(observed.body, problem, now)
        return Plan(status=status, events=events)
    decision = _decide(deployment, observed, now)
    conflict = _foreign_child(decision.desired, observed)
    if conflict is not None:
        return _plan(decision, observed, now, failure=conflict)
    return _plan(decision, observed, now, failure=observed.failure)


@dataclass(frozen=True, slots=True)
class _Decision:
    """What one pass decided, before it is compared with the cluster."""

    deployment: ModelDeployment
    known: dict[str, KnownRevision]
    tracks: serving.Tracks
    desired: tuple[Manifest, ...]
    problem: InvalidSpec | None
    linger: timedelta
    size: Size


def _decide(deployment: ModelDeployment, observed: Observed, now: datetime) -> _Decision:
    known = dict(revisions.known_revisions(observed))
    serves = revisions.serving_hash(observed, known)
    size = size_of(deployment, observed, known.get(serves or ""), now)
    wanted, problem = _wanted_revision(deployment, observed, known, learned(deployment, observed, serves, now))
    if size.problem is not None:
        wanted, problem = None, size.problem
    target, replicas = wanted.hash if wanted is not None else None, size.replicas
    serves = serving.choose_serving(target, serves, known, replicas)
    retired = {
        name.removeprefix(f"{deployment.metadata.name}-"): at
        for name, at in revisions.retired_at(observed.body).items()
    }
    linger = timedelta(seconds=linger_seconds(deployment))
    tracks = serving.assign_tracks(target, serves, known, retired, now, linger)
    desired: list[Manifest] = []
    if wanted is not None:
        number = revisions.next_number(known, wanted.hash)
        desired.extend(revision_children(deployment, wanted, number, replicas))
    if serves is not None and serves != target:
        desired.extend(_old_children(deployment, known[serves], replicas))
    if serves is not None:
        desired.extend(shared_children(deployment, serves, observed.defaults))
    return _Decision(deployment, known, tracks, tuple(desired), problem, linger, size)


def _old_children(deployment: ModelDeployment, old: KnownRevision, replicas: int) -> tuple[Manifest, ...]:
    """Return the children of a revision that serves without being wanted; what cannot be read back is left alone."""
    if old.record is None:
        return ()
    try:
        return revision_children(deployment, revision_from(old.record), old.number, replicas)
    except InvalidSpec:
        return ()


def _wanted_revision(
    deployment: ModelDeployment, observed: Observed, known: dict[str, KnownRevision], knowledge: Learned
) -> tuple[Revision | None, InvalidSpec | None]:
    """Return the revision of the spec, as first written if it was written before, or why there is none."""
    try:
        wanted = build_revision(deployment, observed.defaults, knowledge)
        existing = known.get(wanted.hash)
        if existing is not None and existing.record is not None:
            wanted = revision_from(existing.record)
    except InvalidSpec as problem:
        return None, problem
    return wanted, None


def _plan(decision: _Decision, observed: Observed, now: datetime, failure: WriteFailure | None) -> Plan:
    writable = failure is None or failure is observed.failure
    status, events = status_and_events(
        Assessment(
            deployment=decision.deployment,
            observed=observed,
            replicas=decision.size.replicas,
            report=scale_report(decision.deployment, observed.body, observed.scaling, decision.size.limits, now),
            known=decision.known,
            tracks=decision.tracks,
            problem=decision.problem,
            finding=_finding(decision, observed, failure, now),
        ),
        now,
    )
    return Plan(
        status=status,
        applies=tuple(_applies(decision.desired, observed)) if writable else (),
        deletes=tuple(_deletes(decision, observed)) if writable else (),
        events=events,
        requeue_after_seconds=_requeue_after(decision, now),
    )


def _finding(decision: _Decision, observed: Observed, failure: WriteFailure | None, now: datetime) -> Finding | None:
    """Return what keeps the target from being ready: the spec first, then the API server, then the pods."""
    if decision.problem is not None:
        return Finding(Reason(decision.problem.reason), str(decision.problem), stalled=True)
    if failure is not None:
        return Finding(failure.reason, failure.message, stalled=failure.reason is not Reason.PREDECESSOR_REMAINS)
    target = decision.known.get(decision.tracks.target or "")
    return diagnose(target, observed.gpus, now) if target is not None else None


def _applies(desired: Iterable[Manifest], observed: Observed) -> Iterator[Apply]:
    for manifest in desired:
        target = ChildId(manifest["kind"], manifest["metadata"]["name"])
        existing = observed.children.get(target)
        if existing is None:
            yield Apply(manifest, "Missing", f"{target.kind} {target.name} does not exist", exists=False)
        elif not drift.covers(manifest, existing) and not drift.payload_changed(manifest, existing):
            yield Apply(manifest, "Drifted", f"{target.kind} {target.name} differs from what is wanted", exists=True)


def _deletes(decision: _Decision, observed: Observed) -> Iterator[Delete]:
    for manifest in decision.desired:
        existing = observed.children.get(ChildId(manifest["kind"], manifest["metadata"]["name"]))
        if existing is not None and drift.payload_changed(manifest, existing):
            yield _delete(existing, "Replaced", "its content cannot be changed in place and is not what is wanted")
    for target, child in observed.children.items():
        revision = child["metadata"].get("labels", {}).get(names.REVISION_LABEL)
        # Records outlive their pods: they are what there is to go back to.
        if revision and revision not in decision.tracks.in_use and target.kind != "ControllerRevision":
            yield _delete(child, "Expired", f"revision {revision} serves no longer")
    limit = decision.deployment.spec.rollout.revision_history_limit
    for record in serving.surplus_records(decision.known, decision.tracks.in_use, limit):
        yield _delete(record, "HistoryLimit", f"more than {limit} old revisions are kept")


def _delete(child: Manifest, reason: str, message: str) -> Delete:
    target = ChildId(child["kind"], child["metadata"]["name"])
    return Delete(target, child["metadata"]["uid"], reason, f"{target.kind} {target.name}: {message}")


def _foreign_child(desired: Iterable[Manifest], observed: Observed) -> WriteFailure | None:
    """Find an object of a name we need that belongs to somebody else: it is never taken over."""
    metadata = observed.body["metadata"]
    for manifest in desired:
        target = ChildId(manifest["kind"], manifest["metadata"]["name"])
        existing = observed.children.get(target)
        owners = existing["metadata"].get("ownerReferences") or () if existing is not None else ()
        for owner in owners:
            if not owner.get("controller") or owner["uid"] == metadata["uid"]:
                continue
            if owner["kind"] == names.KIND and owner["name"] == metadata["name"]:
                message = f"waiting until {target.kind} '{target.name}' of the deleted ModelDeployment is gone"
                return WriteFailure(target, Reason.PREDECESSOR_REMAINS, message)
            message = (
                f"{target.kind} '{target.name}' belongs to {owner['kind']} '{owner['name']}': "
                "delete it or rename this ModelDeployment"
            )
            return WriteFailure(target, Reason.NAME_CONFLICT, message)
    return None


def _requeue_after(decision: _Decision, now: datetime) -> float | None:
    moments = [decision.tracks.next_expiry(decision.linger)]
    moments.extend(wakes_at(revision, now) for revision in decision.known.values())
    waits = [(moment - now).total_seconds() for moment in moments if moment is not None]
    return max(0.1, min(waits)) if waits else None
