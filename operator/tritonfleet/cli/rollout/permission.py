"""Which requests make sense now; the operator decides anew when it carries them out."""

from collections.abc import Callable, Mapping
from typing import Final

from tritonfleet.api.status import Outcome
from tritonfleet.cli.rollout.account import Account
from tritonfleet.plan.rollout.phase import RUNNING, Phase
from tritonfleet.plan.rollout.requests import Verb

_BEFORE_NO_RETURN: Final = RUNNING - {Phase.PROMOTING, Phase.ROLLING_BACK}


def command_of(verb: Verb) -> str:
    """Return what a request is called on the command line."""
    return "undo" if verb is Verb.ROLLBACK_TO else verb.value


def permitted(account: Account) -> tuple[Verb, ...]:
    """Return what may be asked now, in the order of `Verb`."""
    return tuple(verb for verb in Verb if refusal(account, verb) is None)


def refusal(account: Account, verb: Verb) -> str | None:
    """Return why a request makes no sense now, naming the present phase; None if it does."""
    if account.rollout is None or account.phase is None:
        return (
            "its revisions replace each other without steps (neither rollout.canary nor rollout.strategy is set):"
            " change the spec, or set rollback.toRevision"
        )
    return _REFUSALS[verb](account, account.phase)


def undone_to(account: Account) -> str | None:
    """Return the revision that an undo goes back to by itself: what served before stable, if it is still kept."""
    if account.rollout is None:
        return None
    served = [entry for entry in account.status.revisions if entry.outcome is Outcome.RETIRED]
    names = [account.rollout.previous, *(entry.name for entry in sorted(served, key=lambda one: -one.number))]
    free = (name for name in names if name != account.stable and account.rejection(name) is None)
    return next((name for name in free if account.revision(name) is not None), None)


def _under_way(account: Account, phase: Phase) -> str | None:
    if phase in _BEFORE_NO_RETURN:
        return None
    if phase is Phase.PROMOTING:
        return f"it is {phase}, past the point of no return: {_served_by(account)}; undo goes back to the one before"
    if phase is Phase.ROLLING_BACK:
        return f"it is {phase} already"
    return f"no rollout is under way: it is {phase}, {_served_by(account)}"


def _served_by(account: Account) -> str:
    return f"{account.called(account.stable)} serves" if account.stable is not None else "nothing serves yet"


def _pause(account: Account, phase: Phase) -> str | None:
    if phase is Phase.HELD:
        return "it is Held already; resume lets it go on"
    return _under_way(account, phase)


def _resume(account: Account, phase: Phase) -> str | None:
    if phase is not Phase.HELD:
        return f"it is {phase}, not Held" if phase in RUNNING else _under_way(account, phase)
    if account.deployment.spec.rollout.paused:
        return "the spec holds it: set rollout.paused to false"
    return None


def _approve(account: Account, phase: Phase) -> str | None:
    if phase is Phase.AWAITING_APPROVAL:
        return None
    return f"it is {phase}, not AwaitingApproval" if phase in RUNNING else _under_way(account, phase)


def _retry(account: Account, phase: Phase) -> str | None:
    if phase in RUNNING:
        return (
            f"a rollout of {account.called(account.rollout.canary if account.rollout else None)} is under way ({phase})"
        )
    if account.rejection(account.wanted) is None:
        return f"the revision that the spec asks for, {account.called(account.wanted)}, was not rejected"
    return None


def _rollback(account: Account, phase: Phase) -> str | None:
    if phase is Phase.INITIALIZING:
        return "no revision has served yet"
    if undone_to(account) is None:
        return f"no other revision that has served is kept; {_served_by(account)}"
    return None


_REFUSALS: Final[Mapping[Verb, Callable[[Account, Phase], str | None]]] = {
    Verb.ABORT: _under_way,
    Verb.ROLLBACK_TO: _rollback,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.RETRY: _retry,
    Verb.APPROVE: _approve,
    Verb.PROMOTE: _under_way,
}
