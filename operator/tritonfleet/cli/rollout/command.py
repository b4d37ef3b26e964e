"""`tritonfleet rollout`: reads one ModelDeployment, and writes at most one annotation to it."""

import argparse
import json
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import yaml

from tritonfleet.api import names
from tritonfleet.cli.complaint import Complaint
from tritonfleet.cli.place import Place, carry_out, place_of
from tritonfleet.cli.rollout import history
from tritonfleet.cli.rollout.account import Account
from tritonfleet.cli.rollout.course import Course
from tritonfleet.cli.rollout.difference import difference, found
from tritonfleet.cli.rollout.document import document
from tritonfleet.cli.rollout.permission import command_of
from tritonfleet.cli.rollout.request import asked
from tritonfleet.cli.rollout.view import plain
from tritonfleet.cli.rollout.wait import wait
from tritonfleet.cli.screen import follow
from tritonfleet.errors import Conflict, Refused
from tritonfleet.plan.rollout import Verb

_ATTEMPTS: Final = 5
"""The operator writes the status meanwhile: what is asked is judged anew for each version of the object."""


def run(options: argparse.Namespace) -> int:
    """Carry out one action; 1 when it is not possible now, 2 when the cluster cannot be found."""
    return carry_out(f"rollout {options.action}", _act(options))


async def _act(options: argparse.Namespace) -> int:
    async with place_of(options) as place:
        return await _ACTIONS.get(options.action, _ask)(place, options)


async def _status(place: Place, options: argparse.Namespace) -> int:
    async def look() -> Account:
        return await _look(place, options.name)

    if options.wait:
        return await wait(look, options.interval, options.timeout)
    if options.watch:
        course = Course(options.interval)

        async def text() -> str:
            account = await look()
            course.add(account)
            return "\n".join((plain(account), "", *course.lines(shutil.get_terminal_size().columns)))

        await follow(text, options.interval)
    account = await look()
    _write(options.output, plain(account), document(account))
    return 0


async def _history(place: Place, options: argparse.Namespace) -> int:
    account = await _look(place, options.name, with_pods=False)
    _write(options.output, history.plain(account), history.document(account))
    return 0


async def _diff(place: Place, options: argparse.Namespace) -> int:
    account = await _look(place, options.name, with_pods=False)
    try:
        listing = await place.cluster.list("ControllerRevision", place.namespace, labels=_of(options.name))
    except Refused as problem:
        raise Complaint(f"may not list ControllerRevisions in namespace '{place.namespace}': {problem}") from problem
    records = listing.items if listing is not None else []
    before, after = _two(account, options.before, options.after)
    sys.stdout.write(difference(found(records, before), found(records, after)))
    return 0


def _two(account: Account, before: str | None, after: str | None) -> tuple[str, str]:
    rollout = account.rollout
    coming = rollout.canary if rollout is not None else account.wanted
    if before is None and coming in (None, account.stable):
        before = rollout.previous if rollout is not None else None
        coming = account.stable
    found_before, found_after = before or account.stable, after or (coming if before is None else account.stable)
    if found_before is None or found_after is None or found_before == found_after:
        raise Complaint(f"{account.title}: name two revisions, FROM and TO: there is nothing to compare by default")
    return found_before, found_after


async def _ask(place: Place, options: argparse.Namespace) -> int:
    verb = next(verb for verb in Verb if command_of(verb) == options.action)
    person = await _whoami(place)
    for attempt in range(_ATTEMPTS):
        account = await _look(place, options.name, with_pods=False)
        request = asked(account, verb, getattr(options, "to_revision", None), person)
        try:
            await place.cluster.annotate(account.body, {request.annotation: request.value})
            break
        except Conflict:
            if attempt == _ATTEMPTS - 1:
                raise
        except Refused as problem:
            raise Complaint(f"may not change {names.KIND} '{options.name}': {problem}") from problem
    sys.stdout.write(f"{account.title}: asked for {command_of(verb)}: {request.outcome}\n")
    return 0


async def _whoami(place: Place) -> str:
    """Return who the API server takes us for; empty where it does not say."""
    try:
        return await place.cluster.whoami()
    except Refused:
        return ""


async def _look(place: Place, name: str, *, with_pods: bool = True) -> Account:
    body = await place.model_deployment(name)
    pods = None
    if with_pods:
        try:
            listing = await place.cluster.list("Pod", place.namespace, labels=_of(name))
            pods = listing.items if listing is not None else None
        except Refused:
            # Whoever may see the object need not see its pods; the text says so.
            pods = None
    return Account.of(body, pods, datetime.now(UTC))


def _of(name: str) -> str:
    return f"{names.OWNER_LABEL}={name}"


def _write(output: str, text: str, data: Any) -> None:
    if output == "json":
        text = json.dumps(data, indent=2)
    elif output == "yaml":
        text = yaml.safe_dump(data, sort_keys=False).rstrip()
    sys.stdout.write(f"{text}\n")


_ACTIONS: Final[Mapping[str, Callable[[Place, argparse.Namespace], Awaitable[int]]]] = {
    "status": _status,
    "history": _history,
    "diff": _diff,
}
