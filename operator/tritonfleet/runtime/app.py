"""One operator process, from start to graceful shutdown.

`operate()` is the process; `Operator` puts the parts of this package together. It waits for the lease, fills the store
from lists, then runs the watches, the workers, the autoscaler and the canary monitor concurrently, and ends when it is
stopped, when it loses the lease, or when one of those tasks ends unexpectedly. Tests start several in one process.

On shutdown it takes no new key, lets the workers finish theirs for 20 s, and then saves what the autoscaler has
learned (its memory) to the status of each ModelDeployment for at most 5 s: a pod has 30 s to terminate. A process that
is killed loses at most what was learned since the status was last written.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any

from tritonfleet import settings as operator_settings
from tritonfleet.adapters.census import GatewayCensus, GpuCensus, countable
from tritonfleet.adapters.cluster import Cluster, load_configuration
from tritonfleet.adapters.lease import Elector, Timing
from tritonfleet.adapters.pods import PodScraper
from tritonfleet.adapters.prometheus import Access, Prometheus
from tritonfleet.adapters.store import Key, Store
from tritonfleet.api.resources import (
    BACKEND_TRAFFIC_POLICY,
    CHILDREN,
    HTTP_ROUTE,
    MODEL_DEPLOYMENT,
    NETWORK_POLICY,
    POD,
    POD_MONITOR,
    SCALER,
    Resource,
)
from tritonfleet.errors import Conflict, Refused, Transient
from tritonfleet.plan.autoscale import Verdict
from tritonfleet.plan.reconcile import reconcile
from tritonfleet.plan.rollout.analysis import Evidence
from tritonfleet.plan.scaling_status import checkpoint
from tritonfleet.plan.world import Manifest
from tritonfleet.runtime.autoscaler import Autoscaler
from tritonfleet.runtime.canary_monitor import CanaryMonitor
from tritonfleet.runtime.controller import Decide, Observer, Worker, utc_now
from tritonfleet.runtime.executor import Executor
from tritonfleet.runtime.health import HealthServer, HealthSnapshot
from tritonfleet.runtime.latency_sources import Gateway
from tritonfleet.runtime.probes import CanaryProber
from tritonfleet.runtime.telemetry import Telemetry, configure_logging
from tritonfleet.runtime.watching import EventSink, Listener, Sweeper
from tritonfleet.runtime.workqueue import WorkQueue
from tritonfleet.settings import Settings

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 5.0
"""Time to save the memory; a pod has 30 s to terminate, of which reconciles may take 20."""
CHECKPOINTS_AT_ONCE = 32

DRAIN_SECONDS = 20.0
"""How long running reconciles may take to finish on shutdown; a pod has 30 s to terminate."""


async def save_checkpoints(executor: Executor, store: Store, verdicts: Mapping[Key, Verdict]) -> None:
    """Persist the memory of every verdict in its status, as time allows; failures are only logged."""
    turn = asyncio.Semaphore(CHECKPOINTS_AT_ONCE)

    async def leave(key: Key, verdict: Verdict) -> None:
        async with turn:
            body = store.body(key)
            status = checkpoint(body, verdict) if body is not None else None
            if body is not None and status is not None:
                await executor.write_status(key, body, status, guarded=True)

    try:
        async with asyncio.timeout(CHECKPOINT_SECONDS):
            outcomes = await asyncio.gather(
                *(leave(key, verdict) for key, verdict in verdicts.items()), return_exceptions=True
            )
    except TimeoutError:
        log.warning(
            "not all autoscaler memory could be saved before shutdown", extra={"limit_seconds": CHECKPOINT_SECONDS}
        )
        return
    for outcome in outcomes:
        if isinstance(outcome, (Conflict, Refused, Transient)):
            log.warning("autoscaler memory could not be saved", extra={"error": str(outcome)})
        elif isinstance(outcome, BaseException):
            raise outcome


class Operator:
    """One process of the operator. `cluster` must report its requests to `telemetry`."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        telemetry: Telemetry,
        decide: Decide,
        *,
        timing: Timing | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._telemetry = telemetry
        self._resources = _watched(settings)
        self.store = Store()
        self.queue: WorkQueue[Key] = WorkQueue()
        self._elector = Elector(
            cluster, settings.lease_namespace, settings.lease_name, settings.identity, timing=timing
        )
        self._sweeper = Sweeper(
            cluster, self.store, self.queue, telemetry, self._resources, namespaces=settings.namespaces
        )
        self._now = now
        self._verdicts: dict[str, Verdict] = {}
        self._probed: dict[str, int] = {}
        """Golden requests that pods have answered, by IP address."""
        self._unread: dict[str, str] = {}
        self._evidence: dict[str, Evidence] = {}
        self._observer = Observer(
            self.store,
            GpuCensus(self._list_all),
            settings.defaults,
            verdict_on=self._verdicts.get,
            unread_on=self._unread.get,
            evidence_on=self._evidence.get,
            gateways=GatewayCensus(self._list_all) if settings.defaults.gateway_api else None,
        )
        self._executor = Executor(cluster, self.store, telemetry)
        self._worker = Worker(
            self.queue,
            self._observer,
            self._executor,
            telemetry,
            decide,
            resync_seconds=settings.resync_seconds,
            now=now,
        )
        self._stopping = asyncio.Event()
        self.health = HealthServer(self._health_snapshot, self._metrics)

    def stop(self) -> None:
        """Request a graceful shutdown: running reconciles finish, no new ones start, the lease is released."""
        self._stopping.set()

    async def run(self) -> None:
        """Run until stopped. Raises what ended it otherwise: LeaseLost, a failed watch, a failed first list."""
        self._catch_signals()
        await self.health.start(self._settings.http_port)
        try:
            log.info("waiting for the lease", extra={"identity": self._settings.identity})
            if await self._unless_stopped(self._elector.acquire()):
                await self._lead()
        finally:
            await self.health.stop()

    async def _lead(self) -> None:
        leader = self._telemetry.leader.labels(self._settings.lease_name)
        leader.set(1)
        try:
            log.info("leading", extra={"identity": self._settings.identity})
            # Tasks created before kopf starts are not canceled by kopf when it stops.
            lease = asyncio.create_task(self._elector.hold(), name="lease")
            try:
                if await self._unless_stopped(self._sweeper.fill()):
                    await self._work(lease)
            finally:
                await _cancel(lease)
                await self._elector.release()
        finally:
            leader.set(0)

    async def _work(self, lease: asyncio.Task[None]) -> None:
        """Watch and reconcile until stopped, or until a task ends unexpectedly."""
        for key in self.store.known():
            self.queue.add(key)
        workers = [asyncio.create_task(self._worker.run(), name=f"worker-{n}") for n in range(self._settings.workers)]
        sweeping = asyncio.create_task(self._sweeper.run(), name="sweeper")
        sink = EventSink(self.store, self.queue, self._telemetry, self._sweeper.relisted)
        # Replace kopf's signal handlers: our shutdown finishes running reconciles first.
        listener = Listener(self._cluster, sink, self._settings.namespaces, self._catch_signals)
        listening = listener.begin(self._resources)
        scaling = self._scale()
        stopped = asyncio.create_task(self._stopping.wait(), name="stop")
        endless = {lease, sweeping, *listening, *workers, *scaling}
        try:
            done, _ = await asyncio.wait({stopped, *endless}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                log.error("a task of the operator ended unexpectedly", extra={"part": task.get_name()})
                task.result()
                raise RuntimeError(f"task {task.get_name()} ended unexpectedly")
            log.info("stopping", extra={"keys_in_hand": self.queue.schedule.taken})
            self.queue.close()
            await asyncio.wait(workers, timeout=DRAIN_SECONDS)
            await save_checkpoints(self._executor, self.store, self._telemetry.scaling.verdicts)
        finally:
            self.queue.close()
            await _cancel(*workers, *scaling, sweeping, stopped, *listening)

    def _scale(self) -> list[asyncio.Task[None]]:
        """Start the autoscaler, the canary monitor and, with a Prometheus, its queries."""
        settings, metrics = self._settings, self._telemetry.scaling
        prometheus = self._prometheus()
        gateway = Gateway(prometheus, self._now) if prometheus is not None else None
        autoscaler = Autoscaler(
            self.store,
            self.queue,
            self._observer,
            PodScraper(self._now, metrics.scraped, concurrency=settings.scrape_concurrency, probed=self._probed),
            gateway,
            metrics,
            self._verdicts,
            unread=self._unread,
            interval_seconds=settings.tick_seconds,
            now=self._now,
        )
        tasks = [
            asyncio.create_task(autoscaler.run(), name="autoscaler"),
            asyncio.create_task(self._canary_monitor().run(), name="rollouts"),
        ]
        if gateway is not None:
            tasks.append(asyncio.create_task(gateway.run(), name="gateway"))
        return tasks

    def _prometheus(self) -> Prometheus | None:
        settings = self._settings
        if not settings.prometheus_url:
            return None
        access = Access(
            settings.prometheus_url,
            token_file=settings.prometheus_token_file,
            username=settings.prometheus_username,
            password_file=settings.prometheus_password_file,
            headers=settings.prometheus_headers,
            ca_file=settings.prometheus_ca_file,
            gateway_labels=settings.prometheus_gateway_labels,
        )
        if not settings.prometheus_gateway_labels and settings.defaults.gateway_api:
            log.warning("prometheus.gatewayLabels is not set, so the gateway's metrics are not used")
        metrics = self._telemetry.scaling
        return Prometheus(access, metrics.queried, metrics.skipped, window_seconds=settings.prometheus_window_seconds)

    def _canary_monitor(self) -> CanaryMonitor:
        """Return the canary monitor, with scrapes and queries of its own."""
        settings = self._settings
        return CanaryMonitor(
            self.store,
            self.queue,
            PodScraper(self._now, self._telemetry.scaling.scraped, concurrency=settings.scrape_concurrency),
            CanaryProber(
                self._cluster.get, self._prometheus(), custom_queries=settings.custom_queries, probed=self._probed
            ),
            self._telemetry.rollouts,
            self._evidence,
            interval_seconds=settings.tick_seconds,
            now=self._now,
            list_nodes=lambda: self._list_all("Node"),
        )

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        # Only the main thread may; in others the owner stops the operator.
        with contextlib.suppress(ValueError, RuntimeError):
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.stop)

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> bool:
        """Wait for the work or for the stop request; return whether the work was done."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            return task.done()
        finally:
            await _cancel(task, stopped)

    async def _list_all(self, kind: str) -> list[Manifest] | None:
        try:
            listing = await self._cluster.list(kind, keep=countable)
        except Refused as refusal:
            log.warning("a kind cannot be listed", extra={"kind": kind, "error": str(refusal)})
            return None
        return listing.items if listing is not None else None

    def _health_snapshot(self) -> HealthSnapshot:
        now = self.queue.now
        contact, swept = self._elector.last_contact, self._sweeper.last_swept
        return HealthSnapshot(
            leads=self._elector.leads,
            lease_age=now - contact if contact is not None else None,
            sweep_age=now - swept if swept is not None else None,
            oldest_due=self.queue.schedule.oldest_due(now),
            longest_taken=self.queue.schedule.longest_taken(now),
        )

    def _metrics(self) -> bytes:
        self._telemetry.depth.set(len(self.queue.schedule))
        self._telemetry.longest_running.set(self.queue.schedule.longest_taken(self.queue.now))
        return self._telemetry.exposition()


def _watched(settings: Settings) -> tuple[Resource, ...]:
    defaults = settings.defaults
    optional = {
        NETWORK_POLICY: defaults.workloads.network_policy,
        POD_MONITOR: defaults.workloads.pod_monitor.enabled,
        HTTP_ROUTE: defaults.gateway_api,
        BACKEND_TRAFFIC_POLICY: defaults.envoy_policies,
    }
    return (MODEL_DEPLOYMENT, SCALER, *CHILDREN, POD, *(resource for resource, wanted in optional.items() if wanted))


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for them; their errors are reported elsewhere."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def operate() -> int:
    """Run the operator; return 0 after an orderly stop, 1 after a failure, 2 for wrong settings."""
    try:
        settings = operator_settings.from_environment()
    except ValueError as error:
        sys.stderr.write(f"tritonfleet: {error}\n")
        return 2
    configure_logging(settings.log_level)
    try:
        asyncio.run(_run(settings))
    except Exception as error:
        # Kubernetes restarts the container.
        log.exception("the operator failed", extra={"reason": type(error).__name__})
        return 1
    return 0


async def _run(settings: Settings) -> None:
    """Run one operator on the cluster that the environment points to."""
    telemetry = Telemetry()
    cluster = Cluster(await load_configuration(), telemetry.requested)
    try:
        await Operator(settings, cluster, telemetry, reconcile).run()
    finally:
        await cluster.close()
