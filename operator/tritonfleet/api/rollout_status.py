"""`status.rollout`: the persisted state of a rollout."""

from typing import Annotated, Any

from pydantic import Field

from tritonfleet.api.base import ApiModel, items, text

ROLLOUT_MESSAGE_MAX = 512
"""Length of messages in lists: the whole status stays below 64 KiB."""
CHECKS_MAX = 10
REVERTS_MAX = 10
REJECTED_MAX = 5
CONSUMED_MAX = 20
"""More than the requests that an object can have at a time: an annotation for each verb, and the spec's fields."""
TRANSITIONS_MAX = 20
REQUEST_MAX_LENGTH = 253
NUMBER_MAX = 1_000_000_000_000

Count = Annotated[int, Field(ge=0, le=1_000_000)]
Number = Annotated[float, Field(ge=-NUMBER_MAX, le=NUMBER_MAX)]
Percent = Annotated[int, Field(ge=0, le=100)]
Revision = Annotated[str, text(63, min_length=0)]
Time = Annotated[str, text(32, min_length=0), Field(json_schema_extra={"format": "date-time"})]
Message = Annotated[str, text(ROLLOUT_MESSAGE_MAX, min_length=0)]
Word = Annotated[str, text(64, min_length=0)]
Remembered = Annotated[
    dict[str, Any], Field(max_length=64, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
]


class Weights(ApiModel):
    """Percent of the traffic to the canary."""

    desired: Percent
    """Target weight; written here before it is applied."""
    applied: Percent
    """Weight in effect."""
    measured: Annotated[float, Field(ge=0, le=100)] | None = None
    """Share of the requests in the last window."""


class Check(ApiModel):
    """Result of one check."""

    check: Word
    """Name of the check."""
    outcome: Word
    """Pass, Fail, Inconclusive or Error."""
    reason: Word
    """Reason in CamelCase."""
    message: Message | None = None
    """Human-readable message."""
    canary: Number | None = None
    """The canary's value; shares are 0 to 1."""
    canary_samples: Number | None = None
    """Number of requests it is based on."""
    stable: Number | None = None
    """Stable's value."""
    stable_samples: Number | None = None
    """Number of requests it is based on."""
    limit: Number | None = None
    """Limit of the canary's value."""
    p_value: Number | None = None
    """p-value: how likely such a difference is by chance."""


class Rejected(ApiModel):
    """A rejected revision, which is not retried automatically."""

    revision: Revision
    """Its name."""
    reason: Word
    """Reason in CamelCase."""
    message: Message | None = None
    """Human-readable message."""
    at: Time
    """When it was rejected."""


class TransitionEntry(ApiModel):
    """One transition."""

    at: Time
    """Time of the transition."""
    source: Annotated[Word, Field(alias="from")]
    """Previous phase."""
    target: Annotated[Word, Field(alias="to")]
    """New phase."""
    reason: Word | None = None
    """Reason in CamelCase."""
    message: Message | None = None
    """Human-readable message."""


class RolloutStatus(ApiModel):
    """State of the rollout, from which the operator continues after a restart."""

    phase: Word
    """Initializing, Stable, Admitting, Provisioning, WaitingForCapacity, Verifying, Shifting, Analyzing,
    AwaitingApproval, Held, Promoting, RollingBack, RolledBack or StableLost."""
    reason: Word | None = None
    """Reason of the phase, in CamelCase."""
    message: Message | None = None
    """Human-readable message."""
    entered_at: Time
    """Start of the phase."""
    stable: Revision | None = None
    """The stable revision."""
    canary: Revision | None = None
    """The revision that is being rolled out or back."""
    previous: Revision | None = None
    """The previous stable revision; its pods are kept until `retainedUntil`."""
    retained_until: Time | None = None
    """Until then a rollback takes seconds."""
    attempt: Count | None = None
    """Number of rollouts of this object."""
    plan: Remembered = Field(default_factory=dict)
    """`spec.rollout.canary` at the start of the rollout; later edits apply to the next one."""
    mode: Word | None = None
    """Surge, InPlace or Recreate."""
    surge: Count | None = None
    """Maximum of pods beyond `replicas`."""
    replicas: Count | None = None
    """Pods needed for all traffic."""
    canary_replicas: Count | None = None
    """Canary pods of this step."""
    step: Count | None = None
    """Current step, from 1."""
    steps: Count | None = None
    """Number of steps, including the last one at 100%."""
    step_entered_at: Time | None = None
    """Start of the step."""
    weights: Weights | None = None
    """Percent of the traffic to the canary."""
    opening: bool | None = None
    """Whether the canary is being added to the gateway's route, before its first weight."""
    settled_at: Time | None = None
    """When the gateway accepted the desired weight, until it counts as applied."""
    verification: Annotated[tuple[Check, ...], items(CHECKS_MAX)] = ()
    """Results of the checks before traffic."""
    verified: bool | None = None
    """Whether they passed."""
    analysis: Remembered = Field(default_factory=dict)
    """Internal counters of this step."""
    results: Annotated[tuple[Check, ...], items(CHECKS_MAX)] = ()
    """Results of the last window."""
    metrics_lost_since: Time | None = None
    """Since when metrics are missing."""
    resume: Word | None = None
    """The phase to resume after Held or StableLost."""
    reverts: Annotated[tuple[Annotated[Time, Field(description="Time of the change.")], ...], items(REVERTS_MAX)] = ()
    """Times at which someone else changed the weights."""
    rejecting: bool | None = None
    """Whether the rollback ends with a rejection."""
    rejected: Annotated[tuple[Rejected, ...], items(REJECTED_MAX)] = ()
    """Rejected revisions, which are not retried automatically; `spec.rollout.retry` retries the newest."""
    override: Revision | None = None
    """The revision that a rollback request put in place of the spec's."""
    override_of: Revision | None = None
    """The spec's revision at that time; a new one ends the override."""
    consumed: Annotated[
        tuple[Annotated[str, text(REQUEST_MAX_LENGTH, description="Verb and subject.")], ...],
        items(CONSUMED_MAX),
    ] = ()
    """Handled requests, newest last."""
    history: Annotated[tuple[TransitionEntry, ...], items(TRANSITIONS_MAX)] = ()
    """The newest transitions, newest first."""
