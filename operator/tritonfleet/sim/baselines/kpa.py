"""Knative's pod autoscaler: `pkg/autoscaler/scaling/autoscaler.go`, with the defaults of `config-autoscaler`."""

import math
from collections import deque
from dataclasses import dataclass

from tritonfleet.plan.autoscale import PodState
from tritonfleet.sim.scalers import Metrics

TICK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Decider:
    """The settings of one revision."""

    target: float
    """Requests in flight per pod that are aimed at."""
    stable_window_seconds: float = 60.0
    panic_window_percentage: float = 10.0
    panic_threshold: float = 2.0
    """As a multiple of the ready pods."""
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    scale_down_delay_seconds: float = 0.0
    min_replicas: int = 1
    max_replicas: int = 1


class PodAutoscaler:
    """The autoscaler of one revision."""

    interval_seconds = TICK_SECONDS

    def __init__(self, name: str, decider: Decider) -> None:
        self.name = name
        self._decider = decider
        self._panic_since: float | None = None
        self._panic_pods = 0
        self._started = False
        self._recent: deque[tuple[float, int]] = deque()
        """What was decided within the scale-down delay."""

    @property
    def panicking(self) -> bool:
        """Whether it is in panic mode."""
        return self._panic_since is not None

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:
        """Return the replicas wanted from now on."""
        decider = self._decider
        ready = sum(pod.ready_seconds is not None for pod in pods)
        if not self._started:
            self._start(now, ready)
        stable = metrics.concurrency(decider.stable_window_seconds)
        panic = metrics.concurrency(decider.stable_window_seconds * decider.panic_window_percentage / 100)
        if stable is None or panic is None:
            return replicas
        wanted = self._delay(now, self.scale(now, ready, stable, panic))
        return min(max(wanted, decider.min_replicas), decider.max_replicas)

    def scale(self, now: float, ready_count: int, stable: float, panic: float) -> int:
        """Return the pods wanted for what both windows averaged, before delay and bounds: `Scale`."""
        decider = self._decider
        ready = max(1, ready_count)
        highest = math.ceil(decider.max_scale_up_rate * ready)
        lowest = math.floor(ready / decider.max_scale_down_rate)
        for_stable = math.ceil(stable / decider.target)
        for_panic = math.ceil(panic / decider.target)
        wanted = min(max(for_stable, lowest), highest)
        if for_panic / ready >= decider.panic_threshold:
            self._panic_since = now
        elif self._panic_since is not None and self._panic_since + decider.stable_window_seconds < now:
            self._panic_since, self._panic_pods = None, 0
        if self._panic_since is None:
            return wanted
        self._panic_pods = max(self._panic_pods, wanted, min(max(for_panic, lowest), highest))
        return self._panic_pods

    def _start(self, now: float, ready: int) -> None:
        """Begin in panic mode where pods run already: without a history nothing may be taken away."""
        self._started = True
        self._panic_pods = ready
        if ready > 1:
            self._panic_since = now

    def _delay(self, now: float, wanted: int) -> int:
        """Return the most that was wanted within the delay."""
        delay = self._decider.scale_down_delay_seconds
        if delay == 0:
            return wanted
        while self._recent and self._recent[0][0] <= now - delay:
            self._recent.popleft()
        self._recent.append((now, wanted))
        return max(pods for _, pods in self._recent)
