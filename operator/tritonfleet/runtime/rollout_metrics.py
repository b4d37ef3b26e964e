"""What the operator's metrics say of rollouts: where each of them is, what happened to it, and that somebody looks."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tritonfleet.adapters.store import Key
from tritonfleet.plan.rollout.analysis.window import Window
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.state import EPOCH, State

_LABELS: Final = ("namespace", "modeldeployment")


class _States(Collector):
    """Turns states into gauges when somebody asks: what is forgotten is gone."""

    def __init__(self, states: dict[Key, State], now: Callable[[], datetime]) -> None:
        self._states = states
        self._now = now

    def collect(self) -> Iterator[GaugeMetricFamily]:
        phase = GaugeMetricFamily(
            "tritonfleet_rollout_phase", "1 for the phase that the rollout is in", labels=[*_LABELS, "phase"]
        )
        weight = GaugeMetricFamily(
            "tritonfleet_rollout_weight", "Percent of the traffic that the canary gets", labels=_LABELS
        )
        age = GaugeMetricFamily(
            "tritonfleet_rollout_last_look_age_seconds",
            "Since the end of the last window that was judged in this step",
            labels=_LABELS,
        )
        for key, state in list(self._states.items()):
            phase.add_metric([*key, state.phase.value], 1.0)
            weight.add_metric(key, float(state.applied_weight))
            looked = state.analysis.get("lastEndSeconds")
            if state.phase is Phase.ANALYZING and isinstance(looked, int | float):
                age.add_metric(key, max(0.0, self._now().timestamp() - looked))
        yield from (phase, weight, age)


class RolloutMetrics:
    """Part of the operator's registry; every method is cheap enough for the hot path."""

    def __init__(self, registry: CollectorRegistry, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._states: dict[Key, State] = {}
        self._counted: dict[Key, datetime] = {}
        registry.register(_States(self._states, now))
        self._transitions = Counter(
            "tritonfleet_rollout_transitions", "Transitions of rollouts", ["source", "target", "reason"],
            registry=registry,
        )  # fmt: skip
        self._rollbacks = Counter("tritonfleet_rollbacks", "Rollbacks by their cause", ["reason"], registry=registry)
        self._windows = Counter(
            "tritonfleet_rollout_windows", "Windows of counters taken, by what came of it", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self._heartbeat = Gauge(
            "tritonfleet_rollout_heartbeat_timestamp_seconds", "When all rollouts were last looked at",
            registry=registry,
        )  # fmt: skip
        self.failures = Counter(
            "tritonfleet_rollout_failures", "Errors that left rollouts without evidence", ["step"], registry=registry
        )

    def beat(self, now: datetime) -> None:
        """Note that all rollouts have been looked at."""
        self._heartbeat.set(now.timestamp())

    def looked(self, window: Window) -> None:
        """Count a window."""
        outcome = "Unreachable" if window.unreachable else "Untimed" if window.untimed else "Read"
        self._windows.labels(outcome).inc()

    def saw(self, key: Key, state: State | None) -> None:
        """Take in a state as it was written down, and count the transitions since the one before.

        What a state tells when it is seen for the first time was counted by whoever wrote it down.
        """
        since = self._counted.get(key)
        self._counted[key] = state.history[0].at if state is not None and state.history else since or EPOCH
        if state is None:
            self._states.pop(key, None)
            return
        self._states[key] = state
        for passage in state.history:
            if since is None or passage.at <= since:
                break
            self._transitions.labels(passage.source.value, passage.target.value, passage.reason).inc()
            if passage.target is Phase.ROLLING_BACK:
                self._rollbacks.labels(passage.reason).inc()

    def forget(self, key: Key) -> None:
        """Drop a ModelDeployment that is gone."""
        self._states.pop(key, None)
        self._counted.pop(key, None)
