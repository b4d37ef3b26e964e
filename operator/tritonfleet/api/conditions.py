"""The conditions of a ModelDeployment: types, reasons, and how they are updated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

MESSAGE_MAX_LENGTH: Final = 1024


class ConditionType(StrEnum):
    """Every condition of this release, in the order in which they are listed."""

    READY = "Ready"
    AVAILABLE = "Available"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    CONFIG_VALID = "ConfigValid"
    MODEL_LOADED = "ModelLoaded"
    SLO_MET = "SLOMet"
    SCALING_ACTIVE = "ScalingActive"
    CAPACITY_AVAILABLE = "CapacityAvailable"
    ROLLOUT_HEALTHY = "RolloutHealthy"


class ConditionStatus(StrEnum):
    """Whether the condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"

    @classmethod
    def of(cls, holds: bool) -> "ConditionStatus":
        """Return TRUE or FALSE."""
        return cls.TRUE if holds else cls.FALSE


class Reason(StrEnum):
    """The reason of a condition; each value is part of the API."""

    ABORTED = "Aborted"
    ADMITTED = "Admitted"
    ANALYSIS_PASSED = "AnalysisPassed"
    APPROVED = "Approved"
    AT_MAX_REPLICAS = "AtMaxReplicas"
    AT_MIN_REPLICAS = "AtMinReplicas"
    AWAITING_APPROVAL = "AwaitingApproval"
    BACKLOG = "Backlog"
    BEYOND_LIMIT = "BeyondLimit"
    BURST = "Burst"
    CANARY_LOST = "CanaryLost"
    CANARY_PROGRESSING = "CanaryProgressing"
    CANARY_READY = "CanaryReady"
    CANARY_UNSTEADY = "CanaryUnsteady"
    CAPACITY_FOUND = "CapacityFound"
    CAPACITY_READY = "CapacityReady"
    CONFIG_INVALID = "ConfigInvalid"
    CONTAINER_NOT_CREATED = "ContainerNotCreated"
    CONTRACT_BROKEN = "ContractBroken"
    COUNTING_GPUS = "CountingGPUs"
    CRASH_LOOPING = "CrashLooping"
    DEMAND = "Demand"
    DEMAND_FELL = "DemandFell"
    EXTERNAL_SCALER = "ExternalScaler"
    FELL_BACK_IN_PLACE = "FellBackInPlace"
    FETCH_FAILED = "FetchFailed"
    FOREIGN_SCALER = "ForeignScaler"
    GOLDEN_FAILED = "GoldenFailed"
    HARD_LIMIT = "HardLimit"
    HELD = "Held"
    HOLDING = "Holding"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    IMAGE_UNSAFE = "ImageUnsafe"
    INCONCLUSIVE = "Inconclusive"
    LEARNING = "Learning"
    LOADED = "Loaded"
    LOOKING = "Looking"
    MET = "Met"
    METRICS_LOST = "MetricsLost"
    METRICS_PARTIAL = "MetricsPartial"
    METRICS_STALE = "MetricsStale"
    MISSED = "Missed"
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    NAME_CONFLICT = "NameConflict"
    NEW_REVISION = "NewRevision"
    NO_CAPACITY = "NoCapacity"
    NO_READY_REPLICAS = "NoReadyReplicas"
    NO_REPLICAS = "NoReplicas"
    NO_ROLLOUT = "NoRollout"
    NO_SLO = "NoSLO"
    NOT_AUTOSCALED = "NotAutoscaled"
    NOT_LOADED = "NotLoaded"
    NOT_OBSERVED = "NotObserved"
    NO_TRAFFIC = "NoTraffic"
    NOT_SCHEDULABLE = "NotSchedulable"
    OLDER_REVISION = "OlderRevision"
    OUT_OF_MEMORY = "OutOfMemory"
    OVERRIDDEN = "Overridden"
    OVERRIDE_ENDED = "OverrideEnded"
    PAUSE_BETWEEN_STEPS = "PauseBetweenSteps"
    PAUSED = "Paused"
    PAUSED_BY_SPEC = "PausedBySpec"
    PAUSE_OVER = "PauseOver"
    PLACED = "Placed"
    PLACING = "Placing"
    PODS_ENDING = "PodsEnding"
    PODS_FORBIDDEN = "PodsForbidden"
    PODS_NOT_READY = "PodsNotReady"
    PREDECESSOR_REMAINS = "PredecessorRemains"
    PROBE_FAILED = "ProbeFailed"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    PROMOTED = "Promoted"
    PROMOTED_BROKE = "PromotedBroke"
    PROMOTE_REQUESTED = "PromoteRequested"
    PROVISIONING = "Provisioning"
    QUOTA_EXCEEDED = "QuotaExceeded"
    READY = "Ready"
    REJECTED = "Rejected"
    REJECTS_EVERYTHING = "RejectsEverything"
    REQUEST_REFUSED = "RequestRefused"
    RESTARTED = "Restarted"
    RESUMED = "Resumed"
    RETAINED_REVISION = "RetainedRevision"
    RETRY_REQUESTED = "RetryRequested"
    REVERTED = "Reverted"
    ROLLBACK_UNSAFE = "RollbackUnsafe"
    ROLLED_BACK = "RolledBack"
    ROLLING_BACK = "RollingBack"
    ROLLING_OUT = "RollingOut"
    ROUTE_CONFLICT = "RouteConflict"
    ROUTE_REFUSED = "RouteRefused"
    ROUTE_UNSETTLED = "RouteUnsettled"
    SEASON = "Season"
    SERIES_MISSING = "SeriesMissing"
    SERVES = "Serves"
    SERVING = "Serving"
    SHARED_INCIDENT = "SharedIncident"
    SLO_INFEASIBLE = "SLOInfeasible"
    STABLE_BACK = "StableBack"
    STABLE_LOST = "StableLost"
    STABLE_NOT_READY = "StableNotReady"
    STABLE_PODS_REMAIN = "StablePodsRemain"
    STARTING = "Starting"
    STEADY = "Steady"
    SUPERSEDED = "Superseded"
    SUSPENDED = "Suspended"
    THROUGHPUT = "Throughput"
    TOO_FEW_REQUESTS = "TooFewRequests"
    UNPROVEN = "Unproven"
    UNSCHEDULABLE = "Unschedulable"
    VALID = "Valid"
    VERIFICATION_UNANSWERED = "VerificationUnanswered"
    VERIFIED = "Verified"
    WAITING_FOR_CAPACITY = "WaitingForCapacity"
    WAITING_FOR_GPU = "WaitingForGPU"
    WEIGHT_IN_FORCE = "WeightInForce"
    WORSE = "Worse"
    WRITE_REFUSED = "WriteRefused"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; generation and time are added when it is written."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str


def updated_conditions(
    previous: Sequence[Mapping[str, Any]], wanted: Iterable[Condition], *, generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Return all conditions in their fixed order, as the status holds them.

    `lastTransitionTime` changes only with the status. A condition that is not in `wanted` keeps its value and
    generation, or is Unknown if it was never set.
    """
    before = {old["type"]: old for old in previous}
    asked = {condition.type: condition for condition in wanted}
    found: list[dict[str, Any]] = []
    for kind in ConditionType:
        old = before.get(kind)
        if kind not in asked and old is not None:
            found.append(dict(old))
            continue
        unknown = Condition(kind, ConditionStatus.UNKNOWN, Reason.NOT_OBSERVED, "not observed yet")
        found.append(_written(asked.get(kind, unknown), old, generation, now))
    return found


def _written(condition: Condition, old: Mapping[str, Any] | None, generation: int, now: datetime) -> dict[str, Any]:
    unchanged = old is not None and old.get("status") == condition.status
    since = old.get("lastTransitionTime") if old is not None and unchanged else None
    return {
        "type": str(condition.type),
        "status": str(condition.status),
        "observedGeneration": generation,
        "lastTransitionTime": since or now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "reason": str(condition.reason),
        "message": shortened(condition.message),
    }


def shortened(message: str, most: int = MESSAGE_MAX_LENGTH) -> str:
    """Return the message, cut in the middle if it is too long: both ends matter most."""
    if len(message) <= most:
        return message
    half = (most - 5) // 2
    return f"{message[:half]} ... {message[-half:]}"
