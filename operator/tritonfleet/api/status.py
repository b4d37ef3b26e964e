"""`status` of a ModelDeployment."""

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
    """The outcome of a revision."""

    PROVISIONING = "Provisioning"
    CANARY = "Canary"
    SERVING = "Serving"
    STANDING_BY = "StandingBy"
    RETIRED = "Retired"
    SUPERSEDED = "Superseded"
    REJECTED = "Rejected"


class ModelState(StrEnum):
    """The state of the model in Triton."""

    UNLOADED = "Unloaded"
    LOADING = "Loading"
    READY = "Ready"
    FAILED = "Failed"


class RevisionRoles(ApiModel):
    """The roles of the revisions."""

    stable: RevisionName | None = None
    """The stable revision."""
    target: RevisionName | None = None
    """The spec's revision."""
    previous: RevisionName | None = None
    """The previous stable revision."""


class RevisionStatus(ApiModel):
    """One revision and its outcome."""

    name: RevisionName
    """Name of the revision's objects."""
    number: Annotated[int, Field(ge=1, le=2**53)]
    """Sequence number, from 1."""
    image: Annotated[str, text(512)] | None = None
    """The Triton image."""
    image_digest: Annotated[str, text(128)] | None = None
    """Digest of that image when it was first run."""
    model_digest: Annotated[str, text(128)] | None = None
    """Digest of the model's content when it was first fetched."""
    companions_digest: Annotated[str, text(128)] | None = None
    """Digest of the companions' content when it was first fetched."""
    model_version: Annotated[str, text(128)] | None = None
    """What the URI's branch, tag or alias named then: a commit, the digest of a manifest, or a version."""
    stateful: bool | None = None
    """Whether its model keeps state between requests (sequence batching), as the fetch step found."""
    largest_batch: Count | None = None
    """Requests that Triton puts into one batch at most, as the fetch step found."""
    concurrent_batches: Count | None = None
    """Batches that a server executes concurrently, as the fetch step found."""
    created: Time | None = None
    """Creation time."""
    outcome: Outcome | None = None
    """Provisioning, Canary (being rolled out), Serving, StandingBy (its pods are kept for a
    fast rollback), Retired (has served), Superseded (was never stable) or Rejected (was rolled back)."""
    retired_at: Time | None = None
    """When it stopped serving."""


class ModelStatus(ApiModel):
    """The state of the model in Triton."""

    state: ModelState
    """Unloaded, Loading, Ready or Failed."""
    reason: Annotated[str, text(MESSAGE_MAX_LENGTH, min_length=0)] | None = None
    """Triton's error if it failed."""


class GpuStatus(ApiModel):
    """GPUs of the object."""

    requested: Count | None = None
    """GPUs requested by all desired pods."""
    waiting: Count | None = None
    """GPUs of unscheduled pods."""
    short_by: Count | None = None
    """GPUs missing in the cluster."""


Replicas = Annotated[int, Field(ge=0, le=10_000_000)]
Rate = Annotated[float, Field(ge=0, le=1_000_000_000)]
Latency = Annotated[str, text(24)]
ScaleReasonWord = Annotated[str, text(64, min_length=0)]
HISTORY_MAX = 10
FIELD_OF_PERCENTILE = {50.0: "p50", 90.0: "p90", 95.0: "p95", 99.0: "p99", 99.9: "p999"}
"""The field of `status.autoscaling` with the measured latency."""


class ScaleEntry(ApiModel):
    """One change of the number of replicas."""

    at: Time
    """Time of the decision."""
    before: Annotated[Replicas, Field(alias="from")]
    """Previous replicas."""
    after: Annotated[Replicas, Field(alias="to")]
    """New replicas."""
    reason: ScaleReasonWord
    """Reason in CamelCase."""
    message: Annotated[str, text(MESSAGE_MAX_LENGTH, min_length=0)]
    """Human-readable message."""


class AutoscalingStatus(ApiModel):
    """Metrics and decisions of the autoscaler; numbers are rounded and written when they have changed noticeably."""

    at: Time | None = None
    """When the numbers were written."""
    desired_replicas: Replicas | None = None
    """Replicas that the autoscaler sets, or would set if `autoscaling.advisory` is true."""
    uncapped_replicas: Replicas | None = None
    """Replicas that the demand needs, before any limit."""
    min_replicas: Replicas | None = None
    """Minimum in force, by `autoscaling` and its schedules."""
    max_replicas: Replicas | None = None
    """Maximum in force, by `autoscaling` and its schedules."""
    observed_rate: Rate | None = None
    """Arriving requests per second."""
    capacity_per_replica: Rate | None = None
    """Learned requests per second that one pod can serve within the target."""
    p50: Latency | None = None
    """Measured latency at this percentile, if the SLO uses it, such as 12.3ms."""
    p90: Latency | None = None
    """Measured latency at this percentile, if the SLO uses it, such as 12.3ms."""
    p95: Latency | None = None
    """Measured latency at this percentile, if the SLO uses it, such as 12.3ms."""
    p99: Latency | None = None
    """Measured latency at this percentile, if the SLO uses it, such as 12.3ms."""
    p999: Latency | None = None
    """Measured latency at percentile 99.9, if the SLO uses it, such as 12.3ms."""
    latency_source: ScaleReasonWord | None = None
    """Source of the latency, at any percentile: Gateway, Triton or Estimated."""
    slo_attainment: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of requests within the target over the last minutes."""
    availability: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of requests answered without an error over the last minutes, if the SLO has `availability`."""
    queue_time: Latency | None = None
    """Mean time in Triton's queue over the last minutes, if the SLO has `queueTime`, such as 1.2ms."""
    forecast: Rate | None = None
    """Requests per second of the burst that replicas are kept ready for; absent without one."""
    pod_startup_seconds: Rate | None = None
    """Measured time from a pod's creation to ready."""
    metrics_age: Latency | None = None
    """Age of the oldest sample used, such as 4s."""
    reason: ScaleReasonWord | None = None
    """Reason of the number of replicas, in CamelCase."""
    message: Annotated[str, text(MESSAGE_MAX_LENGTH, min_length=0)] | None = None
    """Human-readable message."""
    last_scale_time: Time | None = None
    """When the number of replicas last changed."""
    history: Annotated[tuple[ScaleEntry, ...], items(HISTORY_MAX)] = ()
    """The newest changes, newest first."""
    memory: Annotated[
        dict[str, Any], Field(max_length=64, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    ] = Field(default_factory=dict)
    """Internal memory of the autoscaler, kept across restarts of the operator."""


class ConditionEntry(ApiModel):
    """One condition."""

    type: ConditionType
    """Type of the condition."""
    status: ConditionStatus
    """True, False or Unknown."""
    observed_generation: Generation
    """Generation of the spec that the condition is based on."""
    last_transition_time: Time
    """When `status` last changed."""
    reason: Annotated[str, text(64)]
    """Reason in CamelCase."""
    message: Annotated[str, text(MESSAGE_MAX_LENGTH, min_length=0)]
    """Human-readable message."""


class ModelDeploymentStatus(ApiModel):
    """Observed state of the object."""

    observed_generation: Generation = -1
    """Generation of the spec that this status is based on; -1 before the first reconcile."""
    selector: Annotated[str, text(512)] | None = None
    """Label selector of the serving pods, for autoscalers."""
    replicas: Count | None = None
    """Pods of the serving revision."""
    ready_replicas: Count | None = None
    """Ready pods of the serving revision."""
    url: Annotated[str, text(512)] | None = None
    """HTTP URL of the model within the cluster."""
    gateway_url: Annotated[str, text(512)] | None = None
    """URL of the model through its Gateway, if `traffic.gateway` is set and the Gateway's listeners can be read."""
    revision: RevisionRoles | None = None
    """The roles of the revisions."""
    revisions: Annotated[tuple[RevisionStatus, ...], items(10, key="name")] = ()
    """The newest revisions, newest first."""
    model: ModelStatus | None = None
    """The state of the model in Triton."""
    gpu: GpuStatus | None = None
    """GPUs of the object."""
    autoscaling: AutoscalingStatus | None = None
    """Metrics and decisions of the autoscaler; absent without `slo`."""
    rollout: RolloutStatus | None = None
    """State of the rollout; absent without `rollout.strategy` Canary or Recreate."""
    conditions: Annotated[tuple[ConditionEntry, ...], items(16, key="type")] = ()
    """Ready, Available, Reconciling, Stalled, ConfigValid, ModelLoaded, SLOMet, ScalingActive, CapacityAvailable,
    RolloutHealthy, GatewayReady."""
