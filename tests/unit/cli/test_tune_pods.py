"""Trials in a temporary pod, on a cluster that these tests script: it is removed whatever happens."""

import asyncio
import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.cli import tune
from tritonfleet.errors import Refused
from tritonfleet.plan.objects import build_revision, controller_revision
from tritonfleet.plan.rollout.verification import Port
from tritonfleet.settings import from_environment
from tritonfleet.sim import Trial

BODY: dict[str, Any] = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND,
    "metadata": {"name": "recommender", "namespace": "shop", "uid": "u-1", "resourceVersion": "7"},
    "spec": {
        "model": {"uri": "s3://models/recommender/7", "backend": "onnxruntime"},
        "batching": {"maxBatchSize": 4, "dynamic": {}},
        "slo": {"latency": {"target": "750ms"}},
        "server": {"gpu": {"count": 1}},
    },
}
READY = {"podIP": "10.0.0.9", "conditions": [{"type": "Ready", "status": "True"}]}
LONG_AGO = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
NO_ROOM = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
            "lastTransitionTime": LONG_AGO,
        }
    ],
}
BROKEN = {
    "phase": "Failed",
    "containerStatuses": [
        {
            "name": "triton",
            "image": "triton",
            "state": {
                "terminated": {
                    "exitCode": 1,
                    "message": "error: creating server: Internal - load failed for model 'recommender': version 1 is at"
                    " UNAVAILABLE state: Internal: no profile for batch 32;",
                }
            },
        }
    ],
}


@dataclass
class Scripted:
    """A cluster of one ModelDeployment with one revision; `statuses` are those of the pods in the order of creation."""

    statuses: list[dict[str, Any]]
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    patched: list[dict[str, Any]] = field(default_factory=list)
    refusal: str = ""

    def __post_init__(self) -> None:
        deployment = ModelDeployment.parse(BODY)
        revision = build_revision(deployment, from_environment().defaults)
        labels = names.revision_labels("recommender", revision.hash)
        metadata = {"name": revision.name, "namespace": "shop", "labels": labels}
        record = controller_revision(metadata, 1, revision.data)
        self.objects["ControllerRevision", revision.name] = record
        self.body = {**BODY, "status": {"revision": {"stable": revision.name}}}

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        if self.refusal and manifest["kind"] == "Pod":
            raise Refused(403, self.refusal)
        self.created.append(manifest)
        status = self.statuses.pop(0) if manifest["kind"] == "Pod" and len(self.statuses) > 1 else None
        found = {**manifest, "metadata": {**manifest["metadata"], "uid": f"uid-{len(self.created)}"}}
        found["status"] = (status or self.statuses[0]) if manifest["kind"] == "Pod" else {}
        self.objects[manifest["kind"], manifest["metadata"]["name"]] = found
        return found

    async def get(self, kind: str, _namespace: str, name: str) -> dict[str, Any] | None:
        return self.body if kind == names.KIND else self.objects.get((kind, name))

    @property
    def left(self) -> list[tuple[str, str]]:
        return [key for key in self.objects if key[0] != "ControllerRevision"]

    async def list(self, kind: str, _namespace: str, *, labels: str) -> SimpleNamespace:
        key, _, value = labels.partition("=")
        items = [each for (its, _), each in self.objects.items() if its == kind]
        return SimpleNamespace(items=[each for each in items if each["metadata"]["labels"].get(key) == value])

    async def delete(self, kind: str, _namespace: str, name: str, *, uid: str) -> None:
        assert self.objects.pop((kind, name))["metadata"]["uid"] == uid

    async def patch_spec(self, manifest: dict[str, Any], spec: dict[str, Any]) -> None:
        assert manifest["metadata"]["resourceVersion"] == "7"
        self.patched.append(spec)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scripted:
    one = Scripted([READY])

    @asynccontextmanager
    async def place_of(_: Any) -> Any:
        async def model_deployment(_: str) -> dict[str, Any]:
            return one.body

        yield SimpleNamespace(cluster=one, namespace="shop", model_deployment=model_deployment)

    @asynccontextmanager
    async def server(url: str, model: str) -> Any:
        assert (url, model) == ("http://10.0.0.9:8000", "recommender")

        async def ready() -> bool:
            return True

        async def inputs() -> tuple[Port, ...]:
            return (Port("X", "FP32", (-1, 2)),)

        yield SimpleNamespace(ready=ready, inputs=inputs)

    monkeypatch.chdir(tmp_path)
    for name, fake in (("place_of", place_of), ("trial_server", server), ("make_trial", trial)):
        monkeypatch.setattr(tune, name, fake)
    monkeypatch.setattr(tune, "ROOM_SECONDS", 0.0)
    monkeypatch.setattr(tune, "POLL_SECONDS", 0.001)
    return one


async def trial(_server: Any, _requests: Any, wanted: Any, slo: Any, **_: Any) -> Trial:
    size, copies = wanted.setting.max_batch_size, wanted.setting.instances
    seconds = {each: copies * (0.020 + 0.002 * each) for each in (1, 2, 4, 8, 16, 32) if each <= size}
    within = wanted.rate <= 0.9 * copies * size / seconds[size]
    late = slo.latency_seconds * (0.9 if within else 2)
    batches = () if wanted.rate else tuple((each, 10, 10 * spent) for each, spent in seconds.items())
    return Trial(wanted.setting, wanted.rate, within, percentile_seconds=late, batches=batches, lone_seconds=seconds[1])


def test_each_setting_gets_a_pod_and_none_is_left(tritonfleet: Callable[..., Any], cluster: Scripted) -> None:
    said = tritonfleet("tune", "recommender", "--apply", "-o", "json")

    assert said.status == 0, said.err
    assert cluster.left == []
    result = json.loads(said.out)
    assert cluster.patched == [result["patch"]["spec"]]
    assert result["patch"]["spec"]["batching"]["maxBatchSize"] == 32
    configs = [each["data"]["tritonfleet.pbtxt"] for each in cluster.created if each["kind"] == "ConfigMap"]
    assert "max_batch_size: 32" in configs[0]
    assert any("max_batch_size: 4" in each for each in configs)
    assert all(names.OWNER_LABEL not in each["metadata"]["labels"] for each in cluster.created)


def test_what_a_killed_run_left_is_removed_first(tritonfleet: Callable[..., Any], cluster: Scripted) -> None:
    metadata = {"name": "old", "namespace": "shop", "uid": "x", "labels": {names.TRIAL_LABEL: "recommender"}}
    cluster.objects["Pod", "old"] = {"kind": "Pod", "metadata": metadata, "status": {}}

    assert tritonfleet("tune", "recommender").status == 0
    assert cluster.left == []


def test_a_model_that_fails_is_told_with_tritons_words(tritonfleet: Callable[..., Any], cluster: Scripted) -> None:
    cluster.statuses = [BROKEN]

    said = tritonfleet("tune", "recommender")

    assert (said.status, cluster.left) == (1, [])
    assert said.err.splitlines()[-1].endswith("no trial was possible: no profile for batch 32")


def test_a_cluster_without_room_says_so(tritonfleet: Callable[..., Any], cluster: Scripted) -> None:
    cluster.statuses = [NO_ROOM]

    said = tritonfleet("tune", "recommender")

    assert (said.status, cluster.left) == (1, [])
    assert "the cluster has no room for a trial: needs 1 nvidia.com/gpu" in said.err


def test_a_quota_is_told_with_its_words(tritonfleet: Callable[..., Any], cluster: Scripted) -> None:
    cluster.refusal = 'pods "recommender-tune" is forbidden: exceeded quota: gpus'

    said = tritonfleet("tune", "recommender")

    assert (said.status, cluster.left) == (1, [])
    assert "the cluster does not take the trial's Pod: " in said.err
    assert "exceeded quota: gpus" in said.err


def test_a_run_that_is_told_to_end_leaves_nothing(
    tritonfleet: Callable[..., Any], cluster: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ended(*_: Any, **__: Any) -> Trial:
        assert ("Pod", "recommender-tune") in cluster.left
        raise asyncio.CancelledError

    monkeypatch.setattr(tune, "make_trial", ended)

    said = tritonfleet("tune", "recommender")

    assert (said.status, cluster.left) == (143, [])
    assert "its trials are kept" in said.err
