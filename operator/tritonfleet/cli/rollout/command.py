"""`tritonfleet rollout`: read one ModelDeployment, and write at most one annotation to it.

`run()` runs one subcommand; `cli/main.py` calls it. `wait()` is `status --wait`: it prints each change until the
target revision serves (0), was rolled back (3), or the timeout expires (4).
"""

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final

import yaml

from tritonfleet.api import names
from tritonfleet.api.conditions import ConditionType
from tritonfleet.cli.place import Place, place_of, run_command
from tritonfleet.cli.rollout import output
from tritonfleet.cli.rollout.model import Account, waits_for
from tritonfleet.cli.rollout.output import Graphs, difference, document, found, plain
from tritonfleet.cli.rollout.requests import command_of, request_for
from tritonfleet.cli.terminal import UsageError, follow, one_line, say
from tritonfleet.errors import Conflict, Refused, Transient
from tritonfleet.plan.rollout import Phase, Verb, traits_of

PROMOTED, ROLLED_BACK, TOO_LATE = 0, 3, 4
_RETRIED_SECONDS: Final = 5.0

_ATTEMPTS: Final = 5
"""The operator writes the status concurrently: the request is checked again for each version of the object."""


async def wait(read: Callable[[], Awaitable[Account]], interval_seconds: float, timeout_seconds: float | None) -> int:
    """Print every change until the end, and return the exit status."""
    ends = time.monotonic() + timeout_seconds if timeout_seconds is not None else None
    said: object = None
    while True:
        try:
            account = await read()
        except Transient as problem:
            say(one_line(f"the API server is not responding, retrying: {problem}"), error=True)
            await asyncio.sleep(_RETRIED_SECONDS)
            continue
        end = ending(account)
        if end is not None:
            status, text = end
            say(f"{account.title}: {text}")
            return status
        if said != (said := _state(account)):
            say(f"{account.title}: {_line(account)}")
        if ends is not None and time.monotonic() >= ends:
            say(f"{account.title}: timed out waiting for {waits_for(account)}", error=True)
            return TOO_LATE
        await asyncio.sleep(interval_seconds)


def ending(account: Account) -> tuple[int, str] | None:
    """Return the exit status and a message, None while it is not over; raises UsageError if it cannot end."""
    if account.deployment.spec.suspend:
        raise UsageError(f"{account.title} is suspended: no rollout until `suspend` is false")
    if not account.observed or traits_of(account.phase).under_way or account.is_asked:
        # Also while it is held, which counts as stalled: it can still be resumed.
        return None
    rollout = account.rollout
    serving = account.called(account.stable) if account.stable is not None and account.is_serving else "nothing"
    if rollout is not None and account.phase is Phase.ROLLED_BACK and account.rejection(account.wanted) is not None:
        return ROLLED_BACK, f"{rollout.phase}, {serving} is serving: {rollout.message}"
    if rollout is not None and rollout.override is not None:
        # The object is stalled while an override is in force, but the override is what was requested.
        there = account.phase is Phase.STABLE and rollout.override == account.stable
        return (PROMOTED, f"{serving} is serving in place of the spec's revision") if there else None
    stalled = account.condition(ConditionType.STALLED)
    if stalled is not None and stalled.status == "True":
        return ROLLED_BACK, f"{stalled.reason}, {serving} is serving: {stalled.message}"
    if account.stable is None or account.wanted != account.stable:
        return None
    done = account.phase is Phase.STABLE if rollout is not None else account.is_true(ConditionType.READY)
    return (PROMOTED, f"{serving} is serving") if done else None


def _state(account: Account) -> object:
    rollout = account.rollout
    if rollout is None:
        return account.wanted
    return rollout.phase, rollout.step, rollout.reason, account.weights.applied


def _line(account: Account) -> str:
    rollout = account.rollout
    if rollout is None:
        return f"waiting for {waits_for(account)}"
    step = f", step {rollout.step} of {rollout.steps}" if rollout.step is not None else ""
    return f"{rollout.phase}{step}, weight {account.weights.applied}%: {rollout.message}"


def run(options: SimpleNamespace) -> int:
    """Run one action; return 1 if it is not possible now, 2 if the cluster cannot be found."""
    return run_command(f"rollout {options.action}", _act(options))


async def _act(options: SimpleNamespace) -> int:
    async with place_of(options) as place:
        return await _ACTIONS.get(options.action, _ask)(place, options)


async def _status(place: Place, options: SimpleNamespace) -> int:
    async def read() -> Account:
        return await _read_account(place, options.name)

    if options.wait:
        return await wait(read, options.interval, options.timeout)
    if options.watch:
        graphs = Graphs(options.interval)

        async def text() -> str:
            account = await read()
            graphs.add(account)
            return "\n".join((plain(account), "", *graphs.lines(shutil.get_terminal_size().columns)))

        await follow(text, options.interval)
    account = await read()
    _write(options.output, plain(account), document(account))
    return 0


async def _history(place: Place, options: SimpleNamespace) -> int:
    account = await _read_account(place, options.name, with_pods=False)
    _write(options.output, output.history_text(account), output.history_document(account))
    return 0


async def _diff(place: Place, options: SimpleNamespace) -> int:
    account = await _read_account(place, options.name, with_pods=False)
    try:
        listing = await place.cluster.list("ControllerRevision", place.namespace, labels=_of(options.name))
    except Refused as problem:
        raise UsageError(f"cannot list ControllerRevisions in namespace '{place.namespace}': {problem}") from problem
    records = listing.items if listing is not None else []
    before, after = _two(account, options.before, options.after)
    if shown := difference(found(records, before), found(records, after)):
        say(shown.rstrip("\n"))
    return 0


def _two(account: Account, before: str | None, after: str | None) -> tuple[str, str]:
    rollout = account.rollout
    coming = rollout.canary if rollout is not None else account.wanted
    if before is None and coming in (None, account.stable):
        before = rollout.previous if rollout is not None else None
        coming = account.stable
    found_before, found_after = before or account.stable, after or (coming if before is None else account.stable)
    if found_before is None or found_after is None or found_before == found_after:
        raise UsageError(f"{account.title}: only one revision to compare; name two, FROM and TO")
    return found_before, found_after


async def _ask(place: Place, options: SimpleNamespace) -> int:
    verb = next(verb for verb in Verb if command_of(verb) == options.action)
    user = await _whoami(place)
    for attempt in range(_ATTEMPTS):
        account = await _read_account(place, options.name, with_pods=False)
        request = request_for(account, verb, getattr(options, "to_revision", None), user)
        try:
            await place.cluster.annotate(account.body, {request.annotation: request.value})
            break
        except Conflict:
            if attempt == _ATTEMPTS - 1:
                raise
        except Refused as problem:
            raise UsageError(f"cannot patch {names.KIND} '{options.name}': {problem}") from problem
    say(f"{account.title}: {command_of(verb)} requested: {request.outcome}")
    return 0


async def _whoami(place: Place) -> str:
    """Return the user's name according to the API server; empty if unknown."""
    try:
        return await place.cluster.whoami()
    except Refused:
        return ""


async def _read_account(place: Place, name: str, *, with_pods: bool = True) -> Account:
    body = await place.model_deployment(name)
    pods = None
    if with_pods:
        try:
            listing = await place.cluster.list("Pod", place.namespace, labels=_of(name))
            pods = listing.items if listing is not None else None
        except Refused:
            # The user may lack the permission to list pods; the text says so.
            pods = None
    return Account.of(body, pods, datetime.now(UTC))


def _of(name: str) -> str:
    return f"{names.OWNER_LABEL}={name}"


def _write(output: str, text: str, data: Any) -> None:
    if output == "json":
        text = json.dumps(data, indent=2)
    elif output == "yaml":
        text = yaml.safe_dump(data, sort_keys=False).rstrip()
    say(text)


_ACTIONS: Final[Mapping[str, Callable[[Place, SimpleNamespace], Awaitable[int]]]] = {
    "status": _status,
    "history": _history,
    "diff": _diff,
}
