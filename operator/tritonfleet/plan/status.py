"""The status of a ModelDeployment: its fields, its conditions, its list of revisions, and the Events of a change.

`reconcile()` puts what it decided and observed into an `Assessment`; `status_and_events()` renders it. Every condition
is always set, so that none has to be interpreted when absent; only `SLOMet` and `ScalingActive` keep their last value
while there is nothing new. For an object that cannot be parsed, `unreadable_status()` keeps the other fields. The
digests of image and model, which are known only while pods run, are carried over from the last status.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tritonfleet.api import names
from tritonfleet.api.conditions import Condition, ConditionStatus, ConditionType, Reason, shortened, updated_conditions
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import counted
from tritonfleet.api.status import ModelState, Outcome
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.gateway import NO_GATEWAY, GatewayReport
from tritonfleet.plan.objects import PORTS
from tritonfleet.plan.pods import Finding, fetch_report, fetching, gpu_need, image_digest, lost_pods
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.rolling_update import RevisionRoles
from tritonfleet.plan.rollout import (
    ROLLOUT_REASONS,
    State,
    progress_conditions,
    rollout_document,
    rollout_healthy,
)
from tritonfleet.plan.scaling_status import ScaleReport, scale_conditions
from tritonfleet.plan.world import Event, GpuPool, Manifest, Observed, WriteFailure
from tritonfleet.triton.images import Image, warning

ENTRIES_MAX = 10
_SERVED = frozenset({Outcome.SERVING, Outcome.STANDING_BY, Outcome.RETIRED})
_UNEVENTFUL = frozenset(
    {
        Reason.GATEWAY_PENDING,
        Reason.PREDECESSOR_REMAINS,
        Reason.PROVISIONING,
        Reason.READY,
        Reason.ROLLING_OUT,
        Reason.SUSPENDED,
    }
)
"""Reasons of `Ready` for which nothing is wrong."""
_TRIED = frozenset({Outcome.CANARY, Outcome.SUPERSEDED})


@dataclass(frozen=True, slots=True)
class Assessment:
    """Everything that the status is rendered from."""

    deployment: ModelDeployment
    observed: Observed
    replicas: int
    """Desired pods."""
    report: ScaleReport
    """The status of scaling."""
    known: Mapping[str, KnownRevision]
    roles: RevisionRoles
    finding: Finding | None
    """What blocks the target revision, if anything does."""
    problem: InvalidSpec | None
    """Why the spec cannot be rendered, if it cannot."""
    rollout: State | None = None
    """Its rollout; None where changes are not rolled out in steps."""
    failure: WriteFailure | None = None
    """What the API server rejected, if anything."""
    gateway: GatewayReport = NO_GATEWAY
    """Whether requests reach it through its Gateway."""

    @property
    def body(self) -> Manifest:
        """The object in the cluster."""
        return self.observed.body

    @property
    def gpus(self) -> GpuPool | None:
        """Free GPUs on the nodes that its pods may run on, if they were counted."""
        return self.observed.gpus

    @property
    def target(self) -> KnownRevision | None:
        """The revision the spec asks for, once it exists."""
        return self.known.get(self.roles.target or "")

    @property
    def stable(self) -> KnownRevision | None:
        """The revision that requests go to, once it exists."""
        return self.known.get(self.roles.serving or "")

    @property
    def canary(self) -> KnownRevision | None:
        """The revision that gets some or all requests before it becomes stable."""
        state = self.rollout
        return self.known.get(state.canary) if state is not None and state.applied_weight > 0 else None

    @property
    def settled(self) -> bool:
        """Whether the spec's revision serves with all its pods ready."""
        target = self.target
        # The ready pods are there, whether or not the Deployment controller has seen the last change of its template.
        ready = target.ready_replicas if target is not None and target.deployment is not None else -1
        return target is not None and self.roles.serving == target.hash and ready >= self.replicas


def status_and_events(seen: Assessment, now: datetime) -> tuple[Manifest, tuple[Event, ...]]:
    """Return the complete status, and Events for a new reason of `Ready`, a new replica count, a competing scaler."""
    stable = seen.stable
    metadata = seen.deployment.metadata
    status: dict[str, Any] = {
        "observedGeneration": metadata.generation,
        "replicas": stable.size if stable is not None and stable.ready_replicas else 0,
        "readyReplicas": stable.ready_replicas if stable is not None else 0,
        "url": f"http://{metadata.name}.{metadata.namespace}.svc:{PORTS['http']}",
        "revisions": revision_entries(seen),
        "revision": _roles(seen),
        "model": _model(seen),
        "gpu": _gpu(seen),
    }
    if seen.gateway.url is not None:
        status["gatewayUrl"] = seen.gateway.url
    if seen.report.document:
        status["autoscaling"] = seen.report.document
    if seen.rollout is not None:
        status["rollout"] = rollout_document(seen.rollout, metadata.name)
    if seen.roles.serving is not None:
        selector = names.serving_selector(metadata.name, seen.roles.serving)
        status["selector"] = ",".join(f"{label}={value}" for label, value in sorted(selector.items()))
    status, events = _with_conditions(seen.body, status, conditions(seen, now), now)
    return status, events if seen.report.event is None else (*events, seen.report.event)


def unreadable_status(body: Manifest, problem: InvalidSpec, now: datetime) -> tuple[Manifest, tuple[Event, ...]]:
    """Return the status of an object that cannot be parsed; other fields keep their last value."""
    status = {key: value for key, value in (body.get("status") or {}).items() if key != "conditions"}
    status["observedGeneration"] = body["metadata"].get("generation", 0)
    return _with_conditions(body, status, unreadable_conditions(problem), now)


def failed_status(body: Manifest, message: str, *, stalled: bool, now: datetime) -> tuple[Manifest, tuple[Event, ...]]:
    """Return the status of an object whose reconcile failed: what it says of the model may no longer be true."""
    status = {key: value for key, value in (body.get("status") or {}).items() if key != "conditions"}
    status["observedGeneration"] = body["metadata"].get("generation", 0)
    reason = Reason.RECONCILE_FAILED
    wanted = (
        Condition(ConditionType.READY, ConditionStatus.UNKNOWN, reason, message),
        Condition(ConditionType.RECONCILING, ConditionStatus.of(not stalled), reason, message),
        Condition(ConditionType.STALLED, ConditionStatus.of(stalled), reason, message),
    )
    return _with_conditions(body, status, wanted, now)


def _with_conditions(
    body: Manifest, status: Manifest, wanted: tuple[Condition, ...], now: datetime
) -> tuple[Manifest, tuple[Event, ...]]:
    previous = (body.get("status") or {}).get("conditions") or []
    status["conditions"] = updated_conditions(previous, wanted, generation=status["observedGeneration"], now=now)
    return status, tuple(_events(previous, {each.type: each for each in wanted}))


def _events(previous: list[Manifest], wanted: Mapping[ConditionType, Condition]) -> Iterator[Event]:
    """Yield an Event when the reason of `Ready` changes, and when a competing scaler appears.

    Rollouts emit their own Events.
    """
    before = {old["type"]: old.get("reason") for old in previous}
    ready, stalled = wanted[ConditionType.READY], wanted[ConditionType.STALLED]
    if before.get(ready.type) != ready.reason and ready.reason not in ROLLOUT_REASONS:
        is_trouble = stalled.status == "True" or ready.reason not in _UNEVENTFUL
        yield Event("Warning" if is_trouble else "Normal", ready.reason.value, ready.message)
    active = wanted.get(ConditionType.SCALING_ACTIVE)
    if active is not None and active.reason is Reason.FOREIGN_SCALER != before.get(active.type):
        yield Event("Warning", active.reason.value, active.message)


def _roles(seen: Assessment) -> dict[str, str]:
    """Name the stable revision, the target revision, and the one that was stable before."""
    owner = seen.deployment.metadata.name
    roles = {"stable": seen.roles.serving, "target": seen.roles.target}
    named = {role: names.revision_name(owner, revision) for role, revision in roles.items() if revision is not None}
    before = (seen.body.get("status") or {}).get("revision") or {}
    previous = before.get("previous")
    if before.get("stable") not in (None, named.get("stable")):
        previous = before["stable"]
    return {**named, "previous": previous} if previous is not None else named


def _model(seen: Assessment) -> dict[str, str]:
    finding = seen.finding
    if finding is not None and finding.reason is Reason.MODEL_LOAD_FAILED:
        return {"state": ModelState.FAILED.value, "reason": shortened(finding.message)}
    if seen.replicas == 0:
        return {"state": ModelState.UNLOADED.value}
    if seen.target is not None and seen.target.ready_replicas > 0:
        return {"state": ModelState.READY.value}
    return {"state": ModelState.LOADING.value}


def _gpu(seen: Assessment) -> dict[str, int]:
    need = gpu_need(seen.target) if seen.target is not None else None
    waiting = need.total if need is not None else 0
    free = seen.gpus.free if seen.gpus is not None else 0
    return {
        "requested": seen.deployment.spec.server.gpu.count * seen.replicas,
        "waiting": waiting,
        "shortBy": max(0, waiting - free),
    }


def conditions(seen: Assessment, now: datetime) -> tuple[Condition, ...]:
    """Return every condition."""
    return (
        *(_of_rollout(seen, now) or _of_pods(seen)),
        _available(seen),
        _config_valid(seen),
        _model_loaded(seen),
        *scale_conditions(seen.deployment, seen.observed, seen.report),
        _capacity(seen),
        rollout_healthy(seen.rollout),
        seen.gateway.condition,
    )


def unreadable_conditions(problem: InvalidSpec) -> tuple[Condition, ...]:
    """Return the conditions of an object that cannot be parsed."""
    reason, message = Reason(problem.reason), str(problem)
    return (
        Condition(ConditionType.READY, ConditionStatus.FALSE, reason, message),
        Condition(ConditionType.RECONCILING, ConditionStatus.FALSE, reason, message),
        Condition(ConditionType.STALLED, ConditionStatus.TRUE, reason, message),
        Condition(ConditionType.CONFIG_VALID, ConditionStatus.FALSE, reason, message),
    )


def _of_rollout(seen: Assessment, now: datetime) -> tuple[Condition, ...]:
    """Return `Ready`, `Reconciling` and `Stalled` of a rollout, unless it cannot run at all."""
    if seen.rollout is None or seen.replicas == 0 or seen.problem is not None or seen.failure is not None:
        return ()
    trouble = seen.finding.message if seen.finding is not None else ""
    return tuple(progress_conditions(seen.rollout, seen.deployment.spec.rollout, now, trouble))


def _of_pods(seen: Assessment) -> tuple[Condition, ...]:
    ready = _ready(seen)
    return (ready, *_progress(seen, ready))


def _ready(seen: Assessment) -> Condition:
    if seen.finding is not None:
        return Condition(ConditionType.READY, ConditionStatus.FALSE, seen.finding.reason, seen.finding.message)
    if seen.replicas == 0:
        cause = "suspended" if seen.deployment.spec.suspend else "replicas is 0"
        return Condition(ConditionType.READY, ConditionStatus.FALSE, Reason.SUSPENDED, f"no pods run: {cause}")
    target = seen.target
    if seen.settled and target is not None:
        message = f"{seen.replicas}/{seen.replicas} replicas of revision {target.number} ready and serving"
        if seen.gateway.blocks:
            way = seen.gateway.condition
            return Condition(ConditionType.READY, ConditionStatus.FALSE, way.reason, f"{message}; but {way.message}")
        lost = lost_pods(target)
        message = f"{message}; {lost}" if lost else message
        return Condition(ConditionType.READY, ConditionStatus.TRUE, Reason.READY, message)
    count = f"{target.ready_replicas if target else 0}/{seen.replicas} replicas"
    downloads = fetching(target.pods) if target is not None else ""
    downloads = f"; {downloads}" if downloads else ""
    if seen.stable is None or seen.roles.serving == seen.roles.target:
        return Condition(ConditionType.READY, ConditionStatus.FALSE, Reason.PROVISIONING, f"{count} ready{downloads}")
    number = target.number if target is not None else seen.stable.number + 1
    message = f"{count} of revision {number} ready{downloads}; revision {seen.stable.number} is serving"
    return Condition(ConditionType.READY, ConditionStatus.FALSE, Reason.ROLLING_OUT, message)


def _available(seen: Assessment) -> Condition:
    serving = [revision for revision in (seen.stable, seen.canary) if revision is not None]
    served = [
        f"{counted(revision.ready_replicas, 'replica')} of revision {revision.number} serving"
        for revision in serving
        if revision.ready_replicas > 0
    ]
    if not served:
        return Condition(
            ConditionType.AVAILABLE, ConditionStatus.FALSE, Reason.NO_READY_REPLICAS, "no ready replica is serving"
        )
    return Condition(ConditionType.AVAILABLE, ConditionStatus.TRUE, Reason.SERVING, "; ".join(served))


def _progress(seen: Assessment, ready: Condition) -> tuple[Condition, Condition]:
    """Return `Reconciling` and `Stalled`; never both are true (kstatus)."""
    blocked = seen.settled and seen.gateway.blocks
    complete = (seen.settled and not blocked) or (seen.replicas == 0 and seen.finding is None)
    overdue = _overdue(seen) and not seen.settled
    stalled = seen.finding is not None and (seen.finding.stalled or overdue)
    stalled = stalled or (overdue and not complete) or (blocked and seen.gateway.stalled)
    reconciling = not stalled and not complete
    reason = Reason.PROGRESS_DEADLINE_EXCEEDED if overdue and seen.finding is None else ready.reason
    return (
        Condition(ConditionType.RECONCILING, ConditionStatus.of(reconciling), ready.reason, ready.message),
        Condition(ConditionType.STALLED, ConditionStatus.of(stalled), reason, ready.message),
    )


def _overdue(seen: Assessment) -> bool:
    """Return whether the Deployment has exceeded `rollout.progressDeadline`."""
    status = ((seen.target.deployment if seen.target else None) or {}).get("status", {})
    return any(
        condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded"
        for condition in status.get("conditions", ())
    )


def _config_valid(seen: Assessment) -> Condition:
    if seen.problem is not None:
        return Condition(
            ConditionType.CONFIG_VALID,
            ConditionStatus.FALSE,
            Reason(seen.problem.reason),
            str(seen.problem),
        )
    message = "the Triton configuration is valid"
    image = seen.target.image if seen.target is not None else None
    concern = warning(Image.parse(image), seen.deployment.spec.model.backend) if image is not None else None
    if concern is not None:
        message = f"{message}, but {concern}"
    return Condition(ConditionType.CONFIG_VALID, ConditionStatus.TRUE, Reason.VALID, message)


def _model_loaded(seen: Assessment) -> Condition:
    if seen.finding is not None and seen.finding.reason is Reason.MODEL_LOAD_FAILED:
        return Condition(
            ConditionType.MODEL_LOADED, ConditionStatus.FALSE, Reason.MODEL_LOAD_FAILED, seen.finding.message
        )
    ready = seen.target.ready_replicas if seen.target is not None else 0
    if ready > 0:
        message = f"Triton reports the model ready on {ready}/{seen.replicas} replicas"
        return Condition(ConditionType.MODEL_LOADED, ConditionStatus.TRUE, Reason.LOADED, message)
    return Condition(ConditionType.MODEL_LOADED, ConditionStatus.UNKNOWN, Reason.NOT_LOADED, "no pod has loaded it yet")


def _capacity(seen: Assessment) -> Condition:
    finding = seen.finding
    if finding is not None and finding.lacks_room:
        return Condition(ConditionType.CAPACITY_AVAILABLE, ConditionStatus.FALSE, finding.reason, finding.message)
    if seen.settled:
        message = f"{seen.replicas}/{seen.replicas} pods scheduled"
        return Condition(ConditionType.CAPACITY_AVAILABLE, ConditionStatus.TRUE, Reason.PLACED, message)
    # No count while pods start: it would cost a status write for each pod.
    return Condition(
        ConditionType.CAPACITY_AVAILABLE, ConditionStatus.UNKNOWN, Reason.PLACING, "pods are being scheduled or started"
    )


def revision_entries(seen: Assessment) -> list[dict[str, Any]]:
    """Return the newest revisions, newest first; digests are carried over from the last status."""
    owner = seen.deployment.metadata.name
    remembered = {entry["name"]: entry for entry in (seen.body.get("status") or {}).get("revisions") or ()}
    newest = sorted(seen.known.values(), key=lambda revision: revision.number, reverse=True)[:ENTRIES_MAX]
    named = {names.revision_name(owner, revision.hash): revision for revision in newest}
    return [_entry(seen, name, revision, remembered.get(name, {})) for name, revision in named.items()]


def _entry(seen: Assessment, name: str, revision: KnownRevision, remembered: Mapping[str, Any]) -> dict[str, Any]:
    # Each fetch of the same content reports the same: the first is kept.
    report = fetch_report(revision.pods) if "modelDigest" not in remembered else remembered
    entry: dict[str, Any] = {
        "name": name,
        "number": revision.number,
        "outcome": _outcome(seen, revision, remembered).value,
        "created": revision.created,
        "image": revision.image or remembered.get("image"),
        # The first one seen is kept, to reveal a model or image that was replaced behind its name.
        "imageDigest": remembered.get("imageDigest") or image_digest(revision.pods),
        "modelDigest": remembered.get("modelDigest") or report.get("digest"),
        "companionsDigest": remembered.get("companionsDigest") or report.get("companionsDigest"),
        "modelVersion": report.get("modelVersion"),
        "stateful": report.get("stateful"),
        "largestBatch": report.get("largestBatch"),
        "concurrentBatches": report.get("concurrentBatches"),
        "retiredAt": _retired_at(seen, revision),
    }
    return {key: value for key, value in entry.items() if value is not None}


def _outcome(seen: Assessment, revision: KnownRevision, remembered: Mapping[str, Any]) -> Outcome:
    if revision.hash == seen.roles.serving:
        return Outcome.SERVING if revision.ready_replicas > 0 else Outcome.PROVISIONING
    part = _part(seen.rollout, revision.hash) if seen.rollout is not None else None
    if part is not None:
        return part
    if revision.hash == seen.roles.target:
        return Outcome.PROVISIONING
    before = remembered.get("outcome")
    served = before in _SERVED or (revision.hash in seen.roles.retiring and before not in _TRIED)
    return Outcome.RETIRED if served else Outcome.SUPERSEDED


def _part(state: State, revision_hash: str) -> Outcome | None:
    """Return the role of a revision in a rollout; None if it has none."""
    if revision_hash == state.canary and state.traits.under_way:
        return Outcome.CANARY
    if state.standby is not None and revision_hash == state.standby.revision:
        return Outcome.STANDING_BY
    if any(rejection.revision == revision_hash for rejection in state.rejected):
        return Outcome.REJECTED
    return None


def _retired_at(seen: Assessment, revision: KnownRevision) -> str | None:
    since = seen.roles.retiring.get(revision.hash)
    return since.isoformat(timespec="seconds").replace("+00:00", "Z") if since is not None else None
