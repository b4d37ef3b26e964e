"""One look at a rollout as text."""

from collections.abc import Iterator
from typing import Final

from tritonfleet.api.conditions import ConditionType
from tritonfleet.api.rollout_status import Check, RolloutStatus
from tritonfleet.cli.amounts import spoken
from tritonfleet.cli.rollout.account import Account
from tritonfleet.cli.rollout.outlook import waits_for, would_change
from tritonfleet.cli.rollout.permission import command_of, permitted
from tritonfleet.cli.table import rows
from tritonfleet.plan.rollout import RUNNING, Phase
from tritonfleet.plan.rollout.analysis import PROMQL_PREFIX as PROMQL
from tritonfleet.plan.rollout.analysis import Outcome, percent, probability, value_of

_LABEL_WIDTH: Final = 14
_PASSAGES_SHOWN: Final = 6
_SERVING: Final = (Phase.INITIALIZING, Phase.STABLE)
"""Where what was seen of the last canary matters no more."""


def plain(account: Account) -> str:
    """Return everything; lines are wide rather than wrapped, as kubectl's are."""
    blocks = (_head, _revisions, _checks, _outlook, _rejected, _passages)
    return "\n\n".join(text for block in blocks if (text := "\n".join(block(account))))


def headline(account: Account) -> str:
    """Return one line: phase, step, and since when."""
    rollout = account.rollout
    if rollout is None:
        ready = "ready" if account.is_true(ConditionType.READY) else "not ready"
        return f"{account.title}: {ready}; no steps are asked for (rollout.canary is not set)"
    step = f", step {rollout.step} of {rollout.steps}" if rollout.step is not None else ""
    mode = f", {rollout.mode}" if rollout.mode and Phase(rollout.phase) in RUNNING else ""
    return f"{account.title}: {rollout.phase}{step}{mode}, for {_ago(account, rollout.entered_at)}"


def _head(account: Account) -> Iterator[str]:
    yield headline(account)
    if account.rollout is not None and account.rollout.message:
        yield (
            f"{account.rollout.reason}: {account.rollout.message}"
            if account.rollout.reason
            else account.rollout.message
        )
    if not account.observed:
        yield "the operator has not looked at the newest spec yet: what follows is about the one before"
    if account.is_asked:
        yield "a request has been made that the operator has not answered yet"


def _revisions(account: Account) -> Iterator[str]:
    rollout = account.rollout
    canary = rollout.canary if rollout is not None else _coming(account)
    table = [["", "REVISION", "PODS", "READY", "TRAFFIC"]]
    coming = "first" if account.phase is Phase.INITIALIZING else "canary"
    for role, name in ((coming, canary), ("stable", account.stable), ("standing by", account.standing_by)):
        if name is not None:
            pods = account.pods_of(name)
            counts = [str(pods.existing), str(pods.ready)] if pods is not None else ["?", "?"]
            table.append([role, account.called(name), *counts, _traffic(rollout, role)])
    yield from rows(table)
    if account.pods is None:
        yield "(pods may not be listed: the right to list pods of this namespace is missing)"


def _coming(account: Account) -> str | None:
    return account.wanted if account.wanted != account.stable else None


def _traffic(rollout: RolloutStatus | None, role: str) -> str:
    weights = rollout.weights if rollout is not None else None
    if weights is None or rollout is None or rollout.canary is None or role == "standing by":
        return "100 %" if role == "stable" else "0 %"
    desired, applied, measured = weights.desired, weights.applied, weights.measured
    if role == "stable":
        desired, applied = 100 - desired, 100 - applied
        measured = 100 - measured if measured is not None else None
    seen = f", {measured:.3g} % measured" if measured is not None else ""
    return f"{desired} % desired, {applied} % in force{seen}"


def _checks(account: Account) -> Iterator[str]:
    rollout = account.rollout
    if rollout is None or account.phase in _SERVING or not (rollout.results or rollout.verification):
        return
    if rollout.results:
        yield from rows([["CHECK", "CANARY", "STABLE", "LIMIT", "P", "VERDICT"], *map(_result, rollout.results)])
    else:
        yield from rows([["CHECK", "VERDICT"], *([each.check, _verdict(each)] for each in rollout.verification)])
    for check in rollout.results or rollout.verification:
        if check.outcome != Outcome.PASSED and check.message:
            yield f"  {check.message}" if check.message.startswith(check.check) else f"  {check.check}: {check.message}"


def _result(result: Check) -> list[str]:
    return [
        result.check,
        _valued(result, result.canary, result.canary_n),
        _valued(result, result.stable, result.stable_n),
        _valued(result, result.limit, None),
        probability(result.p).removeprefix("p").removeprefix("=") if result.p is not None else "",
        _verdict(result),
    ]


def _verdict(check: Check) -> str:
    return check.outcome if check.outcome == Outcome.PASSED else f"{check.outcome}, {check.reason}"


def _valued(result: Check, value: float | None, requests: float | None) -> str:
    if value is None:
        return ""
    shown = value_of(value) if result.check.startswith(PROMQL) else percent(value)
    return f"{shown} ({requests:,.0f})" if requests is not None else shown


def _outlook(account: Account) -> Iterator[str]:
    yield _labelled("waits for", waits_for(account))
    label = "would change"
    for change in would_change(account):
        yield _labelled(label, change)
        label = ""
    verbs = [command_of(verb) for verb in permitted(account)]
    if verbs:
        yield _labelled("you may", ", ".join(verbs))


def _labelled(label: str, text: str) -> str:
    return f"{label:<{_LABEL_WIDTH}}{text}"


def _rejected(account: Account) -> Iterator[str]:
    for entry in account.rollout.rejected if account.rollout is not None else ():
        ago = _ago(account, entry.at)
        why = f"{entry.reason}: {entry.message}" if entry.message else entry.reason
        yield _labelled("rejected", f"{account.called(entry.revision)} {ago} ago, {why}")


def _passages(account: Account) -> Iterator[str]:
    history = account.rollout.history if account.rollout is not None else ()
    if history:
        yield "last transitions"
        yield from rows(
            [
                [
                    f"  {_ago(account, entry.at)} ago",
                    f"{entry.source} -> {entry.target}",
                    entry.reason or "",
                    entry.message or "",
                ]
                for entry in history[:_PASSAGES_SHOWN]
            ]
        )


def _ago(account: Account, moment: str) -> str:
    return spoken(max(1, round(account.seconds_since(moment))))
