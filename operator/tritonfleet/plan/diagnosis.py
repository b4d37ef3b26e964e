"""Why a revision is not ready, in the user's words, from what its pods and its Deployment say."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tritonfleet.api.conditions import Reason
from tritonfleet.plan.pods import is_ending, unschedulable
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.world import GpuPool, Manifest
from tritonfleet.triton.failure import load_failure

SCHEDULING_GRACE = timedelta(seconds=2)
"""A pod that the scheduler passes over for less than this is only waiting its turn."""

FAILURES_BEFORE_STALLED = 2
"""Once may be bad luck; what fails the same way again will not mend itself."""

_IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What holds a revision up; `stalled` when it needs a person."""

    reason: Reason
    message: str
    stalled: bool = False

    @property
    def lacks_room(self) -> bool:
        """Whether only more room can mend it."""
        return self.reason in {Reason.WAITING_FOR_GPU, Reason.UNSCHEDULABLE, Reason.QUOTA_EXCEEDED}


@dataclass(frozen=True, slots=True)
class GpuNeed:
    """GPUs that the pods of a revision wait for."""

    resource: str
    per_pod: int
    waiting_pods: int

    @property
    def total(self) -> int:
        """GPUs that would let every waiting pod start."""
        return self.per_pod * self.waiting_pods


def diagnose(revision: KnownRevision, gpus: GpuPool | None, now: datetime) -> Finding | None:
    """Return the first thing that holds the revision up, the most specific first, or None if it is just starting."""
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
    """Return when the grace of a pod that is not scheduled yet ends, if that is still to come."""
    ends = [
        datetime.fromisoformat(condition["lastTransitionTime"]) + SCHEDULING_GRACE
        for pod in revision.pods
        if (condition := unschedulable(pod)) is not None
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
            f"container '{container['name']}' used more than its memory limit: raise `server.resources.limits.memory`",
            stalled,
        )
    cause = load_failure(message)
    if cause is not None:
        return Finding(Reason.MODEL_LOAD_FAILED, cause, stalled)
    last_line = message.splitlines()[-1] if message else "it left no message"
    return Finding(
        Reason.CRASH_LOOPING,
        f"container '{container['name']}' ended with exit code {ended.get('exitCode')} "
        f"({failures} times so far): {last_line}",
        stalled,
    )


def _scheduling_finding(pods: list[Manifest], gpus: GpuPool | None, now: datetime) -> Finding | None:
    blocked = [condition for pod in pods if (condition := unschedulable(pod)) is not None]
    old = [one for one in blocked if now >= datetime.fromisoformat(one["lastTransitionTime"]) + SCHEDULING_GRACE]
    if not old:
        return None
    need = gpu_need(tuple(pods))
    scheduler = old[0].get("message", "").strip()
    if need is None or not _lacks_gpu(need, gpus, scheduler):
        return Finding(Reason.UNSCHEDULABLE, f"no node takes the pod: {scheduler}")
    if gpus is None:
        return Finding(Reason.WAITING_FOR_GPU, f"needs {need.total} {need.resource}: {scheduler}")
    return Finding(Reason.WAITING_FOR_GPU, f"needs {need.total} {need.resource}, {_free(need, gpus)}")


def _lacks_gpu(need: GpuNeed, gpus: GpuPool | None, scheduler: str) -> bool:
    too_few = gpus is not None and gpus.largest_free_on_one_node < need.per_pod
    return too_few or f"Insufficient {need.resource}" in scheduler


def _free(need: GpuNeed, gpus: GpuPool) -> str:
    nodes = f"{gpus.matching_nodes} matching node{'' if gpus.matching_nodes == 1 else 's'}"
    scattered = gpus.largest_free_on_one_node < need.per_pod <= gpus.free
    return f"{gpus.free} free on {nodes}" + (
        f", at most {gpus.largest_free_on_one_node} on one node where a pod needs {need.per_pod}" if scattered else ""
    )


def _creation_finding(deployment: Manifest | None) -> Finding | None:
    for condition in (deployment or {}).get("status", {}).get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            quota = "exceeded quota" in condition.get("message", "")
            return Finding(Reason.QUOTA_EXCEEDED if quota else Reason.PODS_FORBIDDEN, condition.get("message", ""))
    return None


def _gpu_request(pod: Manifest) -> tuple[str, int] | None:
    """Find the extended resource of the Triton container: the only kind with a vendor's domain in its name."""
    for container in pod["spec"]["containers"]:
        for resource, amount in (container.get("resources", {}).get("limits") or {}).items():
            if "/" in resource:
                return resource, int(amount)
    return None
