"""The interface of scalers in the simulator, and those that do not imitate another product.

`Scaler` decides replicas from `Metrics`, the protocol of the simulated metrics systems. `Tritonfleet` runs
the operator's own decision code. `Fixed` and `Scheduled` observe nothing, and serve to measure capacity and to play
the oracle's schedules. The scalers of other products are in `sim.baselines`.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tritonfleet.plan.autoscale import (
    History,
    Memory,
    Observation,
    Parts,
    PodSample,
    PodState,
    Policy,
    Verdict,
    decide,
)

PerPod = Literal["arrivals", "utilization", "concurrency"]


class Metrics(Protocol):
    """What the metrics systems return now, including scrape interval, lag, jitter, loss and faults.

    Rates are per second, times are seconds. None means that the query found nothing.
    """

    def samples(self) -> tuple[PodSample, ...]:
        """Return the newest direct scrape of each pod, however old (the operator's own path, 5 s by default)."""

    def arrival_rate(self, window_seconds: float) -> float | None:
        """Return arrivals of the fleet from Prometheus: rate(success + failure) + deriv(pending) (15 s by default)."""

    def success_rate(self, window_seconds: float) -> float | None:
        """Return successes per second of the fleet from Prometheus."""

    def latency(self, percentile: float, window_seconds: float) -> float | None:
        """Return a percentile (0..100) of what clients saw at the gateway, from Prometheus."""

    def concurrency(self, window_seconds: float) -> float | None:
        """Return requests in flight, averaged over the window and summed over ready pods (an in-path proxy, 1 s)."""

    def pending(self) -> float | None:
        """Return requests that wait in Triton's queues, summed over the fleet, from Prometheus."""

    def per_pod(self, name: PerPod, window_seconds: float) -> Mapping[str, float]:
        """Return one metric of every pod that has it, by UID, from Prometheus; utilization is 0..1."""


class Scaler(Protocol):
    """Decides replicas at its own interval."""

    name: str
    interval_seconds: float

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:
        """Return the desired replicas; `replicas` is the last decision."""


@dataclass(slots=True)
class Fixed:
    """Always the same."""

    replicas: int
    name: str = "fixed"
    interval_seconds: float = 60.0

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:  # noqa: ARG002
        """Return the replicas it was made with."""
        return self.replicas


@dataclass(slots=True)
class Scheduled:
    """Follows a list of (seconds, replicas), each in force until the next, rising in time from 0."""

    name: str
    steps: Sequence[tuple[float, int]]
    interval_seconds: float = 1.0

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:  # noqa: ARG002
        """Return what the list says for now."""
        return self.steps[bisect_right(self.steps, now, key=lambda step: step[0]) - 1][1]


CHECKPOINT_SECONDS = 300.0
"""The status is written when replicas change, and at least this often for its memory."""


class Tritonfleet:
    """Decides every 5 s from direct scrapes, and keeps its memory between decisions."""

    name = "tritonfleet"
    interval_seconds = 5.0

    def __init__(
        self,
        policy: Policy,
        restart_every_seconds: float | None = None,
        *,
        killed: bool = False,
        parts: Parts | None = None,
        history: History | None = None,
    ) -> None:
        """Restart it at intervals: gracefully, or, if `killed`, without saving its memory.

        `parts` leaves ideas out; `history` is passed once, at the first decision.
        """
        self.policy = policy
        self._parts = parts or Parts()
        self._history = history
        self.verdict: Verdict | None = None
        """The last decision."""
        self._memory = Memory()
        self._restart_every_seconds = restart_every_seconds
        self._killed = killed
        self._started_seconds = 0.0
        self._written: dict[str, Any] = {}
        self._written_seconds = 0.0

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:
        """Return what the autoscaler decides, after a restart if one is due."""
        if self._restart_every_seconds is not None and now - self._started_seconds >= self._restart_every_seconds:
            # Through JSON, as through the status.
            kept = self._written if self._killed else self._memory.document()
            self._memory = Memory.restore(json.loads(json.dumps(kept)), now)
            self._started_seconds = now
        serving = pods[0].revision if pods else None
        observation = Observation(replicas, pods, metrics.samples(), serving, history=self._history)
        self._history = None
        self.verdict = decide(self.policy, self._memory, observation, now, self._parts)
        self._memory = self.verdict.memory
        if self.verdict.replicas != replicas or now - self._written_seconds >= CHECKPOINT_SECONDS or not self._written:
            self._written, self._written_seconds = self._memory.document(), now
        return self.verdict.replicas
