"""`status.rollout`: serialized from the state and restored, and the conditions of a rollout.

`rollout_document()` and `restore_state()` are inverse to each other, within the bounds of the API: `plan/status.py`
writes with the one, the planner and `cli/rollout` read with the other. `state.py` defines how each field is serialized;
this module only flattens the attempt and the standby revision into one object. `rollout_healthy()` and
`progress_conditions()` map phase and reason to the conditions `RolloutHealthy`, `Ready`, `Reconciling` and `Stalled`,
for Argo CD, Flux and people; `plan/status.py` adds them to the other conditions.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import TypeAdapter

from tritonfleet.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.renames import with_new_words
from tritonfleet.api.rollout import Rollout
from tritonfleet.api.rollout_status import RolloutStatus
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.rollout.analysis import Outcome
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.state import Phase, State

_STATE: Final = TypeAdapter(State)


def rollout_document(state: State, owner: str) -> dict[str, Any]:
    """Return `status.rollout` of the ModelDeployment named `owner`, within the API's bounds.

    Empty fields and zeros are omitted. A measured share is rounded to a hundredth of a percent.
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
    return {key: value for part in (said, attempt, standby) for key, value in part.items() if value}


def restore_state(document: Any) -> State | None:
    """Return the state that `document` was serialized from; None if it is invalid."""
    try:
        RolloutStatus.model_validate(document)
        said = {key: value for key, value in with_new_words(document).items() if value is not None}
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
    """Raise ValueError for a state that the controller never writes; the status may have been edited."""
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
_NO_PODS: Final = frozenset({RolloutReason.SUSPENDED, RolloutReason.NO_REPLICAS})
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
"""Reasons of `Ready` that only a rollout has."""


def rollout_healthy(state: State | None) -> Condition:
    """Return `RolloutHealthy`; the state is None for an update without a rollout."""
    kind = ConditionType.ROLLOUT_HEALTHY
    if state is None or not (state.traits.under_way or state.phase is Phase.ROLLED_BACK):
        return Condition(kind, ConditionStatus.TRUE, Reason.NO_ROLLOUT, "no rollout is in progress")
    reason, attempt = RolloutReason(state.reason), state.attempt
    is_rejecting = attempt is not None and attempt.rejecting
    if is_rejecting or (state.traits.is_trouble and state.reason not in _PAUSES):
        return Condition(kind, ConditionStatus.FALSE, reason, state.message)
    for result in state.results:
        if state.phase is Phase.ANALYZING and result["outcome"] == Outcome.FAILED:
            word = result["reason"] if result["reason"] in _CHECK_WORDS else RolloutReason.INCONCLUSIVE
            return Condition(kind, ConditionStatus.FALSE, RolloutReason(word), result["message"])
    if attempt is not None and attempt.metrics_lost_since is not None:
        message = f"no metrics since {attempt.metrics_lost_since:%Y-%m-%d %H:%M:%S} UTC; {state.message}"
        return Condition(kind, ConditionStatus.UNKNOWN, Reason.METRICS_STALE, message)
    return Condition(kind, ConditionStatus.TRUE, reason, state.message)


def progress_conditions(state: State, policy: Rollout, now: datetime, trouble: str = "") -> Iterator[Condition]:
    """Yield `Ready`, `Reconciling` and `Stalled` if the rollout determines them; nothing if the pods do.

    `trouble` says why the wanted revision's pods are not ready; it is added to the message in Provisioning.
    """
    reason = _reason(state)
    if reason is None:
        return
    deadline = timedelta(seconds=duration_seconds(policy.progress_deadline))
    overdue = state.phase is Phase.WAITING_FOR_CAPACITY and now - state.entered_at >= deadline
    stalled = overdue or reason in _STALLED
    message = state.message
    if reason is Reason.OVERRIDDEN:
        message = f"revision {state.override} was requested in place of the spec's {state.override_of}; {message}"
    if state.phase is Phase.PROVISIONING and trouble:
        message = f"{message}; {trouble}"
    yield Condition(ConditionType.READY, ConditionStatus.FALSE, reason, message)
    yield Condition(ConditionType.RECONCILING, ConditionStatus.of(not stalled), reason, message)
    yield Condition(ConditionType.STALLED, ConditionStatus.of(stalled), reason, message)


def _reason(state: State) -> Reason | None:
    """Return the reason for the rollout's phase; None if the spec's revision serves and no rollout is in progress.

    A rollout that a person has paused is not stalled, however long it takes.
    """
    if state.phase is Phase.STABLE and state.override and state.override_of != state.stable:
        return Reason.OVERRIDDEN
    if state.phase is Phase.STABLE or state.phase is Phase.HELD:
        if state.reason in _PAUSES:
            return Reason.PAUSED
        if state.phase is Phase.STABLE or state.reason in _NO_PODS:
            return None
    if state.phase is Phase.PROMOTING and state.attempt is not None and state.attempt.rejecting:
        return Reason.ROLLING_BACK
    return _WORDS.get(state.phase, Reason.CANARY_PROGRESSING) if state.phase is not Phase.INITIALIZING else None
