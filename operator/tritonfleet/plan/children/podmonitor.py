"""The PodMonitor: Prometheus reads every pod and knows whose series they are."""

from tritonfleet.api import names
from tritonfleet.plan.children.metadata import shared_metadata
from tritonfleet.plan.world import Manifest


def pod_monitor(owner: Manifest) -> Manifest:
    """Return a PodMonitor that stamps `modeldeployment` and `revision` on every series."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": shared_metadata(owner),
        "spec": {
            "selector": {"matchLabels": {names.OWNER_LABEL: owner["name"]}},
            "podMetricsEndpoints": [
                {
                    "port": "metrics",
                    "path": "/metrics",
                    "relabelings": [
                        _stamp(names.OWNER_LABEL, "modeldeployment"),
                        _stamp(names.REVISION_LABEL, "revision"),
                    ],
                }
            ],
        },
    }


def _stamp(label: str, target: str) -> Manifest:
    source = "".join(character if character.isalnum() else "_" for character in label)
    return {
        "action": "replace",
        "sourceLabels": [f"__meta_kubernetes_pod_label_{source}"],
        "targetLabel": target,
    }
