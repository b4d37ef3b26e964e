"""`status`: what the operator says about a ModelDeployment."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from tritonfleet.api.base import ApiModel, items, text
from tritonfleet.api.conditions import MESSAGE_MAX_LENGTH, ConditionStatus, ConditionType
from tritonfleet.api.rollout_status import RolloutStatus

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Generation = Annotated[int, Field(ge=-1, le=2**53)]
RevisionName = Annotated[str, text(63, min_length=0)]
Time = Annotated[str, text(32, min_length=0), Field(json_schema_extra={"format": "date-time"})]


class Outcome(StrEnum):
    """What became of a revision."""

    PROVISIONING = "Provisioning"
    CANARY = "Canary"
    SERVING = "Serving"
    STANDING_BY = "StandingBy"
    RETIRED = "Retired"
    SUPERSEDED = "Superseded"
    REJECTED = "Rejected"


class ModelState(StrEnum):
    """What Triton says of the model."""

    UNLOADED = "Unloaded"
    LOADING = "Loading"
    READY = "Ready"
    FAILED = "Failed"


class RevisionRoles(ApiModel):
    """Which revision plays which part."""

    stable: RevisionName | None = None
    """The revision that requests go to."""
    target: RevisionName | None = None
    """The revision that the spec asks for."""
    previous: RevisionName | None = None
    """The revision that requests went to before."""


class RevisionStatus(ApiModel):
    """One revision and what became of it."""

    name: RevisionName
    """Name of the revision's objects."""
    number: Annotated[int, Field(ge=1, le=2**53)]
    """Counts up from 1 with every new revision."""
    image: Annotated[str, text(512)] | None = None
    """The Triton image."""
    image_digest: Annotated[str, text(128)] | None = None
    """Digest of that image, as first run."""
    model_digest: Annotated[str, text(128)] | None = None
    """Digest of the model's content, as first fetched."""
    created: Time | None = None
    """When the revision was first written."""
    outcome: Outcome | None = None
    """Provisioning, Canary (has a share of the traffic, or is to get one), Serving, StandingBy (its pods are kept for a
    quick way back), Retired (has served), Superseded (was never stable) or Rejected (was taken back)."""
    retired_at: Time | None = None
    """When requests left it."""


class ModelStatus(ApiModel):
    """The model as Triton sees it."""

    state: ModelState
    """Unloaded, Loading, Ready or Failed."""
    reason: Annotated[str, text(MESSAGE_MAX_LENGTH, min_length=0)] | None = None
    """Triton's own words when it failed."""


class GpuStatus(ApiModel):
    """GPUs that the object asks for."""

    requested: Count | None = None
    """GPUs of all wanted pods together."""
    waiting: Count | None = None
    """GPUs that pods without a node wait for."""
    short_by: Count | None = None
    """GPUs that the cluster lacks."""


Replicas = Annotated[int, Field(ge=0, le=10_000_000)]
Rate = Annotated[float, Field(ge=0, le=1_000_000_000)]
Latency = Annotated[str, text(24)]
ScaleReasonWord = Annotated[str, text(64, min_length=0)]
HISTORY_MAX = 10
FIELD_OF_PERCENTILE = {50.0: "p50", 90.0: "p90", 95.0: "p95", 99.0: "p99", 99.9: "p999"}
"""Where `status.autoscaling` has the measured latency."""


class ScaleEntry(ApiModel):
    """One change of the number of pods."""

    at: Time
    """When it was decided."""
    before: Annotated[Replicas, Field(alias="from")]
    """Pods before."""
    after: Annotated[Replicas, Field(alias="to")]
    """Pods after."""
    reason: ScaleReasonWord
    """One CamelCase word for programs."""
    message: Annotated[str, text(MESSAGE_MAX_LENGTH, min_length=0)]
    """A sentence for people, with numbers."""


class AutoscalingStatus(ApiModel):
    """What the autoscaler sees and decides; numbers are rounded, and written when they have moved noticeably."""

    at: Time | None = None
    """When the numbers were written."""
    desired_replicas: Replicas | None = None
    """Pods that are asked for, or would be if `autoscaling.advisory` is true."""
    uncapped_replicas: Replicas | None = None
    """Pods that the demand asks for, before any limit."""
    min_replicas: Replicas | None = None
    """Fewest pods, by `autoscaling` and the schedules of the moment."""
    max_replicas: Replicas | None = None
    """Most pods, by `autoscaling` and the schedules of the moment."""
    observed_rate: Rate | None = None
    """Requests per second that arrive."""
    capacity_per_replica: Rate | None = None
    """Requests per second that one pod can serve within the target, as learned."""
    p50: Latency | None = None
    """Measured latency, if the SLO is about it, such as 12.3ms."""
    p90: Latency | None = None
    """Measured latency, if the SLO is about it, such as 12.3ms."""
    p95: Latency | None = None
    """Measured latency, if the SLO is about it, such as 12.3ms."""
    p99: Latency | None = None
    """Measured latency, if the SLO is about it, such as 12.3ms."""
    p999: Latency | None = None
    """Measured latency of percentile 99.9, if the SLO is about it, such as 12.3ms."""
    latency_source: ScaleReasonWord | None = None
    """Where the latency, of whichever percentile, comes from: Gateway, Triton or Estimated."""
    slo_attainment: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the requests within the target over the last minutes."""
    forecast: Rate | None = None
    """Requests per second expected when a pod started now would be ready; only while forecasts have proven skill."""
    pod_startup_seconds: Rate | None = None
    """Time from a pod's creation to ready that is planned with, as measured."""
    metrics_age: Latency | None = None
    """Age of the oldest sample that the numbers rest on, such as 4s."""
    reason: ScaleReasonWord | None = None
    """Why the number of pods is what it is, in one CamelCase word."""
    message: Annotated[str, text(MESSAGE_MAX_LENGTH, min_length=0)] | None = None
    """The same in a sentence, with numbers."""
    last_scale_time: Time | None = None
    """When the number of pods last changed."""
    history: Annotated[tuple[ScaleEntry, ...], items(HISTORY_MAX)] = ()
    """The newest changes, newest first."""
    memory: Annotated[
        dict[str, Any], Field(max_length=64, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    ] = Field(default_factory=dict)
    """What the autoscaler has learned, kept over restarts of the operator; not meant for reading."""


class ConditionEntry(ApiModel):
    """One statement about the object."""

    type: ConditionType
    """What the statement is about."""
    status: ConditionStatus
    """True, False or Unknown."""
    observed_generation: Generation
    """Generation of the spec that the statement is about."""
    last_transition_time: Time
    """When `status` last changed."""
    reason: Annotated[str, text(64)]
    """One CamelCase word for programs."""
    message: Annotated[str, text(MESSAGE_MAX_LENGTH, min_length=0)]
    """A sentence for people, with numbers."""


class ModelDeploymentStatus(ApiModel):
    """What the operator says about the object."""

    observed_generation: Generation = -1
    """Generation of the spec that this status is about; -1 before the operator has seen the object."""
    selector: Annotated[str, text(512)] | None = None
    """Selects the pods that serve, for autoscalers."""
    replicas: Count | None = None
    """Pods of the serving revision."""
    ready_replicas: Count | None = None
    """Pods of the serving revision that are ready."""
    url: Annotated[str, text(512)] | None = None
    """Where clients reach the model within the cluster, over HTTP."""
    revision: RevisionRoles | None = None
    """Which revision plays which part."""
    revisions: Annotated[tuple[RevisionStatus, ...], items(10, key="name")] = ()
    """The newest revisions, newest first."""
    model: ModelStatus | None = None
    """The model as Triton sees it."""
    gpu: GpuStatus | None = None
    """GPUs that the object asks for."""
    autoscaling: AutoscalingStatus | None = None
    """What the autoscaler sees and decides; absent without `slo`."""
    rollout: RolloutStatus | None = None
    """Where the rollout is; absent without `rollout.strategy` Canary or Recreate."""
    conditions: Annotated[tuple[ConditionEntry, ...], items(16, key="type")] = ()
    """Ready, Available, Reconciling, Stalled, ConfigValid, ModelLoaded, SLOMet, ScalingActive, CapacityAvailable,
    RolloutHealthy."""
