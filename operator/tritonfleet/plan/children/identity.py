"""What makes two specs the same revision.

The hash covers what changes the pods, in a normal form, and nothing that the operator itself decides: its
defaults (the Triton image, the fetch image) and the way it renders are frozen with the revision instead, so
that neither an upgrade of the operator nor a change of its settings rolls a whole fleet.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from tritonfleet.api.modeldeployment import ModelDeploymentSpec
from tritonfleet.api.quantities import canonical_quantity, duration_us
from tritonfleet.api.server import Server
from tritonfleet.plan.world import Manifest

FORMAT: Final = 1
"""Raised when the normal form changes; it is part of the hash."""

HASH_LENGTH: Final = 10

_POD_AFFECTING: Final = {"model", "batching", "instances", "raw_model_config", "server"}


def normalised(spec: ModelDeploymentSpec) -> Manifest:
    """Return the part of the spec that changes the pods, so that specs that mean the same are equal.

    Fields that hold their default are left out: a field that a later version adds changes no hash.
    """
    found = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=_POD_AFFECTING)
    for path, canonical in _CANONICAL.items():
        _rewrite(found, path, canonical)
    server = found.get("server", {})
    for name, default in _SERVER_DEFAULTS.items():
        if server.get(name) == default:
            del server[name]
    for parent, names in ((server, ("affinity", "image", "resources")), (found, ("batching", "server"))):
        for name in names:
            if not parent.get(name, True):
                del parent[name]
    if spec.slo is not None and spec.slo.shed_late and spec.slo.latency is not None:
        found["shedLate"] = {"target": duration_us(spec.slo.latency.target)}
    return found


def revision_hash(normal: Manifest) -> str:
    """Return ten hexadecimal digits for a normalised spec, whatever the order of its keys."""
    canonical = json.dumps({"format": FORMAT, "spec": normal}, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()[:HASH_LENGTH]


def _quantities(amounts: Manifest) -> Manifest:
    return {name: canonical_quantity(str(amount)) for name, amount in amounts.items()}


_CANONICAL: Final[dict[tuple[str, ...], Callable[[Any], Any]]] = {
    ("batching", "dynamic", "maxQueueDelay"): duration_us,
    ("batching", "dynamic", "queueTimeout"): duration_us,
    ("batching", "dynamic", "priorityPolicies", "*", "queueTimeout"): duration_us,
    ("server", "startupTimeout"): duration_us,
    ("server", "drainTimeout"): duration_us,
    ("server", "grpcMaxConnectionAge"): duration_us,
    ("server", "sharedMemory"): canonical_quantity,
    ("server", "resources", "requests"): _quantities,
    ("server", "resources", "limits"): _quantities,
}
"""How a value that can be written in several ways is written in the normal form; `*` is every list item."""


def _rewrite(node: Any, path: tuple[str, ...], canonical: Callable[[Any], Any]) -> None:
    head, *rest = path
    if head == "*":
        for item in node:
            _rewrite(item, tuple(rest), canonical)
    elif head in node and rest:
        _rewrite(node[head], tuple(rest), canonical)
    elif head in node:
        node[head] = canonical(node[head])


def _server_defaults() -> Manifest:
    found = {"server": Server().model_dump(mode="json", by_alias=True)}
    paths = [path for path in _CANONICAL if path[0] == "server" and len(path) == 2]
    for path in paths:
        _rewrite(found, path, _CANONICAL[path])
    return {path[1]: found["server"][path[1]] for path in paths}


_SERVER_DEFAULTS: Final = _server_defaults()
"""Defaults of the server's durations and sizes in normal form: `30000ms` is the default `30s`."""
