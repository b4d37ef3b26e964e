"""Scalers that do not look: a fixed number of replicas, and a schedule known beforehand."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from tritonfleet.plan.autoscale import PodState
from tritonfleet.sim.scaler import Metrics


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
