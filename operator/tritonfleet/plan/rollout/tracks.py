"""One revision's pods as the machine counts them."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from statistics import median_low
from typing import Any

from tritonfleet.plan.objects import TRITON
from tritonfleet.plan.pods import (
    created_at,
    diagnose,
    exists,
    has_ended,
    image_digest,
    is_ready,
    model_digest,
    ready_since,
    unready_since,
)
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.rollout.facts import Track
from tritonfleet.plan.world import GpuPool, Manifest

NOT_READY_GRACE = timedelta(seconds=60)
"""A pod that was ready may be busy or cut off for as long before it speaks against its revision."""


def track_of(
    revision: KnownRevision, remembered: Mapping[str, Any], gpus: GpuPool | None, since: datetime, now: datetime
) -> Track:
    """Return the count; `remembered` is its entry in `status.revisions`, what ended before `since` is forgiven."""
    staying = tuple(pod for pod in revision.pods if exists(pod))
    took = sorted((ready - created_at(pod)).total_seconds() for pod in staying if (ready := ready_since(pod)))
    return Track(
        number=revision.number,
        existing=sum(not has_ended(pod) for pod in revision.pods),
        ready=sum(is_ready(pod) for pod in staying),
        asked=int((revision.deployment or {}).get("spec", {}).get("replicas", 0)),
        placed=sum("nodeName" in pod["spec"] for pod in staying),
        finding=diagnose(revision, gpus, now),
        unsteady=next((trouble for pod in staying for trouble in _troubles(pod, since, now)), ""),
        changed=_changed(revision, remembered),
        ready_seconds=median_low(took) if took else None,
    )


def _troubles(pod: Manifest, since: datetime, now: datetime) -> Iterator[str]:
    name = pod["metadata"]["name"]
    for container in pod.get("status", {}).get("containerStatuses") or ():
        ended = container.get("lastState", {}).get("terminated") or container.get("state", {}).get("terminated") or {}
        finished = ended.get("finishedAt")
        if finished and ended.get("exitCode") != 0 and datetime.fromisoformat(finished) >= since:
            cause = ended.get("reason") or f"exit code {ended.get('exitCode')}"
            yield f"container '{container['name']}' of pod '{name}' ended ({cause})"
        if container["name"] == TRITON and container.get("started"):
            unready = unready_since(pod)
            if unready is not None and now - unready >= NOT_READY_GRACE:
                yield f"pod '{name}' has not been ready for {NOT_READY_GRACE.total_seconds():.0f} s"


def _changed(revision: KnownRevision, remembered: Mapping[str, Any]) -> str:
    for what, key, found in (
        ("image", "imageDigest", image_digest(revision.pods)),
        ("model", "modelDigest", model_digest(revision.pods)),
    ):
        first = remembered.get(key)
        if first is not None and found is not None and first != found:
            return f"its {what} is {found}, and was {first} when it was first started"
    return ""
