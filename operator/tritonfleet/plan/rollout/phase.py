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


_BEFORE_RETURN: Final = (
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

BEFORE_RETURN: Final = frozenset(_BEFORE_RETURN)
"""Phases of a rollout before its point of no return."""

HOLDABLE: Final = tuple(
    phase for phase in _BEFORE_RETURN if phase not in (Phase.ADMITTING, Phase.HELD, Phase.STABLE_LOST)
)
"""Phases that can be held, and gone on with."""

RUNNING: Final = frozenset({*_BEFORE_RETURN, Phase.PROMOTING, Phase.ROLLING_BACK})
"""Phases in which a rollout is under way: stable does not shrink by the autoscaler's wish."""

_ON_THE_WAY: Final = (
    Phase.VERIFYING,
    Phase.SHIFTING,
    Phase.ANALYZING,
    Phase.AWAITING_APPROVAL,
    Phase.HELD,
    Phase.STABLE_LOST,
)


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
    (_ON_THE_WAY, (Phase.PROVISIONING,), "a person promotes now"),
    (HOLDABLE, (Phase.HELD,), "paused, or a person has to decide"),
    ((Phase.HELD,), HOLDABLE, "resumed"),
    (
        (*(phase for phase in HOLDABLE if phase is not Phase.VERIFYING), Phase.HELD),
        (Phase.STABLE_LOST,),
        "stable cannot carry its share",
    ),
    ((Phase.STABLE_LOST,), (Phase.PROVISIONING, Phase.HELD), "stable is back"),
    ((Phase.PROMOTING,), (Phase.STABLE,), "clients reach the new stable"),
    ((Phase.PROMOTING,), (Phase.ROLLED_BACK,), "clients reach the retained revision, and the other one is rejected"),
    ((*_BEFORE_RETURN, Phase.PROMOTING), (Phase.ROLLING_BACK,), "failed, aborted or superseded"),
    ((Phase.ROLLING_BACK,), (Phase.ROLLED_BACK,), "stable has all traffic and the revision is rejected"),
    ((Phase.ROLLING_BACK,), (Phase.STABLE,), "stable has all traffic and nothing is rejected"),
)
"""Every transition there is; the machine refuses any other."""
