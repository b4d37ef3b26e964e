"""The state of pods: whether they run, what they run, and why they are not ready.

The first functions read one pod and are used by every layer above. `image_digest()` and `model_digest()` read what
the pods of a revision run, for the status and the rollout. `diagnose()` explains why a revision is not ready, from its
pods and its Deployment; `reconcile()` and the rollout call it. It checks from the most specific cause to the least: a
container that cannot start or has failed, a pod that fits no node, a pod that cannot be created, a pod that its node
evicted or rejected. Such a pod ends in phase Failed, which no container of a Deployment's pod can cause by itself, and
stays beside its replacement: it is reported, but says nothing about the model. A pod that needs 2
GPUs where 1 is free on each of 2 nodes gives `WaitingForGPU`: "needs 2 nvidia.com/gpu, 2 free on 2 matching nodes, at
most 1 per node where a pod needs 2".
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median_low
from typing import Any, Final

from tritonfleet.api.conditions import Reason
from tritonfleet.api.quantities import counted, whole_amount
from tritonfleet.plan.objects import TRITON
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.world import GpuPool, Manifest
from tritonfleet.triton.failure import load_failure

SCHEDULING_GRACE = timedelta(seconds=2)
"""A pod that is unschedulable for less than this may only be waiting its turn."""

FORBIDDEN_GRACE = timedelta(seconds=30)
"""What pods need, such as a ServiceAccount, may be created a moment after the ModelDeployment."""
_PASSING_FAILURES = ("failed calling webhook", "Internal error occurred", "timed out", "etcdserver")
"""Words of an API server that could not decide, and will when it is asked again."""

FAILURES_BEFORE_STALLED = 2
"""One failure may be transient; the second one is taken to be permanent."""

_NODE_FAILURES = frozenset({"ContainerStatusUnknown", "Unknown"})
"""How a container ends whose node was lost or restarted."""
_LOST_MAX = 10

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
    return fetch_report(pods).get("digest")


def fetch_report(pods: tuple[Manifest, ...]) -> Mapping[str, Any]:
    """Return what the fetch step of the first pod that has one reported on success, by name; empty if none did."""
    for pod in pods:
        for container in pod.get("status", {}).get("initContainerStatuses") or ():
            ended = container.get("state", {}).get("terminated") or {}
            if container["name"] == "fetch" and ended.get("exitCode") == 0 and ended.get("message"):
                return _report_in(ended["message"])
    return {}


_LONGEST_REPORT: Final = 128
"""What the status takes: one text too long would lose all of it."""


def _report_in(message: str) -> Mapping[str, Any]:
    try:
        report = json.loads(message)
    except ValueError:
        return {}
    if not isinstance(report, dict):
        return {}
    kinds = {"digest": str, "companionsDigest": str, "modelVersion": str, "stateful": bool}
    found = {name: report[name] for name, kind in kinds.items() if isinstance(report.get(name), kind)}
    found = {name: value for name, value in found.items() if len(str(value)) <= _LONGEST_REPORT}
    counts = {name: report[name] for name in ("largestBatch", "concurrentBatches") if type(report.get(name)) is int}
    return found | {name: count for name, count in counts.items() if 1 <= count < 2**31}


def fetching(pods: tuple[Manifest, ...]) -> str:
    """Say how many pods download the model, and since when; empty if none does."""
    since = [
        running["startedAt"]
        for pod in pods
        if exists(pod)
        for container in pod.get("status", {}).get("initContainerStatuses") or ()
        if container["name"] == "fetch"
        and (running := container.get("state", {}).get("running") or {}).get("startedAt")
    ]
    return f"{counted(len(since), 'pod')} fetching the model, since {min(since)}" if since else ""


def diagnose(revision: KnownRevision, gpus: GpuPool | None, now: datetime) -> Finding | None:
    """Return what blocks the revision, the most specific cause first; None if it is just starting."""
    alive = [pod for pod in revision.pods if exists(pod)]
    for pod in alive:
        for finding in _container_findings(pod):
            return finding
    found = _scheduling_finding(revision, alive, gpus, now) or _creation_finding(revision.deployment, now)
    lost = lost_pods(revision) if found is None and _lacks_pods(revision) else ""
    return Finding(Reason.PODS_LOST, f"{lost}; a replacement is being started") if lost else found


def lost_pods(revision: KnownRevision) -> str:
    """Say which pods their nodes evicted or rejected, with the kubelet's words about the last; empty if none."""
    lost = [pod for pod in revision.pods if has_ended(pod) and not is_ending(pod)]
    if not lost:
        return ""
    last = max(lost, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
    status, node = last["status"], last["spec"].get("nodeName")
    said = ": ".join(
        word for word in (status.get("reason") or status["phase"], status.get("message", "").strip()) if word
    )
    # No exact count of many: a node may reject a new pod every second, and each count would be a write.
    count = counted(len(lost), "pod") if len(lost) < _LOST_MAX else f"{_LOST_MAX} pods or more"
    where = f" on node '{node}'" if node else ""
    return f"{count} evicted or rejected, the last one '{last['metadata']['name']}'{where}: {said}"


def _lacks_pods(revision: KnownRevision) -> bool:
    wanted = int((revision.deployment or {}).get("spec", {}).get("replicas", 0))
    return revision.ready_replicas < wanted


def gpu_need(revision: KnownRevision) -> GpuNeed | None:
    """Return the GPUs that the revision's unschedulable pods ask for, or None if no pod waits for one."""
    waiting = [pod for pod in revision.pods if unschedulable(pod) is not None and exists(pod)]
    requests = [count for pod in waiting if (count := gpus_of(pod, revision.gpu_resource))]
    if not requests:
        return None
    return GpuNeed(resource=revision.gpu_resource, per_pod=requests[0], waiting_pods=len(requests))


def gpus_of(pod: Manifest, resource: str) -> int:
    """Return how many GPUs the Triton container of a pod, or of a pod template, asks for."""
    for container in pod["spec"]["containers"]:
        if container["name"] == TRITON:
            return whole_amount((container.get("resources", {}).get("limits") or {}).get(resource, "0"))
    return 0


def wakes_at(revision: KnownRevision, now: datetime) -> datetime | None:
    """Return when the grace of an unscheduled pod, or of one that cannot be created, ends, if it is in the future."""
    ends = [
        _since(condition) + SCHEDULING_GRACE for pod in revision.pods if (condition := unschedulable(pod)) is not None
    ]
    failure = _creation_failure(revision.deployment)
    ends.extend([_forbidden_at(failure)] if failure is not None else ())
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
            yield _explain_exit(container, ended, of_several=_has_companions(pod))


def _last_failure(container: Manifest) -> Manifest | None:
    for state in (container.get("state", {}), container.get("lastState", {})):
        ended: Manifest | None = state.get("terminated")
        if ended is not None and ended.get("exitCode") != 0 and ended.get("reason") not in _NODE_FAILURES:
            return ended
    return None


def _has_companions(pod: Manifest) -> bool:
    return any(each["name"] == "fetch-1" for each in pod["spec"].get("initContainers") or ())


def _explain_exit(container: Manifest, ended: Manifest, *, of_several: bool) -> Finding:
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
    cause = load_failure(message, of_several=of_several)
    if cause is not None:
        return Finding(Reason.MODEL_LOAD_FAILED, cause, stalled)
    last_line = message.splitlines()[-1] if message else "no termination message"
    return Finding(
        Reason.CRASH_LOOPING,
        f"container '{container['name']}' exited with code {ended.get('exitCode')} "
        f"({counted(failures, 'failure')}): {last_line}",
        stalled,
    )


def _scheduling_finding(
    revision: KnownRevision, pods: list[Manifest], gpus: GpuPool | None, now: datetime
) -> Finding | None:
    gates = {gate["name"]: None for pod in pods for gate in pod["spec"].get("schedulingGates") or ()}
    if gates:
        held = f"{counted(len(gates), 'scheduling gate')} ({', '.join(gates)})"
        return Finding(Reason.UNSCHEDULABLE, f"pod is held by {held}, until their controller removes them")
    blocked = [condition for pod in pods if (condition := unschedulable(pod)) is not None]
    old = [one for one in blocked if now >= _since(one) + SCHEDULING_GRACE]
    if not old:
        return None
    need = gpu_need(revision)
    scheduler = old[0].get("message", "").strip()
    if need is None or not _lacks_gpu(need, gpus, scheduler):
        return Finding(Reason.UNSCHEDULABLE, f"pod cannot be scheduled: {scheduler}")
    if gpus is None:
        return Finding(Reason.WAITING_FOR_GPU, f"needs {need.total} {need.resource}: {scheduler}")
    message = f"needs {need.total} {need.resource}, {_free(need, gpus)}"
    if gpus.largest_free_on_one_node >= need.per_pod and gpus.free >= need.total:
        # The scheduler tried before a GPU was freed, or the nodes with free GPUs lack something else.
        message = f"{message}: the scheduler has not found them yet, or their nodes lack something else: {scheduler}"
    return Finding(Reason.WAITING_FOR_GPU, message)


def _lacks_gpu(need: GpuNeed, gpus: GpuPool | None, scheduler: str) -> bool:
    too_few = gpus is not None and gpus.largest_free_on_one_node < need.per_pod
    return too_few or f"Insufficient {need.resource}" in scheduler


def _free(need: GpuNeed, gpus: GpuPool) -> str:
    scattered = need.per_pod > 1 and need.per_pod <= gpus.free and need.total > gpus.largest_free_on_one_node
    return f"{gpus.free} free on {counted(gpus.matching_nodes, 'matching node')}" + (
        f", at most {gpus.largest_free_on_one_node} per node where a pod needs {need.per_pod}" if scattered else ""
    )


def _creation_finding(deployment: Manifest | None, now: datetime) -> Finding | None:
    condition = _creation_failure(deployment)
    if condition is None:
        return None
    message = condition.get("message", "")
    if "exceeded quota" in message:
        return Finding(Reason.QUOTA_EXCEEDED, message)
    if "must specify" in message:
        # A quota on limits wants one of every container, the operator's included.
        message += "; set them in `server.resources`, `server.fetchResources` and `server.proxyResources`"
    mends_itself = any(words in message for words in _PASSING_FAILURES)
    return Finding(Reason.PODS_FORBIDDEN, message, stalled=not mends_itself and now >= _forbidden_at(condition))


def _creation_failure(deployment: Manifest | None) -> Manifest | None:
    conditions = (deployment or {}).get("status", {}).get("conditions", ())
    return next((each for each in conditions if each["type"] == "ReplicaFailure" and each["status"] == "True"), None)


def _forbidden_at(condition: Manifest) -> datetime:
    """Return when pods that cannot be created need a person."""
    return _since(condition) + FORBIDDEN_GRACE


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
    replaced: bool = False
    """Whether no pod that stays was ever ready or has terminated: those that were ready are gone, for other reasons."""

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
        replaced=not any(_was_up(pod) for pod in staying),
        ready_seconds=median_low(took) if took else None,
    )


def _was_up(pod: Manifest) -> bool:
    """Return whether the pod is ready, was ready once, or has a container that ended by itself."""
    unready = unready_since(pod)
    for container in pod.get("status", {}).get("containerStatuses") or ():
        if _last_failure(container) is not None:
            return True
        started = (container.get("state", {}).get("running") or {}).get("startedAt")
        if container["name"] == TRITON and started and unready and datetime.fromisoformat(started) < unready:
            return True
    return is_ready(pod)


def _troubles(pod: Manifest, since: datetime, now: datetime) -> Iterator[str]:
    if _condition(pod, "DisruptionTarget").get("status") == "True":
        return
    name = pod["metadata"]["name"]
    for container in pod.get("status", {}).get("containerStatuses") or ():
        ended = container.get("lastState", {}).get("terminated") or container.get("state", {}).get("terminated") or {}
        finished = ended.get("finishedAt") if ended.get("reason") not in _NODE_FAILURES else None
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
        ("companions' content", "companionsDigest", fetch_report(revision.pods).get("companionsDigest")),
    ):
        first = remembered.get(key)
        if first is not None and found is not None and first != found:
            return f"{what} is {found}, was {first}"
    return ""
