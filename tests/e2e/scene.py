"""One ModelDeployment under traffic that takes two replicas, or one when the traffic has ended."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.load import Load, steady
from tests.e2e.witness import Witness

NAME = "ranker"
FEATURES = 4
RATE = 12.0
"""Requests per second that take two replicas of the slow model."""
SLOW: dict[str, Any] = {
    "server": {"gpu": {"count": 0}},
    "slo": {"latency": {"percentile": 99, "target": "2500ms"}},
    "autoscaling": {"maxReplicas": 2, "behavior": {"scaleDown": {"stabilizationWindow": "15s"}}},
}
SLOW_PARAMETERS = {"batch_seconds": "0.4", "row_seconds": "0.05"}
"""Five times as slow as the example: little traffic takes many replicas, and little of this machine's time."""
Body = dict[str, Any]


@dataclass
class Scene:
    """What is watched, and what happened to it when, in seconds since the epoch."""

    place: Any
    witness: Witness
    folder: Path
    harmed: float = 0.0
    healed: float = 0.0
    quiet: float = 0.0
    """When its traffic ended."""

    @classmethod
    def begin(
        cls, place: Any, spec: Body, folder: Path, enter: Callable[[AbstractContextManager[Any]], Any]
    ) -> "Scene":
        """Create the ModelDeployment; `spec` is the example's."""
        place.apply(NAME, {**spec, **SLOW, "model": {**spec["model"], "parameters": SLOW_PARAMETERS}})
        return cls(place, enter(Witness(place.cluster, place.namespace, NAME)), folder)

    def load(self, rate_per_second: float, name: str) -> Load:
        """Return traffic that lasts until it is left."""
        target = {"http": f"{self.place.address(NAME)}:8000"}
        return Load(target, NAME, FEATURES, steady(1200, rate_per_second), self.folder / name)

    def ready_pods(self) -> list[Body]:
        """Return the pods of which every container is ready."""
        return [pod for pod in self.place.list("pods") if all(one["ready"] for one in containers(pod))]

    def restarts(self) -> int:
        """Return how often containers of its pods were started anew."""
        return sum(one.get("restartCount", 0) for pod in self.place.list("pods") for one in containers(pod))

    def wait_for_two(self) -> None:
        """Wait until two replicas are ready."""
        self.place.wait("two replicas are ready", lambda: len(self.ready_pods()) == 2, 180)


def containers(pod: Body) -> list[Body]:
    """Return the states of a pod's containers."""
    return list(pod["status"].get("containerStatuses") or [{"ready": False}])
