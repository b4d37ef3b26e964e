"""All that a rollout has to remember: what `status.rollout` holds, and nothing beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tritonfleet.plan.rollout.phase import Phase

EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A revision that will not be tried again by itself."""

    revision: str
    """Its hash."""
    reason: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Passage:
    """One transition that was taken."""

    at: datetime
    source: Phase
    target: Phase
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class State:
    """One ModelDeployment's rollout. Weights are percent of the traffic, revisions are hashes, empty for none."""

    phase: Phase = Phase.INITIALIZING
    entered_at: datetime = EPOCH
    """When the phase was entered."""
    reason: str = ""
    """Why it is where it is: one CamelCase word of `RolloutReason`."""
    message: str = ""
    """The same for people, with numbers."""

    stable: str = ""
    """Serves users; changes only in Promoting."""
    canary: str = ""
    """Is being rolled out, or taken back."""
    previous: str = ""
    """Was stable before; its pods stay until `retained_until`."""
    retained_until: datetime | None = None

    attempt: int = 0
    """Counts rollouts of this ModelDeployment."""
    plan: Mapping[str, Any] = field(default_factory=dict)
    """`spec.rollout.canary` as it was when the rollout began; empty for one without steps."""
    mode: str = ""
    """Surge, InPlace or Recreate: what Auto came to."""
    surge: int = 0
    """Pods beyond `replicas` that the rollout may have at any time."""
    replicas: int = 0
    """Pods that carry all traffic; rises with the autoscaler's wish during a rollout and never falls."""
    canary_replicas: int = 0
    """Pods that the step gives the canary."""
    step: int = 0
    """Index of the step; the last one, 100 %, is implied where the plan does not name it."""
    step_entered_at: datetime = EPOCH

    weight: int = 0
    """What the canary is to get, written before it is carried out."""
    opening: bool = False
    """Whether the gateway only makes a way to the canary yet: see `routed_weight`."""
    applied_weight: int = 0
    """What the gateway or the Service is seen to give it."""
    settled_at: datetime | None = None
    """Since when `weight` is accepted, while it does not count as in force yet."""
    measured_share: float | None = None
    """Of the requests in the last window, 0..1."""

    verification: tuple[Mapping[str, Any], ...] = ()
    """What each check before traffic said."""
    verified: bool = False
    analysis: Mapping[str, Any] = field(default_factory=dict)
    """`Progress.document()` of the step."""
    results: tuple[Mapping[str, Any], ...] = ()
    """What each check of the last look said."""
    blind_since: datetime | None = None
    """Since when the sources of metrics have not answered."""

    resume: Phase | None = None
    """Where Held or StableLost goes on."""
    reverts: tuple[datetime, ...] = ()
    """When somebody else changed the weights, newest last."""
    rejecting: bool = False
    """Whether the rollback ends with the canary rejected."""
    rejected: tuple[Rejection, ...] = ()
    override: str = ""
    """The revision that an emergency request put in the place of the spec's."""
    override_of: str = ""
    """The spec's revision at that moment: another one ends the override."""
    consumed: tuple[str, ...] = ()
    """Requests that were carried out or refused, newest last."""
    history: tuple[Passage, ...] = ()
    """The newest transitions, newest first."""

    @property
    def is_opening(self) -> bool:
        """Whether the canary gets its first share as soon as the gateway has a way to it, and none before."""
        return self.opening and self.applied_weight == 0 < self.weight

    @property
    def routed_weight(self) -> int:
        """Percent that the route is to give the canary now."""
        return 0 if self.is_opening else self.weight
