"""Watches the rollout of one ModelDeployment: what its status says, and its pods."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.e2e.watching import Watching

GROUP = "/apis/tritonfleet.dev/v1alpha1"


@dataclass(frozen=True)
class Snapshot:
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
class Chronicle(Watching[Snapshot]):
    """Sees where the rollout is, and whose pods there are."""

    def first(self, holds: Callable[[Snapshot], bool], start: float = 0.0) -> Snapshot:
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

    def _row(self, moment: Snapshot) -> tuple[str, str]:
        pods = " ".join(f"{name[-4:]}:{count}" for name, count in sorted(moment.ready.items()))
        words = f"{moment.phase} {moment.rollout.get('reason', '')}: {moment.rollout.get('message', '')}"
        return words, f"{moment.applied:>3}/{moment.desired:<3} {pods:15}"

    def _look(self, at: float) -> Snapshot:
        api = self.cluster.api
        status = api.get(f"{GROUP}/namespaces/{self.namespace}/modeldeployments/{self.name}").get("status", {})
        selector = f"tritonfleet.dev%2Fmodeldeployment%3D{self.name}"
        pods = api.get(f"/api/v1/namespaces/{self.namespace}/pods?labelSelector={selector}")["items"]
        return Snapshot(
            at,
            status,
            Counter(revision_of(pod) for pod in pods if is_ready(pod)),
            Counter(revision_of(pod) for pod in pods),
        )


def revision_of(pod: dict[str, Any]) -> str:
    """Return the hash of a pod's revision."""
    return str(pod["metadata"]["labels"]["tritonfleet.dev/revision"])


def is_ready(pod: dict[str, Any]) -> bool:
    """Return whether a pod is ready and not about to end."""
    conditions = pod["status"].get("conditions", ())
    return "deletionTimestamp" not in pod["metadata"] and any(
        one["type"] == "Ready" and one["status"] == "True" for one in conditions
    )
