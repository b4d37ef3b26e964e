"""A small cluster without a single thread: everything in it happens when the clock is moved."""

import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.sim.rollout.apiserver import ApiServer
from tests.sim.rollout.behavior import Behavior
from tests.sim.rollout.controllers import control_deployments
from tests.sim.rollout.gateway import Gateway
from tests.sim.rollout.pool import Pod, Pool
from tests.sim.rollout.traffic import Traffic
from tests.sim.rollout.watching import Metrics
from tritonfleet.api import names
from tritonfleet.plan.rollout import pod_that_needs_room
from tritonfleet.plan.rollout.analysis import Evidence
from tritonfleet.plan.world import Defaults, GpuPool, Manifest, Observed

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
DEFAULTS = Defaults(
    triton_image="nvcr.io/nvidia/tritonserver:26.11-py3",
    allow_unsafe_image=False,
    fetch_image="operator:1",
    gateway_api=True,
)
GPU = "nvidia.com/gpu"


def body_of(spec: Manifest) -> Manifest:
    """Return a ModelDeployment as it was just created."""
    metadata = {"name": "m", "namespace": "shop", "uid": "owner-uid", "generation": 1, "resourceVersion": "0"}
    status = {"observedGeneration": -1}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec, "status": status}


@dataclass
class Cluster:
    """One ModelDeployment, its children, pods, nodes, users and a gateway."""

    api: ApiServer
    pool: Pool
    behaviors: dict[str, Behavior] = field(default_factory=dict)
    """By the model's URI; what is not named is good."""
    now: datetime = START
    gateway: Gateway = field(default_factory=Gateway)
    traffic: Traffic = field(default_factory=Traffic)
    metrics: Metrics = field(default_factory=Metrics)
    defaults: Defaults = DEFAULTS
    events: list[str] = field(default_factory=list)

    def copy(self) -> "Cluster":
        """Return another cluster that goes on from here."""
        pods = [copy.copy(pod) for pod in self.pool.pods]
        return replace(
            self,
            api=self.api.copy(),
            pool=replace(self.pool, gpus=dict(self.pool.gpus), pods=pods),
            behaviors=dict(self.behaviors),
            gateway=copy.copy(self.gateway),
            traffic=copy.copy(self.traffic),
            metrics=copy.copy(self.metrics),
            events=list(self.events),
        )

    def pass_time(self, seconds: float) -> None:
        """Let users, pods, Deployments and the gateway live for a while."""
        self.traffic.flow(self.gateway.in_force, self.pool, seconds)
        self.now += timedelta(seconds=seconds)
        self.settle()

    def settle(self) -> None:
        """Let the controllers see what has been written."""
        self.pool.step(self.now)
        control_deployments(self.api, self.pool, self.behaviors, self.now)
        self.pool.step(self.now)
        control_deployments(self.api, self.pool, self.behaviors, self.now)
        self.gateway.step(self.api, self.pool, self.now)

    def observed(self, evidence: Evidence | None) -> Observed:
        """Return everything that a decision may look at, as it is now."""
        api, room = self.api, self._room()
        return Observed(
            body=api.body,
            children=dict(api.children),
            pods=tuple(pod.manifest() for pod in self.pool.pods),
            defaults=self.defaults,
            gpus=room if any(not pod.node for pod in self.pool.pods) else None,
            evidence=evidence,
            headroom=room if pod_that_needs_room(api.body, api.children, self.defaults) is not None else None,
        )

    def _room(self) -> GpuPool | None:
        if not self.api.body["spec"].get("server", {}).get("gpu", {}).get("count"):
            return None
        free = self.pool.free()
        return GpuPool(GPU, len(free), sum(free.values()), max(free.values(), default=0))

    def edit(self, **spec: Any) -> None:
        """Change the spec as `kubectl apply` would; None takes a field away."""
        merged = {**self.api.body["spec"], **spec}
        self.api.edit_body(spec={key: value for key, value in merged.items() if value is not None})

    def annotate(self, verb: str, value: str) -> None:
        """Ask by an annotation, as the command line does."""
        annotations = self.api.body["metadata"].get("annotations") or {}
        self.api.edit_body(annotations={**annotations, names.request_annotation(verb): value})

    def pods(self, revision: str) -> list[Pod]:
        """Return the pods of one revision, ending ones included."""
        return self.pool.of(revision)
