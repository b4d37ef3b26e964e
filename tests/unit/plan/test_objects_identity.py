"""Which edits of a spec start a rollout and which do not."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.plan.objects import HASH_LENGTH, build_revision, hash_spec, normalized_spec
from tritonfleet.plan.world import Defaults

DEFAULTS = Defaults(triton_image="triton:26.11-py3", allow_unsafe_image=False, fetch_image="operator:1")
DIGEST = "sha256:" + "0" * 64

SPEC: dict[str, Any] = {
    "model": {
        "uri": "s3://models/demo",
        "backend": "python",
        "inputs": [{"name": "IN", "dataType": "FP32", "dims": [4]}],
        "parameters": {"a": "1", "b": "2"},
    },
    "batching": {"maxBatchSize": 8, "dynamic": {"maxQueueDelay": "2ms"}},
    "instances": [{"kind": "CPU", "count": 2}],
    "modelConfig": {"optimization": {"eager_batching": True}},
    "server": {
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
        "env": [{"name": "A", "value": "1"}],
        "args": ["--log-verbose=1"],
        "nodeSelector": {"disk": "ssd", "zone": "a"},
        "drainTimeout": "30s",
        "podAnnotations": {"team": "shop"},
    },
    "replicas": 2,
}


def body(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "tritonfleet.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "demo", "namespace": "shop", "uid": "uid-1", "generation": 1, **metadata},
        "spec": spec,
    }


def hash_of(spec: dict[str, Any], **metadata: Any) -> str:
    return hash_spec(normalized_spec(ModelDeployment.parse(body(spec, **metadata)).spec))


def edited(path: str, value: Any) -> dict[str, Any]:
    spec = copy.deepcopy(SPEC)
    *parents, leaf = path.split(".")
    node: Any = spec
    for part in parents:
        node = node[int(part)] if part.isdecimal() else node.setdefault(part, {})
    node[leaf] = value
    return spec


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.uri", "s3://models/demo-2"),
        ("model.digest", DIGEST),
        ("model.name", "other"),
        ("model.backend", "onnxruntime"),
        ("model.credentialsSecretName", "secret"),
        ("model.versionPolicy", {"all": True}),
        ("model.inputs", [{"name": "IN", "dataType": "FP64", "dims": [4]}]),
        ("model.outputs", [{"name": "OUT", "dataType": "FP32", "dims": [4]}]),
        ("model.parameters", {"a": "1", "b": "3"}),
        ("model.decoupled", True),
        ("batching.maxBatchSize", 16),
        ("batching.dynamic", None),
        ("batching.dynamic.maxQueueDelay", "3ms"),
        ("batching.dynamic.maxQueueSize", 5),
        ("instances", [{"kind": "CPU", "count": 3}]),
        ("modelConfig", {"optimization": {"eager_batching": False}}),
        ("server.image", {"tag": "26.10-py3"}),
        ("server.gpu", {"count": 2}),
        ("server.gpu", {"resourceName": "nvidia.com/mig-1g.10gb"}),
        ("server.resources.requests.cpu", "2"),
        ("server.sharedMemory", "3Gi"),
        ("server.env", [{"name": "A", "value": "2"}]),
        ("server.args", ["--log-verbose=2"]),
        ("server.nodeSelector", {"disk": "hdd", "zone": "a"}),
        ("server.tolerations", [{"key": "gpu", "operator": "Exists"}]),
        ("server.priorityClassName", "high"),
        ("server.serviceAccountName", "reader"),
        ("server.podAnnotations", {"team": "search"}),
        ("server.startupTimeout", "20m"),
        ("server.drainTimeout", "31s"),
        ("server.grpcMaxConnectionAge", "41s"),
    ],
)
def test_an_edit_of_what_the_pods_are_made_of_is_a_new_revision(path: str, value: Any) -> None:
    assert hash_of(edited(path, value)) != hash_of(SPEC)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("replicas", 5),
        ("suspend", True),
        ("traffic.service", {"type": "LoadBalancer", "annotations": {"a": "b"}}),
        ("rollout", {"progressDeadline": "1h", "revisionHistoryLimit": 3}),
        ("server.resources.requests.cpu", "1000m"),
        ("server.resources.requests.memory", "1024Mi"),
        ("server.drainTimeout", "30000ms"),
        ("batching.dynamic.maxQueueDelay", "2000us"),
        ("server.gpu", {"count": 1}),
        ("model.parameters", {"b": "2", "a": "1"}),
        ("server.nodeSelector", {"zone": "a", "disk": "ssd"}),
        ("fieldOfALaterVersion", {"x": 1}),
    ],
)
def test_other_edits_are_the_same_revision(path: str, value: Any) -> None:
    assert hash_of(edited(path, value)) == hash_of(SPEC)


def test_labels_and_annotations_of_the_object_are_the_same_revision() -> None:
    assert hash_of(SPEC, labels={"team": "shop"}, annotations={"note": "x"}, generation=7) == hash_of(SPEC)


def test_settings_of_the_operator_are_the_same_revision() -> None:
    deployment = ModelDeployment.parse(body(SPEC))
    newer = Defaults(triton_image="triton:27.01-py3", allow_unsafe_image=True, fetch_image="operator:2")
    assert build_revision(deployment, DEFAULTS).hash == build_revision(deployment, newer).hash


def test_the_hash_of_a_spec_never_changes() -> None:
    """A changed hash would roll every deployment there is when the operator is upgraded."""
    assert hash_of({"model": {"uri": "s3://models/demo"}}) == "17490cf80d"
    assert hash_of(SPEC) == "5702dd943b"


def test_an_empty_dynamic_batching_is_not_the_same_as_none() -> None:
    with_none = edited("batching", {"maxBatchSize": 8})
    assert hash_of(edited("batching", {"maxBatchSize": 8, "dynamic": {}})) != hash_of(with_none)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4), st.randoms(use_true_random=False))
def test_the_hash_does_not_depend_on_the_order_of_keys(normal: dict[str, Any], random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    found = hash_spec(normal)
    assert hash_spec(shuffled(normal)) == found
    assert len(found) == HASH_LENGTH
    assert int(found, 16) >= 0


def test_the_normal_form_is_plain_json() -> None:
    normal = normalized_spec(ModelDeployment.parse(body(SPEC)).spec)
    assert json.loads(json.dumps(normal)) == normal
