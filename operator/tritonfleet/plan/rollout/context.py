"""The argument of every phase handler, and its two possible results: stay in the phase, or make a transition.

`planner.advance` builds one `RolloutContext` per pass from the state, the inputs and the time, and resolves canary,
stable and previous revision once. A handler reads it and returns `context.stay(...)` or `context.go(...)` (`say` and
`hold` are special cases of the two); `go` raises for a transition that `state.TRANSITIONS` does not list. Other changes
are passed as the changed `Attempt`, or as the changed `State` if they go beyond the attempt. `in_force` decides for
every phase that shifts traffic when a weight counts as applied.
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
    """The result of one pass: at most one transition."""

    state: State
    """To be written to the status before it is acted on; the same object if nothing changed."""
    events: tuple[Event, ...] = ()
    wait_seconds: float | None = None
    """Seconds until the next pass if no event comes first; None if nothing is scheduled."""


@dataclass(slots=True)
class RolloutContext:
    """Everything a phase handler decides from; read-only."""

    state: State
    inputs: RolloutInputs
    now: datetime
    verdict: AnalysisVerdict | None = None
    """The verdict on the window analyzed in this pass; None if there was none."""
    attempt: Attempt = field(init=False)
    """The rollout in progress; an attempt without a canary if there is none."""
    canary: RevisionPods = field(init=False)
    """The canary's pods."""
    stable: RevisionPods = field(init=False)
    """Stable's pods."""
    previous: RevisionPods = field(init=False)
    """The pods of the previous stable revision."""
    goal: int = field(init=False)
    """The step's weight, in percent of the traffic."""
    wanted: str = field(init=False)
    """The revision to serve: the spec's, unless a request overrides it; empty while unknown."""

    def __post_init__(self) -> None:
        state, revisions = self.state, self.inputs.revisions
        self.attempt = state.attempt or Attempt()
        self.canary = revisions.get(self.attempt.canary) or RevisionPods()
        self.stable = revisions.get(state.stable) or RevisionPods()
        self.previous = revisions.get(state.standby.revision if state.standby is not None else "") or RevisionPods()
        self.goal = self.attempt.current_step.weight
        self.wanted = state.override or self.inputs.target

    def after(self, changed: State | Attempt, verdict: AnalysisVerdict | None = None) -> "RolloutContext":
        """Return a copy with the given state, or with the given attempt in the state."""
        return RolloutContext(self._with(changed), self.inputs, self.now, verdict or self.verdict)

    def rejected(self, revision: str) -> bool:
        """Return whether the revision was rejected, so that it is not retried automatically."""
        return any(rejection.revision == revision for rejection in self.state.rejected)

    def seconds_left(self, since: datetime, allowed: str) -> float:
        """Return the seconds left of a duration such as `10m`; 0 or less once it has passed."""
        return duration_seconds(allowed) - (self.now - since).total_seconds()

    def name(self, revision: str) -> str:
        """Return a revision's name in messages: `revision 7`, or its hash if it has no number yet."""
        number = (self.inputs.revisions.get(revision) or RevisionPods()).number
        return f"revision {number or revision}"

    def stay(self, changed: State | Attempt | None = None, *, wait_seconds: float | None = None) -> StepResult:
        """Return a result that stays in the phase, with the changes; the same state object if nothing differs."""
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
        """Return a result that stays in the phase, with a new reason and message."""
        state = self._with(changed) if changed is not None else self.state
        return self.stay(replace(state, reason=reason.value, message=message), wait_seconds=wait_seconds)

    def go(
        self, target: Phase, reason: RolloutReason, message: str, changed: State | Attempt | None = None
    ) -> StepResult:
        """Return the transition to another phase.

        Raises:
            ValueError: `TRANSITIONS` does not list it.
        """
        source = self.state.phase
        if (source, target) not in _EDGES:
            raise ValueError(f"no transition from {source} to {target} ({reason}: {message})")
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
        """Return the transition to Held; `resume` is the phase to continue in, by default the current one."""
        held = replace(attempt or self.attempt, resume=resume or self.state.phase)
        return self.go(Phase.HELD, reason, message, held)

    def _with(self, changed: State | Attempt) -> State:
        return changed if isinstance(changed, State) else replace(self.state, attempt=changed)


EFFECT_DELAY: Final = timedelta(seconds=3)
"""A gateway accepts a route shortly before its proxies apply it; pods are kept for this long."""


def in_force(context: RolloutContext) -> StepResult | None:
    """Return the result in which the weight counts as applied, or the wait for it; None while it is not accepted.

    If the gateway has only added the canary as a backend, its weight is written next.
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
    """Return how long pods take that start in `turns` batches, from stable's start times; empty if unknown."""
    took = context.stable.ready_seconds
    if took is None:
        return ""
    total = f", {turns * took:.0f}s for {turns} in sequence" if turns > 1 else ""
    return f"; a pod takes about {took:.0f}s to become ready{total}"
