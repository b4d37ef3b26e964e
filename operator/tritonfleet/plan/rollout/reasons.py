"""The reasons of a rollout's phases, Events and rejections, as in `status.rollout.reason`.

`of_finding()` and `of_why()` map what was found about a canary's pods, and by the analysis, to a reason. The planner's
checks and the handlers of the phases choose all others.
"""

from enum import StrEnum
from typing import Final

from tritonfleet.api.conditions import Reason
from tritonfleet.plan.pods import Finding
from tritonfleet.plan.rollout.analysis import Why


class RolloutReason(StrEnum):
    """The reason, for programs; the message has the numbers. Each value is part of the API."""

    STARTING = "Starting"
    """The first revision's pods are starting."""
    SERVES = "Serves"
    """The wanted revision serves alone."""
    NO_REPLICAS = "NoReplicas"
    """Another revision is wanted, but no pods should run: the rollout starts or continues once there are replicas."""
    NEW_REVISION = "NewRevision"
    """The spec has a new revision."""
    OLDER_REVISION = "OlderRevision"
    """An older revision was requested, by `spec.rollback` or by a command: verified, without steps."""
    RETAINED_REVISION = "RetainedRevision"
    """The previous revision is wanted again, and its pods are still retained."""
    PROMOTED_REVISION_FAILED = "PromotedRevisionFailed"
    """The promoted revision failed while the previous one was still retained."""
    REVERTED = "Reverted"
    """The spec has stable's revision again; nothing is rejected."""
    SUPERSEDED = "Superseded"
    """A third revision is wanted during a rollout; the canary is rolled back first, and not rejected."""
    STATE_LOST = "StateLost"
    """`status.rollout` was removed while a canary had traffic: it is rolled back and tried again, and not rejected."""
    REJECTED = "Rejected"
    """The spec has a rejected revision: only another revision or a retry starts a rollout."""
    PODS_ENDING = "PodsEnding"
    """Pods of an earlier rollout are still terminating."""
    COUNTING_GPUS = "CountingGPUs"
    """Free GPUs are being counted to choose the capacity mode."""
    MEASURING_STABLE = "MeasuringStable"
    """Stable is measured before `Recreate` stops its pods, as nothing of it is left to compare with later."""
    ADMITTED = "Admitted"
    """Steps and capacity mode are determined."""
    NO_CAPACITY = "NoCapacity"
    """The cluster lacks capacity for the canary's pods."""
    FELL_BACK_IN_PLACE = "FellBackInPlace"
    """No capacity in time, so stable's pods are replaced one at a time."""
    CAPACITY_FOUND = "CapacityFound"
    """Capacity is available now."""
    CANARY_READY = "CanaryReady"
    """The canary's pods are ready for verification."""
    VERIFIED = "Verified"
    """Contract and golden requests pass, or nothing had to be verified."""
    CONTRACT_BROKEN = "ContractBroken"
    """Inputs, outputs, batching or decoupling are incompatible with stable's clients."""
    GOLDEN_FAILED = "GoldenFailed"
    """A golden request was answered wrong before the canary got traffic."""
    VERIFICATION_UNANSWERED = "VerificationUnanswered"
    """The canary could not be reached in time."""
    ROLLBACK_UNSAFE = "RollbackUnsafe"
    """The revision's image or model differs from its first start: needs consent."""
    CAPACITY_READY = "CapacityReady"
    """Both revisions have enough ready pods for the next weight."""
    WEIGHT_IN_FORCE = "WeightInForce"
    """The gateway or the Service applies the weight."""
    ROUTE_REFUSED = "RouteRefused"
    """The gateway does not accept the route."""
    ROUTE_UNSETTLED = "RouteUnsettled"
    """The gateway has not reported on the route in time."""
    ROUTE_CONFLICT = "RouteConflict"
    """Another writer keeps changing the weights."""
    ANALYSIS_PASSED = "AnalysisPassed"
    """The canary is no worse than stable at this weight."""
    UNPROVEN = "Unproven"
    """The step passed on golden requests alone, for lack of traffic."""
    ANALYSIS_RUNNING = "AnalysisRunning"
    """The analysis is in progress."""
    WORSE = "Worse"
    """The canary is clearly worse than stable."""
    BEYOND_LIMIT = "BeyondLimit"
    """The canary exceeds an objective or a query's limit, regardless of stable."""
    HARD_LIMIT = "HardLimit"
    """So many of the canary's requests fail that no further test is needed."""
    REJECTS_EVERYTHING = "RejectsEverything"
    """Almost none of the canary's requests are served, and golden requests fail."""
    PROBE_FAILED = "ProbeFailed"
    """Golden requests are answered wrong under traffic."""
    TOO_FEW_REQUESTS = "TooFewRequests"
    """There was too little traffic to decide."""
    SHARED_INCIDENT = "SharedIncident"
    """Both revisions violate the objective: not caused by the canary, but no time to promote."""
    INCONCLUSIVE = "Inconclusive"
    """More windows would not decide it."""
    METRICS_LOST = "MetricsLost"
    """Metrics were missing for longer than allowed."""
    PAUSE_BETWEEN_STEPS = "PauseBetweenSteps"
    """The step passed, and its pause has begun."""
    PAUSE_OVER = "PauseOver"
    """The pause between two steps is over."""
    APPROVED = "Approved"
    """The step was approved."""
    PROMOTE_REQUESTED = "PromoteRequested"
    """A promotion to 100% was requested."""
    ABORTED = "Aborted"
    """The canary was aborted on request."""
    PAUSED = "Paused"
    """The rollout was paused on request."""
    PAUSED_BY_SPEC = "PausedBySpec"
    """`spec.rollout.paused` is set."""
    SUSPENDED = "Suspended"
    """The ModelDeployment is suspended."""
    RESUMED = "Resumed"
    """The hold is over."""
    OVERRIDDEN = "Overridden"
    """A request overrides the spec with another revision."""
    OVERRIDE_ENDED = "OverrideEnded"
    """The spec has changed since it was overridden."""
    RETRY_REQUESTED = "RetryRequested"
    """A retry of the rejected revision was requested."""
    REQUEST_REFUSED = "RequestRefused"
    """A request came too late, or names something that does not exist."""
    CANARY_UNSTEADY = "CanaryUnsteady"
    """A ready pod of the canary restarted, ran out of memory or became unready."""
    CANARY_EVICTED = "CanaryEvicted"
    """All pods of the canary were evicted, deleted or lost with their node; it is tried again, and not rejected."""
    CANARY_LOST = "CanaryLost"
    """The canary has traffic and no ready pod."""
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    """The canary was not ready in time, for no known cause."""
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """The canary's image cannot be pulled."""
    CONTAINER_NOT_CREATED = "ContainerNotCreated"
    """A container of the canary cannot be started."""
    CRASH_LOOPING = "CrashLooping"
    """A container of the canary terminates repeatedly."""
    FETCH_FAILED = "FetchFailed"
    """The canary's model cannot be fetched."""
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    """Triton cannot load the canary's model."""
    OUT_OF_MEMORY = "OutOfMemory"
    """A container of the canary exceeded its memory limit."""
    PODS_FORBIDDEN = "PodsForbidden"
    """The API server refuses to create the canary's pods."""
    STABLE_PODS_REMAIN = "StablePodsRemain"
    """Stable pods that are being replaced are still terminating."""
    STABLE_NOT_READY = "StableNotReady"
    """Stable has too few ready pods for its share of the next weight."""
    STABLE_LOST = "StableLost"
    """Stable cannot serve its share while the canary has traffic."""
    STABLE_BACK = "StableBack"
    """Stable can serve its share again."""
    PROMOTED = "Promoted"
    """The canary has become stable."""


_OF_FINDINGS: Final = {
    Reason.PROGRESS_DEADLINE_EXCEEDED: RolloutReason.PROGRESS_DEADLINE_EXCEEDED,
    Reason.IMAGE_PULL_FAILED: RolloutReason.IMAGE_PULL_FAILED,
    Reason.CONTAINER_NOT_CREATED: RolloutReason.CONTAINER_NOT_CREATED,
    Reason.CRASH_LOOPING: RolloutReason.CRASH_LOOPING,
    Reason.FETCH_FAILED: RolloutReason.FETCH_FAILED,
    Reason.MODEL_LOAD_FAILED: RolloutReason.MODEL_LOAD_FAILED,
    Reason.OUT_OF_MEMORY: RolloutReason.OUT_OF_MEMORY,
    Reason.PODS_FORBIDDEN: RolloutReason.PODS_FORBIDDEN,
}
_OF_WHYS: Final = {
    Why.BEYOND_LIMIT: RolloutReason.BEYOND_LIMIT,
    Why.CONTRACT_BROKEN: RolloutReason.CONTRACT_BROKEN,
    Why.HARD_LIMIT: RolloutReason.HARD_LIMIT,
    Why.ANALYSIS_RUNNING: RolloutReason.ANALYSIS_RUNNING,
    Why.PROBE_FAILED: RolloutReason.PROBE_FAILED,
    Why.REJECTS_EVERYTHING: RolloutReason.REJECTS_EVERYTHING,
    Why.SHARED_INCIDENT: RolloutReason.SHARED_INCIDENT,
    Why.TOO_FEW_REQUESTS: RolloutReason.TOO_FEW_REQUESTS,
    Why.UNPROVEN: RolloutReason.UNPROVEN,
    Why.WORSE: RolloutReason.WORSE,
}


def of_finding(finding: Finding | None) -> RolloutReason:
    """Return the reason for a canary that is not ready; `ProgressDeadlineExceeded` if the cause has none."""
    overdue = RolloutReason.PROGRESS_DEADLINE_EXCEEDED
    return _OF_FINDINGS.get(finding.reason, overdue) if finding is not None else overdue


def of_why(why: Why) -> RolloutReason:
    """Return the reason for a verdict of the analysis."""
    return _OF_WHYS.get(why, RolloutReason.INCONCLUSIVE)
