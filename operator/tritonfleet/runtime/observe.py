"""Puts together everything that one decision may look at."""

from collections.abc import Callable

from tritonfleet.adapters.gpus import GpuCensus, gpu_resource
from tritonfleet.adapters.store import Key, Store
from tritonfleet.plan.autoscale.verdict import Verdict
from tritonfleet.plan.pods import unschedulable
from tritonfleet.plan.rollout.evidence import Evidence
from tritonfleet.plan.rollout.room import pod_that_needs_room
from tritonfleet.plan.world import Defaults, GpuPool, Manifest, Observed, WriteFailure


class Observer:
    """Reads the store, counts GPUs for those who look for one, and asks what is known of scaling and of canaries."""

    def __init__(
        self,
        store: Store,
        census: GpuCensus,
        defaults: Defaults,
        verdict_on: Callable[[str], Verdict | None] = lambda _uid: None,
        evidence_on: Callable[[str], Evidence | None] = lambda _uid: None,
    ) -> None:
        self._store = store
        self._census = census
        self._defaults = defaults
        self._verdict_on = verdict_on
        self._evidence_on = evidence_on

    async def observe(self, key: Key, failure: WriteFailure | None = None) -> Observed | None:
        """Return what is known now, or None if the ModelDeployment is gone or being deleted."""
        gpus = await self._gpus(self._store.pods(key))
        headroom = await self._headroom(key)
        body = self._store.body(key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            return None
        return Observed(
            body=body,
            children=self._store.children(key),
            pods=self._store.pods(key),
            defaults=self._defaults,
            gpus=gpus,
            failure=failure,
            scalers=self._store.scalers(key),
            scaling=self._verdict_on(body["metadata"]["uid"]),
            evidence=self._evidence_on(body["metadata"]["uid"]),
            headroom=headroom,
        )

    async def _gpus(self, pods: tuple[Manifest, ...]) -> GpuPool | None:
        waiting = next((pod for pod in pods if unschedulable(pod) and gpu_resource(pod) is not None), None)
        return await self._census.pool_for(waiting) if waiting is not None else None

    async def _headroom(self, key: Key) -> GpuPool | None:
        body = self._store.body(key)
        if body is None or not (body.get("status") or {}).get("rollout"):
            return None
        pod = pod_that_needs_room(body, self._store.children(key), self._defaults)
        return await self._census.pool_for(pod) if pod is not None else None
