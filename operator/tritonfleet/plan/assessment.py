"""What the decision and the cluster come to, as conditions with numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tritonfleet.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.diagnosis import Finding
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.rollout.rollout_conditions import progress_conditions, rollout_healthy
from tritonfleet.plan.rollout.state import State
from tritonfleet.plan.scale_conditions import scale_conditions
from tritonfleet.plan.scale_report import ScaleReport
from tritonfleet.plan.serving import Tracks
from tritonfleet.plan.world import GpuPool, Manifest, Observed, WriteFailure
from tritonfleet.triton import images


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
    tracks: Tracks
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
        return self.known.get(self.tracks.target or "")

    @property
    def stable(self) -> KnownRevision | None:
        """The revision that requests go to, once it exists."""
        return self.known.get(self.tracks.serving or "")

    @property
    def canary(self) -> KnownRevision | None:
        """The revision that gets a part of the requests, or all of them, before it is stable."""
        state = self.rollout
        return self.known.get(state.canary) if state is not None and state.applied_weight > 0 else None

    @property
    def settled(self) -> bool:
        """Whether the spec's revision serves with all its pods."""
        target = self.target
        return target is not None and self.tracks.serving == target.hash and target.carries(self.replicas)


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
        cause = "suspended" if facts.deployment.spec.suspended else "replicas is 0"
        return Condition(ConditionType.READY, ConditionStatus.FALSE, Reason.SUSPENDED, f"no pod runs: {cause}")
    target = facts.target
    if facts.settled and target is not None:
        message = f"{facts.replicas} of {facts.replicas} replicas serve revision {target.number}"
        return Condition(ConditionType.READY, ConditionStatus.TRUE, Reason.READY, message)
    count = f"{target.ready_replicas if target else 0} of {facts.replicas} replicas"
    if facts.stable is None or facts.tracks.serving == facts.tracks.target:
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
    concern = images.warning(images.Image.parse(image)) if image is not None else None
    if concern is not None:
        message = f"{message}, but the image has a flaw: {concern}"
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
