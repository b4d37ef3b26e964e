"""`status.rollout`: everything that a rollout remembers, readable by people."""

from typing import Annotated, Any

from pydantic import Field

from tritonfleet.api.base import ApiModel, items, text

ROLLOUT_MESSAGE_MAX = 512
"""Of what there are many of: the whole status stays below 64 KiB."""
CHECKS_MAX = 10
REVERTS_MAX = 10
REJECTED_MAX = 5
CONSUMED_MAX = 20
"""More than an object can ask for at a time: an annotation for each verb, and the fields of the spec."""
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
    """Percent of the traffic that the canary gets."""

    desired: Percent
    """Written here before it is carried out."""
    applied: Percent
    """Seen to be in force."""
    measured: Annotated[float, Field(ge=0, le=100)] | None = None
    """Of the requests in the last window."""


class Check(ApiModel):
    """What one check said."""

    check: Word
    """Name of the check."""
    outcome: Word
    """Pass, Fail, Inconclusive or Error."""
    reason: Word
    """One CamelCase word for programs."""
    message: Message | None = None
    """A sentence for people, with numbers."""
    canary: Number | None = None
    """The canary's value; shares are 0 to 1."""
    canary_samples: Number | None = None
    """Requests that it rests on."""
    stable: Number | None = None
    """Stable's value."""
    stable_samples: Number | None = None
    """Requests that it rests on."""
    limit: Number | None = None
    """What the canary's value is held against."""
    p_value: Number | None = None
    """How likely such a difference is by chance."""


class Rejected(ApiModel):
    """A revision that is not tried again by itself."""

    revision: Revision
    """Its name."""
    reason: Word
    """One CamelCase word for programs."""
    message: Message | None = None
    """A sentence for people, with numbers."""
    at: Time
    """When it was rejected."""


class TransitionEntry(ApiModel):
    """One transition."""

    at: Time
    """When it was taken."""
    source: Annotated[Word, Field(alias="from")]
    """Phase before."""
    target: Annotated[Word, Field(alias="to")]
    """Phase after."""
    reason: Word | None = None
    """One CamelCase word for programs."""
    message: Message | None = None
    """A sentence for people, with numbers."""


class RolloutStatus(ApiModel):
    """Where the rollout is, and all that it needs to go on after a restart of the operator."""

    phase: Word
    """Initializing, Stable, Admitting, Provisioning, WaitingForCapacity, Verifying, Shifting, Analyzing,
    AwaitingApproval, Held, Promoting, RollingBack, RolledBack or StableLost."""
    reason: Word | None = None
    """Why it is there, in one CamelCase word."""
    message: Message | None = None
    """The same in a sentence, with numbers."""
    entered_at: Time
    """When the phase began."""
    stable: Revision | None = None
    """The revision that has proven itself."""
    canary: Revision | None = None
    """The revision that is being rolled out, or taken back."""
    previous: Revision | None = None
    """Was stable before; its pods stay until `retainedUntil`."""
    retained_until: Time | None = None
    """Until then going back takes seconds."""
    attempt: Count | None = None
    """Counts the rollouts of this object."""
    plan: Remembered = Field(default_factory=dict)
    """`spec.rollout.canary` as it was when the rollout began; later edits are for the next one."""
    mode: Word | None = None
    """Surge, InPlace or Recreate."""
    surge: Count | None = None
    """Pods beyond `replicas` that the rollout may have."""
    replicas: Count | None = None
    """Pods that carry all traffic."""
    canary_replicas: Count | None = None
    """Pods that the step gives the canary."""
    step: Count | None = None
    """The step it is at, from 1."""
    steps: Count | None = None
    """How many there are, the last one at 100 % included."""
    step_entered_at: Time | None = None
    """When the step began."""
    weights: Weights | None = None
    """Percent of the traffic that the canary gets."""
    opening: bool | None = None
    """Whether the gateway only gets to know the canary yet."""
    settled_at: Time | None = None
    """Since when the gateway accepts the desired weight, until that counts as applied."""
    verification: Annotated[tuple[Check, ...], items(CHECKS_MAX)] = ()
    """What the checks before any traffic said."""
    verified: bool | None = None
    """Whether they let it go on."""
    analysis: Remembered = Field(default_factory=dict)
    """What has been counted in this step; not meant for reading."""
    results: Annotated[tuple[Check, ...], items(CHECKS_MAX)] = ()
    """What each check said of the last window."""
    metrics_lost_since: Time | None = None
    """Since when metrics have stayed away."""
    resume: Word | None = None
    """The phase in which Held or StableLost goes on."""
    reverts: Annotated[tuple[Annotated[Time, Field(description="When.")], ...], items(REVERTS_MAX)] = ()
    """When somebody else changed the weights."""
    rejecting: bool | None = None
    """Whether the revision is rejected at the end of the rollback."""
    rejected: Annotated[tuple[Rejected, ...], items(REJECTED_MAX)] = ()
    """Revisions that are not tried again by themselves; `spec.rollout.retry` tries the newest again."""
    override: Revision | None = None
    """The revision that an emergency request put in the place of the spec's."""
    override_of: Revision | None = None
    """The spec's revision at that moment; another one ends the override."""
    consumed: Annotated[
        tuple[Annotated[str, text(REQUEST_MAX_LENGTH, description="Verb and what it was asked of.")], ...],
        items(CONSUMED_MAX),
    ] = ()
    """Requests that were carried out or refused, newest last."""
    history: Annotated[tuple[TransitionEntry, ...], items(TRANSITIONS_MAX)] = ()
    """The newest transitions, newest first."""
