"""What a person may request of a rollout, and the annotation that requests it.

`permitted()` and `refusal()` ask the code that answers requests in the operator, which decides anew when it reads the
annotation. `asked()` returns the annotation, and what will come of it. `command.py` writes it to the object.
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
    """Return what a request is called on the command line."""
    return "undo" if verb is Verb.ROLLBACK_TO else verb.value


def permitted(account: Account) -> tuple[Verb, ...]:
    """Return what may be asked now, in the order of `Verb`."""
    return tuple(verb for verb in Verb if refusal(account, verb) is None)


def refusal(account: Account, verb: Verb, revision: str | None = None) -> str | None:
    """Return why a request makes no sense now, naming the present phase; None if it does.

    `revision` is the name of the one that an undo is to go back to; None leaves it to `undone_to`.
    """
    if account.state is None or account.rollout is None:
        return (
            "its revisions replace each other without steps (neither rollout.canary nor rollout.strategy is set):"
            " change the spec, or set rollback.toRevision"
        )
    phase, serves = account.state.phase, f"{account.called(account.stable)} serves"
    means = (revision or undone_to(account)) if verb is Verb.ROLLBACK_TO else account.rollout.canary
    if verb is Verb.ROLLBACK_TO and means is None:
        hint = f"{serves}; abort takes the canary back" if traits_of(phase).before_promotion else serves
        return f"it is {phase}, {hint}; name an older revision to go back to"
    why = refused(RolloutContext(account.state, _inputs(account), account.now), _request(account, verb, means))
    if why is None:
        return None
    why = why.replace(Verb.ROLLBACK_TO, command_of(Verb.ROLLBACK_TO))
    return why if phase in why else f"{why}: it is {phase}, {serves}"


def undone_to(account: Account) -> str | None:
    """Return the revision that an undo goes back to by itself: the one that served before; None if there is none.

    A canary under way has replaced nothing yet: that is what an abort is for.
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
    """Return what there is to see from here of what a request is judged by: which revisions exist."""
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
class Asked:
    """What is written, and what it leads to."""

    annotation: str
    value: str
    outcome: str


def asked(account: Account, verb: Verb, revision: str | None, person: str) -> Asked:
    """Return what to write for a person; raises UsageError if it makes no sense now.

    `revision` is where an undo is to go, by name, hash or number; None leaves it to what served before.
    """
    name = _named(account, revision) if revision is not None else None
    problem = refusal(account, verb, name)
    if problem is not None:
        raise UsageError(f"{account.title}: {problem}")
    what, outcome = _meant(account, verb, name)
    by = "".join("_" if letter.isspace() else letter for letter in person if letter.isspace() or letter.isprintable())
    at = account.now.isoformat(timespec="seconds").replace("+00:00", "Z")
    value = " ".join([what, *([f"by={by[:_PERSON_MAX]}"] if by else []), f"at={at}"])
    return Asked(names.request_annotation(verb), value, outcome)


def _named(account: Account, word: str) -> str:
    entry = account.revision(word)
    if entry is None:
        kept = ", ".join(str(one.number) for one in account.status.revisions) or "none"
        raise UsageError(f"{account.title}: there is no revision '{word}'; kept are {kept} (rollout history)")
    return entry.name


def _meant(account: Account, verb: Verb, name: str | None) -> tuple[str, str]:
    """Return what the request is about, and what comes of it."""
    rollout = account.rollout
    canary = rollout.canary if rollout is not None and rollout.canary is not None else ""
    if verb is Verb.ROLLBACK_TO:
        return _back_to(account, name or undone_to(account) or "")
    if verb is Verb.RETRY:
        wanted = account.wanted or ""
        return wanted, f"{account.called(wanted)} is tried again from its first step"
    step = rollout.step if rollout is not None else None
    what = f"{canary}:{step}" if verb is Verb.APPROVE else canary
    return what, _outcome(account, verb, account.called(canary), account.called(account.stable), step)


def _outcome(account: Account, verb: Verb, canary: str, stable: str, step: int | None) -> str:
    if verb is Verb.PAUSE:
        return f"{canary} stays at {account.weights.applied} %; if it breaks it is taken back all the same"
    if verb is Verb.RESUME:
        return f"{canary} goes on with step {step}"
    if verb is Verb.APPROVE:
        attempt = account.state.attempt if account.state is not None else None
        last = attempt is not None and attempt.is_last_step
        return f"{canary} becomes stable" if last else f"{canary} goes on to the step after {step}"
    if verb is Verb.PROMOTE:
        return f"{canary} gets 100 % as soon as its pods carry it, without further comparison, and then becomes stable"
    return f"all traffic goes back to {stable}; {canary} is rejected until a retry"


def _back_to(account: Account, name: str) -> tuple[str, str]:
    if name == account.wanted:
        return name, f"the spec decides again, and asks for {account.called(name)}"
    if name == account.stable:
        how = (
            "gets all traffic again"
            if traits_of(account.phase).before_promotion
            else "takes over again after the promotion"
        )
    elif name == account.standing_by:
        how = "takes over within seconds: its pods stand by"
    else:
        how = "takes over when its pods are ready, without steps"
    return name, f"{account.called(name)} {how}; the spec stays as it is, and its next revision ends this"
