"""What a decision is made from (`Observed`) and what it comes to (`Plan`).

`runtime` fills in an `Observed` from its stores, `reconcile()` answers with a `Plan`, and `runtime` carries that out.
Everything in `plan` speaks of Kubernetes objects as `Manifest`. Of the rest of `plan` only the types of what an
`Observed` holds are known here, so that all other modules may import this one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tritonfleet.api.conditions import Reason
from tritonfleet.plan.autoscale import Verdict

if TYPE_CHECKING:
    # At run time it would close a circle: a rollout is decided from what this module defines.
    from tritonfleet.plan.rollout.analysis import Evidence

Manifest = dict[str, Any]
"""A Kubernetes object as plain JSON data; treated as immutable once it is in one of these classes."""


class ChildId(NamedTuple):
    """One child within its owner's namespace."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator's administrator decided for every ModelDeployment."""

    triton_image: str
    allow_unsafe_image: bool
    fetch_image: str
    fetch_image_pull_policy: str = "IfNotPresent"
    fetch_allowed_schemes: tuple[str, ...] = ("https", "pvc", "s3")
    fetch_allowed_hosts: tuple[str, ...] = ()
    fetch_allow_private_addresses: bool = False
    network_policy: bool = False
    pod_monitor: bool = False
    gateway_api: bool = False
    allowed_priority_classes: tuple[str, ...] = ()
    """PriorityClasses that pods may have; empty means any whose name does not begin with `system-`."""
    allowed_runtime_classes: tuple[str, ...] = ()
    """RuntimeClasses that pods may have; empty means any."""


@dataclass(frozen=True, slots=True)
class GpuPool:
    """The nodes that one revision's pods may run on, counted now."""

    resource: str
    matching_nodes: int
    free: int
    largest_free_on_one_node: int


@dataclass(frozen=True, slots=True)
class WriteFailure:
    """A write the API server refused, kept so that the status can say so."""

    target: ChildId
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything one decision may look at."""

    body: Manifest
    children: Mapping[ChildId, Manifest]
    pods: tuple[Manifest, ...]
    defaults: Defaults
    gpus: GpuPool | None = None
    failure: WriteFailure | None = None
    scalers: tuple[Manifest, ...] = ()
    """HorizontalPodAutoscalers that reach for the ModelDeployment or for a Deployment of such a name."""
    scaling: Verdict | None = None
    """What the autoscaler said last; None until it has spoken in this process."""
    evidence: "Evidence | None" = None
    """What has been seen of a canary; None until something has."""
    headroom: GpuPool | None = None
    """The nodes that a canary's pods may run on, counted while a rollout looks for room."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply of the complete intent for one child."""

    manifest: Manifest
    reason: str
    message: str
    exists: bool
    """Whether the child is already ours: then other managers' changes to our fields are overruled."""

    @property
    def target(self) -> ChildId:
        """The child that is applied."""
        return ChildId(self.manifest["kind"], self.manifest["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletion of one child that is no longer wanted."""

    target: ChildId
    uid: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Event:
    """A line for `kubectl describe`."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, in this order: applies, deletes, status, events; then look again."""

    status: Manifest
    applies: tuple[Apply, ...] = ()
    deletes: tuple[Delete, ...] = ()
    events: tuple[Event, ...] = ()
    requeue_after_seconds: float | None = None
    """When to look again though nothing has happened; None if nothing is due at any known time."""
    guarded: bool = False
    """Whether nothing may be written unless the object is still what this was decided from: a rollout is steered."""
