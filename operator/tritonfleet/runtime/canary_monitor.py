"""Collect the evidence about each canary: windows of counters, and verifications.

`CanaryMonitor` scrapes the pods of both revisions on each tick, begins and ends windows within half a second of the
planned time, has `probes.py` verify a canary that is waiting for it, and stores the results for the reconcile.
`plan.rollout` evaluates them. `CanarySession` is the state of one rollout between ticks. `app.py` runs the
monitor.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from tritonfleet.adapters.pods import PodScraper, Target, target_of
from tritonfleet.adapters.store import Key, Store
from tritonfleet.api.resources import HTTP_ROUTE
from tritonfleet.api.slo import MetricsSource
from tritonfleet.errors import TritonfleetError
from tritonfleet.plan.objects import GPU_PRODUCT_LABEL
from tritonfleet.plan.rollout import MeasurementSpec, measurement_of, revisions_by_cluster, written_state
from tritonfleet.plan.rollout.analysis import CheckResult, Evidence, Outcome, Verification, Why, Window, shorten
from tritonfleet.plan.world import ChildId, Manifest
from tritonfleet.runtime.probes import CanaryProber
from tritonfleet.runtime.telemetry import RolloutMetrics, about
from tritonfleet.runtime.windows import Snapshot, WindowFinalizer, WindowRecorder, of_rollout
from tritonfleet.runtime.workqueue import WorkQueue

log = logging.getLogger(__name__)

CANARY_SCRAPE_SHARE: Final = 0.6
"""Share of the tick interval to wait for samples."""
FRESH_TICKS: Final = 2.5
"""Ticks without an answer after which a pod is missing."""
GLANCE_SECONDS: Final = 0.5
"""Interval of checks for windows to begin or end; bounds a canary's exposure."""
PAUSE_SECONDS: Final = 0.1
"""Pause after a slow tick."""
NODES_SECONDS: Final = 300.0
"""How long the nodes' GPUs are remembered."""
AGAIN_SECONDS: Final = 10.0
"""Delay before an incomplete verification is retried."""


@dataclass(slots=True)
class CanarySession:
    """The state of one rollout between ticks."""

    uid: str
    spec: MeasurementSpec
    targets: tuple[Target, ...]
    clusters: Mapping[str, str] | None
    """The gateway's cluster names by revision; None if the gateway is not queried."""
    finalizer: WindowFinalizer
    recorder: WindowRecorder | None = None
    before: asyncio.Task[Snapshot] | None = None
    """The gateway's counters at the start of the window."""
    completing: asyncio.Task[None] | None = None
    verifying: asyncio.Task[None] | None = None
    asked: frozenset[str] = frozenset()
    """Pods of the last verification."""
    ask_at: float = 0.0

    def is_due(self, now: float) -> bool:
        """Return whether a window begins or ends at `now`, seconds since the epoch.

        No window ends while the previous one is being completed, and none begins while golden requests are sent.
        """
        if self.recorder is None:
            return now >= self.spec.opens_seconds and not self.finalizer.probing
        waits = self.completing is not None and not self.completing.done()
        return not waits and now - self.recorder.start_seconds >= self.spec.interval_seconds

    def addresses(self, revision: str) -> tuple[str, ...]:
        """Return the addresses of a revision's ready pods."""
        return tuple(target.address for target in self.targets if target.revision == revision)

    def cancel(self) -> None:
        """Cancel its running tasks."""
        for task in (self.completing, self.verifying):
            if task is not None:
                task.cancel()


class CanaryMonitor:
    """Keeps the evidence of each rollout in `evidence`, by UID, for the reconcile."""

    def __init__(
        self,
        store: Store,
        queue: WorkQueue[Key],
        scraper: PodScraper,
        prober: CanaryProber,
        metrics: RolloutMetrics,
        evidence: dict[str, Evidence],
        *,
        interval_seconds: float,
        now: Callable[[], datetime],
        list_nodes: Callable[[], Awaitable[Sequence[Manifest] | None]] | None = None,
    ) -> None:
        """Watch the store; `list_nodes` returns all nodes, None if they may not be listed."""
        self._store = store
        self._queue = queue
        self._scraper = scraper
        self._prober = prober
        self._metrics = metrics
        self._evidence = evidence
        self._interval = interval_seconds
        self._now = now
        self._clock = asyncio.get_running_loop().time
        self._sessions: dict[Key, CanarySession] = {}
        self._seen: dict[Key, int] = {}
        self._moving: set[Key] = set()
        self._list_nodes = list_nodes
        self._products: Mapping[str, str] = {}
        self._nodes_at = -math.inf

    async def run(self) -> None:
        """Tick until canceled."""
        try:
            while True:
                started = self._clock()
                if await self._succeeds(self.tick):
                    self._metrics.ticked(self._now())
                due = max(started + self._interval, self._clock() + PAUSE_SECONDS)
                while (left := due - self._clock()) > 0:
                    await asyncio.sleep(min(left, GLANCE_SECONDS))
                    await self._succeeds(self.glance)
        finally:
            for session in self._sessions.values():
                session.cancel()
            self._prober.close()
            await self._scraper.close()

    async def tick(self) -> None:
        """Scrape the pods of every rollout, close finished windows, and start due verifications."""
        self._refresh()
        self._scraper.keep(target for session in self._sessions.values() for target in session.targets)
        await self._learn_products()
        await self._attend(self._sessions)

    async def _learn_products(self) -> None:
        """List the GPUs of the nodes while canaries are compared; without them all pods count as alike."""
        if self._list_nodes is None or not self._sessions or self._clock() - self._nodes_at < NODES_SECONDS:
            return
        self._nodes_at = self._clock()
        try:
            async with asyncio.timeout(self._interval):
                nodes = await self._list_nodes() or ()
        except (TimeoutError, TritonfleetError) as error:
            log.warning("nodes could not be listed; GPUs are taken to be alike", extra={"error": str(error)})
            return
        named = (
            (node["metadata"]["name"], (node["metadata"].get("labels") or {}).get(GPU_PRODUCT_LABEL)) for node in nodes
        )
        self._products = {name: str(product) for name, product in named if product}

    async def glance(self) -> None:
        """Do the same for rollouts whose window begins or ends now, and for those that just entered such a phase."""
        for key in tuple(self._moving):
            self._refresh_changed(key)
        soon = self._now().timestamp() + GLANCE_SECONDS / 2
        await self._attend([key for key, session in self._sessions.items() if session.is_due(soon)])

    async def _succeeds(self, tick: Callable[[], Awaitable[None]]) -> bool:
        try:
            await tick()
        except Exception as error:
            # Keep ticking; the heartbeat metric, which alerts watch, is not updated.
            log.exception("a tick of the canary monitor failed", extra={"reason": type(error).__name__})
            self._metrics.failures.labels("tick").inc()
            return False
        return True

    async def _attend(self, keys: Collection[Key]) -> None:
        targets = [target for key in keys for target in self._sessions[key].targets]
        if targets:
            await self._scraper.scrape(targets, self._interval * CANARY_SCRAPE_SHARE)
        now = self._now().timestamp()
        there = [(key, self._sessions[key]) for key in keys if key in self._sessions]
        over = [(key, each, window) for key, each in there if (window := self._advance_window(each, now))]
        after = self._snapshot(now, frozenset(key for key, _, _ in over))
        for key, session, window in over:
            task = self._complete(key, session, window, session.before, after)
            session.completing = asyncio.create_task(task, name=f"window of {key}")
        for session in self._sessions.values():
            if session.recorder is not None and session.recorder.start_seconds == now:
                session.before = after
        for key, session in self._sessions.items():
            self._verify(key, session)

    async def settled(self) -> None:
        """Wait until all running tasks are done."""
        sessions = self._sessions.values()
        tasks = [
            task for each in sessions for task in (each.before, each.completing, each.verifying) if task is not None
        ]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refresh(self) -> None:
        """Refresh changed sessions and drop deleted ones."""
        known = self._store.known()
        for key in self._seen.keys() - set(known):
            del self._seen[key]
            self._metrics.forget(key)
            self._moving.discard(key)
            self._drop(key)
        for key in known:
            self._refresh_changed(key)

    def _refresh_changed(self, key: Key) -> None:
        changes = self._store.changes(key)
        if self._seen.get(key) == changes:
            return
        self._seen[key] = changes
        try:
            self._refresh_session(key)
        except Exception as error:
            log.exception("a rollout could not be read", extra=about(key, reason=type(error).__name__))
            self._metrics.failures.labels("read").inc()

    def _refresh_session(self, key: Key) -> None:
        body = self._store.body(key)
        state = written_state(body) if body is not None else None
        self._metrics.saw(key, state)
        if state is not None and state.canary:
            self._moving.add(key)
        else:
            self._moving.discard(key)
        spec = measurement_of(body, state) if body is not None and state is not None else None
        if body is None or spec is None:
            self._drop(key)
            return
        uid = body["metadata"]["uid"]
        session = self._sessions.get(key)
        if session is None or session.uid != uid or session.spec.key != spec.key:
            session = self._begin(key, uid, spec)
        pods = (target_of(pod, spec.model) for pod in self._store.pods(key))
        session.targets = of_rollout(spec, (target for target in pods if target is not None))
        session.clusters = self._clusters(key, spec)
        session.spec = session.finalizer.spec = spec
        if session.recorder is not None and session.recorder.start_seconds < spec.opens_seconds:
            session.recorder = None

    def _clusters(self, key: Key, spec: MeasurementSpec) -> Mapping[str, str] | None:
        if not spec.by_gateway or spec.source is MetricsSource.TRITON:
            return None
        route = self._store.children(key).get(ChildId(HTTP_ROUTE.kind, key.name))
        return revisions_by_cluster(route) if route is not None else None

    def _begin(self, key: Key, uid: str, spec: MeasurementSpec) -> CanarySession:
        """Start measuring a step; the verification stays valid."""
        known = self._evidence.get(uid)
        self._drop(key)
        measured = spec.key
        if known is not None and (known.canary, known.attempt) == (measured.canary, measured.attempt):
            self._evidence[uid] = Evidence(
                measured.canary, measured.attempt, measured.step, verification=known.verification
            )
        session = self._sessions[key] = CanarySession(uid, spec, (), None, WindowFinalizer(key, spec))
        return session

    def _drop(self, key: Key) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            session.cancel()
            self._evidence.pop(session.uid, None)

    def _advance_window(self, session: CanarySession, now: float) -> Window | None:
        """Record the newest samples; return the window if it is over."""
        recorder = session.recorder
        if recorder is not None and now < recorder.heard_seconds:
            # The clock went back: durations are unknown.
            recorder = session.recorder = None
        if recorder is None:
            if session.is_due(now):
                self._begin_window(session, now)
            return None
        recorder.record(session.targets, self._scraper.answer, now, self._scraper.refusal)
        # Slightly early is closer than the next tick.
        if not session.is_due(now + GLANCE_SECONDS / 2):
            return None
        window = recorder.window(now)
        session.recorder = None
        session.finalizer.probing = session.spec.probes
        if session.is_due(now):
            self._begin_window(session, now)
        return window

    def _begin_window(self, session: CanarySession, now: float) -> None:
        session.recorder = WindowRecorder(session.spec, now, FRESH_TICKS * self._interval, self._products)
        session.recorder.record(session.targets, self._scraper.answer, now, self._scraper.refusal)

    def _snapshot(self, now: float, over: Collection[Key]) -> asyncio.Task[Snapshot] | None:
        """Read the gateways' counters once for all windows that begin at this tick, or end at it (`over`)."""
        routes = [
            (key.namespace, key.name)
            for key, session in self._sessions.items()
            if session.clusters is not None
            and (key in over or (session.recorder is not None and session.recorder.start_seconds == now))
        ]
        if not routes or not self._prober.knows_gateways:
            return None
        return asyncio.create_task(
            self._prober.gateway_counters(routes, datetime.fromtimestamp(now, UTC)), name="gateways"
        )

    async def _complete(
        self,
        key: Key,
        session: CanarySession,
        window: Window,
        before: asyncio.Task[Snapshot] | None,
        after: asyncio.Task[Snapshot] | None,
    ) -> None:
        pods = session.addresses(session.spec.key.canary)
        try:
            window = await session.finalizer.complete(self._prober, window, pods, session.clusters, before, after)
        except Exception as error:
            log.exception("a window could not be completed", extra=about(key, reason=type(error).__name__))
            self._metrics.failures.labels("window").inc()
            window = replace(window, unreachable=f"the window could not be completed: {type(error).__name__}")
        self._metrics.count_window(window)
        self._publish(key, session, window=window)

    def _verify(self, key: Key, session: CanarySession) -> None:
        """Start a verification, unless all current pods have been verified."""
        there = frozenset(target.uid for target in session.targets if target.revision == session.spec.key.canary)
        busy = session.verifying is not None and not session.verifying.done()
        if not session.spec.verifies or not there or busy:
            return
        if there == session.asked and self._clock() < session.ask_at:
            return
        session.asked, session.ask_at = there, math.inf
        session.verifying = asyncio.create_task(self._ask(key, session), name=f"verification of {key}")

    async def _ask(self, key: Key, session: CanarySession) -> None:
        spec = session.spec
        canary, stable = session.addresses(spec.key.canary), session.addresses(spec.stable)
        try:
            found = await self._prober.verify(key.namespace, spec, canary, next(iter(stable), None))
        except (TimeoutError, TritonfleetError) as error:
            found = _unverified(str(error) or "verification timed out")
        except Exception as error:
            log.exception("a canary could not be verified", extra=about(key, reason=type(error).__name__))
            self._metrics.failures.labels("verification").inc()
            found = _unverified(f"verification failed: {type(error).__name__}")
        if found.outcome is Outcome.ERROR:
            session.ask_at = self._clock() + AGAIN_SECONDS
        self._publish(key, session, verification=found)

    def _publish(
        self,
        key: Key,
        session: CanarySession,
        *,
        window: Window | None = None,
        verification: Verification | None = None,
    ) -> None:
        """Publish new evidence for the reconcile, unless the rollout has moved on."""
        self._refresh_changed(key)
        if self._sessions.get(key) is not session:
            return
        measured = session.spec.key
        known = self._evidence.get(session.uid) or Evidence(measured.canary, measured.attempt, measured.step)
        self._evidence[session.uid] = replace(
            known, window=window or known.window, verification=verification or known.verification
        )
        self._queue.add(key)


def _unverified(why: str) -> Verification:
    check = CheckResult("verification", Outcome.ERROR, Why.UNREACHABLE, shorten(why))
    return Verification(Outcome.ERROR, (check,), 0)
