"""How gateways name what they count of one revision: each implementation has its own way, found by its controller."""

from collections.abc import Callable, Mapping
from typing import Final

from tritonfleet.plan.children.httproute import backends
from tritonfleet.plan.world import Manifest

Places = tuple[tuple[int, int], ...]
"""Rule and backend, both from 0."""


def _envoy_gateway(namespace: str, route: str, places: Places) -> str:
    names = "|".join(f"rule/{rule}/backend/{backend}" for rule, backend in places)
    return f'envoy_cluster_name=~"httproute/{namespace}/{route}/({names})"'


MATCHERS: Final[Mapping[str, Callable[[str, str, Places], str]]] = {
    "gateway.envoyproxy.io/gatewayclass-controller": _envoy_gateway,
}
"""By the name of the controller: PromQL matcher of the series of one revision, given namespace, route and places."""


def revision_matchers(route: Manifest) -> Mapping[str, str] | None:
    """Return a PromQL matcher by revision for what clients without the revision header get.

    None while no gateway has taken the route, if several kinds did, or for one whose series are not known: then there
    are Triton's own counters.
    """
    controllers = {parent.get("controllerName", "") for parent in (route.get("status") or {}).get("parents") or ()}
    matcher = MATCHERS.get(controllers.pop()) if len(controllers) == 1 else None
    if matcher is None:
        return None
    metadata = route["metadata"]
    return {revision: matcher(metadata["namespace"], metadata["name"], at) for revision, at in backends(route).items()}
