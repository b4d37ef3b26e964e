"""The input of a decision (`Observed`) and its output (`Plan`).

`runtime` fills in an `Observed` from its stores, `reconcile()` returns a `Plan`, and `runtime` executes it. In all of
`plan`, Kubernetes objects are `Manifest`s. This module imports only the types that an `Observed` holds, so that all
other modules of `plan` can import it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tritonfleet.api.conditions import Reason
from tritonfleet.api.workloads import Workloads
from tritonfleet.plan.autoscale import Verdict

if TYPE_CHECKING:
    # At run time it would be a cycle: a rollout is decided from what this module defines.
    from tritonfleet.plan.rollout.analysis import Evidence

Manifest = dict[str, Any]
"""A Kubernetes object as plain JSON data; treated as immutable once it is in one of these classes."""


class ChildId(NamedTuple):
    """One child within its owner's namespace."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Defaults:
    """The administrator's defaults for every ModelDeployment."""

    triton_image: str
    allow_unsafe_image: bool
    fetch_image: str
    fetch_image_pull_policy: str = "IfNotPresent"
    fetch_allowed_schemes: tuple[str, ...] = ("az", "gs", "hf", "https", "mlflow", "oci", "pvc", "s3")
    fetch_allowed_hosts: tuple[str, ...] = ()
    fetch_allow_private_addresses: bool = False
    fetch_proxy: str = ""
    """URL of the HTTP proxy through which models are fetched; empty for none."""
    fetch_no_proxy: tuple[str, ...] = ()
    """Hosts, domains and networks that are reached without it."""
    fetch_ca_config_map: str = ""
    """ConfigMap with certificates of private authorities, in each namespace with models; empty for none."""
    fetch_ca_key: str = "ca.crt"
    """The key under which it holds them."""
    gateway_api: bool = False
    envoy_policies: bool = False
    """Whether the operator may write policies of Envoy Gateway."""
    ip_families: tuple[str, ...] = ("IPv4",)
    """`IPv4` and `IPv6`, those of pods in this cluster, the family of their first address first."""
    workloads: Workloads = field(default_factory=Workloads)


@dataclass(frozen=True, slots=True)
class GpuPool:
    """GPUs on the nodes that one revision's pods may run on."""

    resource: str
    matching_nodes: int
    free: int
    largest_free_on_one_node: int


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a URL is made of."""

    listeners: tuple[Manifest, ...]
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """What decides which of two HTTPRoutes gets a request."""

    namespace: str
    name: str
    created: str
    """RFC 3339."""
    parents: frozenset[tuple[str, str, str]]
    """Namespace, name and section name, which is empty for all listeners, of each Gateway."""
    hostnames: frozenset[str]
    """Empty for those of the listeners."""
    takes_all: bool
    """Whether it takes every HTTP request to its host names that no more specific route does."""

    @classmethod
    def of(cls, route: Manifest) -> "Route":
        """Read an HTTPRoute."""
        metadata, spec = route["metadata"], route.get("spec") or {}
        parents = (each for each in spec.get("parentRefs") or () if each.get("kind", "Gateway") == "Gateway")
        rules: list[Manifest] = spec.get("rules") or [{}]
        matches: list[Manifest] = [match for rule in rules for match in rule.get("matches") or [{}]]
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            created=str(metadata.get("creationTimestamp", "")),
            parents=frozenset(
                (each.get("namespace") or metadata["namespace"], each["name"], each.get("sectionName") or "")
                for each in parents
            ),
            hostnames=frozenset(spec.get("hostnames") or ()),
            takes_all=any(_takes_all(match) for match in matches),
        )

    def names_shared_with(self, other: "Route") -> tuple[str, ...]:
        """Return the host names for which both take all requests of a Gateway; one empty name stands for any."""
        if (self.namespace, self.name) == (other.namespace, other.name) or not (self.takes_all and other.takes_all):
            return ()
        if not any(
            mine[:2] == theirs[:2] and (not mine[2] or not theirs[2] or mine[2] == theirs[2])
            for mine in self.parents
            for theirs in other.parents
        ):
            return ()
        return tuple(sorted((self.hostnames or {""}) & (other.hostnames or {""})))

    def precedes(self, other: "Route") -> bool:
        """Return whether it wins where both match equally well: the older, then the first by name."""
        return (self.created, self.namespace, self.name) < (other.created, other.namespace, other.name)


def _takes_all(match: Manifest) -> bool:
    path = match.get("path") or {}
    everywhere = path.get("type", "PathPrefix") == "PathPrefix" and path.get("value", "/") == "/"
    return everywhere and not (match.get("headers") or match.get("method") or match.get("queryParams"))


@dataclass(frozen=True, slots=True)
class GatewayView:
    """The Gateways and HTTPRoutes of the cluster."""

    gateways: Mapping[tuple[str, str], Gateway] | None = None
    """By namespace and name; None if they cannot be listed."""
    routes: tuple[Route, ...] = ()
    """Those that take all requests to a host name."""


@dataclass(frozen=True, slots=True)
class WriteFailure:
    """A write that the API server rejected, for the status."""

    target: ChildId
    reason: Reason
    message: str


class Change(NamedTuple):
    """A value in an object that is not the one that the operator sent."""

    path: tuple[str | int, ...]
    """Keys and list indexes in the sent manifest, such as ("spec", "template", "spec", "containers", 0, "image")."""
    value: Any
    """The value in the cluster; None if there is none."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What an admission policy made of a child that serves all the same."""

    sent: str
    """Digest of the manifest that was sent (`plan.writes.digest`): for another manifest nothing is accepted."""
    changes: tuple[Change, ...]
    surplus: Manifest = field(default_factory=dict)
    """What it added where nothing may be added, as `plan.writes.surplus` returns it."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that one decision may use."""

    body: Manifest
    children: Mapping[ChildId, Manifest]
    pods: tuple[Manifest, ...]
    defaults: Defaults
    gpus: GpuPool | None = None
    failure: WriteFailure | None = None
    scalers: tuple[Manifest, ...] = ()
    """HorizontalPodAutoscalers that target the ModelDeployment or a Deployment with its name."""
    scaling: Verdict | None = None
    """The autoscaler's last verdict; None before its first one in this process."""
    evidence: "Evidence | None" = None
    """What was measured of a canary; None before the first window."""
    headroom: GpuPool | None = None
    """Free GPUs on the nodes that a canary's pods may run on, counted while a rollout waits for capacity."""
    unread: str = ""
    """Why the metrics of a pod are not read, because they are beyond the limits; empty if they are read."""
    gateways: GatewayView | None = None
    """None without a Gateway in the spec."""
    accepted: Mapping[ChildId, Accepted] = field(default_factory=dict)
    """What admission policies changed in the children as they were last written by this process."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply of one child with all fields that the operator owns."""

    manifest: Manifest
    reason: str
    message: str
    exists: bool
    """Whether the child is already ours: then changes by others to our fields are overwritten."""

    @property
    def target(self) -> ChildId:
        """The child that is applied."""
        return ChildId(self.manifest["kind"], self.manifest["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletion of one child that is no longer needed."""

    target: ChildId
    uid: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Event:
    """An Event on the ModelDeployment, as `kubectl describe` shows it."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in this order: applies, deletes, status, events."""

    status: Manifest
    applies: tuple[Apply, ...] = ()
    deletes: tuple[Delete, ...] = ()
    events: tuple[Event, ...] = ()
    requeue_after_seconds: float | None = None
    """When to reconcile again without a change; None if nothing is due."""
    replicas: int | None = None
    """Desired pods; None if that was not decided."""
    guarded: bool = False
    """Whether to write only if the object has not changed since; set during a canary rollout."""
