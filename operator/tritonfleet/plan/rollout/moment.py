"""One moment of one rollout, and the two things that can become of it: to stay, or to go to another phase."""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from tritonfleet.api.canary import Canary
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.plan.rollout.analysis import Progress
from tritonfleet.plan.rollout.facts import Facts, Track
from tritonfleet.plan.rollout.phase import TRANSITIONS, Phase
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.state import Passage, State
from tritonfleet.plan.rollout.steps import canary_pods, plan_of, step_of
from tritonfleet.plan.rollout.weights import track_of
from tritonfleet.plan.world import Event

PASSAGES_MAX: Final = 20
LOOK_AGAIN_SECONDS: Final = 5.0

_EDGES: Final = frozenset((transition.source, transition.target) for transition in TRANSITIONS)
_WARNINGS: Final = frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.HELD, Phase.STABLE_LOST})


@dataclass(frozen=True, slots=True)
class Advance:
    """What one look at the facts comes to; at most one transition."""

    state: State
    """To be written down before it is acted upon; the same object if nothing changed."""
    events: tuple[Event, ...] = ()
    wait_seconds: float | None = None
    """When to look again though nothing happened; None if nothing is due at a known time."""


@dataclass(frozen=True)
class Moment:
    """What a decision is made from."""

    state: State
    facts: Facts
    now: datetime

    @property
    def canary(self) -> Track:
        """The canary's pods."""
        return track_of(self.facts, self.state.canary)

    @property
    def stable(self) -> Track:
        """Stable's pods."""
        return track_of(self.facts, self.state.stable)

    @property
    def previous(self) -> Track:
        """The pods of the revision that was stable before."""
        return track_of(self.facts, self.state.previous)

    @property
    def wanted(self) -> str:
        """The revision that is to serve: the spec's, unless a person asked for another; empty while none is known."""
        return self.state.override or self.facts.target

    @cached_property
    def plan(self) -> Canary:
        """The plan as it was pinned."""
        return plan_of(self.state.plan)

    @cached_property
    def progress(self) -> Progress:
        """What the step has counted; a step whose progress cannot be read begins anew."""
        try:
            return Progress.restore(self.state.analysis)
        except ValueError:
            return Progress()

    @property
    def goal(self) -> int:
        """Percent of the traffic that the step asks for."""
        return step_of(self.state).weight

    def rejected(self, revision: str) -> bool:
        """Tell whether the revision is not to be tried again by itself."""
        return any(rejection.revision == revision for rejection in self.state.rejected)

    def seconds_left(self, since: datetime, allowed: str) -> float:
        """Return how much is left of a duration of the API; 0 or less when it is over."""
        return duration_seconds(allowed) - (self.now - since).total_seconds()

    def name(self, revision: str) -> str:
        """Return a revision as people know it."""
        number = track_of(self.facts, revision).number
        return f"revision {number} ({revision})" if number else f"revision {revision}"

    def stay(self, *events: Event, wait_seconds: float | None = None, **changes: Any) -> Advance:
        """Return this phase, with some fields changed; the same state if none differs."""
        changed = any(getattr(self.state, name) != value for name, value in changes.items())
        return Advance(replace(self.state, **changes) if changed else self.state, events, wait_seconds)

    def changed(self, **changes: Any) -> "Moment":
        """Return this moment as it is with some fields of the state changed."""
        return replace(self, state=self.stay(**changes).state)

    def say(self, reason: RolloutReason, message: str, *, wait_seconds: float | None = None, **changes: Any) -> Advance:
        """Return this phase with what there is to say of it."""
        return self.stay(reason=reason.value, message=message, wait_seconds=wait_seconds, **changes)

    def go(self, target: Phase, reason: RolloutReason, message: str, **changes: Any) -> Advance:
        """Return the transition to another phase.

        Raises:
            ValueError: The table of transitions has no such edge.
        """
        source = self.state.phase
        if (source, target) not in _EDGES:
            raise ValueError(f"there is no way from {source} to {target} ({reason}: {message})")
        passage = Passage(self.now, source, target, reason.value, message)
        changes = {"reason": reason.value, "message": message, **changes}
        state = replace(
            self.state,
            phase=target,
            entered_at=self.now,
            history=(passage, *self.state.history)[:PASSAGES_MAX],
            **changes,
        )
        event = Event("Warning" if target in _WARNINGS else "Normal", reason.value, f"{source} to {target}: {message}")
        return Advance(state, (event,), LOOK_AGAIN_SECONDS)

    def hold(self, reason: RolloutReason, message: str, resume: Phase | None = None, **changes: Any) -> Advance:
        """Return the transition to Held; it goes on where it was, or where `resume` says."""
        return self.go(Phase.HELD, reason, message, resume=resume or self.state.phase, **changes)

    def provision(self, reason: RolloutReason, message: str, **changes: Any) -> Advance:
        """Return the transition to Provisioning, with the pods that the step gives the canary."""
        after = replace(self.state, **changes)
        pods = pods_of_step(after, by_gateway=self.facts.by_gateway)
        return self.go(Phase.PROVISIONING, reason, message, **{**changes, "canary_replicas": pods})


def pods_of_step(state: State, *, by_gateway: bool) -> int:
    """Return the pods that the state's step gives the canary."""
    return canary_pods(step_of(state).weight, state.replicas, state.surge, by_gateway=by_gateway)
