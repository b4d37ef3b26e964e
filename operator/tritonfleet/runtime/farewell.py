"""The last word of a process that ends in good order: what it has learned, for the one that follows."""

import asyncio
import logging
from collections.abc import Mapping

from tritonfleet.adapters.store import Key, Store
from tritonfleet.errors import Conflict, Refused, Transient
from tritonfleet.plan.autoscale import Verdict
from tritonfleet.plan.scaling_status import checkpoint
from tritonfleet.runtime.execute import Executor

log = logging.getLogger(__name__)

LIMIT_SECONDS = 5.0
"""A pod is given 30 seconds to end, of which what is in hand may take 20; the rest is forgotten."""
AT_ONCE = 32


async def leave_memories(executor: Executor, store: Store, verdicts: Mapping[Key, Verdict]) -> None:
    """Write the memory of every verdict into its status, as far as time allows; what fails is only logged."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def leave(key: Key, verdict: Verdict) -> None:
        async with turn:
            body = store.body(key)
            status = checkpoint(body, verdict) if body is not None else None
            if body is not None and status is not None:
                await executor.write_status(key, body, status, guarded=True)

    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            outcomes = await asyncio.gather(
                *(leave(key, verdict) for key, verdict in verdicts.items()), return_exceptions=True
            )
    except TimeoutError:
        log.warning("not everything that was learned could be written down", extra={"limit_seconds": LIMIT_SECONDS})
        return
    for outcome in outcomes:
        if isinstance(outcome, (Conflict, Refused, Transient)):
            log.warning("what was learned could not be written down", extra={"error": str(outcome)})
        elif isinstance(outcome, BaseException):
            raise outcome
