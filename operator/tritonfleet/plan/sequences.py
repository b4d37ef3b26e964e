"""Models that keep state between requests, which Triton calls sequence batching.

All requests of a sequence must reach the pod that holds its state. A Service sends them to any ready pod, and a split
of the traffic to any revision: behind two pods sequences are lost or mixed without an error. So such a model runs in
one pod, unless a gateway sends all requests of a sequence to the same pod (`traffic.gateway.consistentHash`), and it is
not rolled out by shares of the traffic.

Whether a model is one says its configuration: the spec's part of it when the revision is built, and the artifact's own
`config.pbtxt` once the fetch step has read it. From then on `status.revisions` remembers it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from tritonfleet.api.modeldeployment import ModelDeployment, ModelDeploymentSpec
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.objects import CONFIG_SUFFIX, Revision
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.world import Manifest

_SEQUENCE_BATCHING: Final = re.compile(r"^sequence_batching\b", re.MULTILINE)
_REMEDY: Final = (
    "or send all requests of a sequence to one pod: set `traffic.gateway.consistentHash.header` and call through the "
    "gateway"
)


def is_stateful(revision: KnownRevision, body: Manifest) -> bool:
    """Return whether the model of a revision is known to keep state between requests; `body` is the owner."""
    data: dict[str, Any] = (revision.record or {}).get("data") or {}
    entries = (body.get("status") or {}).get("revisions") or ()
    remembered = any(entry.get("stateful") for entry in entries if entry["name"].endswith(f"-{revision.hash}"))
    return remembered or _says(data.get("config") or {})


def _says(files: Mapping[str, str]) -> bool:
    """Return whether the configuration of the model says so, or that of a companion."""
    texts = [text for name, text in files.items() if name.endswith(CONFIG_SUFFIX)]
    return any(_SEQUENCE_BATCHING.search(text) is not None for text in texts)


def splits_sequences(spec: ModelDeploymentSpec) -> str:
    """Return the field that lets requests of one sequence reach different pods, and why; empty if none does."""
    gateway, autoscaling = spec.traffic.gateway, spec.autoscaling
    if spec.rollout.canary is not None and any(0 < step.weight < 100 for step in spec.rollout.canary.steps):
        return "spec.rollout.canary.steps: must be absent, since a share of the traffic is a share of each sequence"
    if gateway is not None and gateway.consistent_hash is not None:
        return ""
    if spec.scaled_by_us and autoscaling is not None and autoscaling.max_replicas != 1:
        return f"spec.autoscaling: must be absent, since it adds pods; remove it, {_REMEDY}"
    if not spec.scaled_by_us and spec.declared_replicas > 1:
        return f"spec.replicas: must be 1, got {spec.declared_replicas}; set 1, {_REMEDY}"
    return ""


def refuse_split_sequences(
    deployment: ModelDeployment, wanted: Revision, existing: KnownRevision | None, body: Manifest
) -> None:
    """Raise InvalidSpec if the model keeps state between requests, and the spec would spread them over pods.

    `existing` is the wanted revision in the cluster, if it was written before.
    """
    if _says(wanted.config) or (existing is not None and is_stateful(existing, body)):
        split = splits_sequences(deployment.spec)
        if split:
            raise InvalidSpec(f"the model keeps state between requests (sequence batching): {split}")
