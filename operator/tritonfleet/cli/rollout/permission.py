"""Which requests make sense now: asked of the code that answers them in the operator, which decides anew."""

from tritonfleet.api.status import Outcome
from tritonfleet.cli.rollout.account import Account
from tritonfleet.plan.rollout import BEFORE_RETURN, Phase, Request, RevisionPods, RolloutContext, RolloutInputs, Verb
from tritonfleet.plan.rollout import refusal as refused


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
        hint = f"{serves}; abort takes the canary back" if phase in BEFORE_RETURN else serves
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
    if account.state is None or account.rollout is None or account.phase in BEFORE_RETURN:
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
