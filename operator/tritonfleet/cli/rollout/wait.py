"""`--wait`: until the wanted revision serves, or will not."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

from tritonfleet.api.conditions import ConditionType
from tritonfleet.cli.complaint import Complaint
from tritonfleet.cli.rollout.account import Account
from tritonfleet.cli.rollout.outlook import waits_for
from tritonfleet.errors import Transient
from tritonfleet.plan.rollout import RUNNING, Phase

PROMOTED, ROLLED_BACK, TOO_LATE = 0, 3, 4
_RETRIED_SECONDS: Final = 5.0


async def wait(look: Callable[[], Awaitable[Account]], interval_seconds: float, timeout_seconds: float | None) -> int:
    """Say every change until the end, and return the exit status for it."""
    ends = time.monotonic() + timeout_seconds if timeout_seconds is not None else None
    said: object = None
    while True:
        try:
            account = await look()
        except Transient as problem:
            sys.stderr.write(f"the API server does not answer, trying again: {problem}\n")
            await asyncio.sleep(_RETRIED_SECONDS)
            continue
        end = ending(account)
        if end is not None:
            status, text = end
            sys.stdout.write(f"{account.title}: {text}\n")
            return status
        if said != (said := _state(account)):
            sys.stdout.write(f"{account.title}: {_line(account)}\n")
            sys.stdout.flush()
        if ends is not None and time.monotonic() >= ends:
            sys.stderr.write(f"{account.title}: not done in time: it waits for {waits_for(account)}\n")
            return TOO_LATE
        await asyncio.sleep(interval_seconds)


def ending(account: Account) -> tuple[int, str] | None:
    """Return the exit status and what to say, None while there is no end; raises Complaint if none can come."""
    if account.deployment.spec.suspended:
        raise Complaint(f"{account.title} is suspended: nothing is rolled out until `suspended` is false")
    if not account.observed or account.phase in RUNNING or account.is_asked:
        # Also while it is held, which counts as stalled: a person may let it go on.
        return None
    rollout = account.rollout
    serving = account.called(account.stable) if account.stable is not None else "nothing"
    if rollout is not None and account.phase is Phase.ROLLED_BACK and account.rejection(account.wanted) is not None:
        return ROLLED_BACK, f"{rollout.phase}, {serving} serves: {rollout.message}"
    if rollout is not None and rollout.override is not None:
        # The object counts as stalled as long as it serves something else than its spec asks for, and that was asked.
        there = account.phase is Phase.STABLE and rollout.override == account.stable
        return (PROMOTED, f"{serving} serves in place of the spec's") if there else None
    stalled = account.condition(ConditionType.STALLED)
    if stalled is not None and stalled.status == "True":
        return ROLLED_BACK, f"{stalled.reason}, {serving} serves: {stalled.message}"
    if account.stable is None or account.wanted != account.stable:
        return None
    done = account.phase is Phase.STABLE if rollout is not None else account.is_true(ConditionType.READY)
    return (PROMOTED, f"{serving} serves") if done else None


def _state(account: Account) -> object:
    rollout = account.rollout
    if rollout is None:
        return account.wanted
    return rollout.phase, rollout.step, rollout.reason, account.weights.applied


def _line(account: Account) -> str:
    rollout = account.rollout
    if rollout is None:
        return f"waits for {waits_for(account)}"
    step = f", step {rollout.step} of {rollout.steps}" if rollout.step is not None else ""
    return f"{rollout.phase}{step}, {account.weights.applied} % in force: {rollout.message}"
