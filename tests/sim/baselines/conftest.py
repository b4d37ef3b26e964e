"""A metrics system that answers what a test says, and pods by number."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from tritonfleet.plan.autoscale import PodSample, PodState


@dataclass
class Answers:
    """Every question has one answer, whatever the window, unless it is given by window."""

    rate: float | None = None
    pods: Mapping[str, float] = field(default_factory=dict)
    in_flight: Mapping[float, float] | float | None = None
    scraped: tuple[PodSample, ...] = ()

    def samples(self):
        return self.scraped

    def arrival_rate(self, _window):
        return self.rate

    def success_rate(self, _window):
        return self.rate

    def latency(self, _percentile, _window):
        return self.rate

    def concurrency(self, window_seconds):
        return self.in_flight[window_seconds] if isinstance(self.in_flight, dict) else self.in_flight

    def pending(self):
        return self.rate

    def per_pod(self, _name, _window):
        return self.pods


@pytest.fixture
def answers() -> type[Answers]:
    return Answers


def _pods(ready: int, starting: int = 0, unscheduled: int = 0) -> tuple[PodState, ...]:
    states = [True] * ready + [False] * (starting + unscheduled)
    return tuple(
        PodState(f"pod-{number}", "r", 0.0, 1.0 if is_ready else None, schedulable=number < ready + starting)
        for number, is_ready in enumerate(states)
    )


@pytest.fixture
def pods() -> Callable[..., tuple[PodState, ...]]:
    """Make `ready` pods, then some that start, then some that no node took: pod-0, pod-1, ..."""
    return _pods
