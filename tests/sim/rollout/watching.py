"""What an operator process sees of a canary by itself; a process that starts again has seen nothing."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from tests.sim.rollout.pool import Pod, Pool
from tests.sim.rollout.reading import state_of
from tests.sim.rollout.traffic import readings
from tritonfleet.api.canary import ContractPolicy
from tritonfleet.plan.rollout import MeasurementKey, MeasurementSpec, measurement_of
from tritonfleet.plan.rollout.analysis import (
    CheckResult,
    CounterReading,
    Evidence,
    Outcome,
    ProbeRun,
    QueryAnswer,
    Verification,
    Why,
    Window,
    count_window,
)
from tritonfleet.plan.world import Manifest

GOLDEN_REQUESTS = 10
"""Sent in every window."""


@dataclass
class Metrics:
    """Whether counters can be read."""

    away: str = ""
    """Why nothing can be read; empty when it can."""
    blind_to_canary: bool = False
    """Whether the canary's pods are not scraped."""
    frozen: bool = False
    """Whether no new window ever ends."""
    mute: bool = False
    """Whether no canary pod can be asked for its contract."""
    answers: tuple[QueryAnswer, ...] = ()
    """What is said to custom queries."""


@dataclass
class Watcher:
    """Reads counters at both ends of every window, and asks canary pods before they get traffic."""

    evidence: Evidence | None = None
    _began: tuple[MeasurementKey, float, dict[str, CounterReading]] | None = field(default=None)

    def look(self, body: Manifest, pool: Pool, metrics: Metrics, now: datetime) -> Evidence | None:
        """Return the newest evidence there is."""
        state = state_of(body)
        watch = measurement_of(body, state) if state is not None else None
        if watch is None:
            self._began = None
            return self.evidence
        key, seen = watch.key, self.evidence
        if seen is None or (seen.canary, seen.attempt, seen.step) != (key.canary, key.attempt, key.step):
            seen = Evidence(key.canary, key.attempt, key.step)
        if watch.verifies and not metrics.mute:
            seen = replace(seen, verification=_verified(watch, *map(pool.serving, (key.canary, watch.stable))))
        if not metrics.frozen and now.timestamp() >= watch.opens_seconds:
            seen = replace(seen, window=self._window(watch, pool, metrics, now) or seen.window)
        self.evidence = seen
        return seen

    def _window(self, watch: MeasurementSpec, pool: Pool, metrics: Metrics, now: datetime) -> Window | None:
        key, at = watch.key, now.timestamp()
        read = readings(pod for pod in pool.pods if not (metrics.blind_to_canary and pod.revision == key.canary))
        if self._began is None or self._began[0] != key or at < self._began[1]:
            self._began = (key, at, read)
            return None
        _, start, before = self._began
        if at - start < watch.interval_seconds:
            return None
        self._began = (key, at, read)
        canary, stable = pool.serving(key.canary), pool.serving(watch.stable)
        probe = _probes(canary) if watch.probes else None
        share = watch.desired_share(len(canary), len(stable))
        if metrics.away:
            return Window(at, desired_share=share, unreachable=metrics.away, probe=probe, probe_expected=watch.probes)
        return Window(
            at,
            count_window(before, read, start, frozenset(f"uid-{pod.name}" for pod in canary)),
            count_window(before, read, start, frozenset(f"uid-{pod.name}" for pod in stable)),
            share,
            probe=probe,
            probe_expected=watch.probes,
            answers=metrics.answers,
        )


def _probes(pods: list[Pod]) -> ProbeRun | None:
    if not pods:
        return None
    wrong = any(pod.behavior.wrong or pod.behavior.rejects for pod in pods)
    return ProbeRun(0, GOLDEN_REQUESTS, "class 3, should be 7") if wrong else ProbeRun(GOLDEN_REQUESTS)


def _verified(watch: MeasurementSpec, pods: list[Pod], stable: list[Pod]) -> Verification | None:
    if not pods:
        return None
    if watch.contract is not ContractPolicy.OFF and not stable:
        unknown = CheckResult("contract", Outcome.ERROR, Why.UNREACHABLE, "stable's contract is unknown")
        return Verification(Outcome.ERROR, (unknown,), len(pods))
    checks = []
    if watch.contract is not ContractPolicy.OFF:
        checks.append(
            _check("contract", bad=any(pod.behavior.breaks_contract for pod in pods), says="input 'x' is gone")
        )
    if watch.golden is not None:
        wrong = any(pod.behavior.wrong or pod.behavior.rejects for pod in pods)
        checks.append(_check("golden-requests", bad=wrong, says="class 3, should be 7"))
    worst = next((each.outcome for each in checks if each.outcome is Outcome.FAILED), Outcome.PASSED)
    return Verification(worst, tuple(checks), len(pods))


def _check(name: str, *, bad: bool, says: str) -> CheckResult:
    if bad:
        return CheckResult(name, Outcome.FAILED, Why.BAD_ANSWER, says)
    return CheckResult(name, Outcome.PASSED, Why.NOT_WORSE, "as expected")
