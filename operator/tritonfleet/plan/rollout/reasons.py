"""Why a rollout is where it is: every word that `status.rollout.reason`, an Event or a rejection can hold.

`of_finding()` and `of_why()` give the word for what was found about a canary's pods and by the analysis. All other
words are chosen by the checks of the planner and by the handlers of the phases.
"""

from enum import StrEnum
from typing import Final

from tritonfleet.api.conditions import Reason
from tritonfleet.plan.pods import Finding
from tritonfleet.plan.rollout.analysis import Why


class RolloutReason(StrEnum):
    """One word for programs; the message beside it has the numbers. Each word is part of the API."""

    STARTING = "Starting"
    """The first revision's pods are being started."""
    SERVES = "Serves"
    """The wanted revision serves alone."""
    NO_REPLICAS = "NoReplicas"
    """Another revision is wanted, but no pod is to run; it is rolled out once there are replicas."""
    NEW_REVISION = "NewRevision"
    """The spec asks for another revision."""
    OLDER_REVISION = "OlderRevision"
    """An older revision is asked for by name, by `spec.rollback` or by a request: no steps, but it is verified."""
    RETAINED_REVISION = "RetainedRevision"
    """The revision before is wanted back, and its pods still stand by."""
    PROMOTED_BROKE = "PromotedBroke"
    """The promoted revision broke while the one before still stood by."""
    REVERTED = "Reverted"
    """The spec asks for stable again; nothing is rejected."""
    SUPERSEDED = "Superseded"
    """A third revision is wanted in the midst of a rollout; the canary goes first, and is not rejected."""
    STATE_LOST = "StateLost"
    """`status.rollout` was removed while a canary had traffic: it is taken back and tried again, and not rejected."""
    REJECTED = "Rejected"
    """The spec asks for a revision that was rejected: only another revision or a retry starts a rollout."""
    PODS_ENDING = "PodsEnding"
    """Pods of an earlier rollout are not gone yet."""
    COUNTING_GPUS = "CountingGPUs"
    """Free GPUs are being counted before the capacity mode is chosen."""
    ADMITTED = "Admitted"
    """Plan and capacity mode are fixed."""
    NO_CAPACITY = "NoCapacity"
    """There is no room for the canary's pods."""
    FELL_BACK_IN_PLACE = "FellBackInPlace"
    """There was no room in time, so stable's pods make it, one at a time."""
    CAPACITY_FOUND = "CapacityFound"
    """There is room now."""
    CANARY_READY = "CanaryReady"
    """The canary's pods are ready to be asked."""
    VERIFIED = "Verified"
    """Contract and golden requests pass, or nothing was to be asked."""
    CONTRACT_BROKEN = "ContractBroken"
    """Inputs, outputs, batching or decoupling do not fit stable's clients."""
    GOLDEN_FAILED = "GoldenFailed"
    """A golden request was answered wrong before any user's was sent."""
    VERIFICATION_UNANSWERED = "VerificationUnanswered"
    """The canary could not be asked in time."""
    ROLLBACK_UNSAFE = "RollbackUnsafe"
    """The revision's image or model is not the one that it was first started with: a person has to consent."""
    CAPACITY_READY = "CapacityReady"
    """Both revisions' ready pods carry the next weight."""
    WEIGHT_IN_FORCE = "WeightInForce"
    """The gateway or the Service divides the traffic as asked."""
    ROUTE_REFUSED = "RouteRefused"
    """The gateway does not accept the route."""
    ROUTE_UNSETTLED = "RouteUnsettled"
    """The gateway has said nothing of the route in time."""
    ROUTE_CONFLICT = "RouteConflict"
    """Somebody else keeps changing the weights; they are not fought over."""
    ANALYSIS_PASSED = "AnalysisPassed"
    """The canary is no worse than stable at this weight."""
    UNPROVEN = "Unproven"
    """The step passed on golden requests alone, for want of traffic."""
    LOOKING = "Looking"
    """The analysis goes on."""
    WORSE = "Worse"
    """The canary is clearly worse than stable."""
    BEYOND_LIMIT = "BeyondLimit"
    """The canary is beyond an objective or a query's limit, whatever stable does."""
    HARD_LIMIT = "HardLimit"
    """So many of the canary's requests fail that nothing else needs to be asked."""
    REJECTS_EVERYTHING = "RejectsEverything"
    """Next to none of the canary's share of requests is served, and golden requests fail."""
    PROBE_FAILED = "ProbeFailed"
    """Golden requests are answered wrong while users are served."""
    TOO_FEW_REQUESTS = "TooFewRequests"
    """There was too little traffic to tell."""
    SHARED_INCIDENT = "SharedIncident"
    """Both revisions are beyond the objective: not the canary's doing, and no time to promote."""
    INCONCLUSIVE = "Inconclusive"
    """Longer looking will not settle it."""
    METRICS_LOST = "MetricsLost"
    """The sources of metrics have not answered for as long as they may."""
    PAUSE_BETWEEN_STEPS = "PauseBetweenSteps"
    """The step passed; the plan asks for a person or for a time before the next one."""
    PAUSE_OVER = "PauseOver"
    """The time between two steps is over."""
    APPROVED = "Approved"
    """A person let the step go on."""
    PROMOTE_REQUESTED = "PromoteRequested"
    """A person asked for 100 % now."""
    ABORTED = "Aborted"
    """A person took the canary back."""
    PAUSED = "Paused"
    """A person paused the rollout; a person resumes it."""
    PAUSED_BY_SPEC = "PausedBySpec"
    """`spec.rollout.paused` is set."""
    SUSPENDED = "Suspended"
    """The ModelDeployment is suspended."""
    RESUMED = "Resumed"
    """What held the rollout is over."""
    OVERRIDDEN = "Overridden"
    """A person asked for an older revision in the place of the spec's."""
    OVERRIDE_ENDED = "OverrideEnded"
    """The spec asks for something else than when it was overridden."""
    RETRY_REQUESTED = "RetryRequested"
    """A person asked for the rejected revision to be tried again."""
    REQUEST_REFUSED = "RequestRefused"
    """A request came too late, or names what is not there."""
    CANARY_UNSTEADY = "CanaryUnsteady"
    """A pod of the canary that was ready restarted, ran out of memory or stopped being ready."""
    CANARY_EVICTED = "CanaryEvicted"
    """All pods of the canary were evicted, deleted or lost with their node; it is tried again, and not rejected."""
    CANARY_LOST = "CanaryLost"
    """The canary gets traffic and has no ready pod."""
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    """The canary was not ready in time, and nothing more specific is known."""
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """The canary's image cannot be pulled."""
    CONTAINER_NOT_CREATED = "ContainerNotCreated"
    """A container of the canary cannot be started."""
    CRASH_LOOPING = "CrashLooping"
    """A container of the canary ends again and again."""
    FETCH_FAILED = "FetchFailed"
    """The canary's model cannot be fetched."""
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    """Triton does not load the canary's model."""
    OUT_OF_MEMORY = "OutOfMemory"
    """A container of the canary used more memory than it may."""
    PODS_FORBIDDEN = "PodsForbidden"
    """The API server does not let the canary's pods be created."""
    STABLE_PODS_REMAIN = "StablePodsRemain"
    """Pods of stable that were to make room are still ending."""
    STABLE_NOT_READY = "StableNotReady"
    """Stable's ready pods do not carry its share of the next weight."""
    STABLE_LOST = "StableLost"
    """Stable cannot carry its share, and the canary gets traffic."""
    STABLE_BACK = "StableBack"
    """Stable carries its share again."""
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
    Why.LOOKING: RolloutReason.LOOKING,
    Why.PROBE_FAILED: RolloutReason.PROBE_FAILED,
    Why.REJECTS_EVERYTHING: RolloutReason.REJECTS_EVERYTHING,
    Why.SHARED_INCIDENT: RolloutReason.SHARED_INCIDENT,
    Why.TOO_FEW_REQUESTS: RolloutReason.TOO_FEW_REQUESTS,
    Why.UNPROVEN: RolloutReason.UNPROVEN,
    Why.WORSE: RolloutReason.WORSE,
}


def of_finding(finding: Finding | None) -> RolloutReason:
    """Return the word for what keeps a canary from being ready; the deadline's if it has none of its own."""
    overdue = RolloutReason.PROGRESS_DEADLINE_EXCEEDED
    return _OF_FINDINGS.get(finding.reason, overdue) if finding is not None else overdue


def of_why(why: Why) -> RolloutReason:
    """Return the word for what the analysis found."""
    return _OF_WHYS.get(why, RolloutReason.INCONCLUSIVE)
