"""Puts together everything that one decision may look at."""

from collections.abc import Callable
from dataclasses import replace

from tritonfleet.adapters.gpus import GpuCensus, gpu_resource
from tritonfleet.adapters.store import Key, Store
from tritonfleet.plan.autoscale import Verdict
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
        seen = self._seen(key, failure)
        if seen is None:
            return None
        waiting = next((pod for pod in seen.pods if unschedulable(pod) and gpu_resource(pod) is not None), None)
        seeking = pod_that_needs_room(seen.body, seen.children, self._defaults)
        if waiting is None and seeking is None:
            return seen
        gpus, headroom = await self._pool(waiting), await self._pool(seeking)
        # Counting takes long in a big cluster: what is decided from is read after it.
        fresh = self._seen(key, failure)
        return replace(fresh, gpus=gpus, headroom=headroom) if fresh is not None else None

    def _seen(self, key: Key, failure: WriteFailure | None) -> Observed | None:
        body = self._store.body(key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            return None
        return Observed(
            body=body,
            children=self._store.children(key),
            pods=self._store.pods(key),
            defaults=self._defaults,
            failure=failure,
            scalers=self._store.scalers(key),
            scaling=self._verdict_on(body["metadata"]["uid"]),
            evidence=self._evidence_on(body["metadata"]["uid"]),
        )

    async def _pool(self, pod: Manifest | None) -> GpuPool | None:
        return await self._census.pool_for(pod) if pod is not None else None
