"""The floor: how fast bare server-side apply of the very same objects is, by the same client library."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from benchmarks.fleet.client import APPLY, Client
from tritonfleet.api import names
from tritonfleet.api.resources import BY_KIND
from tritonfleet.plan.world import Manifest


async def apply_all(client: Client, groups: Sequence[Sequence[Manifest]], in_flight: int) -> tuple[float, list[float]]:
    """Apply every group's objects, group after group; return the seconds for all and each Deployment's moment.

    Moments are seconds from the first request to the Deployment's answer, in the order they came.
    """
    waiting = iter([manifest for group in groups for manifest in group])
    deployments: list[float] = []
    start = time.monotonic()

    async def work() -> None:
        for manifest in waiting:
            await client.send("PATCH", _path(manifest), manifest, content_type=APPLY)
            if manifest["kind"] == "Deployment":
                deployments.append(time.monotonic() - start)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return time.monotonic() - start, deployments


async def apply_changes(
    client: Client, groups: Mapping[str, Sequence[Manifest]], change: Callable[[str], Awaitable[None]], in_flight: int
) -> None:
    """Make every change at once, and apply each one's objects, in their order, as soon as the change is answered."""
    answered: asyncio.Queue[str] = asyncio.Queue()

    async def send(name: str) -> None:
        await change(name)
        answered.put_nowait(name)

    async def work() -> None:
        while True:
            for manifest in groups[await answered.get()]:
                await client.send("PATCH", _path(manifest), manifest, content_type=APPLY)
            answered.task_done()

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(work()) for _ in range(in_flight)]
        await asyncio.gather(*map(send, groups))
        await answered.join()
        for worker in workers:
            worker.cancel()


def _path(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    path = BY_KIND[manifest["kind"]].path(metadata["namespace"], metadata["name"])
    return f"{path}?fieldManager={names.FIELD_MANAGER}&force=true"
