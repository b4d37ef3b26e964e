"""The phases of a rollout, the transitions between them, and the persisted state.

`TRANSITIONS` lists every allowed transition: `context.go` enforces it, and the diagrams in
docs/explanation/rollouts.md are generated from it. `State` is all that a rollout keeps between two passes; `status.py`
serializes it to `status.rollout`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializationInfo,
    WrapSerializer,
)
from pydantic.alias_generators import to_camel

from tritonfleet.api import names
from tritonfleet.api import rollout_status as limits
from tritonfleet.api.canary import Canary, CapacityMode, Step
from tritonfleet.api.conditions import shortened
from tritonfleet.api.renames import with_new_names
from tritonfleet.plan.rollout.analysis import Progress


class Phase(StrEnum):
    """The phase of a rollout; each value is part of the API."""

    INITIALIZING = "Initializing"
    """No revision has served yet; the first one is starting at full size."""
    STABLE = "Stable"
    """The wanted revision serves alone."""
    ADMITTING = "Admitting"
    """Another revision is wanted: it is recorded, and its steps and capacity mode are determined."""
    PROVISIONING = "Provisioning"
    """The canary's pods of the step are starting; the weight stays that of the previous step."""
    WAITING_FOR_CAPACITY = "WaitingForCapacity"
    """The cluster lacks capacity for the canary's pods; stable is unchanged."""
    VERIFYING = "Verifying"
    """Contract and golden requests are checked, before the canary gets traffic."""
    SHIFTING = "Shifting"
    """The weight is being written and is not applied yet."""
    ANALYZING = "Analyzing"
    """The canary is compared with stable at the weight of the step; at 100% the bake time runs."""
    AWAITING_APPROVAL = "AwaitingApproval"
    """The step's pause waits for an approval, or for its duration."""
    HELD = "Held"
    """The rollout does not advance until it is resumed or the cause is gone; a failing canary is still rolled back."""
    PROMOTING = "Promoting"
    """The canary serves all traffic and becomes stable: the point of no return."""
    ROLLING_BACK = "RollingBack"
    """Traffic returns to stable as fast as its capacity allows, then the canary's pods are removed."""
    ROLLED_BACK = "RolledBack"
    """Stable serves alone; the spec still has the rejected revision."""
    STABLE_LOST = "StableLost"
    """Stable cannot serve its share while the canary has traffic: no traffic moves to missing pods."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One allowed change of the phase."""

    source: Phase
    target: Phase
    when: str
    """The condition, as the diagram and the docs show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTraits:
    """Properties of a phase that checks and measurements depend on."""

    under_way: bool = True
    """Whether a rollout is in progress: the autoscaler cannot scale in then."""
    before_promotion: bool = True
    """Whether the canary can still be rolled back or superseded."""
    can_hold: bool = True
    """Whether the rollout can be held in this phase, and resume in it."""
    can_promote_now: bool = True
    """Whether the promote command leads back to Provisioning; earlier phases only drop their steps."""
    has_traffic: bool = True
    """Whether a canary with traffic is measured, if only to detect a failure."""
    before_traffic: bool = False
    """Whether stable is measured while the canary has no traffic, so the first window has a variance estimate."""
    between_steps: bool = False
    """Whether the planner analyzes windows, only to detect a failure, as the handler waits for something else."""
    stable_may_be_lost: bool = True
    """Whether a stable revision that cannot serve its share leads to StableLost."""
    needs_capacity: bool = False
    """Whether free GPUs are counted for the canary's pods."""
    is_trouble: bool = False
    """Whether entering the phase is a Warning event."""


_NO_ROLLOUT: Final = PhaseTraits(
    under_way=False,
    before_promotion=False,
    can_hold=False,
    can_promote_now=False,
    has_traffic=False,
    stable_may_be_lost=False,
)
TRAITS: Final[Mapping[Phase, PhaseTraits]] = {
    Phase.INITIALIZING: _NO_ROLLOUT,
    Phase.STABLE: _NO_ROLLOUT,
    Phase.ADMITTING: PhaseTraits(
        can_hold=False,
        can_promote_now=False,
        has_traffic=False,
        before_traffic=True,
        stable_may_be_lost=False,
        needs_capacity=True,
    ),
    Phase.PROVISIONING: PhaseTraits(
        can_promote_now=False, before_traffic=True, between_steps=True, needs_capacity=True
    ),
    Phase.WAITING_FOR_CAPACITY: PhaseTraits(
        can_promote_now=False, before_traffic=True, between_steps=True, needs_capacity=True
    ),
    Phase.VERIFYING: PhaseTraits(has_traffic=False, before_traffic=True, stable_may_be_lost=False),
    Phase.SHIFTING: PhaseTraits(between_steps=True),
    Phase.ANALYZING: PhaseTraits(),
    Phase.AWAITING_APPROVAL: PhaseTraits(),
    Phase.HELD: PhaseTraits(can_hold=False, is_trouble=True),
    Phase.PROMOTING: replace(_NO_ROLLOUT, under_way=True),
    Phase.ROLLING_BACK: replace(_NO_ROLLOUT, under_way=True, is_trouble=True),
    Phase.ROLLED_BACK: replace(_NO_ROLLOUT, is_trouble=True),
    Phase.STABLE_LOST: PhaseTraits(can_hold=False, between_steps=True, stable_may_be_lost=False, is_trouble=True),
}
"""Every phase, in the order of a rollout."""


def traits_of(word: str | None) -> PhaseTraits:
    """Return the traits of the phase in a status; without a known phase, those of no rollout in progress."""
    return next((traits for phase, traits in TRAITS.items() if phase == word), _NO_ROLLOUT)


_BEFORE_PROMOTION: Final = tuple(phase for phase, traits in TRAITS.items() if traits.before_promotion)
_HOLDABLE: Final = tuple(phase for phase, traits in TRAITS.items() if traits.can_hold)
_CAN_PROMOTE_NOW: Final = tuple(phase for phase, traits in TRAITS.items() if traits.can_promote_now)


def _edges(*edges: tuple[tuple[Phase, ...], tuple[Phase, ...], str]) -> tuple[Transition, ...]:
    """Return every pair of source and target once, with all its conditions."""
    found: dict[tuple[Phase, Phase], str] = {}
    for sources, targets, when in edges:
        for pair in ((source, target) for source in sources for target in targets):
            found[pair] = f"{found[pair]}; or {when}" if pair in found else when
    return tuple(Transition(source, target, when) for (source, target), when in found.items())


TRANSITIONS: Final = _edges(
    ((Phase.INITIALIZING,), (Phase.STABLE,), "all pods are ready"),
    ((Phase.STABLE,), (Phase.ADMITTING,), "another revision is wanted and not rejected"),
    ((Phase.STABLE,), (Phase.ROLLED_BACK,), "a rejected revision is wanted"),
    ((Phase.STABLE,), (Phase.PROMOTING,), "the retained revision is wanted again, or the promoted one fails"),
    ((Phase.ROLLED_BACK,), (Phase.STABLE,), "the spec has stable's revision again"),
    ((Phase.ROLLED_BACK,), (Phase.ADMITTING,), "a revision that is not rejected is wanted, or a retry is requested"),
    ((Phase.ADMITTING,), (Phase.PROVISIONING,), "capacity is available"),
    ((Phase.ADMITTING, Phase.PROVISIONING), (Phase.WAITING_FOR_CAPACITY,), "no capacity"),
    ((Phase.WAITING_FOR_CAPACITY,), (Phase.PROVISIONING,), "capacity is available, or fallback to InPlace"),
    ((Phase.PROVISIONING,), (Phase.VERIFYING,), "the first pods are ready"),
    ((Phase.PROVISIONING,), (Phase.SHIFTING,), "ready pods can serve a higher weight"),
    ((Phase.VERIFYING,), (Phase.SHIFTING,), "contract and golden requests pass"),
    ((Phase.VERIFYING,), (Phase.PROVISIONING,), "verified, but pods were lost"),
    ((Phase.SHIFTING,), (Phase.ANALYZING,), "the step's weight is applied"),
    ((Phase.SHIFTING,), (Phase.PROVISIONING,), "part of the step's weight is applied, and frees capacity"),
    ((Phase.SHIFTING,), (Phase.PROMOTING, Phase.AWAITING_APPROVAL), "all traffic is shifted and there is no bake time"),
    ((Phase.ANALYZING,), (Phase.AWAITING_APPROVAL,), "the step passed and has a pause"),
    ((Phase.ANALYZING,), (Phase.PROVISIONING,), "the step passed and another follows"),
    ((Phase.ANALYZING,), (Phase.PROMOTING,), "the last step passed"),
    ((Phase.AWAITING_APPROVAL, Phase.HELD), (Phase.PROVISIONING,), "approved, and another step follows"),
    ((Phase.AWAITING_APPROVAL, Phase.HELD), (Phase.PROMOTING,), "approved after the last step"),
    (_CAN_PROMOTE_NOW, (Phase.PROVISIONING,), "promote requested"),
    (_HOLDABLE, (Phase.HELD,), "paused, or a decision is needed"),
    ((Phase.HELD,), _HOLDABLE, "resumed"),
    (
        (*(phase for phase in _HOLDABLE if phase is not Phase.VERIFYING), Phase.HELD),
        (Phase.STABLE_LOST,),
        "stable cannot serve its share",
    ),
    ((Phase.STABLE_LOST,), (Phase.PROVISIONING, Phase.HELD), "stable is ready again"),
    ((Phase.PROMOTING,), (Phase.STABLE,), "all traffic is at the canary"),
    (
        (Phase.PROMOTING,),
        (Phase.ROLLED_BACK,),
        "all traffic is at the retained revision, and the other one is rejected",
    ),
    ((*_BEFORE_PROMOTION, Phase.PROMOTING), (Phase.ROLLING_BACK,), "failed, aborted or superseded"),
    (
        (Phase.STABLE,),
        (Phase.ROLLING_BACK,),
        "the promoted revision exceeds the hard limit, and the previous is retained",
    ),
    ((Phase.ROLLING_BACK,), (Phase.ROLLED_BACK,), "stable has all traffic and the revision is rejected"),
    ((Phase.ROLLING_BACK,), (Phase.STABLE,), "stable has all traffic and nothing is rejected"),
)
"""Every allowed transition; `RolloutContext.go` raises for any other."""


EPOCH = datetime.fromtimestamp(0, UTC)
FULL_WEIGHT: Final = 100
WATCHED_STEP: Final = -1
"""The step, from 0, of the windows after a promotion."""


def _read_time(said: str) -> datetime:
    moment = datetime.fromisoformat(said)
    if moment.tzinfo is None:
        raise ValueError(f"{said!r} has no time zone")
    return moment.astimezone(UTC)


def _write_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _read_revision(name: str) -> str:
    if not names.REVISION_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a revision")
    return name.rpartition("-")[2]


def _write_revision(revision: str, info: SerializationInfo) -> str:
    return names.revision_name((info.context or {})["owner"], revision) if revision else ""


def _write_message(text: str) -> str:
    most = limits.ROLLOUT_MESSAGE_MAX
    return text if len(text) <= most else shortened(text, most)


def _read_progress(document: Mapping[str, Any]) -> Progress:
    """Return the step's progress; a step whose progress is invalid starts over."""
    try:
        return Progress.restore(with_new_names(document, "status.rollout.analysis"))
    except ValueError:
        return Progress()


def _write_checks(checks: tuple[Mapping[str, Any], ...]) -> list[dict[str, Any]]:
    """Return the checks within the bounds of the API, which would refuse or prune the rest."""
    return [
        {
            key: _write_message(value) if key == "message" else value
            for key, value in check.items()
            if key in _CHECK_FIELDS and (not isinstance(value, float) or abs(value) <= limits.NUMBER_MAX)
        }
        for check in checks[: limits.CHECKS_MAX]
    ]


def _newest(count: int) -> WrapSerializer:
    return WrapSerializer(lambda values, write: write(values[-count:]))


_CHECK_FIELDS: Final = frozenset(info.alias or name for name, info in limits.Check.model_fields.items())
_Time = Annotated[datetime, PlainValidator(_read_time), PlainSerializer(_write_time)]
_Revision = Annotated[str, PlainValidator(_read_revision), PlainSerializer(_write_revision)]
_Message = Annotated[str, PlainSerializer(_write_message)]
_Checks = Annotated[tuple[Mapping[str, Any], ...], PlainSerializer(_write_checks)]
_Progress = Annotated[
    Progress | None,
    PlainValidator(_read_progress),
    PlainSerializer(lambda progress: progress.document() if progress is not None else None),
]
NO_PLAN: Final = Canary()
_STATUS: Final = ConfigDict(alias_generator=to_camel, extra="ignore")
"""Field names are in camelCase, as in `status.rollout`."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected revision, which is not retried automatically."""

    __pydantic_config__: ClassVar = _STATUS

    revision: _Revision
    """Its hash."""
    reason: str
    message: _Message
    at: _Time


@dataclass(frozen=True, slots=True)
class TransitionRecord:
    """One past transition."""

    __pydantic_config__: ClassVar = _STATUS

    at: _Time
    source: Annotated[Phase, Field(alias="from")]
    target: Annotated[Phase, Field(alias="to")]
    reason: str
    message: _Message


@dataclass(frozen=True, slots=True)
class Attempt:
    """One rollout, from Admitting to its end. Weights are percent of the traffic, revisions are hashes.

    In Initializing `canary` is the first revision, and no other field is set.
    """

    __pydantic_config__: ClassVar = _STATUS

    canary: _Revision = ""
    """The revision that is being rolled out or rolled back."""
    plan: Annotated[
        Canary,
        BeforeValidator(lambda plan: with_new_names(plan, "spec.rollout.canary")),
        PlainSerializer(lambda plan: plan.model_dump(mode="json", by_alias=True, exclude_defaults=True)),
    ] = NO_PLAN
    """`spec.rollout.canary` at the start of the rollout; empty for a rollout without steps."""
    mode: CapacityMode | None = None
    """Surge, InPlace or Recreate, also where the plan says Auto; None until it is chosen."""
    surge: int = 0
    """Maximum number of pods beyond `replicas`."""
    canary_replicas: int = 0
    """Canary pods of the step."""
    step: Annotated[int, PlainValidator(lambda one: max(1, one) - 1), PlainSerializer(lambda index: index + 1)] = 0
    """Index of the step, from 0; a last step of 100% is implied if the plan has none."""
    step_entered_at: Annotated[
        datetime, PlainValidator(_read_time), PlainSerializer(lambda at: _write_time(at) if at != EPOCH else "")
    ] = EPOCH

    weight: int = 0
    """The desired weight of the canary, recorded before it is applied."""
    opening: bool = False
    """Whether the canary is being added to the gateway without traffic: see `routed_weight`."""
    applied_weight: int = 0
    """The weight that the gateway or the Service is observed to apply."""
    settled_at: _Time | None = None
    """When `weight` was accepted, until it counts as applied."""
    measured_share: float | None = None
    """The canary's share of the requests in the last window, 0..1."""

    verified: bool = False
    """Whether the checks before traffic have passed."""
    analysis: _Progress = None
    """The step's progress; None before the first window."""
    metrics_lost_since: _Time | None = None
    """Since when metrics are missing."""

    resume: Phase | None = None
    """The phase in which Held or StableLost continues."""
    reverts: Annotated[tuple[_Time, ...], _newest(limits.REVERTS_MAX)] = ()
    """When another writer changed the weights, newest last."""
    rejecting: bool = False
    """Whether the rollback ends with the canary rejected."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps; the last one is always 100%. Recreate has no other, as no stable pod is left to compare with."""
        steps = self.plan.steps if self.mode is not CapacityMode.RECREATE else ()
        if steps and steps[-1].weight == FULL_WEIGHT:
            return steps
        return (*steps, Step(weight=FULL_WEIGHT))

    @property
    def current_step(self) -> Step:
        """The current step."""
        steps = self.steps
        return steps[min(self.step, len(steps) - 1)]

    @property
    def is_last_step(self) -> bool:
        """Whether no other step follows."""
        return self.step >= len(self.steps) - 1

    @property
    def is_opening(self) -> bool:
        """Whether the canary is a backend of the gateway without traffic, before its first weight."""
        return self.opening and self.applied_weight == 0 < self.weight

    @property
    def routed_weight(self) -> int:
        """The canary's weight in the route now, in percent."""
        return 0 if self.is_opening else self.weight


@dataclass(frozen=True, slots=True)
class Standby:
    """The previous stable revision, some of whose pods are retained for a fast rollback."""

    __pydantic_config__: ClassVar = _STATUS

    revision: Annotated[_Revision, Field(alias="previous")]
    until: Annotated[_Time | None, Field(alias="retainedUntil")] = None
    surge: int = 0
    """Maximum number of retained pods."""
    analysis: _Progress = None
    """What is known of the promoted revision's requests; None before the first window."""


@dataclass(frozen=True, slots=True)
class State:
    """The rollout state of a ModelDeployment: phase, what is kept between rollouts, and the one in progress."""

    __pydantic_config__: ClassVar = _STATUS

    phase: Phase = Phase.INITIALIZING
    entered_at: _Time = EPOCH
    """When the phase was entered."""
    reason: str = ""
    """Reason of the phase: one of `RolloutReason`."""
    message: _Message = ""
    """The same in words, with numbers."""

    stable: _Revision = ""
    """The stable revision; changes only in Promoting, and where a promoted one is rolled back."""
    attempts: int = 0
    """Number of rollouts of this ModelDeployment so far."""
    replicas: int = 0
    """Pods for all traffic; rises with the autoscaler's decision during a rollout and never falls."""
    attempt: Attempt | None = None
    """The rollout in progress; None while one revision serves alone."""
    standby: Standby | None = None

    verification: _Checks = ()
    """Results of the checks before traffic, in the last rollout."""
    results: _Checks = ()
    """Results of the last window, in the last rollout."""

    rejected: Annotated[tuple[Rejection, ...], _newest(limits.REJECTED_MAX)] = ()
    override: _Revision = ""
    """The revision that a rollback request put in place of the spec's."""
    override_of: _Revision = ""
    """The spec's revision at that time: another one ends the override."""
    consumed: Annotated[
        tuple[Annotated[str, PlainSerializer(lambda request: request[: limits.REQUEST_MAX_LENGTH])], ...],
        _newest(limits.CONSUMED_MAX),
    ] = ()
    """Handled requests, newest last."""
    history: Annotated[
        tuple[TransitionRecord, ...], WrapSerializer(lambda records, write: write(records[: limits.TRANSITIONS_MAX]))
    ] = ()
    """The newest transitions, newest first."""

    @property
    def traits(self) -> PhaseTraits:
        """The traits of the phase."""
        return TRAITS[self.phase]

    @property
    def canary(self) -> str:
        """The revision that is being rolled out or rolled back; empty for none."""
        return self.attempt.canary if self.attempt is not None else ""

    @property
    def applied_weight(self) -> int:
        """The canary's applied weight, in percent of the traffic."""
        return self.attempt.applied_weight if self.attempt is not None else 0
