"""kopf handlers: store every event and enqueue the ModelDeployment that it concerns.

kopf only lists and watches. `EventSink` puts each event into the store and each key that
it concerns into the work queue. `Listener` runs kopf, right away for the kinds that every cluster has, and for those of
other projects (PodMonitor, HTTPRoute) as soon as the cluster has them. `Sweeper` compares the store with what the API
server lists, because kopf does not report deletions while a watch was down: at the start, after each relist, and
every ten minutes. `app.py` runs all three.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import kopf
from kopf._cogs.clients import api as kopf_api

from tritonfleet.adapters import read_body
from tritonfleet.adapters.cluster import Cluster, Listing, PageLimit, decode
from tritonfleet.adapters.store import Key, ObjectId, Store, slim
from tritonfleet.api import names
from tritonfleet.api.resources import BACKEND_TRAFFIC_POLICY, HTTP_ROUTE, MODEL_DEPLOYMENT, POD_MONITOR, Resource
from tritonfleet.errors import Refused, Transient
from tritonfleet.plan.world import Manifest
from tritonfleet.runtime.telemetry import Telemetry
from tritonfleet.runtime.workqueue import WorkQueue

log = logging.getLogger(__name__)

COALESCE_SECONDS = 0.1
"""Debounce: a pod changes several times while it starts, and one reconcile is enough."""

MANAGED = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"

LATE_SECONDS = 15.0
"""How often to check for a kind that the cluster lacks."""
LATE: Final = frozenset({POD_MONITOR, HTTP_ROUTE, BACKEND_TRAFFIC_POLICY})
"""Kinds of other projects, which may be installed after the operator."""

SWEEP_INTERVAL_SECONDS = 600.0
SETTLE_SECONDS = 2.0
"""Time for watches to deliver after a relist before the store is compared."""
LAG_SECONDS = 5.0
"""An object that is still missing this long after it was listed was missed by its watch."""


UNREADABLE: Final = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What the store raises for an object without the parts that every object of its kind has."""


class EventSink:
    """Receives the events of the watches."""

    def __init__(self, store: Store, queue: WorkQueue[Key], telemetry: Telemetry, relisted: Callable[[], None]) -> None:
        self._store = store
        self._queue = queue
        self._telemetry = telemetry
        self._relisted = relisted

    def handle(self, event_type: str | None, body: Manifest) -> None:
        """Handle one event; its type is None if the object comes from a list and not from a watch."""
        try:
            keys = self._store.remove(body) if event_type == "DELETED" else self._store.put(body)
        except UNREADABLE as error:
            report_unreadable(body, error, self._telemetry)
            return
        is_own = body["kind"] == names.KIND
        for key in keys:
            if is_own and event_type != "DELETED" and _unanswered(body):
                self._telemetry.changed(key, body["metadata"]["generation"])
            self._queue.add(key, 0.0 if is_own or event_type == "DELETED" else COALESCE_SECONDS)
        if event_type is None:
            self._relisted()


def report_unreadable(body: Manifest, error: Exception, telemetry: Telemetry) -> None:
    """Count and log an object that is skipped, because it lacks what every object of its kind has."""
    kind, metadata = str(body.get("kind")), body.get("metadata") or {}
    fields = {"kind": kind, "namespace": metadata.get("namespace"), "object": metadata.get("name")}
    log.error("an object cannot be read and is skipped", extra={**fields, "reason": f"{type(error).__name__}: {error}"})
    telemetry.unreadable.labels(kind).inc()


def _unanswered(body: Manifest) -> bool:
    return bool((body.get("status") or {}).get("observedGeneration") != body["metadata"]["generation"])


def register(registry: kopf.OperatorRegistry, resources: Iterable[Resource], sink: EventSink) -> None:
    """Register handlers that pass every event of these kinds to the sink."""

    # kopf would run a plain function in a thread.
    async def on_event(event: Any, **_: Any) -> None:
        sink.handle(event["type"], event["object"])

    for resource in resources:
        kopf.on.event(
            group=resource.group, version=resource.version, plural=resource.plural, registry=registry, id="handle"
        )(on_event)


class NullStorage(kopf.DiffBaseStorage, kopf.ProgressStorage):
    """Stores nothing in annotations, and saves a deep copy of every object of every event."""

    def build(self, **_: Any) -> Any:
        """Return nothing to compare."""
        return {}

    def fetch(self, **_: Any) -> Any:
        """Return nothing."""
        return None

    def store(self, **_: Any) -> None:
        """Store nothing."""

    def purge(self, **_: Any) -> None:
        """Remove nothing."""

    def touch(self, **_: Any) -> None:
        """Touch nothing."""

    def clear(self, *, essence: Any) -> Any:
        """Return the object unchanged."""
        return essence


def configure_kopf(settings: kopf.OperatorSettings, resources: Iterable[Resource]) -> None:
    """Restrict kopf to listing and watching: it writes nothing, and sees only objects with our label."""
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.finalizer = f"{names.GROUP}/unused"
    settings.persistence.diffbase_storage = settings.persistence.progress_storage = NullStorage()
    settings.watching.chunk_size = 500
    # kopf keeps a task, a queue and a context per object for this long after its last event: megabytes per hundred.
    settings.queueing.idle_timeout = 0.2
    # Otherwise kopf kills the process ten minutes after a stop.
    settings.process.ultimate_exiting_timeout = None
    for resource in resources:
        if resource.labeled:
            selector = (resource.group, resource.version, resource.plural)
            settings.watching.label_selectors[selector] = MANAGED


_kopfs_lines = kopf_api.iter_jsonlines


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines of a watch, with what is no UTF-8 replaced."""
    async for line in _kopfs_lines(content):
        yield line.decode(errors="replace").encode()


_LIMIT: Final = re.compile(r"(?<=[?&]limit=)\d+")
_limits: dict[str, PageLimit] = {}


async def _get(url: str, **options: Any) -> Any:
    """Return what kopf asks for: of a list a page of limited length, with what decisions need of its objects."""
    limit = _limits.setdefault(url.partition("?")[0], PageLimit()) if _LIMIT.search(url) else None
    payload = None
    while payload is None:
        asked = _LIMIT.sub(str(limit.objects), url) if limit is not None else url
        response = await kopf_api.request(method="get", url=asked, **options)
        async with response:
            payload = await read_body(response, limit.most_bytes if limit is not None else None)
        if limit is not None:
            limit.shrink() if payload is None else limit.grow()
    found = decode(payload)
    for item in (found.get("items") or ()) if limit is not None else ():
        slim(item | {"kind": found["kind"].removesuffix("List")})
    return found


def _event(line: str) -> Any:
    event = decode(line)
    if event.get("type") in ("ADDED", "MODIFIED"):
        slim(event["object"])
    return event


def read_leniently() -> None:
    """Have kopf parse JSON by `decode()`: one object that Python's parser cannot take ended the watch for all.

    kopf has no setting for it. Its session stays its own, since it renews credentials by it.
    """
    vars(kopf_api).update(json=SimpleNamespace(loads=_event), iter_jsonlines=_lines, get=_get)


class Listener:
    """Runs kopf watches of some kinds, which feed the sink."""

    def __init__(
        self, cluster: Cluster, sink: EventSink, namespaces: tuple[str, ...], began: Callable[[], None]
    ) -> None:
        """`began` is called whenever kopf has started, and has installed its signal handlers."""
        self._cluster = cluster
        self._sink = sink
        self._namespaces = namespaces
        self._began = began
        read_leniently()

    def begin(self, resources: Sequence[Resource]) -> list[asyncio.Task[None]]:
        """Return endless tasks; one whose watch fails raises."""
        there = [resource for resource in resources if resource not in LATE]
        late = [resource for resource in resources if resource in LATE]
        return [
            asyncio.create_task(self._listen(there), name="kopf"),
            *(asyncio.create_task(self._listen_late(resource), name=resource.plural) for resource in late),
        ]

    async def _listen_late(self, resource: Resource) -> None:
        """Wait for the kind: kopf discovers kinds only when it starts."""
        while await self._lacks(resource):
            log.warning("waiting for an optional kind to be installed", extra={"kind": resource.kind})
            await asyncio.sleep(LATE_SECONDS)
        await self._listen([resource])

    async def _lacks(self, resource: Resource) -> bool:
        try:
            return not await self._cluster.has(resource.kind)
        except (Refused, Transient) as error:
            log.warning("discovery of kinds failed", extra={"kind": resource.kind, "error": str(error)})
            return True

    async def _listen(self, resources: Sequence[Resource]) -> None:
        registry = kopf.OperatorRegistry()
        register(registry, resources, self._sink)
        kopf.on.login(registry=registry)(self._login)
        settings = kopf.OperatorSettings()
        configure_kopf(settings, resources)
        others = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=settings,
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
        )
        self._began()
        await kopf.run_tasks(tasks, ignored=others)

    async def _login(self, **_: object) -> kopf.ConnectionInfo:
        endpoint = await self._cluster.endpoint()
        return kopf.ConnectionInfo(
            server=endpoint.server,
            ca_path=endpoint.ca_path,
            certificate_path=endpoint.certificate_path,
            private_key_path=endpoint.private_key_path,
            token=endpoint.token,
            insecure=endpoint.insecure,
        )


class Sweeper:
    """Fills the store at the start, and corrects it after every relist and every ten minutes."""

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
        """When the store was last complete, on the event loop's clock, in seconds."""

    def relisted(self) -> None:
        """Record that a watch was restarted."""
        self._relisted.set()

    async def fill(self) -> None:
        """List everything, so that the first decision has complete inputs.

        Waits for the CustomResourceDefinition first: kopf would never discover it later.
        """
        while await self._list(MODEL_DEPLOYMENT, self._namespaces[0]) is None:
            log.warning("waiting for the CustomResourceDefinition of ModelDeployments")
            await asyncio.sleep(SETTLE_SECONDS)
        for resource in self._resources:
            for namespace in self._namespaces:
                labels = MANAGED if resource.labeled else ""
                async for item in self._cluster.each(resource.kind, namespace, labels=labels):
                    try:
                        self._store.put(item)
                    except UNREADABLE as error:
                        report_unreadable(item, error, self._telemetry)

    async def run(self) -> None:
        """Sweep now, after every relist, and every ten minutes."""
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            self._relisted.clear()
            try:
                await self.sweep()
            except (Transient, Refused) as error:
                log.warning("the sweep will be retried", extra={"error": str(error)})
                continue
            self.last_swept = self._clock()
            try:
                async with asyncio.timeout(SWEEP_INTERVAL_SECONDS):
                    await self._relisted.wait()
            except TimeoutError:
                log.debug("no watch was restarted for a while, sweeping anyway")

    async def sweep(self) -> None:
        """Forget deleted objects, and fetch what the watches have missed."""
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
        """Drop deleted objects; return listed ones that the store lacks or has outdated."""
        listing = await self._list(resource, namespace)
        if listing is None:
            return []
        as_of = int(listing.resource_version)
        missed, gone = self._store.outdated(resource.kind, namespace, listing.items, as_of)
        for identity in gone:
            log.info("a watch missed a deletion", extra=identity._asdict())
            self._enqueue(self._store.forget(identity))
        return missed

    async def _fetch(self, missed: Iterable[ObjectId]) -> None:
        for identity in missed:
            log.warning("a watch missed a change", extra=identity._asdict())
            self._telemetry.watch_misses.labels(identity.kind).inc()
            body = await self._cluster.get(*identity)
            try:
                self._enqueue(self._store.put(body) if body is not None else ())
            except UNREADABLE as error:
                report_unreadable(body or {}, error, self._telemetry)

    async def _list(self, resource: Resource, namespace: str | None) -> Listing | None:
        """Return the metadata of all objects of a kind."""
        labels = MANAGED if resource.labeled else ""
        return await self._cluster.list(resource.kind, namespace, labels=labels, metadata_only=True)

    def _enqueue(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._queue.add(key)
