"""The reconcile of one ModelDeployment: observe, decide, write, requeue.

`Observer` collects the inputs of a decision: the object, its children and pods from the store, the last verdict of the
autoscaler, the evidence about its canary, and a count of GPUs if a pod is waiting for one. `Worker` takes a key from
the queue, has `plan.reconcile` decide and the executor write, and repeats until there is nothing to write; then it
writes the status and requeues the key for its next deadline. `app.py` runs the configured number of workers.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from tritonfleet.adapters.census import GatewayCensus, GpuCensus
from tritonfleet.adapters.store import Key, Store
from tritonfleet.api.names import REVISION_LABEL, revision_name
from tritonfleet.errors import Conflict, Refused, Transient
from tritonfleet.plan.autoscale import Verdict
from tritonfleet.plan.pods import gpus_of, unschedulable
from tritonfleet.plan.revisions import gpu_resource_of
from tritonfleet.plan.rollout import pod_that_needs_room
from tritonfleet.plan.rollout.analysis import Evidence
from tritonfleet.plan.status import failed_status
from tritonfleet.plan.world import Apply, ChildId, Defaults, Delete, GpuPool, Manifest, Observed, Plan, WriteFailure
from tritonfleet.runtime.executor import Executor, WriteRefused, needed_by_pods
from tritonfleet.runtime.telemetry import CONTROLLER, Telemetry, about
from tritonfleet.runtime.workqueue import WorkQueue

log = logging.getLogger(__name__)

Decide = Callable[[Observed, datetime], Plan]

MAX_ROUNDS = 5
"""A spec needs two or three decisions; more would be a decision that never settles."""
RECONCILE_TIMEOUT_SECONDS = 120.0
FAILURES_BEFORE_REPORT = 5
"""Failures in a row that may be transient, in about 15 s, before the status says so."""
REFUSED_RETRY_LIMIT_SECONDS = 60.0
"""Retry interval for foreign objects and quotas, whose changes are not watched."""


class Observer:
    """Collects the inputs of a decision from the store, lists of nodes and Gateways, autoscaler and canary monitor."""

    def __init__(
        self,
        store: Store,
        census: GpuCensus,
        defaults: Defaults,
        verdict_on: Callable[[str], Verdict | None] = lambda _uid: None,
        evidence_on: Callable[[str], Evidence | None] = lambda _uid: None,
        unread_on: Callable[[str], str | None] = lambda _uid: None,
        gateways: GatewayCensus | None = None,
    ) -> None:
        self._store = store
        self._census = census
        self._defaults = defaults
        self._verdict_on = verdict_on
        self._unread_on = unread_on
        self._evidence_on = evidence_on
        self._gateways = gateways

    async def observe(self, key: Key, failure: WriteFailure | None = None) -> Observed | None:
        """Return the current inputs, or None if the ModelDeployment is gone or being deleted."""
        seen = self._seen(key, failure)
        if seen is None:
            return None
        waiting = next((pod for pod in seen.pods if unschedulable(pod) and gpus_of(pod, _resource(pod, seen))), None)
        seeking = pod_that_needs_room(seen.body, seen.children, self._defaults)
        routed = bool((seen.body["spec"].get("traffic") or {}).get("gateway"))
        if waiting is None and seeking is None and not routed:
            return seen
        gpus, headroom = await self._pool(waiting, seen), await self._pool(seeking, seen)
        gateways = await self._gateways.view() if routed and self._gateways is not None else None
        # Counting is slow in big clusters: read the other inputs after it.
        fresh = self._seen(key, failure)
        return replace(fresh, gpus=gpus, headroom=headroom, gateways=gateways) if fresh is not None else None

    def _seen(self, key: Key, failure: WriteFailure | None) -> Observed | None:
        body = self.body(key)
        if body is None:
            return None
        return Observed(
            body=body,
            children=self._store.children(key),
            pods=self._store.pods(key),
            defaults=self._defaults,
            failure=failure,
            scalers=self._store.scalers(key),
            scaling=self._verdict_on(body["metadata"]["uid"]),
            unread=self._unread_on(body["metadata"]["uid"]) or "",
            evidence=self._evidence_on(body["metadata"]["uid"]),
            accepted=self._store.accepted(key),
        )

    def body(self, key: Key) -> Manifest | None:
        """Return the ModelDeployment alone, without anything that could fail; None if it is gone or being deleted."""
        body = self._store.body(key)
        return body if body is not None and "deletionTimestamp" not in body["metadata"] else None

    async def _pool(self, pod: Manifest | None, seen: Observed) -> GpuPool | None:
        """Count the GPUs for a pod, or a pod template; None if it needs none."""
        resource = _resource(pod, seen) if pod is not None else ""
        return await self._census.pool_for(pod, resource) if pod is not None and gpus_of(pod, resource) else None


def _resource(pod: Manifest, seen: Observed) -> str:
    """Return the resource that a pod requests GPUs as, by the record of its revision."""
    labels = pod["metadata"].get("labels") or {}
    name = revision_name(seen.body["metadata"]["name"], labels.get(REVISION_LABEL, ""))
    return gpu_resource_of(seen.children.get(ChildId("ControllerRevision", name)), seen.body)


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


class Worker:
    """Reconciles keys from the queue, one at a time, until the queue is closed."""

    def __init__(
        self,
        queue: WorkQueue[Key],
        observer: Observer,
        executor: Executor,
        telemetry: Telemetry,
        decide: Decide,
        *,
        resync_seconds: float,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._queue = queue
        self._observer = observer
        self._executor = executor
        self._telemetry = telemetry
        self._decide = decide
        self._resync_seconds = resync_seconds
        self._now = now

    async def run(self) -> None:
        """Work until the queue is closed."""
        while (key := await self._queue.take()) is not None:
            started = self._queue.now
            try:
                await self._work(key)
            finally:
                self._telemetry.reconcile_seconds.observe(self._queue.now - started)
                self._queue.give_back(key)

    async def _work(self, key: Key) -> None:
        """Reconcile and requeue; an error of one key never ends a worker."""
        try:
            async with asyncio.timeout(RECONCILE_TIMEOUT_SECONDS):
                after = await self._reconcile(key)
        except (Transient, TimeoutError) as error:
            self._failed(key, "Transient", error, at_least=getattr(error, "retry_after_seconds", None) or 0.0)
            await self._report_failure(key, f"a request to the API server fails: {_words(error)}", transient=True)
        except Conflict as error:
            self._failed(key, "Conflict", error)
            await self._report_failure(key, f"others keep changing what the operator writes: {error}", transient=True)
        except WriteRefused as error:
            # The status has it already: see `_report()`.
            self._failed(key, error.failure.reason, error, limit=REFUSED_RETRY_LIMIT_SECONDS)
        except Refused as error:
            self._failed(key, f"Http{error.status}", error, limit=REFUSED_RETRY_LIMIT_SECONDS)
            await self._report_failure(key, f"the API server rejects a request of the operator: {error}", stalled=True)
        except Exception as error:
            log.exception("reconcile failed unexpectedly", extra=about(key))
            self._failed(key, type(error).__name__, error)
            await self._report_failure(key, f"an unexpected error, please report it: {_words(error)}", stalled=True)
        else:
            self._queue.schedule.succeed(key)
            self._telemetry.reconciles.labels(CONTROLLER, "success").inc()
            if after is not None:
                self._queue.add(key, after)

    def _failed(self, key: Key, reason: str, error: BaseException, **backoff: float) -> None:
        delay = self._queue.fail(key, **backoff)
        self._telemetry.retries.inc()
        self._telemetry.reconciles.labels(CONTROLLER, "error").inc()
        self._telemetry.errors.labels(CONTROLLER, reason).inc()
        fields = about(key, reason=reason, error=str(error), retry_seconds=round(delay, 1))
        log.warning("reconcile will be retried", extra=fields)

    async def _report_failure(self, key: Key, message: str, *, stalled: bool = False, transient: bool = False) -> None:
        """Write to the status that reconciles fail; what is transient only after FAILURES_BEFORE_REPORT in a row.

        The decision may be what fails, so nothing is decided for it. What fails here is only logged.
        """
        body = self._observer.body(key)
        if body is None or (transient and self._queue.schedule.failures(key) < FAILURES_BEFORE_REPORT):
            return
        try:
            status, events = failed_status(body, message, stalled=stalled, now=self._now())
            async with asyncio.timeout(RECONCILE_TIMEOUT_SECONDS):
                await self._write_status(key, body, Plan(status=status, events=events))
        except Exception as error:  # noqa: BLE001
            log.warning("the failure could not be reported", extra=about(key, error=_words(error)))

    async def _reconcile(self, key: Key) -> float | None:
        """Write until there is nothing left to write, then the status; return the requeue delay in seconds."""
        observed = await self._observer.observe(key)
        if observed is None:
            self._telemetry.forget(key)
            return None
        try:
            settled = await self._write(key, observed)
        except WriteRefused as refused:
            await self._report(key, refused.failure)
            raise
        if settled is None:
            self._queue.schedule.defer(key)
            return None
        observed, plan = settled
        await self._write_status(key, observed.body, plan)
        if plan.requeue_after_seconds is not None and plan.requeue_after_seconds < self._resync_seconds:
            return plan.requeue_after_seconds
        # Jitter, so that objects that were created together are not reconciled together.
        return self._resync_seconds * random.uniform(0.8, 1.0)  # noqa: S311

    async def _write(self, key: Key, observed: Observed) -> tuple[Observed, Plan] | None:
        """Execute plans until one has nothing to write; return it and its inputs.

        While other keys are queued, only what pods need is created, and the rest is deferred (None). Pods take longest:
        those of all keys come before the rest of any.
        """
        for _ in range(MAX_ROUNDS):
            plan = self._decide(observed, self._now())
            if not plan.applies and not plan.deletes:
                return observed, plan
            if self._queue.schedule.taken > 1 and _only_creates(plan):
                first = [each for each in plan.applies if needed_by_pods(each)]
                await self._apply(key, observed, first or plan.applies, plan.guarded)
                return None
            await self._apply(key, observed, plan.applies, plan.guarded)
            if plan.deletes:
                self._log(key, observed, plan.deletes)
                await self._executor.delete(key, observed.body, plan.deletes)
            latest = await self._observer.observe(key)
            if latest is None:
                raise Conflict("the ModelDeployment was deleted concurrently")
            observed = latest
        raise Conflict(f"not settled after {MAX_ROUNDS} decisions in a row: {_summary(plan)}")

    async def _apply(self, key: Key, observed: Observed, applies: Sequence[Apply], guarded: bool) -> None:
        if applies:
            self._log(key, observed, applies)
            await self._executor.apply(key, applies, observed.body if guarded else None)

    def _log(self, key: Key, observed: Observed, actions: Iterable[Apply | Delete]) -> None:
        generation = observed.body["metadata"]["generation"]
        for action in actions:
            log.info(_verb(action), extra=about(key, generation=generation, **_action_fields(action)))

    async def _report(self, key: Key, failure: WriteFailure) -> None:
        """Report a rejected write in the status."""
        observed = await self._observer.observe(key, failure)
        if observed is not None:
            await self._write_status(key, observed.body, self._decide(observed, self._now()))

    async def _write_status(self, key: Key, body: Manifest, plan: Plan) -> None:
        """Write the status if it changed, then its events, which are not retried."""
        generation = body["metadata"]["generation"]
        self._telemetry.readiness.saw(key, plan.status, plan.replicas)
        if await self._executor.write_status(key, body, plan.status, guarded=plan.guarded):
            log.info("status written", extra=about(key, generation=generation, reason=_ready(plan.status)[1]))
        if _ready(plan.status)[0] == "True":
            self._telemetry.ready(key, generation)
        try:
            await self._executor.post(body, plan.events, self._now())
        except (Conflict, Refused, Transient) as error:
            log.warning("an event could not be posted", extra=about(key, generation=generation, error=str(error)))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _action_fields(action: Apply | Delete) -> dict[str, str]:
    return {"kind": action.target.kind, "object": action.target.name, "reason": action.reason, "why": action.message}


def _only_creates(plan: Plan) -> bool:
    return not plan.deletes and not any(apply.exists for apply in plan.applies)


def _verb(action: Apply | Delete) -> str:
    if isinstance(action, Delete):
        return "deleting"
    return "correcting" if action.exists else "creating"


def _summary(plan: Plan) -> str:
    actions: list[Apply | Delete] = [*plan.applies, *plan.deletes]
    return ", ".join(f"{action.target.kind} {action.reason}" for action in actions)


def _ready(status: Manifest) -> tuple[str, str]:
    ready: Manifest = next((each for each in status.get("conditions", ()) if each["type"] == "Ready"), {})
    return str(ready.get("status", "Unknown")), str(ready.get("reason", ""))
