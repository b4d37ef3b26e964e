"""What people ask for: each request is carried out or refused once, and an Event says which, by whom and when."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from tritonfleet.api.rollout_status import CONSUMED_MAX
from tritonfleet.plan.rollout.back import roll_back
from tritonfleet.plan.rollout.holding import resume
from tritonfleet.plan.rollout.moment import Advance, Moment, pods_of_step
from tritonfleet.plan.rollout.on_steps import go_on
from tritonfleet.plan.rollout.phase import BEFORE_RETURN, HOLDABLE, Phase
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.requests import Request, Verb, resolve
from tritonfleet.plan.rollout.steps import straight, uncompared
from tritonfleet.plan.world import Event

_JUDGED: Final = frozenset(
    {RolloutReason.INCONCLUSIVE, RolloutReason.TOO_FEW_REQUESTS, RolloutReason.SHARED_INCIDENT}
    | {RolloutReason.METRICS_LOST}
)
"""Holds of an analysis that a person may settle by approving the step."""


class Refusal(Exception):
    """Why a request is not carried out."""


def answer(moment: Moment) -> Advance | None:
    """Return what becomes of the first request that was not answered yet; None if there is none."""
    waiting = (request for request in moment.facts.requests if request.id not in moment.state.consumed)
    request = next(waiting, None)
    if request is None:
        return None
    try:
        if request.problem:
            raise Refusal(request.problem)
        done = _CARRY_OUT[request.verb](moment, request)
    except Refusal as why:
        done = moment.stay()
        said = Event("Warning", RolloutReason.REQUEST_REFUSED.value, f"{_asked(moment, request)} is refused: {why}")
    else:
        said = Event("Normal", _word(request), f"{_asked(moment, request)} is carried out")
    consumed = _remembered(moment, (*done.state.consumed, request.id))
    return Advance(replace(done.state, consumed=consumed), (said, *done.events), done.wait_seconds)


def refusal(moment: Moment, request: Request) -> str | None:
    """Return why a request would not be carried out at this moment; None if it would."""
    try:
        _CARRY_OUT[request.verb](moment, request)
    except Refusal as why:
        return str(why)
    return None


def _remembered(moment: Moment, answered: tuple[str, ...]) -> tuple[str, ...]:
    """Return what must not be answered again: all that the object still holds, and of the rest the newest."""
    held = {request.id for request in moment.facts.requests}
    return tuple(sorted(answered, key=held.__contains__)[-CONSUMED_MAX:])


def _abort(moment: Moment, request: Request) -> Advance:
    state = moment.state
    _must_be_canary(moment, request)
    message = f"{moment.name(state.canary)} was aborted{_by(request)} at {state.applied_weight} %"
    if state.phase is Phase.ROLLING_BACK:
        return moment.say(RolloutReason.ABORTED, message, rejecting=True)
    if state.phase not in BEFORE_RETURN:
        raise Refusal(f"the rollout is {state.phase}, past the point of no return: ask for rollback-to instead")
    return roll_back(moment, RolloutReason.ABORTED, message, rejecting=True)


def _rollback_to(moment: Moment, request: Request) -> Advance:
    state, target = moment.state, moment.facts.target
    revision = _existing(moment, request)
    if state.phase is Phase.INITIALIZING:
        raise Refusal("no revision has served yet")
    if revision == moment.wanted:
        raise Refusal(f"{moment.name(revision)} is what is asked for already")
    if moment.rejected(revision):
        raise Refusal(f"{moment.name(revision)} was rejected: a retry lifts that")
    if revision == target:
        return moment.stay(override="", override_of="")
    return moment.stay(override=revision, override_of=target)


def _pause(moment: Moment, request: Request) -> Advance:
    _must_be_canary(moment, request)
    state = moment.state
    message = f"paused{_by(request)} in {state.phase} at {state.applied_weight} %"
    if state.phase is Phase.HELD:
        return moment.say(RolloutReason.PAUSED, f"{message}; held before: {state.message}")
    if state.phase not in HOLDABLE:
        raise Refusal(f"there is nothing to pause in {state.phase}")
    return moment.hold(RolloutReason.PAUSED, message)


def _resume(moment: Moment, request: Request) -> Advance:
    _must_be_canary(moment, request)
    if moment.state.phase is not Phase.HELD:
        raise Refusal(f"the rollout is not held, it is {moment.state.phase}")
    if moment.facts.policy.paused:
        raise Refusal("spec.rollout.paused is set: take it away instead")
    return resume(moment, RolloutReason.RESUMED, f"resumed{_by(request)}")


def _retry(moment: Moment, request: Request) -> Advance:
    state = moment.state
    if not moment.wanted or not moment.rejected(moment.wanted):
        raise Refusal("the revision that the spec asks for is not rejected")
    left = tuple(rejection for rejection in state.rejected if rejection.revision != moment.wanted)
    message = f"{moment.name(moment.wanted)} is tried again{_by(request)}"
    return moment.say(RolloutReason.RETRY_REQUESTED, message, rejected=left)


def _approve(moment: Moment, request: Request) -> Advance:
    _must_be_canary(moment, request)
    state = moment.state
    if request.step != state.step + 1:
        raise Refusal(f"the rollout is at step {state.step + 1}, not {request.step}")
    if state.phase is Phase.AWAITING_APPROVAL:
        return go_on(moment, RolloutReason.APPROVED, f"approved{_by(request)}")
    if state.phase is Phase.HELD and state.resume is Phase.ANALYZING and state.reason in _JUDGED:
        return go_on(moment, RolloutReason.APPROVED, f"approved{_by(request)} though: {state.message}", resume=None)
    raise Refusal(f"no step waits for approval, the rollout is {state.phase}")


def _promote(moment: Moment, request: Request) -> Advance:
    _must_be_canary(moment, request)
    state = moment.state
    if moment.facts.policy.paused:
        raise Refusal("spec.rollout.paused is set: take it away first")
    if state.phase not in BEFORE_RETURN or state.phase is Phase.ADMITTING:
        raise Refusal(f"there is nothing to promote in {state.phase}")
    plan = straight(state.plan) if moment.stable.ready else uncompared(straight(state.plan))
    changes: dict[str, Any] = {"plan": plan, "step": 0, "step_entered_at": moment.now}
    cleared = {**changes, "resume": None, "reverts": (), "blind_since": None, "analysis": {}}
    message = f"to 100 % without further analysis{_by(request)}"
    if state.phase is Phase.HELD and not state.mode:
        return moment.go(Phase.WAITING_FOR_CAPACITY, RolloutReason.PROMOTE_REQUESTED, message, **cleared)
    if state.phase not in (Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY):
        return moment.provision(RolloutReason.PROMOTE_REQUESTED, message, **cleared)
    pods = pods_of_step(replace(state, **changes), by_gateway=moment.facts.by_gateway) if state.mode else 0
    return moment.say(RolloutReason.PROMOTE_REQUESTED, message, **cleared, canary_replicas=pods)


_CARRY_OUT: Final[Mapping[Verb, Callable[[Moment, Request], Advance]]] = {
    Verb.ABORT: _abort,
    Verb.ROLLBACK_TO: _rollback_to,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.RETRY: _retry,
    Verb.APPROVE: _approve,
    Verb.PROMOTE: _promote,
}

_WORDS: Final[Mapping[Verb, RolloutReason]] = {
    Verb.ABORT: RolloutReason.ABORTED,
    Verb.ROLLBACK_TO: RolloutReason.OVERRIDDEN,
    Verb.PAUSE: RolloutReason.PAUSED,
    Verb.RESUME: RolloutReason.RESUMED,
    Verb.RETRY: RolloutReason.RETRY_REQUESTED,
    Verb.APPROVE: RolloutReason.APPROVED,
    Verb.PROMOTE: RolloutReason.PROMOTE_REQUESTED,
}


def _word(request: Request) -> str:
    return _WORDS[request.verb].value


def _must_be_canary(moment: Moment, request: Request) -> None:
    canary = moment.state.canary
    if not canary or moment.state.phase is Phase.INITIALIZING:
        raise Refusal("no rollout is under way")
    if _existing(moment, request) != canary:
        raise Refusal(f"it means another revision than the canary, {moment.name(canary)}")


def _existing(moment: Moment, request: Request) -> str:
    revision = resolve(request.revision, {each: track.number for each, track in moment.facts.tracks.items()})
    if revision is None:
        raise Refusal(f"there is no revision '{request.revision}'")
    return revision


def _asked(moment: Moment, request: Request) -> str:
    revision = resolve(request.revision, {each: track.number for each, track in moment.facts.tracks.items()})
    what = moment.name(revision) if revision is not None else f"'{request.revision}'"
    step = f", step {request.step}" if request.step is not None else ""
    return f"{request.verb} of {what}{step}{_by(request)}"


def _by(request: Request) -> str:
    who = f" by {request.by}" if request.by else ""
    return f"{who} at {request.at}" if request.at else who
