"""What is listed on demand and not watched, because most of it is other people's.

`GpuCensus` counts the free GPUs on the nodes that a pod may run on, only while a pod is waiting for one.
`GatewayCensus` lists Gateways and HTTPRoutes, only while a ModelDeployment names a Gateway. Calls within a few seconds
share a list.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tritonfleet.api.quantities import whole_amount
from tritonfleet.plan.pods import has_ended
from tritonfleet.plan.world import Gateway, GatewayView, GpuPool, Manifest, Route

MIN_AGE_SECONDS = 5.0
COST_FACTOR = 20.0
"""A list is kept for at least this multiple of the time that it took: big clusters are listed less often."""

ListAll = Callable[[str], Awaitable[list[Manifest] | None]]
"""Lists every object of a kind in the cluster; None if that is not possible."""


@dataclass(frozen=True, slots=True)
class Census:
    """All nodes, and the requests of the pods on each, by resource."""

    nodes: tuple[Manifest, ...]
    requested: dict[str, dict[str, int]]


class GpuCensus:
    """Counts on demand; calls within a few seconds share a count."""

    def __init__(self, list_all: ListAll, clock: Callable[[], float] | None = None) -> None:
        self._list_all = list_all
        self._clock = clock or asyncio.get_running_loop().time
        self._lock = asyncio.Lock()
        self._census: Census | None = None
        self._expires = 0.0

    async def pool_for(self, pod: Manifest, resource: str) -> GpuPool | None:
        """Return the nodes that this pod may run on, or None if they cannot be counted."""
        async with self._lock:
            if self._clock() >= self._expires:
                await self._count()
        return count_pool(self._census, pod, resource) if self._census is not None else None

    async def _count(self) -> None:
        started = self._clock()
        nodes = await self._list_all("Node")
        pods = await self._list_all("Pod") if nodes is not None else None
        self._census = take_census(nodes, pods) if nodes is not None and pods is not None else None
        self._expires = _expiry(started, self._clock())


class GatewayCensus:
    """Lists on demand; calls within a few seconds share a list."""

    def __init__(self, list_all: ListAll, clock: Callable[[], float] | None = None) -> None:
        self._list_all = list_all
        self._clock = clock or asyncio.get_running_loop().time
        self._lock = asyncio.Lock()
        self._view = GatewayView()
        self._expires = 0.0

    async def view(self) -> GatewayView:
        """Return what is known of all Gateways and routes; nothing where they may not be listed."""
        async with self._lock:
            started = self._clock()
            if started >= self._expires:
                self._view = view_of(await self._list_all("Gateway"), await self._list_all("HTTPRoute"))
                self._expires = _expiry(started, self._clock())
        return self._view


def view_of(gateways: list[Manifest] | None, routes: list[Manifest] | None) -> GatewayView:
    """Return what matters of them; None for what cannot be listed."""
    known = None
    if gateways is not None:
        known = {(each["metadata"]["namespace"], each["metadata"]["name"]): _gateway(each) for each in gateways}
    seen = (Route.of(each) for each in routes or ())
    return GatewayView(known, tuple(route for route in seen if route.takes_all))


def _gateway(gateway: Manifest) -> Gateway:
    wanted = ("name", "protocol", "port", "hostname")
    listeners = (gateway.get("spec") or {}).get("listeners") or ()
    addresses = (gateway.get("status") or {}).get("addresses") or ()
    return Gateway(
        tuple({name: each.get(name) for name in wanted} for each in listeners),
        tuple(str(each["value"]) for each in addresses if each.get("value")),
    )


def _expiry(started: float, finished: float) -> float:
    return finished + max(MIN_AGE_SECONDS, COST_FACTOR * (finished - started))


def countable(item: Manifest) -> Manifest:
    """Return what is counted of a node or a pod: a cluster may have ten thousands of pods."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    if item.get("kind") != "Pod":
        return {**item, "metadata": {**item["metadata"], "managedFields": []}}
    containers = {
        part: [{"resources": each.get("resources") or {}} for each in spec.get(part) or ()]
        for part in ("containers", "initContainers")
    }
    return {"spec": {"nodeName": spec.get("nodeName"), **containers}, "status": {"phase": status.get("phase")}}


def take_census(nodes: list[Manifest], pods: list[Manifest]) -> Census:
    """Add up the requests of running pods by node."""
    requested: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for pod in pods:
        node = pod["spec"].get("nodeName")
        if node is None or has_ended(pod):
            continue
        for resource, amount in _extended_requests(pod).items():
            requested[node][resource] += amount
    return Census(tuple(nodes), requested)


def count_pool(census: Census, pod: Manifest, resource: str) -> GpuPool:
    """Count a resource on the nodes that match a pod's selector, affinity and tolerations."""
    free = []
    for node in census.nodes:
        allocatable = whole_amount(node.get("status", {}).get("allocatable", {}).get(resource, "0"))
        if allocatable and admits(node, pod):
            free.append(max(0, allocatable - census.requested.get(node["metadata"]["name"], {}).get(resource, 0)))
    return GpuPool(resource, matching_nodes=len(free), free=sum(free), largest_free_on_one_node=max(free, default=0))


def admits(node: Manifest, pod: Manifest) -> bool:
    """Return whether the scheduler would consider this node, regardless of free capacity."""
    spec = pod["spec"]
    labels = node["metadata"].get("labels", {})
    if any(labels.get(label) != value for label, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    terms = affinity.get("nodeSelectorTerms", []) if affinity else None
    if terms is not None and not any(_matches(term, node) for term in terms):
        return False
    return all(_tolerated(taint, spec.get("tolerations") or []) for taint in _repelling_taints(node))


def _extended_requests(pod: Manifest) -> dict[str, int]:
    """Sum the containers' extended resources; an init container counts if it requests more than all of them."""
    total: dict[str, int] = defaultdict(int)
    for container in pod["spec"].get("containers", ()):
        for resource, amount in _extended(container):
            total[resource] += amount
    for container in pod["spec"].get("initContainers", ()):
        for resource, amount in _extended(container):
            total[resource] = max(total[resource], amount)
    return {resource: amount for resource, amount in total.items() if amount}


def _extended(container: Manifest) -> Iterator[tuple[str, int]]:
    # Extended resources have equal requests and limits, and are integers.
    for resource, amount in (container.get("resources", {}).get("limits") or {}).items():
        if "/" in resource:
            yield resource, whole_amount(amount)


def _repelling_taints(node: Manifest) -> Iterator[Manifest]:
    if node["spec"].get("unschedulable"):
        yield {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    for taint in node["spec"].get("taints") or ():
        if taint["effect"] in ("NoSchedule", "NoExecute"):
            yield taint


def _tolerated(taint: Manifest, tolerations: list[Manifest]) -> bool:
    return any(
        each.get("effect") in (None, "", taint["effect"])
        and each.get("key") in (None, "", taint["key"])
        and (each.get("operator") == "Exists" or each.get("value", "") == taint.get("value", ""))
        for each in tolerations
    )


def _matches(term: Manifest, node: Manifest) -> bool:
    """Return whether all of a term's requirements hold; an empty term matches nothing."""
    labels = node["metadata"].get("labels", {})
    fields = {"metadata.name": node["metadata"]["name"]}
    on_labels, on_fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    return bool(on_labels or on_fields) and (
        all(_holds(each, labels) for each in on_labels) and all(_holds(each, fields) for each in on_fields)
    )


def _holds(requirement: Manifest, labels: dict[str, str]) -> bool:
    value = labels.get(requirement["key"])
    values: list[Any] = requirement.get("values") or []
    match requirement["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as comparison if _is_number(value, *values):
            above = int(value or 0) - int(values[0])
            return above > 0 if comparison == "Gt" else above < 0
        case _:
            # The API server allows no other; one of a later Kubernetes must not end a reconcile.
            return False


def _is_number(*words: str | None) -> bool:
    """Return whether all are whole numbers: for the scheduler, no other label is more or less than any."""
    return len(words) > 1 and all(re.fullmatch("[+-]?[0-9]{1,18}", word or "", re.ASCII) for word in words)
