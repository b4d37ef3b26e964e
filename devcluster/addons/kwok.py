"""Simulated GPU nodes: kwok answers for their kubelets, everything else about them is real."""

from typing import Any

from devcluster import gobuild
from devcluster.cluster import Cluster
from devcluster.kube import wait_until
from devcluster.node import gpu_labels
from devcluster.paths import HERE
from devcluster.progress import Progress

NAME = "kwok"
TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
_SELECTOR = "type%3Dkwok"


def ensure(cluster: Cluster, progress: Progress) -> list[str]:
    """Build and start kwok; no node is added. Returns what to tell the user."""
    gobuild.build(gobuild.KWOK, progress)
    cluster.registry.ensure(
        NAME,
        cluster.slot.enter(
            gobuild.KWOK.path("kwok"),
            f"--kubeconfig={cluster.kubeconfig}",
            f"--config={HERE / 'stages' / 'gpu-nodes.yaml'}",
            f"--cidr={cluster.slot.fake_pod_range}",
            f"--node-ip={cluster.slot.address}",
            "--manage-all-nodes=false",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            # Without leases the controller manager would call the nodes lost after 40 s.
            "--node-lease-duration-seconds=40",
        ),
    )
    return ["kwok runs; add nodes with `python -m devcluster gpu-nodes 20`, and let pods tolerate kwok.x-k8s.io/node"]


def set_nodes(cluster: Cluster, count: int, gpus_per_node: int, progress: Progress) -> None:
    """Have exactly `count` Ready simulated nodes of so many GPUs each; surplus ones are deleted."""
    ensure(cluster, progress)
    wanted = {f"gpu-{number:03d}" for number in range(count)}
    with progress.step(f"setting up {count} simulated nodes of {gpus_per_node} GPUs") as step:
        for surplus in sorted(set(_nodes(cluster)) - wanted):
            cluster.api.delete(f"/api/v1/nodes/{surplus}")
        for name in sorted(wanted):
            _apply(cluster, name, gpus_per_node)
            step.note = name
        wait_until(
            f"{count} Ready simulated nodes",
            lambda: sum(_nodes(cluster).values()) >= count,
            f"See {cluster.state.logs}/kwok.log.",
        )


def _nodes(cluster: Cluster) -> dict[str, bool]:
    """Name of each simulated node -> whether it is Ready."""
    listed = cluster.api.get(f"/api/v1/nodes?labelSelector={_SELECTOR}")["items"]
    return {node["metadata"]["name"]: _ready(node) for node in listed}


def _ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _apply(cluster: Cluster, name: str, gpus: int) -> None:
    capacity = {"cpu": "64", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": str(gpus)}
    path = f"/api/v1/nodes/{name}"
    kind = {"apiVersion": "v1", "kind": "Node"}
    labels = {
        **gpu_labels(gpus),
        "type": "kwok",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }
    metadata = {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": labels}
    cluster.api.apply(path, {**kind, "metadata": metadata, "spec": {"taints": [TAINT]}})
    status = {"capacity": capacity, "allocatable": capacity}
    cluster.api.apply(f"{path}/status", {**kind, "metadata": {"name": name}, "status": status})
