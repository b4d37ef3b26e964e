"""A rollout in the status: `status.rollout`, written and read back, and the conditions that follow from it.

`rollout_document()` and `restore_state()` are inverse to each other, within the bounds of the API: `plan/status.py`
writes with the one, the planner and `cli/rollout` read with the other. How a field is written stands at the field, in
`state.py`; here is only which of them lie side by side in the API. `rollout_healthy()` and `progress_conditions()` map
the phase and the reason to `RolloutHealthy`, `Ready`, `Reconciling` and `Stalled`, so that Argo CD, Flux and people
read the same; `plan/status.py` adds them to the other conditions.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import TypeAdapter

from tritonfleet.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.rollout import Rollout
from tritonfleet.api.rollout_status import RolloutStatus
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.rollout.analysis import Outcome
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.state import Phase, State

_STATE: Final = TypeAdapter(State)


def rollout_document(state: State, owner: str) -> dict[str, Any]:
    """Return the state of the ModelDeployment named `owner`, within the API's bounds.

    What is empty or 0 is left out. A measured share is kept to a hundredth of a percent.
    """
    said = _STATE.dump_python(state, mode="json", by_alias=True, context={"owner": owner})
    attempt, standby = said.pop("attempt") or {}, said.pop("standby") or {}
    said["attempt"] = said.pop("attempts")
    if state.attempt is not None:
        measured = attempt.pop("measuredShare")
        attempt["steps"] = len(state.attempt.steps)
        attempt["weights"] = {"desired": attempt.pop("weight"), "applied": attempt.pop("appliedWeight")}
        if measured is not None:
            attempt["weights"]["measured"] = round(100 * measured, 2)
    return {key: value for key, value in {**said, **attempt, **standby}.items() if value}


def restore_state(document: Any) -> State | None:
    """Return the state that `document` was written from, or None if it is none that a rollout can go on from."""
    try:
        RolloutStatus.model_validate(document)
        said = {key: value for key, value in document.items() if value is not None}
        weights = said.get("weights") or {}
        measured = weights.get("measured")
        attempt = {
            **said,
            "weight": weights.get("desired", 0),
            "appliedWeight": weights.get("applied", 0),
            "measuredShare": round(measured / 100, 4) if measured is not None else None,
        }
        state = _STATE.validate_python(
            {
                **said,
                "attempts": said.get("attempt", 0),
                "attempt": attempt if said.get("canary") else None,
                "standby": said if said.get("previous") else None,
            }
        )
        _refuse_unworkable(state)
    except (InvalidSpec, OverflowError, ValueError):
        return None
    return state


def _refuse_unworkable(state: State) -> None:
    """Raise for what no rollout has ever said of itself: anybody who may write a status may have written it."""
    attempt = state.attempt
    if state.traits.under_way and not (attempt and state.stable and state.reason):
        raise ValueError(f"{state.phase} needs two revisions and a reason")
    if state.phase is not Phase.INITIALIZING and not state.stable:
        raise ValueError(f"{state.phase} needs a revision that serves")
    if state.phase is Phase.ROLLED_BACK and not state.reason:
        raise ValueError(f"{state.phase} needs a reason")
    if attempt is not None and not (state.traits.under_way or state.phase is Phase.INITIALIZING):
        raise ValueError(f"{state.phase} has no canary")
    if state.reason:
        RolloutReason(state.reason)
    if attempt is None:
        return
    plan = attempt.plan
    pauses = (step.pause.duration for step in plan.steps if step.pause is not None and step.pause.duration is not None)
    analysis = plan.analysis
    times = (
        plan.capacity.wait_timeout,
        analysis.interval,
        analysis.warmup,
        analysis.metrics_timeout,
        analysis.bake_time,
    )
    for written in (*times, *pauses):
        duration_seconds(written)


_PAUSES: Final = frozenset({RolloutReason.PAUSED, RolloutReason.PAUSED_BY_SPEC})
_CHECK_WORDS: Final = frozenset(reason.value for reason in RolloutReason)
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
    if state is None or not (state.traits.under_way or state.phase is Phase.ROLLED_BACK):
        return Condition(kind, ConditionStatus.TRUE, Reason.NO_ROLLOUT, "no rollout is under way")
    reason, attempt = RolloutReason(state.reason), state.attempt
    is_rejecting = attempt is not None and attempt.rejecting
    if is_rejecting or (state.traits.is_trouble and state.reason not in _PAUSES):
        return Condition(kind, ConditionStatus.FALSE, reason, state.message)
    for result in state.results:
        if state.phase is Phase.ANALYZING and result["outcome"] == Outcome.FAILED:
            word = result["reason"] if result["reason"] in _CHECK_WORDS else RolloutReason.INCONCLUSIVE
            return Condition(kind, ConditionStatus.FALSE, RolloutReason(word), result["message"])
    if attempt is not None and attempt.metrics_lost_since is not None:
        message = f"metrics have stayed away since {attempt.metrics_lost_since:%Y-%m-%d %H:%M:%S} UTC; {state.message}"
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
    if state.phase is Phase.PROMOTING and state.attempt is not None and state.attempt.rejecting:
        return Reason.ROLLING_BACK
    return _WORDS.get(state.phase, Reason.CANARY_PROGRESSING) if state.phase is not Phase.INITIALIZING else None
