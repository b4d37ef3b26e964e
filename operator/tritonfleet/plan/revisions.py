"""The revisions of one ModelDeployment: which exist, how they are numbered, and which one serves.

Everything is read from the objects themselves: the front Service's selector, which routes the requests, says which
revision serves, and not the status, which users can edit. Only while several revisions share the traffic, and the
selector matches all their pods, is the stable one taken from the status. `reconcile()`, the rollout and the
autoscaler's observation begin with `known_revisions()` and `serving_hash()`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tritonfleet.api import names
from tritonfleet.api.server import GPU_RESOURCE
from tritonfleet.plan.objects import TRITON
from tritonfleet.plan.world import ChildId, Manifest, Observed


@dataclass(frozen=True, slots=True)
class KnownRevision:
    """One revision in the cluster."""

    hash: str
    number: int
    record: Manifest | None
    """Its ControllerRevision."""
    deployment: Manifest | None
    pods: tuple[Manifest, ...]
    ready_replicas: int
    """Ready pods, as the Deployment controller last counted them: the Service leads to all, restarted or not."""
    size: int
    """Pods that exist for this revision, ready or not."""
    created: str | None
    """When it was created, RFC 3339."""
    image: str | None
    """The image of its Triton container."""
    gpu_resource: str = GPU_RESOURCE
    """The resource that its pods request GPUs as, by its own `server.gpu.resourceName`."""

    @classmethod
    def of(
        cls,
        revision_hash: str,
        number: int,
        record: Manifest | None,
        deployment: Manifest | None,
        pods: tuple[Manifest, ...],
        gpu_resource: str = GPU_RESOURCE,
    ) -> "KnownRevision":
        """Return a revision from its objects."""
        status = (deployment or {}).get("status", {})
        holder = record or deployment or {"metadata": {}}
        template = (deployment or {}).get("spec", {}).get("template", {})
        containers = template.get("spec", {}).get("containers", ())
        return cls(
            hash=revision_hash,
            number=number,
            record=record,
            deployment=deployment,
            pods=pods,
            ready_replicas=int(status.get("readyReplicas", 0)),
            size=int(status.get("replicas", 0)),
            created=holder["metadata"].get("creationTimestamp"),
            image=next((container["image"] for container in containers if container["name"] == TRITON), None),
            gpu_resource=gpu_resource,
        )

    def can_serve(self, replicas: int) -> bool:
        """Return whether `replicas` of its pods are ready, by an up-to-date count."""
        if self.deployment is None:
            return False
        generation = self.deployment["metadata"].get("generation", 0)
        current = self.deployment.get("status", {}).get("observedGeneration", 0) >= generation
        return current and self.ready_replicas >= replicas


def known_revisions(observed: Observed) -> Mapping[str, KnownRevision]:
    """Return every revision that has a ControllerRevision or a Deployment, by hash."""
    records = _by_hash(observed, "ControllerRevision")
    deployments = _by_hash(observed, "Deployment")
    return {
        revision: KnownRevision.of(
            revision,
            number=_number(records.get(revision), deployments.get(revision)),
            record=records.get(revision),
            deployment=deployments.get(revision),
            pods=pods_of(observed, revision),
            gpu_resource=gpu_resource_of(records.get(revision), observed.body),
        )
        for revision in sorted(records.keys() | deployments.keys())
    }


def gpu_resource_of(record: Manifest | None, body: Manifest) -> str:
    """Return the `server.gpu.resourceName` of a revision by its record; that of the ModelDeployment if it has none.

    A pod's own resources do not tell: it may also request network devices, whose names look the same.
    """
    spec = record["data"].get("spec") if record is not None and record.get("data") else None
    server: Manifest = (spec if spec is not None else body.get("spec", {})).get("server") or {}
    return str((server.get("gpu") or {}).get("resourceName") or GPU_RESOURCE)


def pods_of(observed: Observed, revision_hash: str) -> tuple[Manifest, ...]:
    """Return the pods of one revision."""
    return tuple(
        pod for pod in observed.pods if pod["metadata"].get("labels", {}).get(names.REVISION_LABEL) == revision_hash
    )


def next_number(known: Mapping[str, KnownRevision], revision_hash: str) -> int:
    """Return the number of a revision: its own if it has one, else one more than the highest so far."""
    revision = known.get(revision_hash)
    if revision is not None and revision.number > 0:
        return revision.number
    return max((revision.number for revision in known.values()), default=0) + 1


def serving_hash(observed: Observed, known: Mapping[str, KnownRevision]) -> str | None:
    """Return the revision that the front Service sends requests to, or None if there is none that still exists."""
    service = observed.children.get(ChildId("Service", observed.body["metadata"]["name"]))
    if service is None:
        return _last_ready(known)
    revision: str | None = (service["spec"].get("selector") or {}).get(names.REVISION_LABEL)
    if revision is None:
        # During a canary without a gateway it selects the pods of both revisions.
        name = ((observed.body.get("status") or {}).get("revision") or {}).get("stable", "")
        revision = name[-10:]
    if revision in known and known[revision].deployment is not None:
        return revision
    return _last_ready(known)


def retired_at(body: Manifest) -> Mapping[str, datetime]:
    """Return when each revision stopped serving, by name, from the status."""
    return {
        entry["name"]: datetime.fromisoformat(entry["retiredAt"])
        for entry in body.get("status", {}).get("revisions") or ()
        if entry.get("retiredAt")
    }


def _last_ready(known: Mapping[str, KnownRevision]) -> str | None:
    """Return the newest revision with ready pods: the front Service is gone or was edited."""
    ready = [revision for revision in known.values() if revision.ready_replicas > 0]
    return max(ready, key=lambda revision: revision.number).hash if ready else None


def _by_hash(observed: Observed, kind: str) -> dict[str, Manifest]:
    return {
        child["metadata"].get("labels", {}).get(names.REVISION_LABEL): child
        for target, child in observed.children.items()
        if target.kind == kind and child["metadata"].get("labels", {}).get(names.REVISION_LABEL)
    }


def _number(record: Manifest | None, deployment: Manifest | None) -> int:
    if record is not None:
        return int(record.get("revision", 0))
    annotations = (deployment or {"metadata": {}})["metadata"].get("annotations", {})
    number = annotations.get(names.REVISION_NUMBER_ANNOTATION, "0")
    return int(number) if number.isdecimal() else 0
