"""Runs kopf: at once for the kinds that every cluster has, and for those of others as soon as they are there."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import kopf

from tritonfleet.adapters.cluster import Cluster
from tritonfleet.api.resources import HTTP_ROUTE, POD_MONITOR, Resource
from tritonfleet.errors import Refused, Transient
from tritonfleet.runtime import handlers

log = logging.getLogger(__name__)

LATE_SECONDS = 15.0
"""How often a kind that the cluster does not have is looked for."""
LATE: Final = frozenset({POD_MONITOR, HTTP_ROUTE})
"""Kinds of others, which may come to the cluster later than the operator."""


class Listener:
    """Has every event of some kinds go to the ear."""

    def __init__(
        self, cluster: Cluster, ear: handlers.Ear, namespaces: tuple[str, ...], began: Callable[[], None]
    ) -> None:
        """`began` is called whenever kopf has begun, and with that has taken the signals of the process for itself."""
        self._cluster = cluster
        self._ear = ear
        self._namespaces = namespaces
        self._began = began

    def begin(self, resources: Sequence[Resource]) -> list[asyncio.Task[None]]:
        """Return endless tasks; in one whose watch dies, that raises."""
        there = [resource for resource in resources if resource not in LATE]
        late = [resource for resource in resources if resource in LATE]
        return [
            asyncio.create_task(self._listen(there), name="kopf"),
            *(asyncio.create_task(self._listen_late(resource), name=resource.plural) for resource in late),
        ]

    async def _listen_late(self, resource: Resource) -> None:
        """Wait for the kind: kopf itself looks for kinds only when it starts."""
        while await self._lacks(resource):
            log.warning("waiting for a kind of others", extra={"kind": resource.kind})
            await asyncio.sleep(LATE_SECONDS)
        await self._listen([resource])

    async def _lacks(self, resource: Resource) -> bool:
        try:
            return not await self._cluster.has(resource.kind)
        except (Refused, Transient) as error:
            log.warning("what kinds there are cannot be told", extra={"kind": resource.kind, "error": str(error)})
            return True

    async def _listen(self, resources: Sequence[Resource]) -> None:
        registry = kopf.OperatorRegistry()
        handlers.register(registry, resources, self._ear)
        kopf.on.login(registry=registry)(self._login)
        settings = kopf.OperatorSettings()
        handlers.configure(settings, resources)
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
