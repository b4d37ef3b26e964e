"""Watches the replicas of one ModelDeployment, twice a second, and what its status says of them."""

import itertools
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from devcluster.cluster import Cluster
from devcluster.kube import ApiError

PERIOD_SECONDS = 0.5


@dataclass(frozen=True)
class Moment:
    """What was seen at one time, in seconds since the epoch."""

    at: float
    replicas: int
    """What the Deployment asks for."""
    reason: str
    message: str
    conditions: dict[str, dict[str, Any]]


@dataclass
class Witness:
    """A thread that looks until it is left; `moments` may be read at any time."""

    cluster: Cluster
    namespace: str
    name: str
    moments: list[Moment] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, name=f"witness of {self.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def replicas(self) -> int:
        """How many were asked for last; 0 before anything was seen."""
        return self.moments[-1].replicas if self.moments else 0

    def since(self, start: float, end: float = float("inf")) -> list[Moment]:
        """Return what was seen in [start, end), seconds since the epoch."""
        return [moment for moment in self.moments if start <= moment.at < end]

    def changes(self, start: float = 0.0, end: float = float("inf")) -> list[tuple[float, int, int]]:
        """Return each change of the replicas: when it was seen, from what, to what."""
        seen = self.since(start, end)
        pairs = itertools.pairwise(seen)
        return [(new.at, old.replicas, new.replicas) for old, new in pairs if old.replicas != new.replicas]

    def reasons(self, start: float = 0.0, end: float = float("inf")) -> set[str]:
        """Return every reason that the status gave."""
        return {moment.reason for moment in self.since(start, end)}

    def story(self, start: float = 0.0) -> str:
        """Return what the status said since then, one line for each time it changed."""
        lines, said = [], ""
        for moment in self.since(start):
            if moment.message != said:
                lines.append(f"{moment.at - start:6.1f} s  {moment.replicas}  {moment.reason}: {moment.message}")
            said = moment.message
        return "\n".join(lines)

    def ready_seconds(self) -> float:
        """Return the longest that one of today's pods took from its creation to being ready."""
        pods = self._get(f"/api/v1/namespaces/{self.namespace}/pods?labelSelector={self._selector}")["items"]
        return max(ready_seconds(pod) for pod in pods)

    @property
    def _selector(self) -> str:
        return f"tritonfleet.dev%2Fmodeldeployment%3D{self.name}"

    def _watch(self) -> None:
        while not self._over.wait(PERIOD_SECONDS):
            try:
                self.moments.append(self._look())
            except (ApiError, KeyError, IndexError):
                # It has no Deployment yet, or the API server is being troubled on purpose.
                continue

    def _look(self) -> Moment:
        group = f"/apis/tritonfleet.dev/v1alpha1/namespaces/{self.namespace}/modeldeployments"
        status = self._get(f"{group}/{self.name}").get("status", {})
        deployments = f"/apis/apps/v1/namespaces/{self.namespace}/deployments?labelSelector={self._selector}"
        scaling = status.get("autoscaling", {})
        return Moment(
            at=time.time(),
            replicas=self._get(deployments)["items"][0]["spec"]["replicas"],
            reason=scaling.get("reason", ""),
            message=scaling.get("message", ""),
            conditions={one["type"]: one for one in status.get("conditions", ())},
        )

    def _get(self, path: str) -> Any:
        return self.cluster.api.get(path)


def ready_seconds(pod: dict[str, Any]) -> float:
    """Return how long a pod took from its creation to being ready."""
    return ready_at(pod) - _seconds(pod["metadata"]["creationTimestamp"])


def ready_at(pod: dict[str, Any]) -> float:
    """Return when a pod became ready, in seconds since the epoch; now, if it is not."""
    for condition in pod["status"].get("conditions", ()):
        if condition["type"] == "Ready" and condition["status"] == "True":
            return _seconds(condition["lastTransitionTime"])
    return time.time()


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
