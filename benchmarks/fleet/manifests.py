"""The ModelDeployments of the benchmark, the nodes they run on, and the children the operator makes of one."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tritonfleet.adapters.store import Key, Store
from tritonfleet.api import names
from tritonfleet.plan.reconcile import reconcile
from tritonfleet.plan.world import Manifest, Observed
from tritonfleet.runtime import BEFORE_PODS
from tritonfleet.settings import from_environment

GPUS_PER_NODE = 8
FETCH_IMAGE = "docker.io/tritonfleet/operator:bench"
DEFAULTS = replace(from_environment({}).defaults, fetch_image=FETCH_IMAGE)
CHANGE: Mapping[str, Any] = {"spec": {"batching": {"dynamic": {"maxQueueDelay": "2ms"}}}}
"""A merge patch that makes a new revision of a ModelDeployment."""


def model_deployment(namespace: str, name: str) -> Manifest:
    """Return one ModelDeployment with one GPU, for the simulated nodes."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"uri": "s3://models/bench/1", "backend": "onnxruntime"},
            "batching": {"maxBatchSize": 16, "dynamic": {"maxQueueDelay": "1ms"}},
            "server": {
                "gpu": {"count": 1},
                "nodeSelector": {"type": "kwok"},
                "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists", "effect": "NoSchedule"}],
            },
        },
    }


def fleet_names(size: int) -> list[str]:
    """Return the names of the fleet's ModelDeployments; none is another's with a dash and more."""
    return [f"m{number:04d}" for number in range(size)]


def owner_of(child: str) -> str:
    """Return the ModelDeployment that a child's name speaks of: `<owner>`, `<owner>-<hash>` or `<owner>.<event>`."""
    return child.partition(".")[0].partition("-")[0]


def children(body: Manifest) -> tuple[Manifest, ...]:
    """Return what the operator applies for a ModelDeployment that it sees for the first time."""
    return _applied(Observed(body=body, children={}, pods=(), defaults=DEFAULTS))


def changed_children(store: Store, key: Key) -> tuple[Manifest, ...]:
    """Return what the operator applies for a ModelDeployment as soon as it sees `CHANGE`, up to the new Deployment."""
    body = store.body(key)
    if body is None:
        raise LookupError(f"there is no ModelDeployment {key}")
    batching = body["spec"]["batching"] | CHANGE["spec"]["batching"]
    changed = body | {"spec": body["spec"] | {"batching": batching}}
    applied = _applied(Observed(changed, store.children(key), store.pods(key), DEFAULTS))
    return tuple(child for child in applied if child["kind"] == "Deployment" or child["kind"] in BEFORE_PODS)


def _applied(observed: Observed) -> tuple[Manifest, ...]:
    return tuple(apply.manifest for apply in reconcile(observed, datetime.now(UTC)).applies)


def node(number: int) -> Manifest:
    """Return one simulated node full of GPUs."""
    name = f"gpu-{number:03d}"
    capacity = {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": str(GPUS_PER_NODE)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "type": "kwok",
                "kubernetes.io/hostname": name,
                "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
            },
        },
        "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
        "status": {"allocatable": capacity, "capacity": capacity},
    }
