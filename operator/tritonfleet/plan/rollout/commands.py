"""The commands of a rollout: abort, rollback-to, pause, resume, retry, approve and promote.

A request comes from a field of `spec.rollout` or from an annotation, as `WHAT [by=WHO] [at=WHEN]`; `requests_of` reads
them all, earliest first. The planner calls `answer_request` after the safety checks: it accepts or refuses the first
request that was not handled before, and records an Event with the request, who made it and when. `cli/rollout` calls
`refusal` to check a request beforehand.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from tritonfleet.api import names
from tritonfleet.api.rollout import Rollout
from tritonfleet.api.rollout_status import CONSUMED_MAX
from tritonfleet.plan.rollout.canary import go_on, provision
from tritonfleet.plan.rollout.context import RolloutContext, StepResult
from tritonfleet.plan.rollout.holds import resume
from tritonfleet.plan.rollout.inputs import Request, Verb
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.rollback import roll_back
from tritonfleet.plan.rollout.sizing import pods_for_step, without_analysis, without_contract_check
from tritonfleet.plan.rollout.state import Phase
from tritonfleet.plan.world import Event, Manifest

_HASH: Final = re.compile(r"[0-9a-f]{10}", re.ASCII)
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)
_STEP: Final = re.compile(r"[1-9][0-9]?", re.ASCII)
_WORD_MAX: Final = 63
_WHO_MAX: Final = 128
_VALUE_MAX: Final = 512
_SHOWN_MAX: Final = 60


def requests_of(body: Manifest, policy: Rollout) -> tuple[Request, ...]:
    """Return the requests in annotations and spec, earliest first, including those that were already handled.

    Requests without a time come first; at the same time, the safer verb comes first.
    """
    owner: str = body["metadata"]["name"]
    found = {request.id: request for request in _all(body, policy, owner)}
    return tuple(sorted(found.values(), key=lambda request: (request.at, list(Verb).index(request.verb), request.id)))


def resolve_revision(word: str, numbers: Mapping[str, int]) -> str | None:
    """Return the hash of a revision given by name, hash or number; `numbers` has the existing ones, by hash."""
    named = names.REVISION_NAME.fullmatch(word)
    found = word[-10:] if named is not None else word
    if found in numbers:
        return found
    return next((known for known, number in numbers.items() if str(number) == word), None)


def _all(body: Manifest, policy: Rollout, owner: str) -> Iterator[Request]:
    fields = {
        Verb.ABORT: policy.abort,
        Verb.RETRY: policy.retry,
        Verb.APPROVE: policy.approve,
        Verb.PROMOTE: policy.promote,
    }
    annotations = body["metadata"].get("annotations") or {}
    for verb in Verb:
        field, key = fields.get(verb), names.request_annotation(verb)
        if field is not None:
            yield parse_request(verb, field, owner, f"rollout.{verb}")
        if key in annotations:
            yield parse_request(verb, annotations[key], owner, f"annotation {key}")


def parse_request(verb: Verb, value: str, owner: str, place: str) -> Request:
    """Parse one request to the ModelDeployment `owner`; an invalid one has a `problem` that names `place`."""
    try:
        return _read(verb, value, owner)
    except ValueError as error:
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:10]
        return Request(verb, f"!{digest}", problem=f"{place} is {_shown(value)}: {error}")


def _read(verb: Verb, value: str, owner: str) -> Request:
    if len(value) > _VALUE_MAX or not value.isprintable():
        raise ValueError(f"must be at most {_VALUE_MAX} printable characters")
    what, *rest = value.split(" ") if value.strip() else ("",)
    options = _options([option for option in rest if option])
    by, at = options.get("by", ""), options.get("at", "")
    if len(by) > _WHO_MAX:
        raise ValueError(f"by= must have at most {_WHO_MAX} characters")
    at = _moment(at) if at else ""
    if verb is Verb.RETRY:
        if not 1 <= len(what) <= _WORD_MAX:
            raise ValueError(f"must begin with a word of 1 to {_WORD_MAX} characters that was not used before")
        return Request(verb, what, by=by, at=at)
    word, colon, step = what.partition(":")
    if (verb is Verb.APPROVE) != bool(colon) or (colon and not _STEP.fullmatch(step)):
        raise ValueError(_must_name(verb, owner))
    return Request(verb, _revision(word, owner, verb), int(step) if colon else None, by, at)


def _options(words: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in ("by", "at") or not value or key in options:
            raise ValueError("only by=WHO and at=WHEN, each once and without spaces, may follow the first word")
        options[key] = value
    return options


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):
        raise ValueError("at= must be a time with a time zone, such as 2026-01-31T12:00:00Z") from None


def _revision(word: str, owner: str, verb: Verb) -> str:
    plain = word.removeprefix(f"{owner}-")
    if _HASH.fullmatch(plain) or (plain == word and _NUMBER.fullmatch(word)):
        return plain
    raise ValueError(_must_name(verb, owner))


def _must_name(verb: Verb, owner: str) -> str:
    if verb is Verb.APPROVE:
        return f"must name a revision and a step, such as {owner}-1a2b3c4d5e:2"
    return f"must name a revision by its name, hash or number, such as {owner}-1a2b3c4d5e"


def _shown(value: str) -> str:
    short = value if len(value) <= _SHOWN_MAX else f"{value[:_SHOWN_MAX]}…"
    return "'" + "".join(letter if letter.isprintable() else "�" for letter in short) + "'"


_JUDGED: Final = frozenset(
    {RolloutReason.INCONCLUSIVE, RolloutReason.TOO_FEW_REQUESTS, RolloutReason.SHARED_INCIDENT}
    | {RolloutReason.METRICS_LOST}
)
"""Holds of the analysis that an approval of the step overrides."""


class Refusal(Exception):
    """Why a request is refused."""


def answer_request(context: RolloutContext) -> StepResult | None:
    """Return the result of the first request that was not handled yet; None if there is none."""
    waiting = (request for request in context.inputs.requests if request.id not in context.state.consumed)
    request = next(waiting, None)
    if request is None:
        return None
    try:
        if request.problem:
            raise Refusal(request.problem)
        done = _CARRY_OUT[request.verb](context, request)
    except Refusal as why:
        done = context.stay()
        said = Event("Warning", RolloutReason.REQUEST_REFUSED.value, f"{_titled(context, request)}: refused, {why}")
    else:
        said = Event("Normal", _word(request), f"{_titled(context, request)}: accepted")
    consumed = _remembered(context, (*done.state.consumed, request.id))
    return StepResult(replace(done.state, consumed=consumed), (said, *done.events), done.wait_seconds)


def refusal(context: RolloutContext, request: Request) -> str | None:
    """Return why a request would be refused now; None if it would be accepted."""
    try:
        _CARRY_OUT[request.verb](context, request)
    except Refusal as why:
        return str(why)
    return None


def _remembered(context: RolloutContext, answered: tuple[str, ...]) -> tuple[str, ...]:
    """Return the handled requests to remember: all that the object still has, and the newest of the rest."""
    held = {request.id for request in context.inputs.requests}
    return tuple(sorted(answered, key=held.__contains__)[-CONSUMED_MAX:])


def _abort(context: RolloutContext, request: Request) -> StepResult:
    state, attempt = context.state, context.attempt
    _must_be_canary(context, request)
    message = f"{context.name(attempt.canary)} aborted{_by(request)} at {attempt.applied_weight}%"
    if state.phase is Phase.ROLLING_BACK:
        return context.say(RolloutReason.ABORTED, message, replace(attempt, rejecting=True))
    if not state.traits.before_promotion:
        raise Refusal(f"too late to abort in {state.phase}: use rollback-to instead")
    return roll_back(context, RolloutReason.ABORTED, message, rejecting=True)


def _rollback_to(context: RolloutContext, request: Request) -> StepResult:
    state, target = context.state, context.inputs.target
    revision = _existing(context, request)
    if state.phase is Phase.INITIALIZING:
        raise Refusal("no revision has served yet")
    if revision == context.wanted:
        raise Refusal(f"{context.name(revision)} is already the requested revision")
    if context.rejected(revision):
        raise Refusal(f"{context.name(revision)} was rejected: use retry first")
    if revision == target:
        return context.stay(replace(state, override="", override_of=""))
    return context.stay(replace(state, override=revision, override_of=target))


def _pause(context: RolloutContext, request: Request) -> StepResult:
    _must_be_canary(context, request)
    state = context.state
    message = f"paused{_by(request)} in {state.phase} at {context.attempt.applied_weight}%"
    if state.phase is Phase.HELD:
        return context.say(RolloutReason.PAUSED, f"{message}; held before: {state.message}")
    if not state.traits.can_hold:
        raise Refusal(f"nothing to pause in {state.phase}")
    return context.hold(RolloutReason.PAUSED, message)


def _resume(context: RolloutContext, request: Request) -> StepResult:
    _must_be_canary(context, request)
    if context.state.phase is not Phase.HELD:
        raise Refusal(f"the rollout is not held, but {context.state.phase}")
    if context.inputs.policy.paused:
        raise Refusal("spec.rollout.paused is set: unset it instead")
    return resume(context, RolloutReason.RESUMED, f"resumed{_by(request)}")


def _retry(context: RolloutContext, request: Request) -> StepResult:
    state = context.state
    if not context.wanted or not context.rejected(context.wanted):
        raise Refusal("the spec's revision is not rejected")
    left = tuple(rejection for rejection in state.rejected if rejection.revision != context.wanted)
    message = f"retry of {context.name(context.wanted)} requested{_by(request)}"
    return context.say(RolloutReason.RETRY_REQUESTED, message, replace(state, rejected=left))


def _approve(context: RolloutContext, request: Request) -> StepResult:
    _must_be_canary(context, request)
    state, attempt = context.state, context.attempt
    if request.step != attempt.step + 1:
        raise Refusal(f"the rollout is at step {attempt.step + 1}, not {request.step}")
    if state.phase is Phase.AWAITING_APPROVAL:
        return go_on(context, RolloutReason.APPROVED, f"approved{_by(request)}")
    if state.phase is Phase.HELD and attempt.resume is Phase.ANALYZING and state.reason in _JUDGED:
        released = context.after(replace(attempt, resume=None))
        return go_on(released, RolloutReason.APPROVED, f"approved{_by(request)} despite: {state.message}")
    raise Refusal(f"no step is waiting for approval, the rollout is {state.phase}")


def _promote(context: RolloutContext, request: Request) -> StepResult:
    _must_be_canary(context, request)
    state, attempt = context.state, context.attempt
    if context.inputs.policy.paused:
        raise Refusal("spec.rollout.paused is set: unset it first")
    if not state.traits.before_promotion or state.phase is Phase.ADMITTING:
        raise Refusal(f"nothing to promote in {state.phase}")
    plan = without_analysis(attempt.plan)
    promoted = replace(
        attempt,
        plan=plan if context.stable.ready else without_contract_check(plan),
        step=0,
        step_entered_at=context.now,
        resume=None,
        reverts=(),
        metrics_lost_since=None,
        analysis=None,
    )
    message = f"promotion to 100% without further analysis requested{_by(request)}"
    if state.phase is Phase.HELD and attempt.mode is None:
        return context.go(Phase.WAITING_FOR_CAPACITY, RolloutReason.PROMOTE_REQUESTED, message, promoted)
    if state.traits.can_promote_now:
        return provision(context, RolloutReason.PROMOTE_REQUESTED, message, promoted)
    pods = 0
    if attempt.mode is not None:
        pods = pods_for_step(promoted, state.replicas, by_gateway=context.inputs.by_gateway)
    return context.say(RolloutReason.PROMOTE_REQUESTED, message, replace(promoted, canary_replicas=pods))


_CARRY_OUT: Final[Mapping[Verb, Callable[[RolloutContext, Request], StepResult]]] = {
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


def _must_be_canary(context: RolloutContext, request: Request) -> None:
    canary = context.attempt.canary
    if not canary or context.state.phase is Phase.INITIALIZING:
        raise Refusal("no rollout is in progress")
    if _existing(context, request) != canary:
        raise Refusal(f"the canary is another revision, {context.name(canary)}")


def _existing(context: RolloutContext, request: Request) -> str:
    revision = resolve_revision(
        request.revision, {each: pods.number for each, pods in context.inputs.revisions.items()}
    )
    if revision is None:
        raise Refusal(f"there is no revision '{request.revision}'")
    return revision


_TITLES: Final[Mapping[Verb, str]] = {
    Verb.ABORT: "Abort of",
    Verb.ROLLBACK_TO: "Rollback to",
    Verb.PAUSE: "Pause of",
    Verb.RESUME: "Resume of",
    Verb.RETRY: "Retry",
    Verb.APPROVE: "Approval of",
    Verb.PROMOTE: "Promotion of",
}


def _titled(context: RolloutContext, request: Request) -> str:
    revision = resolve_revision(
        request.revision, {each: pods.number for each, pods in context.inputs.revisions.items()}
    )
    what = context.name(revision) if revision is not None else f"'{request.revision}'"
    step = f", step {request.step}" if request.step is not None else ""
    return f"{_TITLES[request.verb]} {what}{step} requested{_by(request)}"


def _by(request: Request) -> str:
    who = f" by {request.by}" if request.by else ""
    return f"{who} at {request.at}" if request.at else who
