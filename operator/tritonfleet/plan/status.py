"""The status of a ModelDeployment: its fields, its conditions, its list of revisions, and the Events of a change.

`reconcile()` puts what it decided and observed into an `Assessment`; `status_and_events()` renders it. Each condition
is always set, so that nobody has to guess what its absence means; only `SLOMet` and `ScalingActive` keep what they said
while there is nothing new to say. For an object that cannot be read, `unreadable_status()` keeps the other fields.
What only pods could tell (the digests of the image and of the model) is carried over from the last status.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tritonfleet.api import names
from tritonfleet.api.conditions import Condition, ConditionStatus, ConditionType, Reason, shortened, updated_conditions
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.status import ModelState, Outcome
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.objects import PORTS
from tritonfleet.plan.pods import Finding, gpu_need, image_digest, model_digest
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.rolling_update import RevisionRoles
from tritonfleet.plan.rollout import (
    ROLLOUT_REASONS,
    RUNNING,
    State,
    progress_conditions,
    rollout_document,
    rollout_healthy,
    steps_of,
)
from tritonfleet.plan.scaling_status import ScaleReport, scale_conditions
from tritonfleet.plan.world import Event, GpuPool, Manifest, Observed, WriteFailure
from tritonfleet.triton.images import Image, warning

ENTRIES_MAX = 10
_SERVED = frozenset({Outcome.SERVING, Outcome.STANDING_BY, Outcome.RETIRED})
_TRIED = frozenset({Outcome.CANARY, Outcome.SUPERSEDED})


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the status is written from."""

    deployment: ModelDeployment
    observed: Observed
    replicas: int
    """Pods wanted now."""
    report: ScaleReport
    """What there is to say of scaling."""
    known: Mapping[str, KnownRevision]
    roles: RevisionRoles
    finding: Finding | None
    """What holds the target up, if anything does."""
    problem: InvalidSpec | None
    """Why the spec cannot be rendered, if it cannot."""
    rollout: State | None = None
    """Where its rollout is; None where a change reaches clients all at once."""
    failure: WriteFailure | None = None
    """What the API server refused, if it did."""

    @property
    def body(self) -> Manifest:
        """The object as it is in the cluster."""
        return self.observed.body

    @property
    def gpus(self) -> GpuPool | None:
        """The nodes that its pods may run on, if they were counted."""
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
        """The revision that gets a part of the requests, or all of them, before it is stable."""
        state = self.rollout
        return self.known.get(state.canary) if state is not None and state.applied_weight > 0 else None

    @property
    def settled(self) -> bool:
        """Whether the spec's revision serves with all its pods."""
        target = self.target
        return target is not None and self.roles.serving == target.hash and target.carries(self.replicas)


def status_and_events(facts: Assessment, now: datetime) -> tuple[Manifest, tuple[Event, ...]]:
    """Return the complete status, and Events: `Ready` has another reason, replicas changed, another scaler appeared."""
    stable = facts.stable
    metadata = facts.deployment.metadata
    status: dict[str, Any] = {
        "observedGeneration": metadata.generation,
        "replicas": stable.size if stable is not None and stable.ready_replicas else 0,
        "readyReplicas": stable.ready_replicas if stable is not None else 0,
        "url": f"http://{metadata.name}.{metadata.namespace}.svc:{PORTS['http']}",
        "revisions": revision_entries(facts),
        "revision": _roles(facts),
        "model": _model(facts),
        "gpu": _gpu(facts),
    }
    if facts.report.document:
        status["autoscaling"] = facts.report.document
    if facts.rollout is not None:
        status["rollout"] = rollout_document(facts.rollout, metadata.name, len(steps_of(facts.rollout)))
    if facts.roles.serving is not None:
        selector = names.serving_selector(metadata.name, facts.roles.serving)
        status["selector"] = ",".join(f"{label}={value}" for label, value in sorted(selector.items()))
    status, events = _with_conditions(facts.body, status, conditions(facts, now), now)
    return status, events if facts.report.event is None else (*events, facts.report.event)


def unreadable_status(body: Manifest, problem: InvalidSpec, now: datetime) -> tuple[Manifest, tuple[Event, ...]]:
    """Return the status of an object that cannot even be read; what it says of the serving revision is kept."""
    status = {key: value for key, value in (body.get("status") or {}).items() if key != "conditions"}
    status["observedGeneration"] = body["metadata"].get("generation", 0)
    return _with_conditions(body, status, unreadable_conditions(problem), now)


def _with_conditions(
    body: Manifest, status: Manifest, wanted: tuple[Condition, ...], now: datetime
) -> tuple[Manifest, tuple[Event, ...]]:
    previous = (body.get("status") or {}).get("conditions") or []
    status["conditions"] = updated_conditions(previous, wanted, generation=status["observedGeneration"], now=now)
    return status, tuple(_events(previous, {each.type: each for each in wanted}))


def _events(previous: list[Manifest], wanted: Mapping[ConditionType, Condition]) -> Iterator[Event]:
    """Tell of `Ready` when its reason changes, and of another scaler when it is first seen.

    A rollout tells of each of its transitions itself.
    """
    before = {old["type"]: old.get("reason") for old in previous}
    ready, stalled = wanted[ConditionType.READY], wanted[ConditionType.STALLED]
    if before.get(ready.type) != ready.reason and ready.reason not in ROLLOUT_REASONS:
        yield Event("Warning" if stalled.status == "True" else "Normal", ready.reason.value, ready.message)
    active = wanted.get(ConditionType.SCALING_ACTIVE)
    if active is not None and active.reason is Reason.FOREIGN_SCALER != before.get(active.type):
        yield Event("Warning", active.reason.value, active.message)


def _roles(facts: Assessment) -> dict[str, str]:
    """Name the revision that serves, the one the spec asks for, and the one that served before."""
    owner = facts.deployment.metadata.name
    roles = {"stable": facts.roles.serving, "target": facts.roles.target}
    named = {role: names.revision_name(owner, revision) for role, revision in roles.items() if revision is not None}
    before = (facts.body.get("status") or {}).get("revision") or {}
    previous = before.get("previous")
    if before.get("stable") not in (None, named.get("stable")):
        previous = before["stable"]
    return {**named, "previous": previous} if previous is not None else named


def _model(facts: Assessment) -> dict[str, str]:
    finding = facts.finding
    if finding is not None and finding.reason is Reason.MODEL_LOAD_FAILED:
        return {"state": ModelState.FAILED.value, "reason": shortened(finding.message)}
    if facts.replicas == 0:
        return {"state": ModelState.UNLOADED.value}
    if facts.target is not None and facts.target.ready_replicas > 0:
        return {"state": ModelState.READY.value}
    return {"state": ModelState.LOADING.value}


def _gpu(facts: Assessment) -> dict[str, int]:
    need = gpu_need(facts.target.pods) if facts.target is not None else None
    waiting = need.total if need is not None else 0
    free = facts.gpus.free if facts.gpus is not None else 0
    return {
        "requested": facts.deployment.spec.server.gpu.count * facts.replicas,
        "waiting": waiting,
        "shortBy": max(0, waiting - free),
    }


def conditions(facts: Assessment, now: datetime) -> tuple[Condition, ...]:
    """Return every condition; each is always set, so that nobody has to guess what its absence means."""
    return (
        *(_of_rollout(facts, now) or _of_pods(facts)),
        _available(facts),
        _config_valid(facts),
        _model_loaded(facts),
        *scale_conditions(facts.deployment, facts.observed, facts.report),
        _capacity(facts),
        rollout_healthy(facts.rollout),
    )


def unreadable_conditions(problem: InvalidSpec) -> tuple[Condition, ...]:
    """Return what is known of an object that cannot be read at all."""
    reason, message = Reason(problem.reason), str(problem)
    return (
        Condition(ConditionType.READY, ConditionStatus.FALSE, reason, message),
        Condition(ConditionType.RECONCILING, ConditionStatus.FALSE, reason, message),
        Condition(ConditionType.STALLED, ConditionStatus.TRUE, reason, message),
        Condition(ConditionType.CONFIG_VALID, ConditionStatus.FALSE, reason, message),
    )


def _of_rollout(facts: Assessment, now: datetime) -> tuple[Condition, ...]:
    """Return `Ready`, `Reconciling` and `Stalled` of a rollout, unless it cannot be carried out at all."""
    if facts.rollout is None or facts.replicas == 0 or facts.problem is not None or facts.failure is not None:
        return ()
    trouble = facts.finding.message if facts.finding is not None else ""
    return tuple(progress_conditions(facts.rollout, facts.deployment.spec.rollout, now, trouble))


def _of_pods(facts: Assessment) -> tuple[Condition, ...]:
    ready = _ready(facts)
    return (ready, *_progress(facts, ready))


def _ready(facts: Assessment) -> Condition:
    if facts.finding is not None:
        return Condition(ConditionType.READY, ConditionStatus.FALSE, facts.finding.reason, facts.finding.message)
    if facts.replicas == 0:
        cause = "suspended" if facts.deployment.spec.suspend else "replicas is 0"
        return Condition(ConditionType.READY, ConditionStatus.FALSE, Reason.SUSPENDED, f"no pod runs: {cause}")
    target = facts.target
    if facts.settled and target is not None:
        message = f"{facts.replicas} of {facts.replicas} replicas serve revision {target.number}"
        return Condition(ConditionType.READY, ConditionStatus.TRUE, Reason.READY, message)
    count = f"{target.ready_replicas if target else 0} of {facts.replicas} replicas"
    if facts.stable is None or facts.roles.serving == facts.roles.target:
        return Condition(ConditionType.READY, ConditionStatus.FALSE, Reason.PROVISIONING, f"{count} are ready")
    number = target.number if target is not None else facts.stable.number + 1
    message = f"{count} of revision {number} are ready; revision {facts.stable.number} serves"
    return Condition(ConditionType.READY, ConditionStatus.FALSE, Reason.ROLLING_OUT, message)


def _available(facts: Assessment) -> Condition:
    serving = [revision for revision in (facts.stable, facts.canary) if revision is not None]
    served = [
        f"{revision.ready_replicas} ready replicas serve revision {revision.number}"
        for revision in serving
        if revision.ready_replicas > 0
    ]
    if not served:
        return Condition(
            ConditionType.AVAILABLE, ConditionStatus.FALSE, Reason.NO_READY_REPLICAS, "no ready pod serves"
        )
    return Condition(ConditionType.AVAILABLE, ConditionStatus.TRUE, Reason.SERVING, "; ".join(served))


def _progress(facts: Assessment, ready: Condition) -> tuple[Condition, Condition]:
    """Say whether work goes on or a person is needed: never both (kstatus)."""
    at_rest = facts.settled or (facts.replicas == 0 and facts.finding is None)
    overdue = _overdue(facts)
    stalled = facts.finding is not None and (facts.finding.stalled or overdue)
    stalled = stalled or (overdue and not at_rest)
    reconciling = not stalled and not at_rest
    reason = Reason.PROGRESS_DEADLINE_EXCEEDED if overdue and facts.finding is None else ready.reason
    return (
        Condition(ConditionType.RECONCILING, ConditionStatus.of(reconciling), ready.reason, ready.message),
        Condition(ConditionType.STALLED, ConditionStatus.of(stalled), reason, ready.message),
    )


def _overdue(facts: Assessment) -> bool:
    """Tell whether the Deployment controller has given up on `rollout.progressDeadline`."""
    status = ((facts.target.deployment if facts.target else None) or {}).get("status", {})
    return any(
        condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded"
        for condition in status.get("conditions", ())
    )


def _config_valid(facts: Assessment) -> Condition:
    if facts.problem is not None:
        return Condition(
            ConditionType.CONFIG_VALID, ConditionStatus.FALSE, Reason(facts.problem.reason), str(facts.problem)
        )
    message = "the Triton configuration renders and validates"
    image = facts.target.image if facts.target is not None else None
    concern = warning(Image.parse(image), facts.deployment.spec.model.backend) if image is not None else None
    if concern is not None:
        message = f"{message}, but {concern}"
    return Condition(ConditionType.CONFIG_VALID, ConditionStatus.TRUE, Reason.VALID, message)


def _model_loaded(facts: Assessment) -> Condition:
    if facts.finding is not None and facts.finding.reason is Reason.MODEL_LOAD_FAILED:
        return Condition(
            ConditionType.MODEL_LOADED, ConditionStatus.FALSE, Reason.MODEL_LOAD_FAILED, facts.finding.message
        )
    ready = facts.target.ready_replicas if facts.target is not None else 0
    if ready > 0:
        message = f"Triton says the model is ready on {ready} of {facts.replicas} replicas"
        return Condition(ConditionType.MODEL_LOADED, ConditionStatus.TRUE, Reason.LOADED, message)
    return Condition(ConditionType.MODEL_LOADED, ConditionStatus.UNKNOWN, Reason.NOT_LOADED, "no pod has loaded it yet")


def _capacity(facts: Assessment) -> Condition:
    finding = facts.finding
    if finding is not None and finding.lacks_room:
        return Condition(ConditionType.CAPACITY_AVAILABLE, ConditionStatus.FALSE, finding.reason, finding.message)
    if facts.settled:
        message = f"{facts.replicas} of {facts.replicas} pods have a node"
        return Condition(ConditionType.CAPACITY_AVAILABLE, ConditionStatus.TRUE, Reason.PLACED, message)
    # Not counted while pods start: a number that changes with each pod would be a status write for each pod.
    return Condition(
        ConditionType.CAPACITY_AVAILABLE, ConditionStatus.UNKNOWN, Reason.PLACING, "pods are being placed or started"
    )


def revision_entries(facts: Assessment) -> list[dict[str, Any]]:
    """Return the newest revisions, newest first; what only pods could tell is carried over from the last status."""
    owner = facts.deployment.metadata.name
    remembered = {entry["name"]: entry for entry in (facts.body.get("status") or {}).get("revisions") or ()}
    newest = sorted(facts.known.values(), key=lambda revision: revision.number, reverse=True)[:ENTRIES_MAX]
    named = {names.revision_name(owner, revision.hash): revision for revision in newest}
    return [_entry(facts, name, revision, remembered.get(name, {})) for name, revision in named.items()]


def _entry(facts: Assessment, name: str, revision: KnownRevision, remembered: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": name,
        "number": revision.number,
        "outcome": _outcome(facts, revision, remembered).value,
        "created": revision.created,
        "image": revision.image or remembered.get("image"),
        # The first that was seen counts: a model or an image that is exchanged behind its name must be told from it.
        "imageDigest": remembered.get("imageDigest") or image_digest(revision.pods),
        "modelDigest": remembered.get("modelDigest") or model_digest(revision.pods),
        "retiredAt": _retired_at(facts, revision),
    }
    return {key: value for key, value in entry.items() if value is not None}


def _outcome(facts: Assessment, revision: KnownRevision, remembered: Mapping[str, Any]) -> Outcome:
    if revision.hash == facts.roles.serving:
        return Outcome.SERVING if revision.ready_replicas > 0 else Outcome.PROVISIONING
    part = _part(facts.rollout, revision.hash) if facts.rollout is not None else None
    if part is not None:
        return part
    if revision.hash == facts.roles.target:
        return Outcome.PROVISIONING
    before = remembered.get("outcome")
    served = before in _SERVED or (revision.hash in facts.roles.retiring and before not in _TRIED)
    return Outcome.RETIRED if served else Outcome.SUPERSEDED


def _part(state: State, revision_hash: str) -> Outcome | None:
    """Return the part that a revision plays in a rollout; None if it plays none."""
    if revision_hash == state.canary and state.phase in RUNNING:
        return Outcome.CANARY
    if revision_hash == state.previous:
        return Outcome.STANDING_BY
    if any(rejection.revision == revision_hash for rejection in state.rejected):
        return Outcome.REJECTED
    return None


def _retired_at(facts: Assessment, revision: KnownRevision) -> str | None:
    since = facts.roles.retiring.get(revision.hash)
    return since.isoformat(timespec="seconds").replace("+00:00", "Z") if since is not None else None
