"""What a rollout says in the conditions, so that Argo CD, Flux and people read the same of every phase."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from tritonfleet.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.rollout import Rollout
from tritonfleet.plan.rollout.analysis import Outcome
from tritonfleet.plan.rollout.phase import RUNNING, Phase
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.state import State

_PAUSES: Final = frozenset({RolloutReason.PAUSED, RolloutReason.PAUSED_BY_SPEC})
_CHECK_WORDS: Final = frozenset(reason.value for reason in RolloutReason)
_UNHEALTHY: Final = frozenset({Phase.HELD, Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.STABLE_LOST})
_STALLED: Final = frozenset({Reason.HELD, Reason.ROLLED_BACK, Reason.STABLE_LOST, Reason.OVERRIDDEN})
_WORDS: Final = {
    Phase.WAITING_FOR_CAPACITY: Reason.WAITING_FOR_CAPACITY,
    Phase.AWAITING_APPROVAL: Reason.AWAITING_APPROVAL,
    Phase.HELD: Reason.HELD,
    Phase.ROLLING_BACK: Reason.ROLLING_BACK,
    Phase.ROLLED_BACK: Reason.ROLLED_BACK,
    Phase.STABLE_LOST: Reason.STABLE_LOST,
}
ROLLOUT_REASONS: Final = frozenset({*_WORDS.values(), Reason.CANARY_PROGRESSING, Reason.OVERRIDDEN, Reason.PAUSED})
"""What only a rollout says of `Ready`."""


def rollout_healthy(state: State | None) -> Condition:
    """Return `RolloutHealthy`; None is a change that reaches clients all at once."""
    kind = ConditionType.ROLLOUT_HEALTHY
    if state is None or (state.phase not in RUNNING and state.phase is not Phase.ROLLED_BACK):
        return Condition(kind, ConditionStatus.TRUE, Reason.NO_ROLLOUT, "no rollout is under way")
    reason = Reason(state.reason)
    if state.rejecting or (state.phase in _UNHEALTHY and state.reason not in _PAUSES):
        return Condition(kind, ConditionStatus.FALSE, reason, state.message)
    for result in state.results:
        if state.phase is Phase.ANALYZING and result["outcome"] == Outcome.FAILED:
            word = result["reason"] if result["reason"] in _CHECK_WORDS else Reason.INCONCLUSIVE
            return Condition(kind, ConditionStatus.FALSE, Reason(word), result["message"])
    if state.blind_since is not None:
        message = f"metrics have stayed away since {state.blind_since:%Y-%m-%d %H:%M:%S} UTC; {state.message}"
        return Condition(kind, ConditionStatus.UNKNOWN, Reason.METRICS_STALE, message)
    return Condition(kind, ConditionStatus.TRUE, reason, state.message)


def progress_conditions(state: State, policy: Rollout, now: datetime, trouble: str = "") -> Iterator[Condition]:
    """Yield `Ready`, `Reconciling` and `Stalled` where the rollout decides on them; nothing where its pods do.

    `trouble` is what keeps the wanted revision's pods from being ready; told while they are waited for.
    """
    reason = _reason(state)
    if reason is None:
        return
    deadline = timedelta(seconds=duration_seconds(policy.progress_deadline))
    overdue = state.phase is Phase.WAITING_FOR_CAPACITY and now - state.entered_at >= deadline
    stalled = overdue or reason in _STALLED
    message = state.message
    if reason is Reason.OVERRIDDEN:
        message = f"a request put revision {state.override} in the place of the spec's {state.override_of}; {message}"
    if state.phase is Phase.PROVISIONING and trouble:
        message = f"{message}; {trouble}"
    yield Condition(ConditionType.READY, ConditionStatus.FALSE, reason, message)
    yield Condition(ConditionType.RECONCILING, ConditionStatus.of(not stalled), reason, message)
    yield Condition(ConditionType.STALLED, ConditionStatus.of(stalled), reason, message)


def _reason(state: State) -> Reason | None:
    """Return the one word for where the rollout is; None where no rollout is under way and the spec's revision serves.

    What a person has paused is nobody's failure: it is not stalled, however long it takes.
    """
    if state.phase is Phase.STABLE and state.override and state.override_of != state.stable:
        return Reason.OVERRIDDEN
    if state.phase is Phase.STABLE or state.phase is Phase.HELD:
        if state.reason in _PAUSES:
            return Reason.PAUSED
        if state.phase is Phase.STABLE or state.reason == RolloutReason.SUSPENDED:
            return None
    if state.phase is Phase.PROMOTING and state.rejecting:
        return Reason.ROLLING_BACK
    return _WORDS.get(state.phase, Reason.CANARY_PROGRESSING) if state.phase is not Phase.INITIALIZING else None
