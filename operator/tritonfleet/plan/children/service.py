"""The Services: one per revision with a selector that never changes, and the front one that moves."""

from typing import Any

from tritonfleet.api import names
from tritonfleet.plan.children.metadata import revision_metadata, shared_metadata
from tritonfleet.plan.children.ports import PORTS
from tritonfleet.plan.world import Manifest


def revision_service(owner: Manifest, revision_hash: str) -> Manifest:
    """Return the Service of one revision, inside the cluster only."""
    return _service(revision_metadata(owner, revision_hash), owner["name"], revision_hash, "ClusterIP")


def front_service(owner: Manifest, serving_hash: str, *, service_type: str, annotations: dict[str, str]) -> Manifest:
    """Return the Service that clients use; its selector names the revision that serves now."""
    metadata = shared_metadata(owner)
    if annotations:
        metadata["annotations"] = annotations
    return _service(metadata, owner["name"], serving_hash, service_type)


def _service(metadata: Manifest, owner_name: str, revision_hash: str, service_type: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": service_type,
            "selector": names.serving_selector(owner_name, revision_hash),
            "ports": [_port(name, number) for name, number in PORTS.items()],
        },
    }


def _port(name: str, number: int) -> dict[str, Any]:
    port: dict[str, Any] = {"name": name, "port": number, "targetPort": name, "protocol": "TCP"}
    if name == "grpc":
        # Without it a gateway that routes both protocols speaks HTTP/1.1 to Triton and every call fails.
        port["appProtocol"] = "kubernetes.io/h2c"
    return port
