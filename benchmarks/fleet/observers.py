"""When things came to be, as a watch of the benchmark's own saw it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.fleet.client import METADATA_ONLY, Client
from tritonfleet.api.resources import BY_KIND, MODEL_DEPLOYMENT

CREATION_SECONDS_MAX = 900.0


@dataclass
class Moments:
    """When, on this process' monotonic clock in seconds, each object was first seen to be so."""

    deployments: dict[str, float] = field(default_factory=dict)
    ready: dict[str, float] = field(default_factory=dict)
    model_deployments: set[str] = field(default_factory=set)
    """All that were seen, Ready or not."""

    def saw_deployment(self, body: Mapping[str, Any]) -> None:
        """Note the first sight of a Deployment by its own name."""
        self.deployments.setdefault(body["metadata"]["name"], time.monotonic())

    def saw_model_deployment(self, body: Mapping[str, Any]) -> None:
        """Note when a ModelDeployment is first Ready for the spec that it has."""
        self.model_deployments.add(body["metadata"]["name"])
        status = body.get("status", {})
        current = status.get("observedGeneration") == body["metadata"]["generation"]
        if current and any(each["type"] == "Ready" and each["status"] == "True" for each in status["conditions"]):
            self.ready.setdefault(body["metadata"]["name"], time.monotonic())


@asynccontextmanager
async def watching(client: Client, namespace: str) -> AsyncIterator[Moments]:
    """Watch Deployments and ModelDeployments of one namespace while the block runs."""
    moments = Moments()
    watches = {
        BY_KIND["Deployment"].path(namespace): (moments.saw_deployment, METADATA_ONLY),
        MODEL_DEPLOYMENT.path(namespace): (moments.saw_model_deployment, "application/json"),
    }
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_note(client, path, *how)) for path, how in watches.items()]
        yield moments
        for task in tasks:
            task.cancel()


async def _note(client: Client, path: str, note: Callable[[Mapping[str, Any]], None], accept: str) -> None:
    """Hand every object of a collection to `note`; a watch that the server ends in good order starts over."""
    while True:
        async for event in client.watch(path, accept):
            if event["type"] == "ERROR":
                raise RuntimeError(f"watch of {path}: {event['object']}")
            note(event["object"])


async def until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait for a condition; raises TimeoutError with `what` after a quarter of an hour."""
    deadline = time.monotonic() + CREATION_SECONDS_MAX
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {CREATION_SECONDS_MAX:.0f} s: {what()}")
        await asyncio.sleep(0.05)
