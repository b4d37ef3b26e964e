"""The phases of a rollout, the transitions between them, and the state that is kept.

`TRANSITIONS` is the one table of what may follow what: `context.go` enforces it, and docs/explanation/rollouts.md is
drawn from it. `State` is all that a rollout remembers between two passes; `status.py` writes it to `status.rollout` and
reads it back.
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
    """Where a rollout is; each word is part of the API."""

    INITIALIZING = "Initializing"
    """No revision has served yet; the first one is being started at full size."""
    STABLE = "Stable"
    """The wanted revision serves alone."""
    ADMITTING = "Admitting"
    """Another revision is wanted: it is recorded, and its plan and capacity mode are fixed."""
    PROVISIONING = "Provisioning"
    """The canary's pods of the step are being started, without traffic or with that of the step before."""
    WAITING_FOR_CAPACITY = "WaitingForCapacity"
    """There is no room for the canary's pods; stable is untouched."""
    VERIFYING = "Verifying"
    """The canary is asked for its contract and for golden requests, before any user sees it."""
    SHIFTING = "Shifting"
    """The weight of the step is being written and is not yet seen to be in force."""
    ANALYZING = "Analyzing"
    """The canary is compared with stable at the weight of the step; at 100 % it is only watched."""
    AWAITING_APPROVAL = "AwaitingApproval"
    """The step asks for a person, or for a time, before the next one."""
    HELD = "Held"
    """Nothing goes on until a person, or the cause, lets it; safety rules still run."""
    PROMOTING = "Promoting"
    """The canary carries everything and becomes stable: the point of no return."""
    ROLLING_BACK = "RollingBack"
    """Traffic returns to stable as fast as its capacity allows, then the canary goes away."""
    ROLLED_BACK = "RolledBack"
    """Stable serves alone; the spec still asks for the rejected revision."""
    STABLE_LOST = "StableLost"
    """Stable cannot carry its share and the canary can: nothing moves to a revision that is not there."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One allowed change of the phase."""

    source: Phase
    target: Phase
    when: str
    """The condition, as the diagram and the docs show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTraits:
    """What holds in a phase, whatever its handler does."""

    under_way: bool = True
    """Whether a rollout is under way: stable does not shrink by the autoscaler's wish."""
    before_promotion: bool = True
    """Whether the canary can still be taken back, or given up for another revision."""
    can_hold: bool = True
    """Whether the rollout can be held here, and go on from here."""
    can_promote_now: bool = True
    """Whether a person who promotes now brings it back to Provisioning; earlier phases only change their plan."""
    has_traffic: bool = True
    """Whether a canary with a share of the traffic is measured here, be it only for its safety."""
    before_traffic: bool = False
    """Whether stable is measured while the canary has no share, so that the first window knows how stable varies."""
    between_steps: bool = False
    """Whether windows are analyzed for a failure alone, by the planner: the handler waits for something else."""
    stable_may_be_lost: bool = True
    """Whether a stable that cannot carry its share leads to StableLost."""
    looks_for_room: bool = False
    """Whether free GPUs are counted for the canary's pods."""
    is_trouble: bool = False
    """Whether users of the cluster are warned."""


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
        can_hold=False, can_promote_now=False, has_traffic=False, stable_may_be_lost=False, looks_for_room=True
    ),
    Phase.PROVISIONING: PhaseTraits(
        can_promote_now=False, before_traffic=True, between_steps=True, looks_for_room=True
    ),
    Phase.WAITING_FOR_CAPACITY: PhaseTraits(
        can_promote_now=False, before_traffic=True, between_steps=True, looks_for_room=True
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
    """Return what holds in the phase that a status names; where it names none, no rollout is under way."""
    return next((traits for phase, traits in TRAITS.items() if phase == word), _NO_ROLLOUT)


_BEFORE_PROMOTION: Final = tuple(phase for phase, traits in TRAITS.items() if traits.before_promotion)
_HOLDABLE: Final = tuple(phase for phase, traits in TRAITS.items() if traits.can_hold)
_CAN_PROMOTE_NOW: Final = tuple(phase for phase, traits in TRAITS.items() if traits.can_promote_now)


def _edges(*edges: tuple[tuple[Phase, ...], tuple[Phase, ...], str]) -> tuple[Transition, ...]:
    """Return every pair of a source and a target once; of several conditions both are told."""
    found: dict[tuple[Phase, Phase], str] = {}
    for sources, targets, when in edges:
        for pair in ((source, target) for source in sources for target in targets):
            found[pair] = f"{found[pair]}; or {when}" if pair in found else when
    return tuple(Transition(source, target, when) for (source, target), when in found.items())


TRANSITIONS: Final = _edges(
    ((Phase.INITIALIZING,), (Phase.STABLE,), "all pods are ready"),
    ((Phase.STABLE,), (Phase.ADMITTING,), "another revision is wanted and not rejected"),
    ((Phase.STABLE,), (Phase.ROLLED_BACK,), "a rejected revision is wanted"),
    ((Phase.STABLE,), (Phase.PROMOTING,), "the retained revision is wanted back, or the promoted one breaks"),
    ((Phase.ROLLED_BACK,), (Phase.STABLE,), "the spec asks for stable again"),
    ((Phase.ROLLED_BACK,), (Phase.ADMITTING,), "a revision that is not rejected is wanted, or a retry"),
    ((Phase.ADMITTING,), (Phase.PROVISIONING,), "the plan is fixed and there is room"),
    ((Phase.ADMITTING, Phase.PROVISIONING), (Phase.WAITING_FOR_CAPACITY,), "there is no room"),
    ((Phase.WAITING_FOR_CAPACITY,), (Phase.PROVISIONING,), "there is room, or the mode falls back to InPlace"),
    ((Phase.PROVISIONING,), (Phase.VERIFYING,), "the first pods are ready"),
    ((Phase.PROVISIONING,), (Phase.SHIFTING,), "both revisions carry more of the step's weight"),
    ((Phase.VERIFYING,), (Phase.SHIFTING,), "contract and golden requests pass"),
    ((Phase.VERIFYING,), (Phase.PROVISIONING,), "verified, and pods were lost meanwhile"),
    ((Phase.SHIFTING,), (Phase.ANALYZING,), "the step's weight is in force"),
    ((Phase.SHIFTING,), (Phase.PROVISIONING,), "a part of the step's weight is in force, and makes room"),
    ((Phase.SHIFTING,), (Phase.PROMOTING, Phase.AWAITING_APPROVAL), "all traffic is moved and no bake time is asked"),
    ((Phase.ANALYZING,), (Phase.AWAITING_APPROVAL,), "the step passed and asks for a pause"),
    ((Phase.ANALYZING,), (Phase.PROVISIONING,), "the step passed and another follows"),
    ((Phase.ANALYZING,), (Phase.PROMOTING,), "the last step passed"),
    ((Phase.AWAITING_APPROVAL, Phase.HELD), (Phase.PROVISIONING,), "approved, and another step follows"),
    ((Phase.AWAITING_APPROVAL, Phase.HELD), (Phase.PROMOTING,), "approved after the last step"),
    (_CAN_PROMOTE_NOW, (Phase.PROVISIONING,), "a person promotes now"),
    (_HOLDABLE, (Phase.HELD,), "paused, or a person has to decide"),
    ((Phase.HELD,), _HOLDABLE, "resumed"),
    (
        (*(phase for phase in _HOLDABLE if phase is not Phase.VERIFYING), Phase.HELD),
        (Phase.STABLE_LOST,),
        "stable cannot carry its share",
    ),
    ((Phase.STABLE_LOST,), (Phase.PROVISIONING, Phase.HELD), "stable is back"),
    ((Phase.PROMOTING,), (Phase.STABLE,), "clients reach the new stable"),
    ((Phase.PROMOTING,), (Phase.ROLLED_BACK,), "clients reach the retained revision, and the other one is rejected"),
    ((*_BEFORE_PROMOTION, Phase.PROMOTING), (Phase.ROLLING_BACK,), "failed, aborted or superseded"),
    ((Phase.ROLLING_BACK,), (Phase.ROLLED_BACK,), "stable has all traffic and the revision is rejected"),
    ((Phase.ROLLING_BACK,), (Phase.STABLE,), "stable has all traffic and nothing is rejected"),
)
"""Every transition there is; `RolloutContext.go` refuses any other."""


EPOCH = datetime.fromtimestamp(0, UTC)
FULL_WEIGHT: Final = 100


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
    """Return what a step has counted; a step whose progress cannot be read begins anew."""
    try:
        return Progress.restore(document)
    except ValueError:
        return Progress()


def _write_checks(checks: tuple[Mapping[str, Any], ...]) -> list[dict[str, Any]]:
    """Return what the API server would keep of them."""
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
NO_PLAN: Final = Canary()
_STATUS: Final = ConfigDict(alias_generator=to_camel, extra="ignore")
"""How the fields of `status.rollout` are spelled."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A revision that will not be tried again by itself."""

    __pydantic_config__: ClassVar = _STATUS

    revision: _Revision
    """Its hash."""
    reason: str
    message: _Message
    at: _Time


@dataclass(frozen=True, slots=True)
class TransitionRecord:
    """One transition that was taken."""

    __pydantic_config__: ClassVar = _STATUS

    at: _Time
    source: Annotated[Phase, Field(alias="from")]
    target: Annotated[Phase, Field(alias="to")]
    reason: str
    message: _Message


@dataclass(frozen=True, slots=True)
class Attempt:
    """One rollout, from Admitting to its end. Weights are percent of the traffic, revisions are hashes.

    In Initializing it is the first revision, and nothing else of it is set.
    """

    __pydantic_config__: ClassVar = _STATUS

    canary: _Revision = ""
    """Is being rolled out, or taken back."""
    plan: Annotated[
        Canary,
        BeforeValidator(lambda plan: with_new_names(plan, "spec.rollout.canary")),
        PlainSerializer(lambda plan: plan.model_dump(mode="json", by_alias=True, exclude_defaults=True)),
    ] = NO_PLAN
    """`spec.rollout.canary` as it was when the rollout began; empty for one without steps."""
    mode: CapacityMode | None = None
    """Surge, InPlace or Recreate: what Auto came to; None until it is chosen."""
    surge: int = 0
    """Pods beyond `replicas` that the rollout may have at any time."""
    canary_replicas: int = 0
    """Pods that the step gives the canary."""
    step: Annotated[int, PlainValidator(lambda one: max(1, one) - 1), PlainSerializer(lambda index: index + 1)] = 0
    """Index of the step; the last one, 100 %, is implied where the plan does not name it."""
    step_entered_at: Annotated[
        datetime, PlainValidator(_read_time), PlainSerializer(lambda at: _write_time(at) if at != EPOCH else "")
    ] = EPOCH

    weight: int = 0
    """What the canary is to get, written before it is carried out."""
    opening: bool = False
    """Whether the gateway only makes a way to the canary yet: see `routed_weight`."""
    applied_weight: int = 0
    """What the gateway or the Service is seen to give it."""
    settled_at: _Time | None = None
    """Since when `weight` is accepted, while it does not count as in force yet."""
    measured_share: float | None = None
    """Of the requests in the last window, 0..1."""

    verified: bool = False
    """Whether the checks before traffic let it go on."""
    analysis: Annotated[
        Progress | None,
        PlainValidator(_read_progress),
        PlainSerializer(lambda progress: progress.document() if progress is not None else None),
    ] = None
    """What the step has counted; None before anything was."""
    metrics_lost_since: _Time | None = None
    """Since when the sources of metrics have not answered."""

    resume: Phase | None = None
    """Where Held or StableLost goes on."""
    reverts: Annotated[tuple[_Time, ...], _newest(limits.REVERTS_MAX)] = ()
    """When somebody else changed the weights, newest last."""
    rejecting: bool = False
    """Whether the rollback ends with the canary rejected."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps; the last one is always 100 %. With Recreate there is no other: nothing is left to compare."""
        steps = self.plan.steps if self.mode is not CapacityMode.RECREATE else ()
        if steps and steps[-1].weight == FULL_WEIGHT:
            return steps
        return (*steps, Step(weight=FULL_WEIGHT))

    @property
    def current_step(self) -> Step:
        """The step that the rollout is at."""
        steps = self.steps
        return steps[min(self.step, len(steps) - 1)]

    @property
    def is_last_step(self) -> bool:
        """Whether no other step follows."""
        return self.step >= len(self.steps) - 1

    @property
    def is_opening(self) -> bool:
        """Whether the canary gets its first share as soon as the gateway has a way to it, and none before."""
        return self.opening and self.applied_weight == 0 < self.weight

    @property
    def routed_weight(self) -> int:
        """Percent that the route is to give the canary now."""
        return 0 if self.is_opening else self.weight


@dataclass(frozen=True, slots=True)
class Standby:
    """The revision that was stable before: some of its pods stay for a quick way back."""

    __pydantic_config__: ClassVar = _STATUS

    revision: Annotated[_Revision, Field(alias="previous")]
    until: Annotated[_Time | None, Field(alias="retainedUntil")] = None
    surge: int = 0
    """Most pods that stay."""


@dataclass(frozen=True, slots=True)
class State:
    """One ModelDeployment's rollouts: where it is, what is remembered from one to the next, and the one under way."""

    __pydantic_config__: ClassVar = _STATUS

    phase: Phase = Phase.INITIALIZING
    entered_at: _Time = EPOCH
    """When the phase was entered."""
    reason: str = ""
    """Why it is where it is: one CamelCase word of `RolloutReason`."""
    message: _Message = ""
    """The same for people, with numbers."""

    stable: _Revision = ""
    """Serves users; changes only in Promoting."""
    attempts: int = 0
    """Counts rollouts of this ModelDeployment."""
    replicas: int = 0
    """Pods that carry all traffic; rises with the autoscaler's wish during a rollout and never falls."""
    attempt: Attempt | None = None
    """The rollout under way; None while one revision serves alone."""
    standby: Standby | None = None

    verification: _Checks = ()
    """What each check before traffic said, in the last rollout."""
    results: _Checks = ()
    """What each check of the last window said, in the last rollout."""

    rejected: Annotated[tuple[Rejection, ...], _newest(limits.REJECTED_MAX)] = ()
    override: _Revision = ""
    """The revision that an emergency request put in the place of the spec's."""
    override_of: _Revision = ""
    """The spec's revision at that moment: another one ends the override."""
    consumed: Annotated[
        tuple[Annotated[str, PlainSerializer(lambda request: request[: limits.REQUEST_MAX_LENGTH])], ...],
        _newest(limits.CONSUMED_MAX),
    ] = ()
    """Requests that were carried out or refused, newest last."""
    history: Annotated[
        tuple[TransitionRecord, ...], WrapSerializer(lambda records, write: write(records[: limits.TRANSITIONS_MAX]))
    ] = ()
    """The newest transitions, newest first."""

    @property
    def traits(self) -> PhaseTraits:
        """What holds in the phase."""
        return TRAITS[self.phase]

    @property
    def canary(self) -> str:
        """The revision that is being rolled out, or taken back; empty for none."""
        return self.attempt.canary if self.attempt is not None else ""

    @property
    def applied_weight(self) -> int:
        """Percent of the traffic that the canary is seen to get."""
        return self.attempt.applied_weight if self.attempt is not None else 0
