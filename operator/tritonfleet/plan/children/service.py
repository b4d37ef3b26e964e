"""The Services: one per revision with a selector that never changes, and the front one that moves."""

from collections.abc import Mapping
from typing import Any

from tritonfleet.api import names
from tritonfleet.plan.children.metadata import revision_metadata, shared_metadata
from tritonfleet.plan.children.ports import PORTS
from tritonfleet.plan.world import Manifest


def revision_service(owner: Manifest, revision_hash: str) -> Manifest:
    """Return the Service of one revision, inside the cluster only."""
    selector = names.serving_selector(owner["name"], revision_hash)
    return _service(revision_metadata(owner, revision_hash), selector, "ClusterIP")


def front_service(
    owner: Manifest, split: Mapping[str, int], *, service_type: str, annotations: dict[str, str]
) -> Manifest:
    """Return the Service that clients use. `split` is percent by revision.

    A revision that gets everything is selected alone. Several that share are selected by what every pod of the
    ModelDeployment has in common: each gets what its ready pods are of all of them.
    """
    metadata = shared_metadata(owner)
    if annotations:
        metadata["annotations"] = annotations
    taking = [revision for revision, weight in split.items() if weight > 0]
    alone = len(taking) == 1
    selector = names.serving_selector(owner["name"], taking[0]) if alone else {names.OWNER_LABEL: owner["name"]}
    return _service(metadata, selector, service_type)


def _service(metadata: Manifest, selector: dict[str, str], service_type: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": service_type,
            "selector": selector,
            "ports": [_port(name, number) for name, number in PORTS.items()],
        },
    }


def _port(name: str, number: int) -> dict[str, Any]:
    port: dict[str, Any] = {"name": name, "port": number, "targetPort": name, "protocol": "TCP"}
    if name == "grpc":
        # Without it a gateway that routes both protocols speaks HTTP/1.1 to Triton and every call fails.
        port["appProtocol"] = "kubernetes.io/h2c"
    return port
