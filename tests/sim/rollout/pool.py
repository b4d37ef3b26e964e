"""Nodes with GPUs, and pods on them: scheduled while there is room, ready after a while, gone after another."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.sim.rollout.behavior import Behavior
from tritonfleet.api import names
from tritonfleet.plan.world import Manifest

RESTART_SECONDS = 5.0
"""How long a container that crashed stays down."""
FAILS_AFTER_SECONDS = 3.0
"""How long a container lives that cannot start."""


@dataclass
class Pod:
    """One pod; its `manifest` is made anew whenever something about it changes."""

    name: str
    revision: str
    template: Manifest
    behavior: Behavior
    created: datetime
    node: str = ""
    started: datetime | None = None
    """When its container last started."""
    ready: bool = False
    unready_since: datetime | None = None
    ready_since: datetime | None = None
    crashed: datetime | None = None
    restarts: int = 0
    hangs: bool = False
    """Whether it stays up and answers nothing."""
    image_digest: str = "sha256:1"
    model_digest: str = "sha256:m"
    ending_until: datetime | None = None
    evicted: bool = False
    """Whether its node ended it: it stays in phase Failed beside its replacement."""
    successes: float = 0.0
    errors: float = 0.0
    slow: float = 0.0
    _manifest: tuple[object, Manifest] | None = field(default=None, repr=False)

    @property
    def stays(self) -> bool:
        """Whether nobody has asked it to go."""
        return self.ending_until is None and not self.evicted

    def evict(self) -> None:
        """End it as the kubelet does when its node is short of memory."""
        self.evicted, self.ready = True, False

    def step(self, now: datetime) -> None:
        """Let its container become ready, or crash."""
        if self.started is None or not self.stays or self.behavior.waits_with:
            return
        up = (now - self.started).total_seconds()
        if self.behavior.fails_with:
            if up >= FAILS_AFTER_SECONDS:
                self.crash(now)
            return
        life = self.behavior.crashes_after_seconds
        if life is not None and up >= self.behavior.ready_after_seconds + life:
            self.crash(now)
        elif self.hangs:
            self.unready_since = self.unready_since or now
            self.ready = False
        elif not self.ready and up >= self.behavior.ready_after_seconds:
            self.ready, self.unready_since, self.ready_since = True, None, now

    def crash(self, now: datetime) -> None:
        """Start the container again, its counters at zero."""
        self.restarts, self.crashed, self.hangs = self.restarts + 1, now, False
        self.started = now + timedelta(seconds=RESTART_SECONDS)
        self.ready, self.unready_since = False, now
        self.successes = self.errors = self.slow = 0.0

    def manifest(self) -> Manifest:
        """Return the pod as the API server shows it."""
        key = (self.node, self.started, self.ready, self.restarts, self.hangs, self.ending_until, self.evicted)
        if self._manifest is None or self._manifest[0] != key:
            self._manifest = (key, self._made())
        return self._manifest[1]

    def _made(self) -> Manifest:
        metadata = {
            **self.template["metadata"],
            "name": self.name,
            "namespace": "shop",
            "uid": f"uid-{self.name}",
            "creationTimestamp": stamp(self.created),
        }
        if self.ending_until is not None:
            metadata["deletionTimestamp"] = stamp(self.ending_until)
        spec = {**self.template["spec"], **({"nodeName": self.node} if self.node else {})}
        return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": self._status()}

    def _status(self) -> Manifest:
        conditions = [
            {
                "type": "PodScheduled",
                "status": "True" if self.node else "False",
                **(
                    {}
                    if self.node
                    else {"reason": "Unschedulable", "message": "0/4 nodes: Insufficient nvidia.com/gpu"}
                ),
                "lastTransitionTime": stamp(self.created),
            }
        ]
        if not self.node:
            return {"phase": "Pending", "conditions": conditions}
        if self.evicted:
            return {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
        since = self.ready_since if self.ready else self.unready_since
        moment = stamp(since or self.started or self.created)
        conditions.append({"type": "Ready", "status": str(self.ready), "lastTransitionTime": moment})
        return {
            "phase": "Running",
            "podIP": f"10.0.{len(self.node)}.{sum(map(ord, self.name)) % 256}",
            "conditions": conditions,
            "initContainerStatuses": [self._fetched(one) for one in self.template["spec"].get("initContainers", ())],
            "containerStatuses": [self._container(one) for one in self.template["spec"]["containers"]],
        }

    def _container(self, container: Manifest) -> Manifest:
        state: Manifest = {"running": {"startedAt": stamp(self.started or self.created)}}
        status: Manifest = {"name": container["name"], "image": container["image"], "ready": self.ready}
        if container["name"] != "triton":
            return {**status, "restartCount": 0, "state": state}
        if self.behavior.waits_with:
            state = {"waiting": {"reason": self.behavior.waits_with, "message": "the registry says no"}}
        elif self.node:
            status["imageID"] = f"registry/triton@{self.image_digest}"
        if self.crashed is not None:
            ended = {
                "exitCode": 1,
                "reason": "Error",
                "message": self.behavior.fails_with,
                "finishedAt": stamp(self.crashed),
            }
            status["lastState"] = {"terminated": ended}
        return {**status, "restartCount": self.restarts, "started": self.ready or self.hangs, "state": state}

    def _fetched(self, container: Manifest) -> Manifest:
        ended = {"exitCode": 0, "message": f'{{"digest": "{self.model_digest}"}}'}
        return {"name": container["name"], "ready": True, "restartCount": 0, "state": {"terminated": ended}}

    @property
    def gpus(self) -> int:
        """GPUs that it holds from being scheduled until it is really gone."""
        limits = (each.get("resources", {}).get("limits") or {} for each in self.template["spec"]["containers"])
        return sum(int(limit.get("nvidia.com/gpu", 0)) for limit in limits)


@dataclass
class Pool:
    """The nodes, each with its GPUs, and every pod; a node that is lost takes its pods along."""

    gpus: dict[str, int]
    ending_seconds: float = 5.0
    pods: list[Pod] = field(default_factory=list)
    made: int = 0

    def free(self) -> dict[str, int]:
        """Return the GPUs that no pod holds, by node."""
        left = dict(self.gpus)
        for pod in self.pods:
            if pod.node and not pod.evicted:
                left[pod.node] -= pod.gpus
        return left

    def of(self, revision: str) -> list[Pod]:
        """Return the pods of one revision, ending ones included."""
        return [pod for pod in self.pods if pod.revision == revision]

    def serving(self, revision: str) -> list[Pod]:
        """Return the pods that get requests."""
        return [pod for pod in self.pods if pod.revision == revision and pod.ready and pod.stays]

    def create(self, revision: str, template: Manifest, behavior: Behavior, now: datetime) -> None:
        """Make one pod; it has no node yet."""
        self.made += 1
        self.pods.append(Pod(f"{names.revision_name('m', revision)}-{self.made}", revision, template, behavior, now))

    def end(self, pod: Pod, now: datetime) -> None:
        """Ask a pod to go: its GPU is taken until it is gone."""
        if pod.stays:
            pod.ending_until = now + timedelta(seconds=self.ending_seconds if pod.node else 0)
            pod.ready = False

    def lose_node(self, node: str) -> None:
        """Let a node vanish with everything on it."""
        self.gpus.pop(node, None)
        self.pods = [pod for pod in self.pods if pod.node != node]

    def step(self, now: datetime) -> None:
        """Take away what has ended, give nodes to what waits, and let containers live."""
        self.pods = [pod for pod in self.pods if pod.ending_until is None or pod.ending_until > now]
        free = self.free()
        for pod in self.pods:
            if not pod.node and pod.stays:
                node = max(free, key=lambda name: free[name], default="")
                if node and free[node] >= pod.gpus:
                    pod.node, pod.started = node, now
                    free[node] -= pod.gpus
        for pod in self.pods:
            pod.step(now)


def stamp(moment: datetime) -> str:
    """Return a moment as Kubernetes writes it."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
