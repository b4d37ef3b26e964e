"""The HTTPRoute: HTTP and gRPC in one object, so that one write moves both.

`http_route()` builds it for `manifests.py`; the rest reads a route back: the weights the operator wrote
(`split_written()`), those a gateway reads (`split_seen()`), and where a gateway counts each revision
(`backends()`), for the rollout to compare with the desired ones.

With revisions a (stable, 90%) and b (canary, 10%) the rules are, in this order: all gRPC clients (a 90, b 10), all HTTP
clients (a 90, b 10), and then gRPC and HTTP for clients that name a in the revision header, and for those that name b.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.resources import HTTP_ROUTE
from tritonfleet.api.traffic import GatewayReference, TrafficGateway
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.objects.containers import PORTS
from tritonfleet.plan.world import Defaults, Manifest

GRPC_CONTENT_TYPES: Final = ("application/grpc", "application/grpc+proto")
"""What gRPC clients send. A pattern would be shorter, but not every gateway supports patterns."""
SPLIT_RULES: Final = {0: "grpc", 1: "http"}
"""The rules that divide the traffic of all clients, by index, and the port they lead to."""
PLACES: Final = 7
"""Revisions that a route has room for: each takes two of 16 rules, and the two that divide the traffic come first."""

WHOLE: Final = 1_000_000
"""The largest weight there is."""

_ANY_PATH: Final = {"type": "PathPrefix", "value": "/"}


def http_route(
    owner: Manifest,
    gateway: TrafficGateway,
    split: Mapping[str, int],
    existing: Manifest | None = None,
    *,
    opened: Collection[str] = (),
) -> Manifest:
    """Return the route. `split` is percent by revision; one with 0 gets what asks for it by the revision header alone.

    Of those `opened`, a revision with 0 gets one request in a million. Envoy Gateway forgets a backend with weight 0 a
    moment before it stops sending requests to it, and sends them to a new one before it knows where that is: both fail.

    A revision keeps the place it has in `existing`: gateways name a backend by its place, and while a change of
    places arrives in one part of a gateway before the other, requests would go to the wrong revision.
    """
    before = split_written(existing) if existing is not None else []
    seats = assign_places(split, before)
    if any(split.get(revision) == 0 for revision in opened):
        seats = [(revision, weight * WHOLE // 100 or int(revision in opened)) for revision, weight in seats]
    metadata = names.shared_metadata(owner)
    named = {revision: names.revision_name(owner["name"], revision) for revision, _ in seats}
    metadata["annotations"] = {names.SPLIT_ANNOTATION: ",".join(f"{revision}={weight}" for revision, weight in seats)}
    rules = [
        _rule(port, None, [_backend(named[revision], port, weight) for revision, weight in seats])
        for port in SPLIT_RULES.values()
    ]
    for revision, _ in seats:
        name = named[revision]
        rules += [_rule(port, name, [_backend(name, port, 1)]) for port in SPLIT_RULES.values()]
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.kind,
        "metadata": metadata,
        "spec": {
            "parentRefs": [_parent(each, owner["namespace"]) for each in gateway.parent_refs],
            # Empty equals absent, but is owned by the operator: others cannot narrow the route unnoticed.
            "hostnames": list(gateway.hostnames),
            "rules": rules,
        },
    }


def refuse_unroutable(deployment: ModelDeployment, defaults: Defaults) -> None:
    """Raise InvalidSpec if the spec names a gateway and the operator may not write routes."""
    if deployment.spec.traffic.gateway is not None and not defaults.gateway_api:
        raise InvalidSpec(
            "spec.traffic.gateway is set, but this operator was installed without the Gateway API: remove the field, "
            "or have an administrator install the Gateway API's CRDs and upgrade the chart with gatewayApi.enabled=true"
        )
    gateway = deployment.spec.traffic.gateway
    if gateway is not None and gateway.consistent_hash is not None and not defaults.envoy_policies:
        raise InvalidSpec(
            "spec.traffic.gateway.consistentHash is set, but this operator was installed without Envoy Gateway: remove "
            "the field, or have an administrator upgrade the chart with gatewayApi.envoyPolicies=true"
        )


def assign_places(split: Mapping[str, int], before: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return revision and percent by place: a revision keeps its place, others take the first free one.

    A free place before a taken one is filled, with 0, by the revision that follows it.
    """
    # A revision that fills a free place appears again later, so its last place is the true one.
    places = {revision: place for place, (revision, _) in enumerate(before[:PLACES]) if revision in split}
    for revision in split:
        if revision not in places:
            places[revision] = next(place for place in range(len(split)) if place not in places.values())
    seats: list[tuple[str, int]] = []
    for revision, place in sorted(places.items(), key=lambda each: each[1]):
        seats += [(revision, 0)] * (place - len(seats))
        seats.append((revision, split[revision]))
    return seats


def split_written(route: Manifest) -> list[tuple[str, int]]:
    """Return revision and weight by place, as the operator last wrote them; empty if that is not known."""
    text = (route["metadata"].get("annotations") or {}).get(names.SPLIT_ANNOTATION, "")
    pairs = [pair.partition("=") for pair in text.split(",")]
    return [(revision, int(weight)) for revision, _, weight in pairs if revision and weight.isdecimal()]


def split_seen(route: Manifest) -> list[list[tuple[str, int]]]:
    """Return, for each rule that divides the traffic, the revision and weight by place as the gateway reads them.

    A backend that is no Service of a revision has an empty revision.
    """
    prefix = f"{route['metadata']['name']}-"
    return [
        [
            (
                backend["name"].removeprefix(prefix) if backend["name"].startswith(prefix) else "",
                backend.get("weight", 1),
            )
            for backend in rule.get("backendRefs") or ()
        ]
        for rule in (route["spec"].get("rules") or [])[: len(SPLIT_RULES)]
    ]


def backends(route: Manifest) -> Mapping[str, tuple[tuple[int, int], ...]]:
    """Return where each revision is in the rules that divide the traffic: (rule, backend), both from 0."""
    places = {revision: place for place, (revision, _) in enumerate(split_written(route))}
    return {revision: tuple((rule, place) for rule in SPLIT_RULES) for revision, place in places.items()}


def statuses_by_parent(route: Manifest) -> list[tuple[Manifest, list[Manifest]]]:
    """Return each of the route's references to a Gateway with what controllers say in `status.parents` about it.

    Each reference has a namespace, also one that others added without.
    """
    own = {"namespace": route["metadata"]["namespace"]}
    said = [(_identity(each["parentRef"], route), each) for each in (route.get("status") or {}).get("parents") or ()]
    return [
        (own | reference, [each for identity, each in said if identity == _identity(reference, route)])
        for reference in route["spec"]["parentRefs"]
    ]


def _identity(reference: Manifest, route: Manifest) -> tuple[str, str, str | None]:
    return reference.get("namespace") or route["metadata"]["namespace"], reference["name"], reference.get("sectionName")


def _parent(reference: GatewayReference, namespace: str) -> Manifest:
    parent: Manifest = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "namespace": reference.namespace or namespace,
        "name": reference.name,
    }
    if reference.section_name is not None:
        parent["sectionName"] = reference.section_name
    return parent


def _rule(port: str, revision_name: str | None, backend_refs: list[Manifest]) -> Manifest:
    """Return the rule for one protocol, for all clients or for those that name the revision."""
    named = [_header(names.REVISION_HEADER, revision_name)] if revision_name is not None else []
    protocols = [[_header("content-type", value)] for value in GRPC_CONTENT_TYPES] if port == "grpc" else [[]]
    matches: list[dict[str, Any]] = []
    for protocol in protocols:
        headers = [*protocol, *named]
        matches.append({"path": _ANY_PATH, **({"headers": headers} if headers else {})})
    # Otherwise gateways apply their default timeout: Envoy 15 seconds, to streams too.
    return {"matches": matches, "backendRefs": backend_refs, "timeouts": {"request": "0s"}}


def _header(name: str, value: str) -> Manifest:
    return {"type": "Exact", "name": name, "value": value}


def _backend(name: str, port: str, weight: int) -> Manifest:
    """Return one revision's Service; its filter also has Envoy Gateway count it apart from the others."""
    answer = {"set": [{"name": names.REVISION_HEADER, "value": name}]}
    return {
        "group": "",
        "kind": "Service",
        "name": name,
        "port": PORTS[port],
        "weight": weight,
        "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": answer}],
    }
