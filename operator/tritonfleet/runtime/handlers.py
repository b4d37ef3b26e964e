"""kopf as the ear: every watch event goes into the store, every key it concerns into the queue, and that is all."""

from collections.abc import Callable, Iterable
from typing import Any

import kopf

from tritonfleet.adapters.store import Key, Store
from tritonfleet.api import names
from tritonfleet.api.resources import Resource
from tritonfleet.plan.world import Manifest
from tritonfleet.runtime.telemetry import Telemetry
from tritonfleet.runtime.workqueue import WorkQueue

COALESCE_SECONDS = 0.1
"""A pod changes several times within moments of starting; one look after them all is enough."""

MANAGED = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"


class Ear:
    """Takes in what the watches bring."""

    def __init__(self, store: Store, queue: WorkQueue[Key], telemetry: Telemetry, relisted: Callable[[], None]) -> None:
        self._store = store
        self._queue = queue
        self._telemetry = telemetry
        self._relisted = relisted

    def hear(self, event_type: str | None, body: Manifest) -> None:
        """Take in one event; its type is None if the object comes from a list and not from a watch."""
        keys = self._store.remove(body) if event_type == "DELETED" else self._store.put(body)
        is_own = body["kind"] == names.KIND
        for key in keys:
            if is_own and event_type != "DELETED" and _unanswered(body):
                self._telemetry.changed(key, body["metadata"]["generation"])
            self._queue.add(key, 0.0 if is_own or event_type == "DELETED" else COALESCE_SECONDS)
        if event_type is None:
            self._relisted()


def _unanswered(body: Manifest) -> bool:
    return bool((body.get("status") or {}).get("observedGeneration") != body["metadata"]["generation"])


def register(registry: kopf.OperatorRegistry, resources: Iterable[Resource], ear: Ear) -> None:
    """Have every event of these kinds go to the ear."""

    # A plain function would be run in a thread.
    async def on_event(event: Any, **_: Any) -> None:
        ear.hear(event["type"], event["object"])

    for resource in resources:
        kopf.on.event(
            group=resource.group, version=resource.version, plural=resource.plural, registry=registry, id="hear"
        )(on_event)


class NoMemory(kopf.DiffBaseStorage, kopf.ProgressStorage):
    """Keeps nothing in annotations, and spares kopf a deep copy of every object of every event."""

    def build(self, **_: Any) -> Any:
        """There is nothing to compare with."""
        return {}

    def fetch(self, **_: Any) -> Any:
        """Nothing was ever stored."""
        return None

    def store(self, **_: Any) -> None:
        """Store nothing."""

    def purge(self, **_: Any) -> None:
        """There is nothing to remove."""

    def touch(self, **_: Any) -> None:
        """Leave no trace."""

    def clear(self, *, essence: Any) -> Any:
        """There is nothing of ours in it."""
        return essence


def configure(settings: kopf.OperatorSettings, resources: Iterable[Resource]) -> None:
    """Restrict kopf to listing and watching: it writes nothing, and sees only what is labelled as ours."""
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.finalizer = f"{names.GROUP}/unused"
    settings.persistence.diffbase_storage = settings.persistence.progress_storage = NoMemory()
    settings.watching.chunk_size = 500
    # kopf keeps a task, a queue and a context for every object for so long after its last event: megabytes per hundred.
    settings.queueing.idle_timeout = 0.2
    # kopf would kill the whole process ten minutes after it was told to stop.
    settings.process.ultimate_exiting_timeout = None
    for resource in resources:
        if resource.labelled:
            selector = (resource.group, resource.version, resource.plural)
            settings.watching.label_selectors[selector] = MANAGED
