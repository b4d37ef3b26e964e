"""The state of pods: whether they run, what they run, and why they are not ready.

The first functions read one pod and are used by every layer above. `image_digest()` and `model_digest()` read what
the pods of a revision run, for the status and the rollout. `diagnose()` explains why a revision is not ready, from its
pods and its Deployment; `reconcile()` and the rollout call it. It checks from the most specific cause to the least: a
container that cannot start or has failed, a pod that fits no node, a pod that cannot be created. A pod that needs 2
GPUs where 1 is free on each of 2 nodes gives `WaitingForGPU`: "needs 2 nvidia.com/gpu, 2 free on 2 matching nodes, at
most 1 per node where a pod needs 2".
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median_low
from typing import Any

from tritonfleet.api.conditions import Reason
from tritonfleet.api.quantities import counted
from tritonfleet.plan.objects import TRITON
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.world import GpuPool, Manifest
from tritonfleet.triton.failure import load_failure

SCHEDULING_GRACE = timedelta(seconds=2)
"""A pod that is unschedulable for less than this may only be waiting its turn."""

FAILURES_BEFORE_STALLED = 2
"""One failure may be transient; the second one is taken to be permanent."""

_IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What blocks a revision; `stalled` if it does not resolve without intervention."""

    reason: Reason
    message: str
    stalled: bool = False

    @property
    def lacks_room(self) -> bool:
        """Whether the cluster lacks capacity for it."""
        return self.reason in {Reason.WAITING_FOR_GPU, Reason.UNSCHEDULABLE, Reason.QUOTA_EXCEEDED}


@dataclass(frozen=True, slots=True)
class GpuNeed:
    """GPUs that a revision's pods are waiting for."""

    resource: str
    per_pod: int
    waiting_pods: int

    @property
    def total(self) -> int:
        """GPUs needed to start every waiting pod."""
        return self.per_pod * self.waiting_pods


def has_ended(pod: Manifest) -> bool:
    """Return whether the pod has terminated for good, so that it holds no resources."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def is_ending(pod: Manifest) -> bool:
    """Return whether the pod is being deleted: it no longer serves, but holds its resources until it is gone."""
    return "deletionTimestamp" in pod["metadata"]


def exists(pod: Manifest) -> bool:
    """Return whether a pod runs or may still run: it is not being deleted and has not terminated."""
    return not has_ended(pod) and not is_ending(pod)


def created_at(pod: Manifest) -> datetime:
    """Return when the pod was created."""
    return datetime.fromisoformat(pod["metadata"]["creationTimestamp"])


def is_ready(pod: Manifest) -> bool:
    """Return whether the pod is ready."""
    return _condition(pod, "Ready").get("status") == "True"


def ready_since(pod: Manifest) -> datetime | None:
    """Return when the pod became ready; None if it is not."""
    condition = _condition(pod, "Ready")
    return _since(condition) if condition.get("status") == "True" else None


def unready_since(pod: Manifest) -> datetime | None:
    """Return since when the pod has not been ready; None if it is ready or has no such condition."""
    condition = _condition(pod, "Ready")
    return _since(condition) if condition.get("status", "True") != "True" else None


def unschedulable(pod: Manifest) -> Manifest | None:
    """Return the pod's condition if the scheduler found no node for it; else None."""
    condition = _condition(pod, "PodScheduled")
    refused = condition.get("reason") == "Unschedulable" and condition["status"] == "False"
    return condition if refused else None


def _since(condition: Manifest) -> datetime:
    return datetime.fromisoformat(condition["lastTransitionTime"])


def _condition(pod: Manifest, kind: str) -> Manifest:
    return next((each for each in pod.get("status", {}).get("conditions") or () if each["type"] == kind), {})


def image_digest(pods: tuple[Manifest, ...]) -> str | None:
    """Return the digest of Triton's image, `sha256:...`; None until a container has run."""
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses") or ():
            if container["name"] == TRITON and container.get("imageID"):
                return str(container["imageID"]).rpartition("@")[2]
    return None


def model_digest(pods: tuple[Manifest, ...]) -> str | None:
    """Return the digest that the fetch step reported on success."""
    for pod in pods:
        for container in pod.get("status", {}).get("initContainerStatuses") or ():
            ended = container.get("state", {}).get("terminated") or {}
            if container["name"] == "fetch" and ended.get("exitCode") == 0 and ended.get("message"):
                return _digest_in(ended["message"])
    return None


def _digest_in(message: str) -> str | None:
    try:
        report = json.loads(message)
    except ValueError:
        return None
    digest = report.get("digest") if isinstance(report, dict) else None
    return digest if isinstance(digest, str) else None


def diagnose(revision: KnownRevision, gpus: GpuPool | None, now: datetime) -> Finding | None:
    """Return what blocks the revision, the most specific cause first; None if it is just starting."""
    alive = [pod for pod in revision.pods if not is_ending(pod)]
    for pod in alive:
        for finding in _container_findings(pod):
            return finding
    return _scheduling_finding(alive, gpus, now) or _creation_finding(revision.deployment)


def gpu_need(pods: tuple[Manifest, ...]) -> GpuNeed | None:
    """Return the GPUs that unschedulable pods ask for, or None if no pod waits for one."""
    waiting = [pod for pod in pods if unschedulable(pod) is not None and not is_ending(pod)]
    requests = [request for pod in waiting if (request := _gpu_request(pod)) is not None]
    if not requests:
        return None
    resource, per_pod = requests[0]
    return GpuNeed(resource=resource, per_pod=per_pod, waiting_pods=len(requests))


def wakes_at(revision: KnownRevision, now: datetime) -> datetime | None:
    """Return when the scheduling grace of an unscheduled pod ends, if it is in the future."""
    ends = [
        _since(condition) + SCHEDULING_GRACE for pod in revision.pods if (condition := unschedulable(pod)) is not None
    ]
    return min((end for end in ends if end > now), default=None)


def _container_findings(pod: Manifest) -> Iterator[Finding]:
    status = pod.get("status", {})
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        if container.get("ready") or (container.get("state", {}).get("terminated") or {}).get("exitCode") == 0:
            continue
        waiting = container.get("state", {}).get("waiting") or {}
        reason, detail = waiting.get("reason", ""), waiting.get("message", "")
        if reason in _IMAGE_REASONS:
            yield Finding(Reason.IMAGE_PULL_FAILED, f"cannot pull image '{container['image']}': {detail or reason}")
        elif reason in _CONFIG_REASONS:
            yield Finding(
                Reason.CONTAINER_NOT_CREATED, f"cannot start container '{container['name']}': {detail or reason}"
            )
        ended = _last_failure(container)
        if ended is not None:
            yield _explain_exit(container, ended)


def _last_failure(container: Manifest) -> Manifest | None:
    for state in (container.get("state", {}), container.get("lastState", {})):
        ended: Manifest | None = state.get("terminated")
        if ended is not None and ended.get("exitCode") != 0:
            return ended
    return None


def _explain_exit(container: Manifest, ended: Manifest) -> Finding:
    message = ended.get("message", "").strip()
    failures = container.get("restartCount", 0) + (1 if "terminated" in container.get("state", {}) else 0)
    stalled = failures >= FAILURES_BEFORE_STALLED
    if message.startswith("FetchFailed: "):
        return Finding(Reason.FETCH_FAILED, message.removeprefix("FetchFailed: "), stalled)
    if ended.get("reason") == "OOMKilled":
        return Finding(
            Reason.OUT_OF_MEMORY,
            f"container '{container['name']}' exceeded its memory limit: raise `server.resources.limits.memory`",
            stalled,
        )
    cause = load_failure(message)
    if cause is not None:
        return Finding(Reason.MODEL_LOAD_FAILED, cause, stalled)
    last_line = message.splitlines()[-1] if message else "no termination message"
    return Finding(
        Reason.CRASH_LOOPING,
        f"container '{container['name']}' exited with code {ended.get('exitCode')} "
        f"({counted(failures, 'failure')}): {last_line}",
        stalled,
    )


def _scheduling_finding(pods: list[Manifest], gpus: GpuPool | None, now: datetime) -> Finding | None:
    blocked = [condition for pod in pods if (condition := unschedulable(pod)) is not None]
    old = [one for one in blocked if now >= _since(one) + SCHEDULING_GRACE]
    if not old:
        return None
    need = gpu_need(tuple(pods))
    scheduler = old[0].get("message", "").strip()
    if need is None or not _lacks_gpu(need, gpus, scheduler):
        return Finding(Reason.UNSCHEDULABLE, f"pod cannot be scheduled: {scheduler}")
    if gpus is None:
        return Finding(Reason.WAITING_FOR_GPU, f"needs {need.total} {need.resource}: {scheduler}")
    return Finding(Reason.WAITING_FOR_GPU, f"needs {need.total} {need.resource}, {_free(need, gpus)}")


def _lacks_gpu(need: GpuNeed, gpus: GpuPool | None, scheduler: str) -> bool:
    too_few = gpus is not None and gpus.largest_free_on_one_node < need.per_pod
    return too_few or f"Insufficient {need.resource}" in scheduler


def _free(need: GpuNeed, gpus: GpuPool) -> str:
    scattered = gpus.largest_free_on_one_node < need.per_pod <= gpus.free
    return f"{gpus.free} free on {counted(gpus.matching_nodes, 'matching node')}" + (
        f", at most {gpus.largest_free_on_one_node} per node where a pod needs {need.per_pod}" if scattered else ""
    )


def _creation_finding(deployment: Manifest | None) -> Finding | None:
    for condition in (deployment or {}).get("status", {}).get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            quota = "exceeded quota" in condition.get("message", "")
            return Finding(Reason.QUOTA_EXCEEDED if quota else Reason.PODS_FORBIDDEN, condition.get("message", ""))
    return None


def _gpu_request(pod: Manifest) -> tuple[str, int] | None:
    """Return the pod's GPU resource and its amount: the only kind of resource with a domain in its name."""
    for container in pod["spec"]["containers"]:
        for resource, amount in (container.get("resources", {}).get("limits") or {}).items():
            if "/" in resource:
                return resource, int(amount)
    return None


@dataclass(frozen=True, slots=True)
class RevisionPods:
    """A revision's pods at one moment."""

    number: int = 0
    """The revision's number, from 1; 0 if unknown."""
    existing: int = 0
    """Pods that hold resources, terminating ones included: a GPU is taken until its pod is gone."""
    ready: int = 0
    """Ready pods that are not terminating."""
    asked: int = 0
    """`spec.replicas` of its Deployment."""
    finding: Finding | None = None
    """Why its pods are not ready, if known."""
    unsteady: str = ""
    """Failure of a pod that was ready before: restart, out of memory, not ready for a minute; empty if none."""
    changed: str = ""
    """How its image or model differs from the first start; empty if it does not, or if unknown."""
    ready_seconds: float | None = None
    """Median time from creation to ready, over the ready pods; None if no pod is ready."""
    placed: int = 0
    """Pods that have a node and are not terminating, ready or not."""

    @property
    def lacks_room(self) -> bool:
        """Whether the cluster lacks capacity for one of its pods."""
        return self.finding is not None and self.finding.lacks_room


NOT_READY_GRACE = timedelta(seconds=60)
"""A pod that was ready may be busy or unreachable for this long before it counts against its revision."""


def count_pods(
    revision: KnownRevision, remembered: Mapping[str, Any], gpus: GpuPool | None, since: datetime, now: datetime
) -> RevisionPods:
    """Return the counts; `remembered` is its entry in `status.revisions`; failures before `since` do not count."""
    staying = tuple(pod for pod in revision.pods if exists(pod))
    took = sorted((ready - created_at(pod)).total_seconds() for pod in staying if (ready := ready_since(pod)))
    return RevisionPods(
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
            yield f"container '{container['name']}' of pod '{name}' terminated ({cause})"
        if container["name"] == TRITON and container.get("started"):
            unready = unready_since(pod)
            if unready is not None and now - unready >= NOT_READY_GRACE:
                yield f"pod '{name}' has not been ready for {NOT_READY_GRACE.total_seconds():.0f}s"


def _changed(revision: KnownRevision, remembered: Mapping[str, Any]) -> str:
    for what, key, found in (
        ("image", "imageDigest", image_digest(revision.pods)),
        ("model", "modelDigest", model_digest(revision.pods)),
    ):
        first = remembered.get(key)
        if first is not None and found is not None and first != found:
            return f"{what} is {found}, was {first}"
    return ""
