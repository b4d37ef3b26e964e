"""Looks at every rollout: scrapes both revisions' pods, closes windows, and lets the reconcile see the evidence."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from tritonfleet.adapters.pods import PodScraper, target_of
from tritonfleet.adapters.store import Key, Store
from tritonfleet.api.metrics import MetricsSource
from tritonfleet.api.resources import HTTP_ROUTE
from tritonfleet.errors import TritonfleetError
from tritonfleet.plan.rollout.analysis.outcome import CheckResult, Outcome, Why
from tritonfleet.plan.rollout.analysis.text import sentence
from tritonfleet.plan.rollout.analysis.window import Window
from tritonfleet.plan.rollout.evidence import Evidence, Verification
from tritonfleet.plan.rollout.gateways import revision_of
from tritonfleet.plan.rollout.steering import written_state
from tritonfleet.plan.rollout.watch import Watch, watch_of
from tritonfleet.plan.world import ChildId
from tritonfleet.runtime.case import Case
from tritonfleet.runtime.closing import Closing, Snapshot
from tritonfleet.runtime.inquiry import Inquiry
from tritonfleet.runtime.logs import about
from tritonfleet.runtime.recording import Recording, of_rollout
from tritonfleet.runtime.rollout_metrics import RolloutMetrics
from tritonfleet.runtime.workqueue import WorkQueue

log = logging.getLogger(__name__)

PATIENCE: Final = 0.6
"""Of the interval between ticks that pods are waited for."""
FRESH_TICKS: Final = 2.5
"""A pod that has not answered for so many ticks is missing."""
GLANCE_SECONDS: Final = 0.5
"""Between two ticks: windows begin and end within this of when they should, and bound a canary's exposure."""
PAUSE_SECONDS: Final = 0.1
"""After a tick that took too long, before the next."""
AGAIN_SECONDS: Final = 10.0
"""After which a canary that could not be asked everything is asked again."""


class Rollouts:
    """Keeps evidence of each rollout in `evidence`, by UID, where the reconcile finds it."""

    def __init__(
        self,
        store: Store,
        queue: WorkQueue[Key],
        scraper: PodScraper,
        inquiry: Inquiry,
        metrics: RolloutMetrics,
        evidence: dict[str, Evidence],
        *,
        interval_seconds: float,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._queue = queue
        self._scraper = scraper
        self._inquiry = inquiry
        self._metrics = metrics
        self._evidence = evidence
        self._interval = interval_seconds
        self._now = now
        self._clock = asyncio.get_running_loop().time
        self._cases: dict[Key, Case] = {}
        self._seen: dict[Key, int] = {}
        self._moving: set[Key] = set()

    async def run(self) -> None:
        """Tick until cancelled."""
        try:
            while True:
                started = self._clock()
                if await self._succeeds(self.tick):
                    self._metrics.beat(self._now())
                due = max(started + self._interval, self._clock() + PAUSE_SECONDS)
                while (left := due - self._clock()) > 0:
                    await asyncio.sleep(min(left, GLANCE_SECONDS))
                    await self._succeeds(self.glance)
        finally:
            for case in self._cases.values():
                case.cancel()
            self._inquiry.close()
            await self._scraper.close()

    async def tick(self) -> None:
        """Ask the pods of every rollout, close the windows that are over, and verify whoever waits for it."""
        self._look()
        self._scraper.keep(target for case in self._cases.values() for target in case.targets)
        await self._attend(self._cases)

    async def glance(self) -> None:
        """Do the same for those whose window is to begin or to end by now, and for those that have just come so far."""
        for key in tuple(self._moving):
            self._look_again(key)
        soon = self._now().timestamp() + GLANCE_SECONDS / 2
        await self._attend([key for key, case in self._cases.items() if case.is_due(soon)])

    async def _succeeds(self, look: Callable[[], Awaitable[None]]) -> bool:
        try:
            await look()
        except Exception as error:
            # The next tick may do better; the heartbeat, which alerts watch, stands still meanwhile.
            log.exception("a look at the rollouts failed", extra={"reason": type(error).__name__})
            self._metrics.failures.labels("tick").inc()
            return False
        return True

    async def _attend(self, keys: Collection[Key]) -> None:
        targets = [target for key in keys for target in self._cases[key].targets]
        if targets:
            await self._scraper.scrape(targets, self._interval * PATIENCE)
        now = self._now().timestamp()
        there = [(key, self._cases[key]) for key in keys if key in self._cases]
        over = [(key, each, window) for key, each in there if (window := self._hear(each, now))]
        after = self._snapshot(now)
        for key, case, window in over:
            task = self._complete(key, case, window, case.before, after)
            case.completing = asyncio.create_task(task, name=f"window of {key}")
        for case in self._cases.values():
            if case.recording is not None and case.recording.start_seconds == now:
                case.before = after
        for key, case in self._cases.items():
            self._verify(key, case)

    async def settled(self) -> None:
        """Wait until nothing is being asked any more."""
        cases = self._cases.values()
        tasks = [task for each in cases for task in (each.before, each.completing, each.verifying) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _look(self) -> None:
        """Derive anew what has changed, and forget what is gone."""
        known = self._store.known()
        for key in self._seen.keys() - set(known):
            del self._seen[key]
            self._metrics.forget(key)
            self._moving.discard(key)
            self._drop(key)
        for key in known:
            self._look_again(key)

    def _look_again(self, key: Key) -> None:
        changes = self._store.changes(key)
        if self._seen.get(key) == changes:
            return
        self._seen[key] = changes
        try:
            self._look_at(key)
        except Exception as error:
            log.exception("a rollout could not be read", extra=about(key, reason=type(error).__name__))
            self._metrics.failures.labels("read").inc()

    def _look_at(self, key: Key) -> None:
        body = self._store.body(key)
        state = written_state(body) if body is not None else None
        self._metrics.saw(key, state)
        if state is not None and state.canary:
            self._moving.add(key)
        else:
            self._moving.discard(key)
        watch = watch_of(body, state) if body is not None and state is not None else None
        if body is None or watch is None:
            self._drop(key)
            return
        uid = body["metadata"]["uid"]
        case = self._cases.get(key)
        if case is None or case.uid != uid or case.watch.segment != watch.segment:
            case = self._begin(key, uid, watch)
        pods = (target_of(pod, watch.model) for pod in self._store.pods(key))
        case.targets = of_rollout(watch, (target for target in pods if target is not None))
        case.clusters = self._clusters(key, watch)
        case.watch = case.closing.watch = watch
        if case.recording is not None and case.recording.start_seconds < watch.opens_seconds:
            case.recording = None

    def _clusters(self, key: Key, watch: Watch) -> Mapping[str, str] | None:
        if not watch.by_gateway or watch.source is MetricsSource.TRITON:
            return None
        route = self._store.children(key).get(ChildId(HTTP_ROUTE.kind, key.name))
        return revision_of(route) if route is not None else None

    def _begin(self, key: Key, uid: str, watch: Watch) -> Case:
        """Begin a segment; what the canary said before traffic stays true in the next."""
        known = self._evidence.get(uid)
        self._drop(key)
        segment = watch.segment
        if known is not None and (known.canary, known.attempt) == (segment.canary, segment.attempt):
            self._evidence[uid] = Evidence(
                segment.canary, segment.attempt, segment.step, verification=known.verification
            )
        case = self._cases[key] = Case(uid, watch, (), None, Closing(key, watch))
        return case

    def _drop(self, key: Key) -> None:
        case = self._cases.pop(key, None)
        if case is not None:
            case.cancel()
            self._evidence.pop(case.uid, None)

    def _hear(self, case: Case, now: float) -> Window | None:
        """Let the recording hear the newest answers; return its window if that is over."""
        recording = case.recording
        if recording is not None and now < recording.heard_seconds:
            # The clock went back: how long anything took is not known.
            recording = case.recording = None
        if recording is None:
            if case.is_due(now):
                self._record(case, now)
            return None
        recording.hear(case.targets, self._scraper.answer, now)
        # A little early is nearer than the next time would be.
        if not case.is_due(now + GLANCE_SECONDS / 2):
            return None
        window = recording.window(now)
        self._record(case, now)
        return window

    def _record(self, case: Case, now: float) -> None:
        case.recording = Recording(case.watch, now, FRESH_TICKS * self._interval)
        case.recording.hear(case.targets, self._scraper.answer, now)

    def _snapshot(self, now: float) -> asyncio.Task[Snapshot] | None:
        """Ask what gateways have counted by now, once for all windows that begin or end at this tick."""
        routes = [
            (key.namespace, key.name)
            for key, case in self._cases.items()
            if case.recording is not None and case.recording.start_seconds == now and case.clusters is not None
        ]
        if not routes or not self._inquiry.knows_gateways:
            return None
        return asyncio.create_task(self._inquiry.edges(routes, datetime.fromtimestamp(now, UTC)), name="gateways")

    async def _complete(
        self,
        key: Key,
        case: Case,
        window: Window,
        before: asyncio.Task[Snapshot] | None,
        after: asyncio.Task[Snapshot] | None,
    ) -> None:
        pods = case.addresses(case.watch.segment.canary)
        try:
            window = await case.closing.complete(self._inquiry, window, pods, case.clusters, before, after)
        except Exception as error:
            log.exception("a window could not be completed", extra=about(key, reason=type(error).__name__))
            self._metrics.failures.labels("window").inc()
            window = replace(window, unreachable=f"the window could not be completed: {type(error).__name__}")
        self._metrics.looked(window)
        self._tell(key, case, window=window)

    def _verify(self, key: Key, case: Case) -> None:
        """Begin to ask the canary, unless the pods that are there have all been asked."""
        there = frozenset(target.uid for target in case.targets if target.revision == case.watch.segment.canary)
        busy = case.verifying is not None and not case.verifying.done()
        if not case.watch.verifies or not there or busy:
            return
        if there == case.asked and self._clock() < case.ask_at:
            return
        case.asked, case.ask_at = there, math.inf
        case.verifying = asyncio.create_task(self._ask(key, case), name=f"verification of {key}")

    async def _ask(self, key: Key, case: Case) -> None:
        watch = case.watch
        canary, stable = case.addresses(watch.segment.canary), case.addresses(watch.stable)
        try:
            found = await self._inquiry.verify(key.namespace, watch, canary, next(iter(stable), None))
        except (TimeoutError, TritonfleetError) as error:
            found = _unverified(str(error) or "the canary did not answer in time")
        except Exception as error:
            log.exception("a canary could not be verified", extra=about(key, reason=type(error).__name__))
            self._metrics.failures.labels("verification").inc()
            found = _unverified(f"the canary could not be asked: {type(error).__name__}")
        if found.outcome is Outcome.ERROR:
            case.ask_at = self._clock() + AGAIN_SECONDS
        self._tell(key, case, verification=found)

    def _tell(
        self, key: Key, case: Case, *, window: Window | None = None, verification: Verification | None = None
    ) -> None:
        """Let the reconcile see what is new, unless the rollout has gone on meanwhile."""
        self._look_again(key)
        if self._cases.get(key) is not case:
            return
        segment = case.watch.segment
        known = self._evidence.get(case.uid) or Evidence(segment.canary, segment.attempt, segment.step)
        self._evidence[case.uid] = replace(
            known, window=window or known.window, verification=verification or known.verification
        )
        self._queue.add(key)


def _unverified(why: str) -> Verification:
    check = CheckResult("verification", Outcome.ERROR, Why.UNREACHABLE, sentence(why))
    return Verification(Outcome.ERROR, (check,), 0)
