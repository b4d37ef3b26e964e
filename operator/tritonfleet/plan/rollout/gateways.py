"""How gateways name what they count of one revision: each implementation has its own way, found by its controller."""

from collections.abc import Callable, Mapping
from typing import Final

from tritonfleet.plan.objects import backends
from tritonfleet.plan.world import Manifest


def _envoy_gateway(namespace: str, route: str, rule: int, backend: int) -> str:
    return f"httproute/{namespace}/{route}/rule/{rule}/backend/{backend}"


CLUSTERS: Final[Mapping[str, Callable[[str, str, int, int], str]]] = {
    "gateway.envoyproxy.io/gatewayclass-controller": _envoy_gateway,
}
"""By the name of the controller: what its series call a backend, given namespace, route, rule and place from 0."""


def revision_of(route: Manifest) -> Mapping[str, str] | None:
    """Return which revision each of the gateway's clusters is, for what clients without the revision header get.

    None while no gateway has taken the route, if several kinds did, or for one whose series are not known: then there
    are Triton's own counters.
    """
    controllers = {parent.get("controllerName", "") for parent in (route.get("status") or {}).get("parents") or ()}
    cluster = CLUSTERS.get(controllers.pop()) if len(controllers) == 1 else None
    if cluster is None:
        return None
    namespace, name = route["metadata"]["namespace"], route["metadata"]["name"]
    return {
        cluster(namespace, name, rule, backend): revision
        for revision, places in backends(route).items()
        for rule, backend in places
    }
