"""Run `plan.autoscale.decide()` for each ModelDeployment with an SLO, every few seconds.

Each tick scrapes all pods at once, decides with what came in time, and keeps the verdict where the reconcile finds it.
`ScalingTarget` is one ModelDeployment between two ticks: it is derived from its objects only when they change, and
holds the memory that a decision leaves for the next. Latency comes from `latency_sources.py`. Nothing is written here;
a key whose verdict says something new goes into the work queue.
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

PATIENCE = 0.7
"""Of the interval between ticks that pods are waited for; what is missing then is decided without."""
LOOK_SECONDS = 1.0
"""Counting free GPUs takes long in a big cluster; whose objects have not been read by then is decided on as before."""
REFRESH_SECONDS = 60.0
"""The status shows numbers that are at most this old, and is not written more often for their sake."""
DECISIONS_AT_ONCE = 20
"""Decisions in a row before the event loop may turn to something else: a few milliseconds."""
PASTS_AT_ONCE = 5
"""Of two weeks' rates, in one tick: to learn one takes about 40 ms, and a new process may have to learn a thousand."""
UNREAD = -1
"""No number that the store ever gives to a change."""


@dataclass(slots=True)
class ScalingTarget:
    """What is derived from its objects, anew only when they change, and what the autoscaler remembers of it."""

    uid: str
    deployment: ModelDeployment
    policy: Policy
    observation: Observation
    """Without samples, latency and history."""
    targets: tuple[Target, ...]
    waits: bool
    """Whether pods wait for a node: then the count of free GPUs changes though no object of ours does."""
    memory: Memory
    wants_past: bool
    """Whether it has no memory of its own yet, so that the rates of past days are news to it."""
    responses: Responses = field(default_factory=Responses)

    def policy_at(self, now: datetime) -> Policy:
        """Return the policy with the limits of this moment, the only part that time alone changes."""
        allowed = scaling.limits_of(self.deployment, now)
        if (allowed.lowest, allowed.highest) == (self.policy.min_replicas, self.policy.max_replicas):
            return self.policy
        return replace(self.policy, min_replicas=allowed.lowest, max_replicas=allowed.highest)


def scaling_target_of(observed: Observed, known: ScalingTarget | None, now: datetime) -> ScalingTarget | None:
    """Derive it, with the memory it had or else the one in its status; None if it has no SLO.

    Raises InvalidSpec if it cannot be read and never could; later on what it asked for before stays in force.
    """
    uid = observed.body["metadata"]["uid"]
    same = known if known is not None and known.uid == uid else None
    try:
        deployment = ModelDeployment.parse(observed.body)
        if not scaling.has_slo(deployment):
            return None
        policy = scaling.autoscaling_policy(deployment, now)
    except InvalidSpec:
        if same is None:
            raise
        deployment, policy = same.deployment, same.policy
    document = scaling.remembered(observed.body)
    fresh = ScalingTarget(
        uid=uid,
        deployment=deployment,
        policy=policy,
        # The pods are always read again: with outdated ones the autoscaler would count half a fleet.
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
    """Keeps one verdict for each ModelDeployment with an SLO in `verdicts`, by UID, where the reconcile finds it.

    A verdict there changes only when it says something new, and once a minute: what the status is written from must
    not move between two reconciles.
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
        self._interval = interval_seconds
        self._now = now
        self._clock = asyncio.get_running_loop().time
        self._subjects: dict[Key, ScalingTarget] = {}
        self._seen: dict[Key, int] = {}
        self._shown: dict[str, float] = {}
        self._pasts_left = 0
        self._looking: asyncio.Task[None] | None = None
        self._looks: dict[Key, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Tick until cancelled; a tick that takes too long makes those that it overlaps fall out."""
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
            for look in (self._looking, *self._looks.values()):
                if look is not None:
                    look.cancel()
            await self._scraper.close()

    async def tick(self) -> None:
        """Ask every pod and decide once for everybody."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await asyncio.wait({self._looking}, timeout=LOOK_SECONDS)
        targets = [target for subject in self._subjects.values() for target in subject.targets]
        self._scraper.keep(targets)
        await self._scraper.scrape(targets, self._interval * PATIENCE)
        self._pasts_left = PASTS_AT_ONCE
        for number, key in enumerate(list(self._subjects)):
            if number % DECISIONS_AT_ONCE == 0:
                await asyncio.sleep(0)
            self._decide(key)

    async def _timed_tick(self) -> None:
        started = self._clock()
        try:
            await self.tick()
        except Exception as error:
            # The next tick may do better; without any, nobody would ever be told that replicas stand still.
            log.exception("a tick failed", extra={"reason": type(error).__name__})
            self._metrics.failures.labels("tick").inc()
        self._metrics.tick_seconds.observe(self._clock() - started)

    async def _look(self) -> None:
        """Derive anew whatever has changed, and forget whatever is gone; only a count of GPUs takes more than a moment.

        Nobody waits for another's: whoever is decided on with the pods of a while ago sees half of its traffic.
        """
        known = self._store.known()
        for key in self._seen.keys() - set(known):
            self._forget(key)
        for key in known:
            subject = self._subjects.get(key)
            changed = self._seen.get(key) != self._store.changes(key) or (subject is not None and subject.waits)
            if changed and key not in self._looks:
                self._looks[key] = asyncio.create_task(self._look_at(key, subject))
                self._looks[key].add_done_callback(partial(self._looks.pop, key))
                await asyncio.sleep(0)
        if self._looks:
            await asyncio.wait(self._looks.values(), timeout=LOOK_SECONDS)

    async def _look_at(self, key: Key, known: ScalingTarget | None) -> None:
        self._seen[key] = self._store.changes(key)
        try:
            subject = await self._subject(key, known)
        except InvalidSpec:
            # The reconcile says so in the status.
            subject = None
        except Exception as error:
            # The next tick tries again, though nothing may have changed by then.
            self._seen[key] = UNREAD
            self._metrics.failures.labels("read").inc()
            log.exception("a ModelDeployment could not be read", extra=about(key, reason=type(error).__name__))
            return
        if subject is None or (known is not None and known.uid != subject.uid):
            self._drop(key)
        if subject is not None:
            self._subjects[key] = subject

    async def _subject(self, key: Key, known: ScalingTarget | None) -> ScalingTarget | None:
        body = self._store.body(key)
        if body is None or "slo" not in body.get("spec", {}):
            # Most changes are of pods; where they concern nobody here, they need not be read.
            return None
        observed = await self._observer.observe(key)
        return scaling_target_of(observed, known, self._now()) if observed is not None else None

    def _decide(self, key: Key) -> None:
        subject = self._subjects.get(key)
        if subject is None:
            return
        now = self._now()
        try:
            policy = subject.policy_at(now)
            verdict = decide(policy, subject.memory, self._observation(key, subject, policy, now), now.timestamp())
        except Exception as error:
            log.exception("the autoscaler failed", extra=about(key, reason=type(error).__name__))
            self._metrics.failures.labels("decide").inc()
            # Its replicas stay; that the decision which they come from is fresh must not be told any longer.
            self._metrics.verdicts.pop(key, None)
            return
        subject.memory = verdict.memory
        self._metrics.verdicts[key] = verdict
        self._show(key, subject.uid, verdict)

    def _observation(self, key: Key, subject: ScalingTarget, policy: Policy, now: datetime) -> Observation:
        answers = [answer for target in subject.targets if (answer := self._scraper.answer(target.uid)) is not None]
        subject.responses.hear(answers)
        return replace(
            subject.observation,
            samples=tuple(answer.sample for answer in answers),
            latency=self._latency(key, subject, policy, now),
            history=self._history(key, subject),
        )

    def _history(self, key: Key, subject: ScalingTarget) -> History | None:
        if self._gateway is None or not subject.wants_past or self._pasts_left <= 0:
            return None
        history = self._gateway.history(key, subject.deployment.model_name)
        if history is not None:
            subject.wants_past = False
            self._pasts_left -= 1
        return history

    def _latency(self, key: Key, subject: ScalingTarget, policy: Policy, now: datetime) -> LatencyReading | None:
        """Return the best reading there is: the gateway's includes the network and what was rejected."""
        wanted = (subject.deployment.spec.metrics or Metrics()).source
        if self._gateway is not None and wanted is not MetricsSource.TRITON:
            reading = self._gateway.reading(key, policy)
            # Else Triton's own is taken.
            if reading is not None and now.timestamp() - reading.at_seconds <= LATENCY_FRESH_SECONDS:
                return reading
        return subject.responses.reading(policy) if wanted is not MetricsSource.GATEWAY else None

    def _show(self, key: Key, uid: str, verdict: Verdict) -> None:
        """Let the reconcile see a verdict, if it is time to."""
        shown = self._verdicts.get(uid)
        same = shown is not None and (shown.replicas, shown.reason) == (verdict.replicas, verdict.reason)
        if same and self._clock() - self._shown[uid] < REFRESH_SECONDS:
            return
        self._verdicts[uid] = verdict
        self._shown[uid] = self._clock()
        if shown is None or _news(shown) != _news(verdict):
            self._queue.add(key)

    def _drop(self, key: Key) -> None:
        subject = self._subjects.pop(key, None)
        if subject is not None:
            self._verdicts.pop(subject.uid, None)
            self._shown.pop(subject.uid, None)
        self._metrics.verdicts.pop(key, None)

    def _forget(self, key: Key) -> None:
        self._drop(key)
        del self._seen[key]


def _news(verdict: Verdict) -> Verdict:
    """Leave out what moves though nothing happens."""
    return replace(verdict, memory=Memory(), metrics_age_seconds=None)
