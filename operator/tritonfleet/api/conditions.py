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
    GATEWAY_READY = "GatewayReady"


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
    """The reason of a condition; each value is part of the API.

    Conditions also repeat the reasons of a rollout and of the autoscaler: `RolloutReason` and `ScaleReason`.
    """

    AWAITING_APPROVAL = "AwaitingApproval"
    CANARY_PROGRESSING = "CanaryProgressing"
    CONFIG_INVALID = "ConfigInvalid"
    CONTAINER_NOT_CREATED = "ContainerNotCreated"
    CRASH_LOOPING = "CrashLooping"
    EXTERNAL_SCALER = "ExternalScaler"
    FETCH_FAILED = "FetchFailed"
    FOREIGN_SCALER = "ForeignScaler"
    GATEWAY_NOT_FOUND = "GatewayNotFound"
    GATEWAY_PENDING = "GatewayPending"
    GATEWAY_REFUSED = "GatewayRefused"
    HELD = "Held"
    HOSTNAME_CONFLICT = "HostnameConflict"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    IMAGE_UNSAFE = "ImageUnsafe"
    LOADED = "Loaded"
    MET = "Met"
    METRICS_REFUSED = "MetricsRefused"
    METRICS_STALE = "MetricsStale"
    MISSED = "Missed"
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    NAME_CONFLICT = "NameConflict"
    NO_GATEWAY = "NoGateway"
    NO_READY_REPLICAS = "NoReadyReplicas"
    NO_ROLLOUT = "NoRollout"
    NO_SLO = "NoSLO"
    NOT_AUTOSCALED = "NotAutoscaled"
    NOT_LOADED = "NotLoaded"
    NOT_OBSERVED = "NotObserved"
    OUT_OF_MEMORY = "OutOfMemory"
    OVERRIDDEN = "Overridden"
    PAUSED = "Paused"
    PLACED = "Placed"
    PLACING = "Placing"
    PODS_FORBIDDEN = "PodsForbidden"
    PODS_LOST = "PodsLost"
    PREDECESSOR_REMAINS = "PredecessorRemains"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    PROVISIONING = "Provisioning"
    QUOTA_EXCEEDED = "QuotaExceeded"
    READY = "Ready"
    RECONCILE_FAILED = "ReconcileFailed"
    ROLLED_BACK = "RolledBack"
    ROLLING_BACK = "RollingBack"
    ROLLING_OUT = "RollingOut"
    ROUTE_ACCEPTED = "RouteAccepted"
    SERVING = "Serving"
    STABLE_LOST = "StableLost"
    SUSPENDED = "Suspended"
    UNSCHEDULABLE = "Unschedulable"
    VALID = "Valid"
    WAITING_FOR_CAPACITY = "WaitingForCapacity"
    WAITING_FOR_GPU = "WaitingForGPU"
    WRITE_CHANGED = "WriteChanged"
    WRITE_REFUSED = "WriteRefused"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; generation and time are added when it is written."""

    type: ConditionType
    status: ConditionStatus
    reason: StrEnum
    """A word of `Reason`, or of the part of the operator that the condition is about."""
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
