"""The floor: how fast bare server-side apply of the very same objects is, by the same client library."""

import asyncio
import time
from collections.abc import Sequence

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


def _path(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    path = BY_KIND[manifest["kind"]].path(metadata["namespace"], metadata["name"])
    return f"{path}?fieldManager={names.FIELD_MANAGER}&force=true"
