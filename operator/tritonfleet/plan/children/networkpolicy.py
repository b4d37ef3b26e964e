"""The NetworkPolicy: nothing but the three ports of the Services can be reached."""

from tritonfleet.api import names
from tritonfleet.plan.children.metadata import shared_metadata
from tritonfleet.plan.children.ports import PORTS
from tritonfleet.plan.world import Manifest


def network_policy(owner: Manifest) -> Manifest:
    """Return a policy on ingress; egress stays open, since the fetch step needs the model's store."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": shared_metadata(owner),
        "spec": {
            "podSelector": {"matchLabels": {names.OWNER_LABEL: owner["name"]}},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": number} for number in PORTS.values()]}],
        },
    }
