"""The real operator, run in a thread of the test's process, and what a test does to the cluster around it."""

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tritonfleet.adapters.cluster import Cluster, load_configuration
from tritonfleet.adapters.lease import Timing
from tritonfleet.adapters.store import Key
from tritonfleet.api import names
from tritonfleet.api.resources import BY_KIND, CHILDREN
from tritonfleet.errors import Transient
from tritonfleet.plan.reconcile import reconcile
from tritonfleet.plan.world import Manifest
from tritonfleet.runtime.app import Operator
from tritonfleet.runtime.telemetry import Telemetry
from tritonfleet.runtime.worker import Decide, utc_now
from tritonfleet.settings import Settings, from_environment

CHILD_KINDS = tuple(resource.kind for resource in CHILDREN)
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

Fault = Callable[[str, str, int], Awaitable[object] | None]
"""Called with the method, the kind and how many writes came before; may raise or wait."""


class FaultyCluster(Cluster):
    """The real client, with trouble before or after its writes; leases are left alone."""

    before: Fault | None = None
    after: Fault | None = None
    dead = False
    order: contextlib.AbstractAsyncContextManager[Any] = contextlib.nullcontext()
    """What every write waits for: a lock has them made one after the other."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.writes: list[tuple[str, str]] = []

    async def _call(self, method: str, kind: str, *args: Any, **kwargs: Any) -> Manifest | None:
        if self.dead:
            raise Transient("a dead process sends nothing")
        if method not in WRITES or kind == "Lease":
            return await super()._call(method, kind, *args, **kwargs)
        async with self.order:
            number = len(self.writes)
            self.writes.append((method, kind))
            await _strike(self.before, method, kind, number)
            answer = await super()._call(method, kind, *args, **kwargs)
            await _strike(self.after, method, kind, number)
            return answer


async def _strike(fault: Fault | None, method: str, kind: str, number: int) -> None:
    waiting = fault(method, kind, number) if fault is not None else None
    if waiting is not None:
        await waiting


class RunningOperator:
    """One operator process, as far as the cluster can tell: its own event loop, client, store and lease identity."""

    def __init__(
        self,
        kubeconfig: Path,
        namespace: str,
        *,
        identity: str = "operator",
        lease: str = "operator",
        before: Fault | None = None,
        after: Fault | None = None,
        decide: Decide = reconcile,
        now: Callable[[], datetime] = utc_now,
        timing: Timing | None = None,
        resync_seconds: float = 300.0,
        clusterwide: bool = False,
        serial: bool = False,
        **defaults: Any,
    ) -> None:
        settings = from_environment({})
        self.settings: Settings = replace(
            settings,
            defaults=replace(settings.defaults, **defaults),
            namespaces=() if clusterwide else (namespace,),
            lease_namespace=namespace,
            lease_name=lease,
            identity=identity,
            http_port=0,
            resync_seconds=resync_seconds,
        )
        self._kubeconfig = kubeconfig
        self._before, self._after, self._serial = before, after, serial
        self._decide, self._now, self._timing = decide, now, timing
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=identity, daemon=True)
        self.error: BaseException | None = None
        self.telemetry: Telemetry
        self.cluster: FaultyCluster
        self.operator: Operator

    def start(self) -> "RunningOperator":
        """Start the process; it may still have to wait for the lease."""
        self._thread.start()
        self._started.wait(20)
        return self

    def stop(self) -> None:
        """Ask for an orderly end and wait for it."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.operator.stop)
        self._thread.join(40)
        assert not self._thread.is_alive(), "the operator did not stop"

    def kill(self) -> None:
        """End it as `kill -9` would: from now on not one request leaves it, not even to release the lease."""
        self.cluster.dead = True
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(40)
        assert not self._thread.is_alive(), "the operator did not die"

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def leads(self) -> bool:
        return self.alive and self.operator._elector.leads

    @property
    def synced(self) -> bool:
        """Whether the operator leads and has compared its view with a list."""
        return self.leads and self.operator._sweeper.last_swept is not None

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Method and kind of every write attempted so far, leases aside."""
        return self.cluster.writes

    def metric(self, name: str, **labels: str) -> float:
        """Sum the samples of a metric that carry these labels."""
        return sum(
            sample.value
            for family in self.telemetry.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def enqueue(self, namespace: str, name: str) -> None:
        """Have one object looked at now, as a resync would."""
        self._loop.call_soon_threadsafe(self.operator.queue.add, Key(namespace, name))

    def sweep(self) -> None:
        """Have the store compared with a list now, as the periodic sweep would, and wait until that is done."""
        asyncio.run_coroutine_threadsafe(self.operator._sweeper.sweep(), self._loop).result(60)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - a test asks what ended it
            self.error = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self.telemetry = Telemetry()
        self.cluster = FaultyCluster(await load_configuration(self._kubeconfig), self.telemetry.requested)
        self.cluster.before, self.cluster.after = self._before, self._after
        if self._serial:
            self.cluster.order = asyncio.Lock()
        self.operator = Operator(
            self.settings, self.cluster, self.telemetry, self._decide, timing=self._timing, now=self._now
        )
        self._started.set()
        try:
            await self.operator.run()
        finally:
            await self.cluster.close()


async def eventually(
    condition: Callable[[], Awaitable[Any] | Any], what: str, *, within: float = 20.0, every: float = 0.05
) -> Any:
    """Wait until the condition gives something true and return it; fail with the last thing it gave."""
    deadline = time.monotonic() + within
    while True:
        outcome = condition()
        if isinstance(outcome, Awaitable):
            outcome = await outcome
        if outcome:
            return outcome
        assert time.monotonic() < deadline, f"not within {within} s: {what}; last: {outcome!r}"
        await asyncio.sleep(every)


class World:
    """One namespace of the cluster, seen and changed by an administrator."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    async def create(self, name: str, **spec: Any) -> Manifest:
        """Create a ModelDeployment on the CPU; `spec` overrides its parts."""
        return await self.cluster.create(self.model(name, **spec))

    def model(self, name: str, **spec: Any) -> Manifest:
        base = {"model": {"uri": "s3://models/demo", "backend": "onnxruntime"}, "server": {"gpu": {"count": 0}}}
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"namespace": self.namespace, "name": name},
            "spec": base | spec,
        }

    async def edit(self, kind: str, name: str, change: Callable[[Manifest], None]) -> Manifest:
        """Change an object as `kubectl edit` does, trying again when somebody else was faster."""
        while True:
            body = await self.cluster.get(kind, self.namespace, name)
            assert body is not None, f"there is no {kind} {name}"
            change(body)
            try:
                return await self.cluster.replace(body)
            except Exception as error:
                if "modified" not in str(error):
                    raise

    async def patch(self, kind: str, name: str, change: Manifest, subresource: str = "") -> None:
        """Merge-patch an object, or a subresource of it (`/status`), as `kubectl patch` does."""
        path = BY_KIND[kind].path(self.namespace, name) + subresource
        await self.cluster._call("PATCH", kind, path, body=change, content_type="application/merge-patch+json")

    async def get(self, name: str) -> Manifest | None:
        return await self.cluster.get(names.KIND, self.namespace, name)

    async def delete(self, kind: str, name: str) -> None:
        body = await self.cluster.get(kind, self.namespace, name)
        if body is not None:
            await self.cluster.delete(kind, self.namespace, name, uid=body["metadata"]["uid"])

    async def children(self, *kinds: str) -> list[Manifest]:
        """Return everything labelled as the operator's, by kind and name."""
        found = []
        for kind in kinds or CHILD_KINDS:
            listing = await self.cluster.list(
                kind, self.namespace, labels=f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"
            )
            found += listing.items if listing is not None else []
        return sorted(found, key=lambda body: (body["kind"], body["metadata"]["name"]))

    async def condition(self, name: str, condition: str) -> Manifest:
        """Return one condition, if it has been set for the current generation."""
        body = await self.get(name) or {}
        status = body.get("status") or {}
        if not body or status.get("observedGeneration") != body["metadata"]["generation"]:
            return {}
        return next((each for each in status.get("conditions", ()) if each["type"] == condition), {})

    async def is_ready(self, name: str) -> bool:
        return (await self.condition(name, "Ready")).get("status") == "True"

    async def make_pods_ready(self) -> None:
        """Imitate kubelets: nothing runs here, so every pod is simply said to be ready."""
        listing = await self.cluster.list("Pod", self.namespace)
        for pod in listing.items if listing is not None else ():
            await self._say_ready(pod)

    async def keep_pods_ready(self) -> None:
        """Imitate kubelets until cancelled."""
        while True:
            try:
                await self.make_pods_ready()
            except Transient:
                await asyncio.sleep(0.5)
            await asyncio.sleep(0.1)

    async def _say_ready(self, pod: Manifest) -> None:
        if any(each["type"] == "Ready" for each in pod["status"].get("conditions", ())):
            return
        now = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {
            "phase": "Running",
            "startTime": now,
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": now}
                for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
            ],
        }
        await self.patch("Pod", pod["metadata"]["name"], {"status": status}, "/status")

    async def versions(self) -> dict[tuple[str, str], str]:
        """Return the resourceVersion of every child and of every ModelDeployment."""
        bodies = [*await self.children(), *(await self.cluster.list(names.KIND, self.namespace)).items]
        return {(body["kind"], body["metadata"]["name"]): body["metadata"]["resourceVersion"] for body in bodies}

    async def end_state(self) -> Any:
        """Return all that matters of every object of ours, without what no two runs have in common."""
        bodies = [*await self.children(), *(await self.cluster.list(names.KIND, self.namespace)).items]
        return [normalised(body) for body in bodies]


_RANDOM = frozenset(
    {"uid", "resourceVersion", "managedFields", "creationTimestamp", "namespace", "clusterIP", "clusterIPs"}
)
_NOISE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"  # times
    r"|(?<=tritonfleet-operator=)[0-9a-f]{32}"  # the pods' key, made from the owner's uid
    r"|(?<=ReplicaSet )\S+"  # named by Kubernetes after the hash of a template that holds the key
)


def normalised(value: Any, *, namespace: str | None = None) -> Any:
    """Return a copy without uids, versions, addresses, times and what is made from them."""
    if isinstance(value, dict):
        namespace = namespace or value.get("metadata", {}).get("namespace")
        return {name: normalised(each, namespace=namespace) for name, each in value.items() if name not in _RANDOM}
    if isinstance(value, list):
        return [normalised(each, namespace=namespace) for each in value]
    if isinstance(value, str):
        value = _NOISE.sub("<any>", value)
        return value.replace(namespace, "<namespace>") if namespace else value
    return value
