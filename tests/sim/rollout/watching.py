"""What an operator process sees of a canary by itself; a process that starts again has seen nothing."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from tests.sim.rollout.pool import Pod, Pool
from tests.sim.rollout.traffic import readings
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.plan.rollout.analysis.counts import Reading, count
from tritonfleet.plan.rollout.analysis.outcome import CheckResult, Outcome, Why
from tritonfleet.plan.rollout.analysis.window import ProbeRun, Window
from tritonfleet.plan.rollout.evidence import Evidence, Verification
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.state import State

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


@dataclass
class Watcher:
    """Reads counters at both ends of every window, and asks canary pods before they get traffic."""

    golden: bool = True
    evidence: Evidence | None = None
    _began: tuple[object, float, dict[str, Reading]] | None = field(default=None)

    def look(self, state: State | None, pool: Pool, metrics: Metrics, now: datetime) -> Evidence | None:
        """Return the newest evidence there is."""
        if state is None or not state.canary:
            self.evidence = self._began = None
            return None
        if state.phase is Phase.VERIFYING:
            fresh = Evidence(state.canary, state.attempt, state.step)
            self.evidence = replace(fresh, verification=self._verified(pool.serving(state.canary)))
        elif not metrics.frozen and state.phase in (Phase.ANALYZING, Phase.AWAITING_APPROVAL, Phase.HELD):
            self._window(state, pool, metrics, now)
        return self.evidence

    def _window(self, state: State, pool: Pool, metrics: Metrics, now: datetime) -> None:
        key, at = (state.canary, state.attempt, state.step, state.applied_weight), now.timestamp()
        read = readings(pod for pod in pool.pods if not (metrics.blind_to_canary and pod.revision == state.canary))
        if self._began is None or self._began[0] != key:
            self._began = (key, at, read)
        _, start, before = self._began
        if at - start < duration_seconds(state.plan.get("analysis", {}).get("interval", "60s")):
            return
        expected = {
            revision: frozenset(f"uid-{pod.name}" for pod in pool.serving(revision))
            for revision in (state.canary, state.stable)
        }
        window = Window(
            at,
            count(before, read, start, expected[state.canary]),
            count(before, read, start, expected[state.stable]),
            state.applied_weight / 100,
            probe=self._probes(pool.serving(state.canary)),
            probe_expected=self.golden,
        )
        if metrics.away:
            window = Window(
                at, unreachable=metrics.away, probe_expected=self.golden, desired_share=window.desired_share
            )
        self.evidence = Evidence(state.canary, state.attempt, state.step, window)
        self._began = (key, at, read)

    def _probes(self, pods: list[Pod]) -> ProbeRun | None:
        if not self.golden or not pods:
            return None
        wrong = any(pod.behavior.wrong or pod.behavior.rejects for pod in pods)
        return ProbeRun(0, GOLDEN_REQUESTS, "class 3, should be 7") if wrong else ProbeRun(GOLDEN_REQUESTS)

    def _verified(self, pods: list[Pod]) -> Verification | None:
        if not pods:
            return None
        checks = [_check("contract", bad=any(pod.behavior.breaks_contract for pod in pods), says="input 'x' is gone")]
        if self.golden:
            checks.append(_check("golden", bad=any(pod.behavior.wrong for pod in pods), says="class 3, should be 7"))
        worst = next((each.outcome for each in checks if each.outcome is Outcome.FAILED), Outcome.PASSED)
        return Verification(worst, tuple(checks), len(pods))


def _check(name: str, *, bad: bool, says: str) -> CheckResult:
    if bad:
        return CheckResult(name, Outcome.FAILED, Why.BAD_ANSWER, says)
    return CheckResult(name, Outcome.PASSED, Why.NOT_WORSE, "as expected")
