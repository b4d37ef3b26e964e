"""Watches the rollout of one ModelDeployment, twice a second: what its status says, its route and its pods."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from devcluster.cluster import Cluster
from devcluster.kube import ApiError

PERIOD_SECONDS = 0.4
GROUP = "/apis/tritonfleet.dev/v1alpha1"
ROUTES = "/apis/gateway.networking.k8s.io/v1"


@dataclass(frozen=True)
class Moment:
    """What was seen at one time, in seconds since the epoch."""

    at: float
    status: dict[str, Any]
    """The whole status."""
    ready: Counter[str]
    """Ready pods that stay, by revision."""
    existing: Counter[str]
    """All pods that have not ended, by revision."""

    @property
    def rollout(self) -> dict[str, Any]:
        """Return `status.rollout`."""
        return dict(self.status.get("rollout", {}))

    @property
    def phase(self) -> str:
        """Return where the rollout was; empty for nowhere."""
        return str(self.rollout.get("phase", ""))

    @property
    def desired(self) -> int:
        """Return the percent that the canary is to get."""
        return int(self.rollout.get("weights", {}).get("desired", 0))

    @property
    def applied(self) -> int:
        """Return the percent that the status says the canary gets."""
        return int(self.rollout.get("weights", {}).get("applied", 0))


@dataclass
class Chronicle:
    """A thread that looks until it is left; `moments` may be read at any time."""

    cluster: Cluster
    namespace: str
    name: str
    moments: list[Moment] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, name=f"chronicle of {self.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def since(self, start: float, end: float = float("inf")) -> list[Moment]:
        """Return what was seen in [start, end), seconds since the epoch."""
        return [moment for moment in self.moments if start <= moment.at < end]

    def first(self, holds: Callable[[Moment], bool], start: float = 0.0) -> Moment:
        """Return the first moment since `start` of which that holds."""
        found = next((moment for moment in self.since(start) if holds(moment)), None)
        assert found is not None, f"never seen:\n{self.story(start)}"
        return found

    def phases(self, start: float = 0.0) -> list[str]:
        """Return the phases in their order, each once for every stay."""
        return [phase for phase, _ in itertools.groupby(moment.phase for moment in self.since(start))]

    def weights(self, start: float = 0.0) -> list[int]:
        """Return the weights in force in their order, each once for every stay."""
        return [weight for weight, _ in itertools.groupby(moment.applied for moment in self.since(start))]

    def story(self, start: float = 0.0) -> str:
        """Return what the status said since then, one line for each time it changed."""
        lines, said = [], ("", "")
        for moment in self.since(start):
            words = (moment.phase, str(moment.rollout.get("message", "")))
            if words != said:
                pods = " ".join(f"{name[-4:]}:{count}" for name, count in sorted(moment.ready.items()))
                weight = f"{moment.applied}/{moment.desired}"
                reason = moment.rollout.get("reason", "")
                lines.append(f"{moment.at - start:6.1f} s  {weight:>7}  {pods:15} {words[0]} {reason}: {words[1]}")
            said = words
        return "\n".join(lines)

    def _watch(self) -> None:
        while not self._over.wait(PERIOD_SECONDS):
            try:
                self.moments.append(self._look())
            except (ApiError, KeyError):
                # It is not there yet or no more, or the API server is being troubled on purpose.
                continue

    def _look(self) -> Moment:
        api = self.cluster.api
        status = api.get(f"{GROUP}/namespaces/{self.namespace}/modeldeployments/{self.name}").get("status", {})
        selector = f"tritonfleet.dev%2Fmodeldeployment%3D{self.name}"
        pods = api.get(f"/api/v1/namespaces/{self.namespace}/pods?labelSelector={selector}")["items"]
        return Moment(
            time.time(),
            status,
            Counter(revision_of(pod) for pod in pods if is_ready(pod)),
            Counter(revision_of(pod) for pod in pods),
        )


def revision_of(pod: dict[str, Any]) -> str:
    """Return the hash of a pod's revision."""
    return str(pod["metadata"]["labels"]["tritonfleet.dev/revision"])


def is_ready(pod: dict[str, Any]) -> bool:
    """Tell whether a pod is ready and not about to end."""
    conditions = pod["status"].get("conditions", ())
    return "deletionTimestamp" not in pod["metadata"] and any(
        one["type"] == "Ready" and one["status"] == "True" for one in conditions
    )
