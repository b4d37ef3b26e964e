"""The PodDisruptionBudget: node drains take one pod at a time."""

from tritonfleet.api import names
from tritonfleet.plan.children.metadata import shared_metadata
from tritonfleet.plan.world import Manifest


def disruption_budget(owner: Manifest) -> Manifest:
    """Return the budget over the pods of all revisions; a pod that is not ready never blocks a drain."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": shared_metadata(owner),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {names.OWNER_LABEL: owner["name"]}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
