"""What the handler of every phase gets, and the two results it can return: stay, or make a transition.

`planner.advance` builds one `RolloutContext` per pass from the state, the inputs and the time. A handler reads it and
returns `context.stay(...)` or `context.go(...)` (`say`, `hold` and `provision` are special cases of the two); `go`
refuses a transition that `state.TRANSITIONS` does not list. `in_force` tells every phase that moves traffic when a
weight counts as applied.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final

from tritonfleet.api.canary import Canary
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.plan.rollout.analysis import Progress
from tritonfleet.plan.rollout.inputs import RevisionPods, RolloutInputs
from tritonfleet.plan.rollout.sizing import canary_pods, plan_of, revision_pods, step_of
from tritonfleet.plan.rollout.state import TRANSITIONS, Phase, RolloutReason, State, TransitionRecord
from tritonfleet.plan.world import Event

TRANSITION_RECORDS_MAX: Final = 20
REQUEUE_SECONDS: Final = 5.0

_EDGES: Final = frozenset((transition.source, transition.target) for transition in TRANSITIONS)
_WARNINGS: Final = frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.HELD, Phase.STABLE_LOST})


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one pass comes to; at most one transition."""

    state: State
    """To be written down before it is acted upon; the same object if nothing changed."""
    events: tuple[Event, ...] = ()
    wait_seconds: float | None = None
    """When to look again though nothing happened; None if nothing is due at a known time."""


@dataclass(frozen=True)
class RolloutContext:
    """What a decision is made from."""

    state: State
    inputs: RolloutInputs
    now: datetime

    @property
    def canary(self) -> RevisionPods:
        """The canary's pods."""
        return revision_pods(self.inputs, self.state.canary)

    @property
    def stable(self) -> RevisionPods:
        """Stable's pods."""
        return revision_pods(self.inputs, self.state.stable)

    @property
    def previous(self) -> RevisionPods:
        """The pods of the revision that was stable before."""
        return revision_pods(self.inputs, self.state.previous)

    @property
    def wanted(self) -> str:
        """The revision that is to serve: the spec's, unless a person asked for another; empty while none is known."""
        return self.state.override or self.inputs.target

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
        number = revision_pods(self.inputs, revision).number
        return f"revision {number} ({revision})" if number else f"revision {revision}"

    def stay(self, *events: Event, wait_seconds: float | None = None, **changes: Any) -> StepResult:
        """Return this phase, with some fields changed; the same state if none differs."""
        changed = any(getattr(self.state, name) != value for name, value in changes.items())
        return StepResult(replace(self.state, **changes) if changed else self.state, events, wait_seconds)

    def changed(self, **changes: Any) -> "RolloutContext":
        """Return this context with some fields of the state changed."""
        return replace(self, state=self.stay(**changes).state)

    def say(
        self, reason: RolloutReason, message: str, *, wait_seconds: float | None = None, **changes: Any
    ) -> StepResult:
        """Return this phase with what there is to say of it."""
        return self.stay(reason=reason.value, message=message, wait_seconds=wait_seconds, **changes)

    def go(self, target: Phase, reason: RolloutReason, message: str, **changes: Any) -> StepResult:
        """Return the transition to another phase.

        Raises:
            ValueError: The table of transitions has no such edge.
        """
        source = self.state.phase
        if (source, target) not in _EDGES:
            raise ValueError(f"there is no way from {source} to {target} ({reason}: {message})")
        passage = TransitionRecord(self.now, source, target, reason.value, message)
        changes = {"reason": reason.value, "message": message, **changes}
        state = replace(
            self.state,
            phase=target,
            entered_at=self.now,
            history=(passage, *self.state.history)[:TRANSITION_RECORDS_MAX],
            **changes,
        )
        event = Event("Warning" if target in _WARNINGS else "Normal", reason.value, f"{source} to {target}: {message}")
        return StepResult(state, (event,), REQUEUE_SECONDS)

    def hold(self, reason: RolloutReason, message: str, resume: Phase | None = None, **changes: Any) -> StepResult:
        """Return the transition to Held; it goes on where it was, or where `resume` says."""
        return self.go(Phase.HELD, reason, message, resume=resume or self.state.phase, **changes)

    def provision(self, reason: RolloutReason, message: str, **changes: Any) -> StepResult:
        """Return the transition to Provisioning, with the pods that the step gives the canary."""
        after = replace(self.state, **changes)
        pods = pods_for_step(after, by_gateway=self.inputs.by_gateway)
        return self.go(Phase.PROVISIONING, reason, message, **{**changes, "canary_replicas": pods})


def pods_for_step(state: State, *, by_gateway: bool) -> int:
    """Return the pods that the state's step gives the canary."""
    return canary_pods(step_of(state).weight, state.replicas, state.surge, by_gateway=by_gateway)


EFFECT_DELAY: Final = timedelta(seconds=3)
"""A gateway says that it accepts a route a moment before its proxies act on it; pods stay for as long."""


def in_force(context: RolloutContext) -> StepResult | None:
    """Return the state in which the weight counts as applied, or the wait until then; None while it is not accepted.

    A gateway that has only made a way to the canary gives it its weight next.
    """
    state = context.state
    if not context.inputs.split.settled:
        return context.stay(settled_at=None) if state.settled_at is not None else None
    if state.settled_at is None or state.settled_at > context.now:
        return context.stay(settled_at=context.now, wait_seconds=EFFECT_DELAY.total_seconds())
    left = (state.settled_at + EFFECT_DELAY - context.now).total_seconds()
    if left > 0:
        return context.stay(wait_seconds=left)
    if state.is_opening:
        return context.stay(opening=False, settled_at=None, wait_seconds=REQUEUE_SECONDS)
    return context.stay(applied_weight=state.weight, settled_at=None)


def pods_take(context: RolloutContext, turns: int) -> str:
    """Say how long pods take that start in so many turns, by what stable's have taken; nothing while none is ready."""
    took = context.stable.ready_seconds
    if took is None:
        return ""
    total = f", {turns} one after the other {turns * took:.0f} s" if turns > 1 else ""
    return f"; a pod takes about {took:.0f} s to be ready{total}"
