"""`status`: what the operator says about a ModelDeployment."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tritonfleet.api.base import ApiModel, items, text
from tritonfleet.api.conditions import MESSAGE_MAX_LENGTH, ConditionStatus, ConditionType

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Generation = Annotated[int, Field(ge=-1, le=2**53)]
RevisionName = Annotated[str, text(63)]
Time = Annotated[str, text(32), Field(json_schema_extra={"format": "date-time"})]


class Outcome(StrEnum):
    """What became of a revision."""

    PROVISIONING = "Provisioning"
    SERVING = "Serving"
    RETIRED = "Retired"
    SUPERSEDED = "Superseded"


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
    model_digest: Annotated[str, text(128)] | None = None
    """Digest of the model's content, as fetched."""
    created: Time | None = None
    """When the revision was first written."""
    outcome: Outcome | None = None
    """Provisioning, Serving, Retired (it has served) or Superseded (it never did)."""
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
    conditions: Annotated[tuple[ConditionEntry, ...], items(16, key="type")] = ()
    """Ready, Available, Reconciling, Stalled, ConfigValid, ModelLoaded, CapacityAvailable."""
