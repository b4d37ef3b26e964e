"""A rollout in the status: `status.rollout`, written and read back, and the conditions that follow from it.

`rollout_document()` and `restore_state()` are inverse to each other, within the bounds of the API: `plan/status.py`
writes with the one, the planner and `cli/rollout` read with the other. `rollout_healthy()` and `progress_conditions()`
map the phase and the reason to `RolloutHealthy`, `Ready`, `Reconciling` and `Stalled`, so that Argo CD, Flux and
people read the same; `plan/status.py` adds them to the other conditions.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tritonfleet.api import names
from tritonfleet.api import rollout_status as limits
from tritonfleet.api.canary import CapacityMode
from tritonfleet.api.conditions import Condition, ConditionStatus, ConditionType, Reason, shortened
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.renames import with_new_names
from tritonfleet.api.rollout import Rollout
from tritonfleet.api.rollout_status import Check, PassageEntry, Rejected, RolloutStatus, Weights
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.rollout.analysis import Outcome
from tritonfleet.plan.rollout.sizing import plan_of
from tritonfleet.plan.rollout.state import EPOCH, RUNNING, Phase, Rejection, RolloutReason, State, TransitionRecord

_CHECK_FIELDS = frozenset(field.alias or name for name, field in Check.model_fields.items())
_MESSAGE = limits.ROLLOUT_MESSAGE_MAX


def rollout_document(state: State, owner: str, steps: int) -> dict[str, Any]:
    """Return the state of the ModelDeployment named `owner`, whose plan has so many steps, within the API's bounds.

    What is empty or 0 is left out. A measured share is kept to a hundredth of a percent.
    """
    under_way = bool(state.canary) or state.step > 0
    said = {
        "phase": state.phase.value,
        "reason": state.reason,
        "message": shortened(state.message, _MESSAGE),
        "enteredAt": _time(state.entered_at),
        "stable": _name(owner, state.stable),
        "canary": _name(owner, state.canary),
        "previous": _name(owner, state.previous),
        "retainedUntil": _time(state.retained_until),
        "attempt": state.attempt,
        "plan": dict(state.plan),
        "mode": state.mode,
        "surge": state.surge,
        "replicas": state.replicas,
        "canaryReplicas": state.canary_replicas,
        "step": state.step + 1 if under_way else None,
        "steps": steps if under_way else None,
        "stepEnteredAt": _time(state.step_entered_at) if state.step_entered_at != EPOCH else None,
        "weights": _weights(state, under_way=under_way),
        "opening": state.opening,
        "settledAt": _time(state.settled_at),
        "verification": [_check(entry) for entry in state.verification[: limits.CHECKS_MAX]],
        "verified": state.verified,
        "analysis": dict(state.analysis),
        "results": [_check(entry) for entry in state.results[: limits.CHECKS_MAX]],
        "metricsLostSince": _time(state.metrics_lost_since),
        "resume": state.resume,
        "reverts": [_time(moment) for moment in state.reverts[-limits.REVERTS_MAX :]],
        "rejecting": state.rejecting,
        "rejected": [_rejected(owner, one) for one in state.rejected[-limits.REJECTED_MAX :]],
        "override": _name(owner, state.override),
        "overrideOf": _name(owner, state.override_of),
        "consumed": [request[: limits.REQUEST_MAX_LENGTH] for request in state.consumed[-limits.CONSUMED_MAX :]],
        "history": [_passage(passage) for passage in state.history[: limits.PASSAGES_MAX]],
    }
    return {key: value for key, value in said.items() if value}


def restore_state(document: Any) -> State | None:
    """Return the state that `document` was written from, or None if it is none that a rollout can go on from."""
    try:
        state = _state(RolloutStatus.model_validate(document), document)
        _refuse_unworkable(state)
    except (InvalidSpec, OverflowError, ValueError):
        return None
    return state


def _state(said: RolloutStatus, document: Mapping[str, Any]) -> State:
    weights = said.weights or Weights(desired=0, applied=0)
    return State(
        phase=Phase(said.phase),
        entered_at=_moment(said.entered_at),
        reason=said.reason or "",
        message=said.message or "",
        stable=_hash(said.stable),
        canary=_hash(said.canary),
        previous=_hash(said.previous),
        retained_until=_moment(said.retained_until) if said.retained_until else None,
        attempt=said.attempt or 0,
        plan=with_new_names(said.plan, "spec.rollout.canary"),
        mode=said.mode or "",
        surge=said.surge or 0,
        replicas=said.replicas or 0,
        canary_replicas=said.canary_replicas or 0,
        step=max(1, said.step or 1) - 1,
        step_entered_at=_moment(said.step_entered_at) if said.step_entered_at else EPOCH,
        weight=weights.desired,
        applied_weight=weights.applied,
        opening=bool(said.opening),
        settled_at=_moment(said.settled_at) if said.settled_at else None,
        measured_share=None if weights.measured is None else round(weights.measured / 100, 4),
        # As they were written, for whoever put them there; their form has been checked.
        verification=tuple(document.get("verification") or ()),
        verified=bool(said.verified),
        analysis=said.analysis,
        results=tuple(document.get("results") or ()),
        metrics_lost_since=_moment(said.metrics_lost_since) if said.metrics_lost_since else None,
        resume=Phase(said.resume) if said.resume else None,
        reverts=tuple(_moment(at) for at in said.reverts),
        rejecting=bool(said.rejecting),
        rejected=tuple(_rejection(one) for one in said.rejected),
        override=_hash(said.override),
        override_of=_hash(said.override_of),
        consumed=said.consumed,
        history=tuple(_passed(entry) for entry in said.history),
    )


def _refuse_unworkable(state: State) -> None:
    """Raise for what no rollout has ever said of itself: anybody who may write a status may have written it."""
    if state.phase in RUNNING and not (state.canary and state.stable and state.reason):
        raise ValueError(f"{state.phase} needs two revisions and a reason")
    if state.phase is not Phase.INITIALIZING and not state.stable:
        raise ValueError(f"{state.phase} needs a revision that serves")
    if state.phase is Phase.ROLLED_BACK and not state.reason:
        raise ValueError(f"{state.phase} needs a reason")
    if state.reason:
        RolloutReason(state.reason)
    if state.mode:
        CapacityMode(state.mode)
    plan = plan_of(state.plan)
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


def _weights(state: State, *, under_way: bool) -> dict[str, float] | None:
    if not under_way and state.measured_share is None and state.weight == state.applied_weight == 0:
        return None
    weights: dict[str, float] = {"desired": state.weight, "applied": state.applied_weight}
    if state.measured_share is not None:
        weights["measured"] = round(100 * state.measured_share, 2)
    return weights


def _check(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the API server would keep of a check."""
    finite = {
        key: value
        for key, value in entry.items()
        if key in _CHECK_FIELDS and (not isinstance(value, float) or abs(value) <= limits.NUMBER_MAX)
    }
    return {**finite, "message": shortened(str(entry.get("message", "")), _MESSAGE)}


def _rejected(owner: str, rejection: Rejection) -> dict[str, Any]:
    return {
        "revision": _name(owner, rejection.revision),
        "reason": rejection.reason,
        "message": shortened(rejection.message, _MESSAGE),
        "at": _time(rejection.at),
    }


def _rejection(said: Rejected) -> Rejection:
    return Rejection(_hash(said.revision), said.reason, said.message or "", _moment(said.at))


def _passage(passage: TransitionRecord) -> dict[str, Any]:
    said = {
        "at": _time(passage.at),
        "from": passage.source.value,
        "to": passage.target.value,
        "reason": passage.reason,
        "message": shortened(passage.message, _MESSAGE),
    }
    return {key: value for key, value in said.items() if value}


def _passed(said: PassageEntry) -> TransitionRecord:
    return TransitionRecord(
        _moment(said.at), Phase(said.source), Phase(said.target), said.reason or "", said.message or ""
    )


def _name(owner: str, revision_hash: str) -> str | None:
    return names.revision_name(owner, revision_hash) if revision_hash else None


def _hash(name: str | None) -> str:
    if name is None:
        return ""
    if not names.REVISION_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a revision")
    return name.rpartition("-")[2]


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _moment(said: str) -> datetime:
    moment = datetime.fromisoformat(said)
    if moment.tzinfo is None:
        raise ValueError(f"{said!r} has no time zone")
    return moment.astimezone(UTC)


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
    if state.metrics_lost_since is not None:
        message = f"metrics have stayed away since {state.metrics_lost_since:%Y-%m-%d %H:%M:%S} UTC; {state.message}"
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
