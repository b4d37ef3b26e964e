"""Watches the replicas of one ModelDeployment, and what its status says of them."""

import itertools
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.e2e.watching import Watching


@dataclass(frozen=True)
class Snapshot:
    """What was seen at one time, in seconds since the epoch."""

    at: float
    replicas: int
    """What the Deployment asks for."""
    reason: str
    message: str
    conditions: dict[str, dict[str, Any]]


@dataclass
class Witness(Watching[Snapshot]):
    """Sees how many replicas are asked for, and why."""

    @property
    def replicas(self) -> int:
        """How many were asked for last; 0 before anything was seen."""
        return self.snapshots[-1].replicas if self.snapshots else 0

    def changes(self, start: float = 0.0, end: float = float("inf")) -> list[tuple[float, int, int]]:
        """Return each change of the replicas: when it was seen, from what, to what."""
        seen = self.since(start, end)
        pairs = itertools.pairwise(seen)
        return [(new.at, old.replicas, new.replicas) for old, new in pairs if old.replicas != new.replicas]

    def reasons(self, start: float = 0.0, end: float = float("inf")) -> set[str]:
        """Return every reason that the status gave."""
        return {moment.reason for moment in self.since(start, end)}

    def ready_seconds(self, start: float) -> float:
        """Return the longest that a pod that was created since then took to be ready; older ones may be so again."""
        pods = self._get(f"/api/v1/namespaces/{self.namespace}/pods?labelSelector={self._selector}")["items"]
        return max(ready_seconds(pod) for pod in pods if created_at(pod) >= start)

    @property
    def _selector(self) -> str:
        return f"tritonfleet.dev%2Fmodeldeployment%3D{self.name}"

    def _look(self, at: float) -> Snapshot:
        group = f"/apis/tritonfleet.dev/v1alpha1/namespaces/{self.namespace}/modeldeployments"
        status = self._get(f"{group}/{self.name}").get("status", {})
        deployments = f"/apis/apps/v1/namespaces/{self.namespace}/deployments?labelSelector={self._selector}"
        scaling = status.get("autoscaling", {})
        return Snapshot(
            at=at,
            replicas=self._get(deployments)["items"][0]["spec"]["replicas"],
            reason=scaling.get("reason", ""),
            message=scaling.get("message", ""),
            conditions={one["type"]: one for one in status.get("conditions", ())},
        )

    def _row(self, moment: Snapshot) -> tuple[str, str]:
        return f"{moment.reason}: {moment.message}", str(moment.replicas)

    def _get(self, path: str) -> Any:
        return self.cluster.api.get(path)


def ready_seconds(pod: dict[str, Any]) -> float:
    """Return how long a pod took from its creation to being ready."""
    return ready_at(pod) - created_at(pod)


def created_at(pod: dict[str, Any]) -> float:
    """Return when a pod was created, in seconds since the epoch."""
    return _seconds(pod["metadata"]["creationTimestamp"])


def ready_at(pod: dict[str, Any]) -> float:
    """Return when a pod became ready, in seconds since the epoch; now, if it is not."""
    for condition in pod["status"].get("conditions", ()):
        if condition["type"] == "Ready" and condition["status"] == "True":
            return _seconds(condition["lastTransitionTime"])
    return time.time()


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
