"""A request as the command line writes it: one annotation, and what will come of it."""

from dataclasses import dataclass

from tritonfleet.api import names
from tritonfleet.cli.complaint import Complaint
from tritonfleet.cli.rollout.account import Account
from tritonfleet.cli.rollout.permission import refusal, undone_to
from tritonfleet.plan.rollout import BEFORE_RETURN, Verb, is_last

_PERSON_MAX = 128


@dataclass(frozen=True, slots=True)
class Asked:
    """What is written, and what it leads to."""

    annotation: str
    value: str
    outcome: str


def asked(account: Account, verb: Verb, revision: str | None, person: str) -> Asked:
    """Return what to write for a person; raises Complaint if it makes no sense now.

    `revision` is where an undo is to go, by name, hash or number; None leaves it to what served before.
    """
    name = _named(account, revision) if revision is not None else None
    problem = refusal(account, verb, name)
    if problem is not None:
        raise Complaint(f"{account.title}: {problem}")
    what, outcome = _meant(account, verb, name)
    by = "".join("_" if letter.isspace() else letter for letter in person if letter.isspace() or letter.isprintable())
    at = account.now.isoformat(timespec="seconds").replace("+00:00", "Z")
    value = " ".join([what, *([f"by={by[:_PERSON_MAX]}"] if by else []), f"at={at}"])
    return Asked(names.request_annotation(verb), value, outcome)


def _named(account: Account, word: str) -> str:
    entry = account.revision(word)
    if entry is None:
        kept = ", ".join(str(one.number) for one in account.status.revisions) or "none"
        raise Complaint(f"{account.title}: there is no revision '{word}'; kept are {kept} (rollout history)")
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
        last = account.state is not None and is_last(account.state)
        return f"{canary} becomes stable" if last else f"{canary} goes on to the step after {step}"
    if verb is Verb.PROMOTE:
        return f"{canary} gets 100 % as soon as its pods carry it, without further comparison, and then becomes stable"
    return f"all traffic goes back to {stable}; {canary} is rejected until a retry"


def _back_to(account: Account, name: str) -> tuple[str, str]:
    if name == account.wanted:
        return name, f"the spec decides again, and asks for {account.called(name)}"
    if name == account.stable:
        how = "gets all traffic again" if account.phase in BEFORE_RETURN else "takes over again after the promotion"
    elif name == account.standing_by:
        how = "takes over within seconds: its pods stand by"
    else:
        how = "takes over when its pods are ready, without steps"
    return name, f"{account.called(name)} {how}; the spec stays as it is, and its next revision ends this"
