"""Requests of users, spread over the pods by what is in force, and what Triton counts of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from tests.sim.rollout.behavior import SLOW_SECONDS
from tests.sim.rollout.gateway import Shares
from tests.sim.rollout.pool import Pod, Pool
from tritonfleet.plan.rollout.analysis import CounterReading

FAST_SECONDS = 0.1


@dataclass
class Traffic:
    """A steady stream of requests; what no pod answered is counted too."""

    per_second: float = 100.0
    incident: float = 1.0
    """By how much everybody's errors are multiplied, through no fault of the model."""
    failed: float = 0.0
    """Requests that users saw fail."""
    unserved: float = 0.0
    """Those among them that found no pod."""

    def flow(self, shares: Shares, pool: Pool, seconds: float) -> None:
        """Send the requests of so many seconds."""
        for revision, share in shares.items():
            requests = self.per_second * seconds * share
            pods = pool.serving(revision)
            if not pods:
                self.unserved += requests
                self.failed += requests
            for pod in pods:
                self._answer(pod, requests / len(pods))

    def _answer(self, pod: Pod, requests: float) -> None:
        behavior = pod.behavior
        if behavior.rejects:
            self.failed += requests
            return
        errors = requests * min(1.0, behavior.errors * self.incident)
        self.failed += errors
        pod.errors += errors
        pod.successes += requests - errors
        pod.slow += (requests - errors) * behavior.slow


def readings(pods: Iterable[Pod]) -> dict[str, CounterReading]:
    """Return the counters of every pod whose container runs, by uid."""
    return {f"uid-{pod.name}": _reading(pod) for pod in pods if pod.started is not None}


def _reading(pod: Pod) -> CounterReading:
    timed, slow = float(int(pod.successes)), float(int(pod.slow))
    buckets = {FAST_SECONDS: timed - slow, SLOW_SECONDS: timed - slow, float("inf"): timed}
    started = pod.started.timestamp() if pod.started is not None else 0.0
    return CounterReading(started, timed, {"BACKEND": float(int(pod.errors))}, buckets)
