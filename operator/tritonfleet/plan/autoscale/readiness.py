"""How long a pod takes from its creation to ready: the horizon of every forecast."""

from dataclasses import dataclass
from typing import Any

from tritonfleet.plan.autoscale.observation import PodState

REMEMBERED = 50
"""Pods (research 5.2)."""
UNKNOWN_SECONDS = 60.0
"""Until one was seen: the usual median of a model on a node that has its image."""
PLAN_QUANTILE, LATE_QUANTILE = 0.75, 0.99
"""What is planned with, and what bounds patience (research 5.2 and 5.4)."""
REACTION_SECONDS = 10.0
"""Scrape, decide, write, schedule: added to the time of a pod."""
PATIENCE = 1.5
"""A pod that takes so many times the 99th percentile is late (research 5.4)."""
PATIENCE_SECONDS = 300.0
"""Least patience: a few pods say little of the slowest."""
LONGEST_SECONDS = 3600.0
"""More than this from creation to ready is a pod that was unready in between."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Seconds from created to ready, newest last."""

    seconds: tuple[float, ...] = ()
    known: frozenset[str] = frozenset()
    """UIDs of the pods that were counted and still exist."""

    @property
    def typical_seconds(self) -> float:
        """The 75th percentile."""
        return _quantile(self.seconds, PLAN_QUANTILE) if self.seconds else UNKNOWN_SECONDS

    @property
    def horizon_seconds(self) -> float:
        """H: from a decision to the pod that it asked for."""
        return self.typical_seconds + REACTION_SECONDS

    @property
    def patience_seconds(self) -> float:
        """Beyond this a pod does not just take its time."""
        slowest = _quantile(self.seconds, LATE_QUANTILE) if self.seconds else UNKNOWN_SECONDS
        return max(PATIENCE_SECONDS, PATIENCE * slowest)

    def late(self, pods: tuple[PodState, ...], now: float) -> int:
        """Count the pods that should have been ready long ago."""
        return sum(pod.ready_seconds is None and now - pod.created_seconds > self.patience_seconds for pod in pods)

    def lost(self, pods: tuple[PodState, ...]) -> int:
        """Count the pods that were ready and are not any more."""
        return sum(pod.ready_seconds is None and pod.uid in self.known for pod in pods)

    def document(self) -> list[float]:
        """Return it for the status."""
        return [round(seconds, 1) for seconds in self.seconds]

    @classmethod
    def restore(cls, document: Any) -> "Readiness":
        """Read it back; ValueError or TypeError if it is none."""
        seconds = tuple(map(float, document))
        if not all(0 <= value <= LONGEST_SECONDS for value in seconds):
            raise ValueError("not ready times")
        return cls(seconds)


def watch(readiness: Readiness, pods: tuple[PodState, ...]) -> Readiness:
    """Remember the time of each pod that became ready for the first time."""
    ready = frozenset(pod.uid for pod in pods if pod.ready_seconds is not None)
    if ready == readiness.known:
        return readiness
    # After a start every pod is new; what is remembered already has the older ones.
    fresh = ready - readiness.known if readiness.known or not readiness.seconds else frozenset()
    times = [
        pod.ready_seconds - pod.created_seconds for pod in pods if pod.uid in fresh and pod.ready_seconds is not None
    ]
    sane = [seconds for seconds in times if 0 <= seconds <= LONGEST_SECONDS]
    exist = frozenset(pod.uid for pod in pods)
    return Readiness((*readiness.seconds, *sane)[-REMEMBERED:], (readiness.known & exist) | ready)


def _quantile(values: tuple[float, ...], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
