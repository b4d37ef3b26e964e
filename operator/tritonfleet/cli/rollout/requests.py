"""The requests that a user can make of a rollout, and their annotations.

`permitted()` and `refusal()` use the code that handles requests in the operator, which checks again when it reads the
annotation. `request_for()` returns the annotation and its effect. `command.py` writes it to the object.
"""

from dataclasses import dataclass

from tritonfleet.api import names
from tritonfleet.api.status import Outcome
from tritonfleet.cli.rollout.model import Account
from tritonfleet.cli.terminal import UsageError
from tritonfleet.plan.rollout import (
    Phase,
    Request,
    RevisionPods,
    RolloutContext,
    RolloutInputs,
    Verb,
    traits_of,
)
from tritonfleet.plan.rollout import refusal as refused

_PERSON_MAX = 128


def command_of(verb: Verb) -> str:
    """Return the name of a request on the command line."""
    return "undo" if verb is Verb.ROLLBACK_TO else verb.value


def permitted(account: Account) -> tuple[Verb, ...]:
    """Return the requests that are possible now, in the order of `Verb`."""
    return tuple(verb for verb in Verb if refusal(account, verb) is None)


def refusal(account: Account, verb: Verb, revision: str | None = None) -> str | None:
    """Return why a request is not possible now, with the current phase; None if it is.

    `revision` is the target of an undo; None selects `undone_to`.
    """
    if account.state is None or account.rollout is None:
        return (
            "it has no canary rollouts (neither rollout.canary nor rollout.strategy is set):"
            " change the spec, or set rollback.toRevision"
        )
    phase, serves = account.state.phase, f"{account.called(account.stable)} is serving"
    means = (revision or undone_to(account)) if verb is Verb.ROLLBACK_TO else account.rollout.canary
    if verb is Verb.ROLLBACK_TO and means is None:
        hint = f"{serves}; abort rolls the canary back" if traits_of(phase).before_promotion else serves
        return f"it is {phase}, {hint}; name an older revision with --to-revision"
    why = refused(RolloutContext(account.state, _inputs(account), account.now), _request(account, verb, means))
    if why is None:
        return None
    why = why.replace(Verb.ROLLBACK_TO, command_of(Verb.ROLLBACK_TO))
    return why if phase in why else f"{why}: it is {phase}, {serves}"


def undone_to(account: Account) -> str | None:
    """Return the default target of an undo, the previously serving revision; None if there is none.

    During a canary there is none: nothing was replaced yet, and abort rolls it back.
    """
    if account.state is None or account.rollout is None or traits_of(account.phase).before_promotion:
        return None
    if account.phase is Phase.PROMOTING:
        return account.stable
    served = [entry for entry in account.status.revisions if entry.outcome is Outcome.RETIRED]
    names = [account.rollout.previous, *(entry.name for entry in sorted(served, key=lambda one: -one.number))]
    others = (name for name in names if name not in (None, account.stable) and account.rejection(name) is None)
    return next((name for name in others if account.revision(name) is not None), None)


def _request(account: Account, verb: Verb, revision: str | None) -> Request:
    step = account.rollout.step if account.rollout is not None and verb is Verb.APPROVE else None
    return Request(verb, _hash(revision), step)


def _inputs(account: Account) -> RolloutInputs:
    """Return the inputs that the check of a request needs: which revisions exist."""
    spec = account.deployment.spec
    return RolloutInputs(
        target=_hash(account.wanted),
        replicas=account.state.replicas if account.state is not None else 0,
        policy=spec.rollout,
        revisions={_hash(entry.name): RevisionPods(number=entry.number) for entry in account.status.revisions},
        by_gateway=spec.traffic.gateway is not None,
    )


def _hash(name: str | None) -> str:
    return name.rpartition("-")[2] if name is not None else ""


@dataclass(frozen=True, slots=True)
class AnnotationRequest:
    """The annotation to write, and its effect."""

    annotation: str
    value: str
    outcome: str


def request_for(account: Account, verb: Verb, revision: str | None, user: str) -> AnnotationRequest:
    """Return the annotation that requests an action; raises UsageError if it is not possible now.

    `revision` is the target of an undo, by name, hash or number; None selects the previous revision.
    """
    name = _named(account, revision) if revision is not None else None
    problem = refusal(account, verb, name)
    if problem is not None:
        raise UsageError(f"{account.title}: {problem}")
    what, outcome = _meant(account, verb, name)
    by = "".join("_" if letter.isspace() else letter for letter in user if letter.isspace() or letter.isprintable())
    at = account.now.isoformat(timespec="seconds").replace("+00:00", "Z")
    value = " ".join([what, *([f"by={by[:_PERSON_MAX]}"] if by else []), f"at={at}"])
    return AnnotationRequest(names.request_annotation(verb), value, outcome)


def _named(account: Account, word: str) -> str:
    entry = account.revision(word)
    if entry is None:
        kept = ", ".join(str(one.number) for one in account.status.revisions) or "none"
        raise UsageError(f"{account.title}: revision '{word}' not found; available: {kept} (see rollout history)")
    return entry.name


def _meant(account: Account, verb: Verb, name: str | None) -> tuple[str, str]:
    """Return the annotation's subject, and its effect."""
    rollout = account.rollout
    canary = rollout.canary if rollout is not None and rollout.canary is not None else ""
    if verb is Verb.ROLLBACK_TO:
        return _back_to(account, name or undone_to(account) or "")
    if verb is Verb.RETRY:
        wanted = account.wanted or ""
        return wanted, f"{account.called(wanted)} starts again from its first step"
    step = rollout.step if rollout is not None else None
    what = f"{canary}:{step}" if verb is Verb.APPROVE else canary
    return what, _outcome(account, verb, account.called(canary), account.called(account.stable), step)


def _outcome(account: Account, verb: Verb, canary: str, stable: str, step: int | None) -> str:
    if verb is Verb.PAUSE:
        return f"{canary} stays at {account.weights.applied}%; it is still rolled back if it fails"
    if verb is Verb.RESUME:
        return f"{canary} continues with step {step}"
    if verb is Verb.APPROVE:
        attempt = account.state.attempt if account.state is not None else None
        last = attempt is not None and attempt.is_last_step
        return f"{canary} becomes stable" if last else f"{canary} continues after step {step}"
    if verb is Verb.PROMOTE:
        return f"{canary} gets 100% once it has enough ready pods, without further analysis, and becomes stable"
    return f"all traffic returns to {stable}; {canary} is rejected until a retry"


def _back_to(account: Account, name: str) -> tuple[str, str]:
    if name == account.wanted:
        return name, f"the spec applies again, with {account.called(name)}"
    if name == account.stable:
        how = (
            "gets all traffic again"
            if traits_of(account.phase).before_promotion
            else "takes over again after the promotion"
        )
    elif name == account.standing_by:
        how = "takes over within seconds: its pods are on standby"
    else:
        how = "takes over when its pods are ready, without steps"
    return name, f"{account.called(name)} {how}; the spec is unchanged, and its next revision ends the override"
