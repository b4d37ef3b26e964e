"""Where a rollout can be, and every way from one place to another; docs/explanation/rollouts.md draws this table."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


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
    """One edge of the machine."""

    source: Phase
    target: Phase
    when: str
    """The condition, as the diagram and the docs show it."""


_ANY_RUNNING: Final = (
    Phase.ADMITTING,
    Phase.PROVISIONING,
    Phase.WAITING_FOR_CAPACITY,
    Phase.VERIFYING,
    Phase.SHIFTING,
    Phase.ANALYZING,
    Phase.AWAITING_APPROVAL,
    Phase.HELD,
    Phase.STABLE_LOST,
)
"""Phases of a rollout before its point of no return."""

RUNNING: Final = frozenset({*_ANY_RUNNING, Phase.PROMOTING, Phase.ROLLING_BACK})
"""Phases in which a rollout is under way: stable does not shrink by the autoscaler's wish."""

TRANSITIONS: Final = (
    Transition(Phase.INITIALIZING, Phase.STABLE, "all pods are ready"),
    Transition(Phase.STABLE, Phase.ADMITTING, "another revision is wanted and not rejected"),
    Transition(Phase.STABLE, Phase.PROMOTING, "the retained revision is wanted back and carries everything"),
    Transition(Phase.STABLE, Phase.ROLLING_BACK, "the promoted revision breaks while the one before is retained"),
    Transition(Phase.ROLLED_BACK, Phase.STABLE, "the spec asks for stable again"),
    Transition(Phase.ROLLED_BACK, Phase.ADMITTING, "a revision that is not rejected is wanted, or a retry"),
    Transition(Phase.ADMITTING, Phase.PROVISIONING, "the plan is fixed and there is room"),
    Transition(Phase.ADMITTING, Phase.WAITING_FOR_CAPACITY, "there is no room"),
    Transition(Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY, "pods cannot be scheduled"),
    Transition(Phase.WAITING_FOR_CAPACITY, Phase.PROVISIONING, "there is room, or the mode falls back to InPlace"),
    Transition(Phase.PROVISIONING, Phase.VERIFYING, "the first step's pods are ready"),
    Transition(Phase.PROVISIONING, Phase.SHIFTING, "a later step's pods are ready"),
    Transition(Phase.VERIFYING, Phase.SHIFTING, "contract and golden requests pass"),
    Transition(Phase.SHIFTING, Phase.ANALYZING, "the weight is in force"),
    Transition(Phase.ANALYZING, Phase.AWAITING_APPROVAL, "the step passed and asks for a pause"),
    Transition(Phase.ANALYZING, Phase.PROVISIONING, "the step passed and another follows"),
    Transition(Phase.ANALYZING, Phase.PROMOTING, "the last step passed"),
    Transition(Phase.AWAITING_APPROVAL, Phase.PROVISIONING, "approved, or the pause is over, and another step follows"),
    Transition(Phase.AWAITING_APPROVAL, Phase.PROMOTING, "approved, or the pause is over, after the last step"),
    Transition(Phase.PROMOTING, Phase.STABLE, "clients reach the new stable"),
    Transition(Phase.ROLLING_BACK, Phase.ROLLED_BACK, "stable has all traffic and the revision is rejected"),
    Transition(Phase.ROLLING_BACK, Phase.STABLE, "stable has all traffic and nothing is rejected"),
    *(Transition(source, Phase.ROLLING_BACK, "failed, aborted or superseded") for source in _ANY_RUNNING),
    *(
        Transition(source, Phase.HELD, "paused, or a person has to decide")
        for source in _ANY_RUNNING
        if source not in (Phase.HELD, Phase.ADMITTING)
    ),
    *(
        Transition(Phase.HELD, target, "resumed")
        for target in _ANY_RUNNING
        if target not in (Phase.HELD, Phase.ADMITTING)
    ),
    *(
        Transition(source, Phase.STABLE_LOST, "stable cannot carry its share and the canary can")
        for source in (Phase.SHIFTING, Phase.ANALYZING, Phase.AWAITING_APPROVAL, Phase.HELD, Phase.PROVISIONING)
    ),
    *(
        Transition(Phase.STABLE_LOST, target, "stable is back")
        for target in (Phase.PROVISIONING, Phase.SHIFTING, Phase.ANALYZING, Phase.AWAITING_APPROVAL)
    ),
    Transition(Phase.STABLE_LOST, Phase.PROMOTING, "a person promotes the canary"),
    *(
        Transition(source, Phase.PROVISIONING, "a person promotes now: on to 100 %")
        for source in (Phase.VERIFYING, Phase.SHIFTING, Phase.STABLE_LOST)
    ),
)
"""Every transition there is; the machine refuses any other."""
