"""The state machine of a rollout: one pure step at a time."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from tritonfleet.plan.rollout.admission import admitting, waiting
from tritonfleet.plan.rollout.asking import answer
from tritonfleet.plan.rollout.back import roll_back, rolling_back
from tritonfleet.plan.rollout.facts import Facts
from tritonfleet.plan.rollout.holding import held, stable_lost
from tritonfleet.plan.rollout.looking import failed, look_at, watched
from tritonfleet.plan.rollout.moment import Advance, Moment, pods_of_step
from tritonfleet.plan.rollout.on_steps import analyzing, awaiting, shifting
from tritonfleet.plan.rollout.phase import BEFORE_RETURN, HOLDABLE, RUNNING, Phase
from tritonfleet.plan.rollout.promotion import promoting
from tritonfleet.plan.rollout.provisioning import provisioning
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.rest import initializing, rolled_back, stable
from tritonfleet.plan.rollout.safety import keep_safe
from tritonfleet.plan.rollout.state import State
from tritonfleet.plan.rollout.verifying import verifying
from tritonfleet.plan.world import Event

__all__ = ["Advance", "advance", "noticed"]

CONFLICT_WINDOW: Final = timedelta(minutes=5)
CONFLICT_REVERTS: Final = 3
REVERT_APART: Final = timedelta(seconds=5)
"""Changes of a route by somebody else that are closer together are one."""

_ON_THE_WAY: Final = frozenset({Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY, Phase.SHIFTING, Phase.STABLE_LOST})
"""Between two steps a canary has its share still: there it is looked at for a failure, and nothing else counts."""

_PHASES: Final[Mapping[Phase, Callable[[Moment], Advance]]] = {
    Phase.INITIALIZING: initializing,
    Phase.STABLE: stable,
    Phase.ROLLED_BACK: rolled_back,
    Phase.ADMITTING: admitting,
    Phase.PROVISIONING: provisioning,
    Phase.WAITING_FOR_CAPACITY: waiting,
    Phase.VERIFYING: verifying,
    Phase.SHIFTING: shifting,
    Phase.ANALYZING: analyzing,
    Phase.AWAITING_APPROVAL: awaiting,
    Phase.HELD: held,
    Phase.STABLE_LOST: stable_lost,
    Phase.PROMOTING: promoting,
    Phase.ROLLING_BACK: rolling_back,
}


def advance(state: State, facts: Facts, now: datetime) -> Advance:
    """Return the state after this moment. Called only when the cluster has been asked for what `state` says.

    What harms users comes first, then people, then the spec, then the phase's own affairs.
    """
    moment = Moment(state, facts, now)
    if facts.suspended:
        return _suspended(moment)
    kept, events = _kept(moment)
    look = look_at(moment) if state.phase in _ON_THE_WAY else None
    moment = moment.changed(**kept, **(look.changes if look is not None else {}))
    found = (
        keep_safe(moment)
        or answer(moment)
        or failed(moment, look)
        or _superseded(moment)
        or _conflict(moment)
        or _paused(moment)
        or _PHASES[moment.state.phase](moment)
    )
    return replace(found, events=(*events, *found.events))


def noticed(state: State, facts: Facts, now: datetime) -> State:
    """Return the state that remembers what somebody else did to the traffic, before it is undone."""
    recent = tuple(at for at in state.reverts if now - at < CONFLICT_WINDOW)
    another = not recent or not timedelta(0) <= now - recent[-1] < REVERT_APART
    if facts.split.foreign and state.phase in BEFORE_RETURN and another:
        return replace(state, reverts=(*recent, now))
    return state


def _suspended(moment: Moment) -> Advance:
    """Stand still: what waits for pods would only run out of time. No pod is left to weigh the traffic for.

    A share that a canary had is forgotten, or it would be blamed for having no pods when it is wanted again.
    """
    state = moment.state
    if state.phase is Phase.PROMOTING:
        return promoting(moment)
    resume = Phase.PROVISIONING if state.mode else Phase.WAITING_FOR_CAPACITY
    nothing = {"weight": 0, "applied_weight": 0, "settled_at": None}
    if state.phase in (*HOLDABLE, Phase.STABLE_LOST):
        message = f"suspended in {state.phase} at {state.applied_weight} %"
        return moment.hold(RolloutReason.SUSPENDED, message, resume, **nothing)
    if state.phase is Phase.HELD and max(state.weight, state.applied_weight) > 0:
        return moment.stay(resume=resume, **nothing)
    return moment.stay()


def _kept(moment: Moment) -> tuple[dict[str, Any], tuple[Event, ...]]:
    """Return what changes in every phase, and what is to be told of it: size, override, what others did."""
    state, facts = moment.state, moment.facts
    changes: dict[str, Any] = {}
    events: tuple[Event, ...] = ()
    if state.override and facts.target not in ("", state.override_of):
        changes = {"override": "", "override_of": ""}
        message = f"{moment.name(state.override)} is no longer asked for: the spec asks for {moment.name(facts.target)}"
        events = (Event("Normal", RolloutReason.OVERRIDE_ENDED.value, message),)
    if state.phase in RUNNING and facts.replicas > state.replicas:
        grown = replace(state, replicas=facts.replicas)
        changes["replicas"] = facts.replicas
        if state.canary_replicas > 0:
            changes["canary_replicas"] = pods_of_step(grown, by_gateway=facts.by_gateway)
    if state.applied_weight == 0 and state.phase in (Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY, Phase.VERIFYING):
        changes |= watched(moment)
    return changes, events


def _conflict(moment: Moment) -> Advance | None:
    """Return the hold of a rollout whose weights somebody else keeps changing: they are not fought over."""
    state = moment.state
    recent = [at for at in state.reverts if moment.now - at < CONFLICT_WINDOW]
    if len(recent) < CONFLICT_REVERTS or state.phase not in HOLDABLE:
        return None
    message = (
        f"somebody else changed the traffic's weights {len(recent)} times in "
        f"{CONFLICT_WINDOW.total_seconds() / 60:.0f} minutes; take the route out of their hands, then resume"
    )
    return moment.hold(RolloutReason.ROUTE_CONFLICT, message)


def _superseded(moment: Moment) -> Advance | None:
    """Return the way back from a canary that nobody asks for any more; nothing is held against it."""
    state, wanted = moment.state, moment.wanted
    if state.phase not in BEFORE_RETURN or not wanted or wanted == state.canary:
        return None
    reason = RolloutReason.REVERTED if wanted == state.stable else RolloutReason.SUPERSEDED
    message = f"{moment.name(wanted)} is wanted, and no longer {moment.name(state.canary)}"
    return roll_back(moment, reason, f"{message}, which had {state.applied_weight} %", rejecting=False)


def _paused(moment: Moment) -> Advance | None:
    if not moment.facts.policy.paused or moment.state.phase not in HOLDABLE:
        return None
    message = f"spec.rollout.paused is set: held in {moment.state.phase} at {moment.state.applied_weight} %"
    return moment.hold(RolloutReason.PAUSED_BY_SPEC, message)
