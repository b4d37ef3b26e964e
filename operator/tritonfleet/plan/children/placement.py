"""Where the pods of a revision may run."""

from typing import Final

from tritonfleet.api import names
from tritonfleet.api.server import Server
from tritonfleet.plan.children.plain import plain
from tritonfleet.plan.world import Manifest

GPU_PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
GPU_TOLERATION: Final = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
"""The taint by which clusters keep other pods off their GPU nodes."""

_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


def placement(server: Server, owner_name: str, revision_hash: str) -> Manifest:
    """Return the fields of a pod spec that say where it may run; resources are the container's."""
    fields: Manifest = {
        "nodeSelector": dict(server.node_selector),
        "tolerations": _tolerations(server),
        "affinity": _affinity(server),
        "topologySpreadConstraints": _topology_spread(server, owner_name, revision_hash),
        "priorityClassName": server.priority_class_name,
        "runtimeClassName": server.runtime_class_name,
        "schedulerName": server.scheduler_name,
    }
    return {name: value for name, value in fields.items() if value}


def _tolerations(server: Server) -> list[Manifest]:
    given = [plain(toleration) for toleration in server.tolerations]
    return [*given, GPU_TOLERATION] if server.gpu.count else given


def _affinity(server: Server) -> Manifest:
    """Add the GPU products to each alternative of the user's node affinity: one that lacks them would do."""
    affinity = plain(server.affinity) if server.affinity is not None else {}
    if not server.gpu.count or not server.gpu.product:
        return affinity
    product = {"key": GPU_PRODUCT_LABEL, "operator": "In", "values": list(server.gpu.product)}
    node = affinity.get("nodeAffinity", {})
    terms = node.get(_REQUIRED, {}).get("nodeSelectorTerms", [{"matchExpressions": []}])
    narrowed = [{"matchExpressions": [*term["matchExpressions"], product]} for term in terms]
    return {**affinity, "nodeAffinity": {**node, _REQUIRED: {"nodeSelectorTerms": narrowed}}}


def _topology_spread(server: Server, owner_name: str, revision_hash: str) -> list[Manifest]:
    selector = {"matchLabels": names.serving_selector(owner_name, revision_hash)}
    if not server.topology_spread:
        return [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": selector,
            }
        ]
    return [
        {
            "maxSkew": spread.max_skew,
            "topologyKey": spread.topology_key,
            "whenUnsatisfiable": str(spread.when_unsatisfiable),
            "labelSelector": selector,
        }
        for spread in server.topology_spread
    ]
