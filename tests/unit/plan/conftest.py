"""A scripted world: an API server reduced to what plans can see of it, and a clock that tests move."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tritonfleet.api import names
from tritonfleet.plan.autoscale import Verdict
from tritonfleet.plan.reconcile import reconcile
from tritonfleet.plan.world import ChildId, Defaults, GatewayView, GpuPool, Manifest, Observed, Plan, WriteFailure

DEFAULTS = Defaults(
    triton_image="nvcr.io/nvidia/tritonserver:26.11-py3", allow_unsafe_image=False, fetch_image="operator:1"
)


@dataclass
class World:
    """One ModelDeployment and its children. Pods become ready only when a test says so."""

    spec: dict[str, Any] = field(
        default_factory=lambda: {"model": {"uri": "s3://models/m/1", "backend": "onnxruntime"}}
    )
    defaults: Defaults = DEFAULTS
    now: datetime = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    generation: int = 1
    status: Manifest = field(default_factory=lambda: {"observedGeneration": -1})
    children: dict[ChildId, Manifest] = field(default_factory=dict)
    pods: list[Manifest] = field(default_factory=list)
    gpus: GpuPool | None = None
    failure: WriteFailure | None = None
    scalers: list[Manifest] = field(default_factory=list)
    scaling: Verdict | None = None
    unread: str = ""
    events: list[str] = field(default_factory=list)
    uids: int = 0
    gateways: GatewayView | None = None

    def observe(self) -> Observed:
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": "m", "namespace": "shop", "uid": "owner-uid", "generation": self.generation},
            "spec": self.spec,
            "status": self.status,
        }
        return Observed(
            copy.deepcopy(body),
            copy.deepcopy(self.children),
            tuple(copy.deepcopy(self.pods)),
            self.defaults,
            self.gpus,
            self.failure,
            tuple(copy.deepcopy(self.scalers)),
            self.scaling,
            unread=self.unread,
            gateways=self.gateways,
        )

    def plan(self) -> Plan:
        return reconcile(self.observe(), self.now)

    def carry_out(self, plan: Plan, *, writes: int | None = None) -> None:
        """Do what the executor does; `writes` kills it after so many of them."""
        steps: list[Callable[[], None]] = [lambda apply=apply: self._apply(apply.manifest) for apply in plan.applies]
        steps += [lambda target=delete.target: self._delete(target) for delete in plan.deletes]
        for step in steps[:writes]:
            step()
        if writes is None or writes > len(steps):
            self.status = json.loads(json.dumps(plan.status))
            self.events += [f"{event.type} {event.reason}: {event.message}" for event in plan.events]

    def settle(self) -> list[Plan]:
        """Reconcile until nothing is written any more, as the operator does; more than five rounds is a bug."""
        plans = []
        for _ in range(5):
            plan = self.plan()
            plans.append(plan)
            before = self.status
            self.carry_out(plan)
            if not plan.applies and not plan.deletes and before == self.status:
                return plans
        raise AssertionError(f"never at rest: {plans[-1]}")

    def edit(self, **spec: Any) -> None:
        """Change the spec as `kubectl apply` would."""
        self.spec = {**self.spec, **spec}
        self.generation += 1

    def wait(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    def revisions(self) -> list[str]:
        """Hashes of the revisions that have a Deployment, oldest first."""
        found = [child for target, child in self.children.items() if target.kind == "Deployment"]
        found.sort(key=lambda child: int(child["metadata"]["annotations"][names.REVISION_NUMBER_ANNOTATION]))
        return [child["metadata"]["labels"][names.REVISION_LABEL] for child in found]

    def replicas(self) -> list[int]:
        """Replicas of every Deployment, oldest revision first."""
        owned = (names.revision_name("m", revision) for revision in self.revisions())
        return [self.children[ChildId("Deployment", name)]["spec"]["replicas"] for name in owned]

    def serving(self) -> str:
        return str(self.children[ChildId("Service", "m")]["spec"]["selector"][names.REVISION_LABEL])

    def make_ready(self, revision: str, ready: int | None = None) -> None:
        """Let the Deployment controller count so many ready pods; all of them when left out."""
        deployment = self.children[ChildId("Deployment", names.revision_name("m", revision))]
        wanted = deployment["spec"]["replicas"]
        count = wanted if ready is None else ready
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": wanted,
            "readyReplicas": count,
            "updatedReplicas": wanted,
        }

    def take_route(self, **said: str) -> None:
        """Let a gateway's controller say what it thinks of the route: that it takes it, unless it is told otherwise."""
        route = self.children[ChildId("HTTPRoute", "m")]
        words = {"Accepted": "True", "ResolvedRefs": "True"} | said
        conditions = [
            {"type": word, "status": status, "reason": word, "message": "words", "observedGeneration": 1}
            for word, status in words.items()
        ]
        refs = route["spec"]["parentRefs"]
        route["status"] = {"parents": [{"parentRef": ref, "conditions": conditions} for ref in refs]}

    def condition(self, type_: str) -> tuple[str, str, str]:
        found = next(one for one in self.status["conditions"] if one["type"] == type_)
        return found["status"], found["reason"], found["message"]

    def with_defaults(self, **changes: Any) -> None:
        self.defaults = replace(self.defaults, **changes)

    def _apply(self, manifest: Manifest) -> None:
        target = ChildId(manifest["kind"], manifest["metadata"]["name"])
        existing = self.children.get(target)
        fresh = copy.deepcopy(manifest)
        self.uids += existing is None
        kept: Manifest = (
            existing["metadata"]
            if existing
            else {"uid": f"uid-{self.uids}", "creationTimestamp": "2026-01-01T12:00:00Z"}
        )
        fresh["metadata"] = {**kept, **fresh["metadata"], "generation": kept.get("generation", 0) + 1}
        if existing is not None and "status" in existing:
            fresh["status"] = existing["status"]
        self.children[target] = fresh

    def _delete(self, target: ChildId) -> None:
        del self.children[target]


@pytest.fixture
def world() -> World:
    """An empty cluster with one ModelDeployment in it."""
    return World()


@pytest.fixture
def new_world() -> Callable[..., World]:
    """Makes further worlds, for tests that compare several."""
    return World
