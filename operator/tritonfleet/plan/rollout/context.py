"""What the handler of every phase gets, and the two results it can return: stay, or make a transition.

`planner.advance` builds one `RolloutContext` per pass from the state, the inputs and the time; it resolves who plays
which part once. A handler reads it and returns `context.stay(...)` or `context.go(...)` (`say` and `hold` are special
cases of the two); `go` refuses a transition that `state.TRANSITIONS` does not list. What else changes is given as the
changed `Attempt`, or as the changed `State` where more than the attempt does. `in_force` tells every phase that moves
traffic when a weight counts as applied.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.rollout_status import TRANSITIONS_MAX
from tritonfleet.plan.pods import RevisionPods
from tritonfleet.plan.rollout.analysis import AnalysisVerdict
from tritonfleet.plan.rollout.inputs import RolloutInputs
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.state import TRAITS, TRANSITIONS, Attempt, Phase, State, TransitionRecord
from tritonfleet.plan.world import Event

REQUEUE_SECONDS: Final = 5.0

_EDGES: Final = frozenset((transition.source, transition.target) for transition in TRANSITIONS)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one pass comes to; at most one transition."""

    state: State
    """To be written down before it is acted upon; the same object if nothing changed."""
    events: tuple[Event, ...] = ()
    wait_seconds: float | None = None
    """When to look again though nothing happened; None if nothing is due at a known time."""


@dataclass(slots=True)
class RolloutContext:
    """What a decision is made from; nothing in it is changed."""

    state: State
    inputs: RolloutInputs
    now: datetime
    verdict: AnalysisVerdict | None = None
    """On the window that was analyzed in this pass; None if none was."""
    attempt: Attempt = field(init=False)
    """The rollout under way; one without a canary where there is none."""
    canary: RevisionPods = field(init=False)
    """The canary's pods."""
    stable: RevisionPods = field(init=False)
    """Stable's pods."""
    previous: RevisionPods = field(init=False)
    """The pods of the revision that was stable before."""
    goal: int = field(init=False)
    """Percent of the traffic that the step asks for."""
    wanted: str = field(init=False)
    """The revision that is to serve: the spec's, unless a person asked for another; empty while none is known."""

    def __post_init__(self) -> None:
        state, revisions = self.state, self.inputs.revisions
        self.attempt = state.attempt or Attempt()
        self.canary = revisions.get(self.attempt.canary) or RevisionPods()
        self.stable = revisions.get(state.stable) or RevisionPods()
        self.previous = revisions.get(state.standby.revision if state.standby is not None else "") or RevisionPods()
        self.goal = self.attempt.current_step.weight
        self.wanted = state.override or self.inputs.target

    def after(self, changed: State | Attempt, verdict: AnalysisVerdict | None = None) -> "RolloutContext":
        """Return the context in which that is the state, or the attempt of the state."""
        return RolloutContext(self._with(changed), self.inputs, self.now, verdict or self.verdict)

    def rejected(self, revision: str) -> bool:
        """Tell whether the revision is not to be tried again by itself."""
        return any(rejection.revision == revision for rejection in self.state.rejected)

    def seconds_left(self, since: datetime, allowed: str) -> float:
        """Return how much is left of a duration of the API; 0 or less when it is over."""
        return duration_seconds(allowed) - (self.now - since).total_seconds()

    def name(self, revision: str) -> str:
        """Return a revision as people know it."""
        number = (self.inputs.revisions.get(revision) or RevisionPods()).number
        return f"revision {number} ({revision})" if number else f"revision {revision}"

    def stay(self, changed: State | Attempt | None = None, *, wait_seconds: float | None = None) -> StepResult:
        """Return this phase, with what changed; the same state if nothing differs."""
        state = self._with(changed) if changed is not None else self.state
        return StepResult(state if state != self.state else self.state, (), wait_seconds)

    def say(
        self,
        reason: RolloutReason,
        message: str,
        changed: State | Attempt | None = None,
        *,
        wait_seconds: float | None = None,
    ) -> StepResult:
        """Return this phase with what there is to say of it."""
        state = self._with(changed) if changed is not None else self.state
        return self.stay(replace(state, reason=reason.value, message=message), wait_seconds=wait_seconds)

    def go(
        self, target: Phase, reason: RolloutReason, message: str, changed: State | Attempt | None = None
    ) -> StepResult:
        """Return the transition to another phase.

        Raises:
            ValueError: The table of transitions has no such edge.
        """
        source = self.state.phase
        if (source, target) not in _EDGES:
            raise ValueError(f"there is no way from {source} to {target} ({reason}: {message})")
        record = TransitionRecord(self.now, source, target, reason.value, message)
        state = replace(
            self._with(changed) if changed is not None else self.state,
            phase=target,
            entered_at=self.now,
            reason=reason.value,
            message=message,
            history=(record, *self.state.history)[:TRANSITIONS_MAX],
        )
        kind = "Warning" if TRAITS[target].is_trouble else "Normal"
        event = Event(kind, reason.value, f"{source} to {target}: {message}")
        return StepResult(state, (event,), REQUEUE_SECONDS)

    def hold(
        self, reason: RolloutReason, message: str, attempt: Attempt | None = None, *, resume: Phase | None = None
    ) -> StepResult:
        """Return the transition to Held; it goes on where it was, or where `resume` says."""
        held = replace(attempt or self.attempt, resume=resume or self.state.phase)
        return self.go(Phase.HELD, reason, message, held)

    def _with(self, changed: State | Attempt) -> State:
        return changed if isinstance(changed, State) else replace(self.state, attempt=changed)


EFFECT_DELAY: Final = timedelta(seconds=3)
"""A gateway says that it accepts a route a moment before its proxies act on it; pods stay for as long."""


def in_force(context: RolloutContext) -> StepResult | None:
    """Return the state in which the weight counts as applied, or the wait until then; None while it is not accepted.

    A gateway that has only made a way to the canary gives it its weight next.
    """
    attempt = context.attempt
    if not context.inputs.split.settled:
        return context.stay(replace(attempt, settled_at=None)) if attempt.settled_at is not None else None
    if attempt.settled_at is None or attempt.settled_at > context.now:
        return context.stay(replace(attempt, settled_at=context.now), wait_seconds=EFFECT_DELAY.total_seconds())
    left = (attempt.settled_at + EFFECT_DELAY - context.now).total_seconds()
    if left > 0:
        return context.stay(wait_seconds=left)
    if attempt.is_opening:
        return context.stay(replace(attempt, opening=False, settled_at=None), wait_seconds=REQUEUE_SECONDS)
    return context.stay(replace(attempt, applied_weight=attempt.weight, settled_at=None))


def pods_take(context: RolloutContext, turns: int) -> str:
    """Say how long pods take that start in so many turns, by what stable's have taken; nothing while none is ready."""
    took = context.stable.ready_seconds
    if took is None:
        return ""
    total = f", {turns} one after the other {turns * took:.0f} s" if turns > 1 else ""
    return f"; a pod takes about {took:.0f} s to be ready{total}"
