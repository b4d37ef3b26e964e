"""The PodDisruptionBudget: node drains take one pod at a time."""

from collections.abc import Mapping

from tritonfleet.api import names
from tritonfleet.plan.children.metadata import shared_metadata
from tritonfleet.plan.world import Manifest


def disruption_budget(owner: Manifest, split: Mapping[str, int]) -> Manifest:
    """Return the budget over the pods of all revisions but those that `split` gives nothing.

    A pod that is not ready is never kept from leaving. It counts as unavailable, though, so that a canary that starts,
    or waits for a GPU for days, would keep stable's pods on every node that is to be drained.
    """
    selector: Manifest = {"matchLabels": {names.OWNER_LABEL: owner["name"]}}
    idle = sorted(revision for revision, weight in split.items() if weight == 0)
    if idle:
        selector["matchExpressions"] = [{"key": names.REVISION_LABEL, "operator": "NotIn", "values": idle}]
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": shared_metadata(owner),
        "spec": {
            "maxUnavailable": 1,
            "selector": selector,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
