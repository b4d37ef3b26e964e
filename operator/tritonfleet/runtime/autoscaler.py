"""Run `plan.autoscale.decide()` for each ModelDeployment with an SLO, every few seconds.

Each tick scrapes all pods at once, decides with the samples that arrived in time, and stores the verdict.
`ScalingTarget` is the state of one ModelDeployment between ticks: it is derived from objects only when they change, and
holds the memory that a decision leaves for the next. Latency comes from `latency_sources.py`. Nothing is written here;
a key with a new verdict goes into the work queue.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from tritonfleet.adapters.pods import PodScraper, Target, target_of
from tritonfleet.adapters.store import Key, Store
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.slo import Metrics, MetricsSource
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan import scaling
from tritonfleet.plan.autoscale import (
    LATENCY_FRESH_SECONDS,
    History,
    LatencyReading,
    Memory,
    Observation,
    Policy,
    Verdict,
    decide,
)
from tritonfleet.plan.world import Observed
from tritonfleet.runtime.controller import Observer
from tritonfleet.runtime.latency_sources import Gateway, Responses
from tritonfleet.runtime.telemetry import ScalingMetrics, about
from tritonfleet.runtime.workqueue import WorkQueue

log = logging.getLogger(__name__)

SCRAPE_SHARE = 0.7
"""Share of the tick interval to wait for samples."""
REFRESH_LIMIT_SECONDS = 1.0
"""Time limit for reading changed objects: counting GPUs is slow in big clusters. Without it, the last ones are used."""
REFRESH_SECONDS = 60.0
"""How often verdicts with new numbers alone are published to the status."""
DECISIONS_AT_ONCE = 20
"""Decisions in a row before yielding to the event loop: a few milliseconds."""
PASTS_AT_ONCE = 2
"""Histories of a day learned per tick: each takes about 0.1 s of a thread, and a new process may have a thousand."""
UNREAD = -1
"""A version that the store never uses."""


@dataclass(slots=True)
class ScalingTarget:
    """One ModelDeployment's inputs, derived from its objects when they change, and the autoscaler's memory of it."""

    uid: str
    deployment: ModelDeployment
    policy: Policy
    observation: Observation
    """Without samples, latency and history."""
    targets: tuple[Target, ...]
    waits: bool
    """Whether pods are pending: then the count of free GPUs can change without a change of its objects."""
    memory: Memory
    wants_past: bool
    """Whether it has no memory yet, so that past rates are to be learned."""
    responses: Responses = field(default_factory=Responses)

    def policy_at(self, now: datetime) -> Policy:
        """Return the policy with the limits in force, which change with time."""
        allowed = scaling.limits_of(self.deployment, now)
        if (allowed.lowest, allowed.highest) == (self.policy.min_replicas, self.policy.max_replicas):
            return self.policy
        return replace(self.policy, min_replicas=allowed.lowest, max_replicas=allowed.highest)


def scaling_target_of(observed: Observed, known: ScalingTarget | None, now: datetime) -> ScalingTarget | None:
    """Derive it, with its previous memory or the one in the status; None if it has no SLO.

    Raises InvalidSpec if it was never readable; otherwise the last readable spec stays in force.
    """
    uid = observed.body["metadata"]["uid"]
    same = known if known is not None and known.uid == uid else None
    try:
        deployment = ModelDeployment.parse(observed.body)
        if not scaling.has_slo(deployment):
            return None
        policy = scaling.autoscaling_policy(deployment, now, scaling.loaded_model(observed.body))
    except InvalidSpec:
        if same is None:
            raise
        deployment, policy = same.deployment, same.policy
    document = scaling.remembered(observed.body)
    fresh = ScalingTarget(
        uid=uid,
        deployment=deployment,
        policy=policy,
        # Always read pods again: with outdated ones the autoscaler would miss traffic.
        observation=scaling.observation(observed),
        targets=tuple(target for pod in observed.pods if (target := target_of(pod, deployment.model_name)) is not None),
        waits=observed.gpus is not None,
        memory=same.memory if same is not None else Memory.restore(document, now.timestamp()),
        wants_past=same.wants_past if same is not None else not document,
    )
    if same is not None:
        fresh.responses = same.responses
    return fresh


class Autoscaler:
    """Keeps a verdict for each ModelDeployment with an SLO in `verdicts`, by UID, for the reconcile.

    A verdict is replaced only when the decision changes, and once a minute: the source of the status must
    be stable between reconciles. `unread` has, by UID too, why the metrics of a pod are not read.
    """

    def __init__(
        self,
        store: Store,
        queue: WorkQueue[Key],
        observer: Observer,
        scraper: PodScraper,
        gateway: Gateway | None,
        metrics: ScalingMetrics,
        verdicts: dict[str, Verdict],
        *,
        unread: dict[str, str] | None = None,
        interval_seconds: float,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._queue = queue
        self._observer = observer
        self._scraper = scraper
        self._gateway = gateway
        self._metrics = metrics
        self._verdicts = verdicts
        self._unread = unread if unread is not None else {}
        self._interval = interval_seconds
        self._now = now
        self._clock = asyncio.get_running_loop().time
        self._targets: dict[Key, ScalingTarget] = {}
        self._seen: dict[Key, int] = {}
        self._shown: dict[str, float] = {}
        self._pasts_left = 0
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshes: dict[Key, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Tick until canceled; ticks that a slow one overlaps are skipped."""
        try:
            due = self._clock()
            while True:
                await self._timed_tick()
                due += self._interval
                missed = max(0, int((self._clock() - due) // self._interval) + 1)
                if missed:
                    self._metrics.missed_ticks.inc(missed)
                    due += missed * self._interval
                await asyncio.sleep(due - self._clock())
        finally:
            for task in (self._refreshing, *self._refreshes.values()):
                if task is not None:
                    task.cancel()
            await self._scraper.close()

    async def tick(self) -> None:
        """Scrape every pod and decide once for every ModelDeployment."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh_targets())
        await asyncio.wait({self._refreshing}, timeout=REFRESH_LIMIT_SECONDS)
        targets = [pod for target in self._targets.values() for pod in target.targets]
        self._scraper.keep(targets)
        await self._scraper.scrape(targets, self._interval * SCRAPE_SHARE)
        self._pasts_left = PASTS_AT_ONCE
        for number, key in enumerate(list(self._targets)):
            if number % DECISIONS_AT_ONCE == 0:
                await asyncio.sleep(0)
            history = self._history(key)
            if history is None:
                self._decide(key)
            else:
                await self._learn(key, history)

    async def _timed_tick(self) -> None:
        started = self._clock()
        try:
            await self.tick()
        except Exception as error:
            # Keep ticking: the next tick may succeed.
            log.exception("a tick failed", extra={"reason": type(error).__name__})
            self._metrics.failures.labels("tick").inc()
        self._metrics.tick_seconds.observe(self._clock() - started)

    async def _refresh_targets(self) -> None:
        """Refresh changed targets concurrently and drop deleted ones; only counting GPUs is slow.

        A decision with outdated pods would miss traffic.
        """
        known = self._store.known()
        for key in self._seen.keys() - set(known):
            self._forget(key)
        for key in known:
            target = self._targets.get(key)
            changed = self._seen.get(key) != self._store.changes(key) or (target is not None and target.waits)
            if changed and key not in self._refreshes:
                self._refreshes[key] = asyncio.create_task(self._refresh_target(key, target))
                self._refreshes[key].add_done_callback(partial(self._refreshes.pop, key))
                await asyncio.sleep(0)
        if self._refreshes:
            await asyncio.wait(self._refreshes.values(), timeout=REFRESH_LIMIT_SECONDS)

    async def _refresh_target(self, key: Key, known: ScalingTarget | None) -> None:
        self._seen[key] = self._store.changes(key)
        try:
            target = await self._refreshed(key, known)
        except InvalidSpec:
            # The reconcile reports it in the status.
            target = None
        except Exception as error:
            # Retry at the next tick even without a change.
            self._seen[key] = UNREAD
            self._metrics.failures.labels("read").inc()
            log.exception("a ModelDeployment could not be read", extra=about(key, reason=type(error).__name__))
            return
        if target is None or (known is not None and known.uid != target.uid):
            self._drop(key)
        if target is not None:
            self._targets[key] = target

    async def _refreshed(self, key: Key, known: ScalingTarget | None) -> ScalingTarget | None:
        body = self._store.body(key)
        if body is None or "slo" not in body.get("spec", {}):
            # Most changes are of pods, which only matter with an SLO.
            return None
        observed = await self._observer.observe(key)
        return scaling_target_of(observed, known, self._now()) if observed is not None else None

    def _decide(self, key: Key) -> None:
        target = self._targets.get(key)
        if target is None:
            return
        try:
            verdict = self._decision(key, target)()
        except Exception as error:  # noqa: BLE001
            self._failed(key, error)
        else:
            self._conclude(key, target, verdict)

    async def _learn(self, key: Key, history: History) -> None:
        """Decide in a thread: learning from a day of rates would hold up everything else on the event loop."""
        target = self._targets[key]
        try:
            verdict = await asyncio.to_thread(self._decision(key, target, history))
        except Exception as error:  # noqa: BLE001
            self._failed(key, error)
            return
        # The target may have been refreshed in the meantime.
        latest = self._targets.get(key)
        if latest is not None and latest.uid == target.uid:
            self._conclude(key, latest, verdict)

    def _decision(self, key: Key, target: ScalingTarget, history: History | None = None) -> Callable[[], Verdict]:
        """Return what decides, from a snapshot of everything that it depends on."""
        now = self._now()
        policy = target.policy_at(now)
        observation = self._observation(key, target, policy, now)
        if history is not None:
            observation = replace(observation, history=history)
        return partial(decide, policy, target.memory, observation, now.timestamp())

    def _failed(self, key: Key, error: Exception) -> None:
        log.error("the autoscaler failed", exc_info=error, extra=about(key, reason=type(error).__name__))
        self._metrics.failures.labels("decide").inc()
        # Its replicas stay, but the last verdict is no longer marked as fresh.
        self._metrics.verdicts.pop(key, None)

    def _conclude(self, key: Key, target: ScalingTarget, verdict: Verdict) -> None:
        target.memory = verdict.memory
        self._metrics.verdicts[key] = verdict
        self._show_unread(key, target)
        self._show(key, target.uid, verdict)

    def _observation(self, key: Key, target: ScalingTarget, policy: Policy, now: datetime) -> Observation:
        answers = [answer for pod in target.targets if (answer := self._scraper.answer(pod.uid)) is not None]
        target.responses.record(answers)
        return replace(
            target.observation,
            samples=tuple(answer.sample for answer in answers),
            latency=self._latency(key, target, policy, now),
        )

    def _history(self, key: Key) -> History | None:
        """Return the past rates of one that has not learned them yet, as long as this tick may learn more."""
        target = self._targets.get(key)
        if self._gateway is None or self._pasts_left <= 0 or target is None or not target.wants_past:
            return None
        history = self._gateway.history(key, target.deployment.model_name)
        if history is not None:
            target.wants_past = False
            self._pasts_left -= 1
        return history

    def _latency(self, key: Key, target: ScalingTarget, policy: Policy, now: datetime) -> LatencyReading | None:
        """Return the best reading: the gateway's, which includes the network and rejected requests, or Triton's."""
        wanted = (target.deployment.spec.metrics or Metrics()).source
        if self._gateway is not None and wanted is not MetricsSource.TRITON:
            reading = self._gateway.reading(key, policy)
            # Else Triton's own is taken.
            if reading is not None and now.timestamp() - reading.at_seconds <= LATENCY_FRESH_SECONDS:
                return reading
        return target.responses.reading(policy) if wanted is not MetricsSource.GATEWAY else None

    def _show(self, key: Key, uid: str, verdict: Verdict) -> None:
        """Publish a verdict for the reconcile, if due."""
        shown = self._verdicts.get(uid)
        same = shown is not None and (shown.replicas, shown.reason) == (verdict.replicas, verdict.reason)
        if same and self._clock() - self._shown[uid] < REFRESH_SECONDS:
            return
        self._verdicts[uid] = verdict
        self._shown[uid] = self._clock()
        if shown is None or _news(shown) != _news(verdict):
            self._queue.add(key)

    def _show_unread(self, key: Key, target: ScalingTarget) -> None:
        """Tell the reconcile of a pod whose metrics are beyond the limits, and that they no longer are."""
        why = next((text for pod in target.targets if (text := self._scraper.refusal(pod.uid))), "")
        before = self._unread.pop(target.uid, "")
        if why:
            self._unread[target.uid] = why
        if why != before:
            self._queue.add(key)

    def _drop(self, key: Key) -> None:
        target = self._targets.pop(key, None)
        if target is not None:
            self._unread.pop(target.uid, None)
            self._verdicts.pop(target.uid, None)
            self._shown.pop(target.uid, None)
        self._metrics.verdicts.pop(key, None)

    def _forget(self, key: Key) -> None:
        self._drop(key)
        del self._seen[key]


def _news(verdict: Verdict) -> Verdict:
    """Strip what changes without a decision."""
    return replace(verdict, memory=Memory(), metrics_age_seconds=None)
