"""Compares the store with what the API server lists: kopf tells nobody what was deleted while a watch was down."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from tritonfleet.adapters.cluster import Cluster, Listing
from tritonfleet.adapters.store import Key, ObjectId, Store
from tritonfleet.api.resources import MODEL_DEPLOYMENT, Resource
from tritonfleet.errors import Refused, Transient
from tritonfleet.runtime.handlers import MANAGED
from tritonfleet.runtime.telemetry import Telemetry
from tritonfleet.runtime.workqueue import WorkQueue

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 600.0
SETTLE_SECONDS = 2.0
"""Watches that have just listed again are given so long to deliver before the store is judged."""
LAG_SECONDS = 5.0
"""An object that is still missing so long after a list showed it was missed by its watch."""


class Sweeper:
    """Fills the store at the start, and repairs it after every relist and every ten minutes."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        queue: WorkQueue[Key],
        telemetry: Telemetry,
        resources: Iterable[Resource],
        namespaces: Iterable[str] = (),
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._queue = queue
        self._telemetry = telemetry
        self._resources = tuple(resources)
        self._namespaces: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self._relisted = asyncio.Event()
        self.last_swept: float | None = None
        """When the store was last found or made complete, on the event loop's clock, in seconds."""

    def relisted(self) -> None:
        """Note that a watch started over."""
        self._relisted.set()

    async def fill(self) -> None:
        """Read everything there is, so that the first decision is not made from half of it.

        Waits for the CustomResourceDefinition first: kopf would never look for it again.
        """
        while await self._list(MODEL_DEPLOYMENT, self._namespaces[0], metadata_only=True) is None:
            log.warning("waiting for the CustomResourceDefinition of ModelDeployments")
            await asyncio.sleep(SETTLE_SECONDS)
        for resource in self._resources:
            for namespace in self._namespaces:
                listing = await self._list(resource, namespace)
                for item in listing.items if listing is not None else ():
                    self._store.put(item)

    async def run(self) -> None:
        """Sweep at once, after every relist, and every ten minutes."""
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            self._relisted.clear()
            try:
                await self.sweep()
            except (Transient, Refused) as error:
                log.warning("the sweep will be tried again", extra={"error": str(error)})
                continue
            self.last_swept = self._clock()
            try:
                async with asyncio.timeout(INTERVAL_SECONDS):
                    await self._relisted.wait()
            except TimeoutError:
                log.debug("no watch has started over for a while, sweeping anyway")

    async def sweep(self) -> None:
        """Forget what no list shows any more, and fetch what the watches have missed."""
        suspects: set[ObjectId] = set()
        for resource in self._resources:
            for namespace in self._namespaces:
                suspects.update(await self._compare(resource, namespace))
        if suspects:
            await asyncio.sleep(LAG_SECONDS)
        for resource in self._resources:
            if any(suspect.kind == resource.kind for suspect in suspects):
                for namespace in self._namespaces:
                    still = await self._compare(resource, namespace)
                    await self._fetch(suspects.intersection(still))

    async def _compare(self, resource: Resource, namespace: str | None) -> list[ObjectId]:
        """Drop what is gone; return what the list shows and the store lacks, or has too old."""
        listing = await self._list(resource, namespace, metadata_only=True)
        if listing is None:
            return []
        as_of = int(listing.resource_version)
        missed, gone = self._store.outdated(resource.kind, namespace, listing.items, as_of)
        for identity in gone:
            log.info("an object vanished unseen", extra=identity._asdict())
            self._enqueue(self._store.forget(identity))
        return missed

    async def _fetch(self, missed: Iterable[ObjectId]) -> None:
        for identity in missed:
            log.warning("a watch missed a change", extra=identity._asdict())
            self._telemetry.watch_misses.labels(identity.kind).inc()
            body = await self._cluster.get(*identity)
            if body is not None:
                self._enqueue(self._store.put(body))

    async def _list(self, resource: Resource, namespace: str | None, *, metadata_only: bool = False) -> Listing | None:
        labels = MANAGED if resource.labelled else ""
        return await self._cluster.list(resource.kind, namespace, labels=labels, metadata_only=metadata_only)

    def _enqueue(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._queue.add(key)
