"""The real operator, run in a thread of the test's process, and made to fail where a test wants it to."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tritonfleet.adapters.cluster import Cluster, load_configuration
from tritonfleet.adapters.lease import Timing
from tritonfleet.adapters.store import Key
from tritonfleet.errors import Transient
from tritonfleet.plan.reconcile import reconcile
from tritonfleet.plan.world import Manifest
from tritonfleet.runtime import Decide, Operator, Telemetry, utc_now
from tritonfleet.settings import Settings, from_environment

LONG_LEASE = Timing(duration_seconds=600.0, renew_deadline_seconds=400.0)
"""So that a busy machine ends no operator in tests that are not about leases."""
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
        timing: Timing = LONG_LEASE,
        resync_seconds: float = 300.0,
        clusterwide: bool = False,
        serial: bool = False,
        tick_seconds: float = 5.0,
        prometheus_url: str = "",
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
            tick_seconds=tick_seconds,
            prometheus_url=prometheus_url,
            prometheus_gateway_labels={"namespace": "envoy-gateway-system"},
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
        self._started.wait(120)
        return self

    def stop(self) -> None:
        """Ask for an orderly end and wait for it."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.operator.stop)
        self._thread.join(120)
        assert not self._thread.is_alive(), "the operator did not stop"

    def kill(self) -> None:
        """End it as `kill -9` would: from now on not one request leaves it, not even to release the lease."""
        self.cluster.dead = True
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(120)
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
