"""What a test sees of the cluster, and does to it, as an administrator."""

import asyncio
import difflib
import json
import re
import time
from collections.abc import Awaitable, Callable
from operator import itemgetter
from typing import Any

from tritonfleet.adapters.cluster import Cluster
from tritonfleet.api import names
from tritonfleet.api.resources import BY_KIND, CHILDREN
from tritonfleet.errors import Transient
from tritonfleet.plan.world import Manifest
from tritonfleet.runtime import utc_now

SOON_SECONDS = 60.0
"""What a watch tells is acted on in a moment, on a machine however busy; the next sweep would be 300 s away."""
STILL_SECONDS = 8.0
CHILD_KINDS = tuple(resource.kind for resource in CHILDREN)


async def eventually(
    condition: Callable[[], Awaitable[Any] | Any], what: str, *, within: float = 90.0, every: float = 0.05
) -> Any:
    """Wait until the condition gives something true and return it; fail with the last thing it gave."""
    deadline = time.monotonic() + within
    while True:
        outcome = condition()
        if isinstance(outcome, Awaitable):
            outcome = await outcome
        if outcome:
            return outcome
        assert time.monotonic() < deadline, f"not within {within} s: {what}; last: {outcome!r}"
        await asyncio.sleep(every)


class World:
    """One namespace of the cluster, seen and changed by an administrator."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    async def create(self, name: str, **spec: Any) -> Manifest:
        """Create a ModelDeployment on the CPU; `spec` overrides its parts."""
        return await self.cluster.create(self.model(name, **spec))

    def model(self, name: str, **spec: Any) -> Manifest:
        base = {"model": {"uri": "s3://models/demo", "backend": "onnxruntime"}, "server": {"gpu": {"count": 0}}}
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"namespace": self.namespace, "name": name},
            "spec": base | spec,
        }

    async def edit(self, kind: str, name: str, change: Callable[[Manifest], None]) -> Manifest:
        """Change an object as `kubectl edit` does, trying again when somebody else was faster."""
        while True:
            body = await self.cluster.get(kind, self.namespace, name)
            assert body is not None, f"there is no {kind} {name}"
            change(body)
            try:
                return await self.cluster.replace(body)
            except Exception as error:
                if "modified" not in str(error):
                    raise

    async def patch(self, kind: str, name: str, change: Manifest, subresource: str = "") -> None:
        """Merge-patch an object, or a subresource of it (`/status`), as `kubectl patch` does."""
        path = BY_KIND[kind].path(self.namespace, name) + subresource
        await self.cluster._call("PATCH", kind, path, body=change, content_type="application/merge-patch+json")

    async def get(self, name: str) -> Manifest | None:
        return await self.cluster.get(names.KIND, self.namespace, name)

    async def delete(self, kind: str, name: str) -> None:
        body = await self.cluster.get(kind, self.namespace, name)
        if body is not None:
            await self.cluster.delete(kind, self.namespace, name, uid=body["metadata"]["uid"])

    async def children(self, *kinds: str) -> list[Manifest]:
        """Return everything labelled as the operator's, by kind and name."""
        found = []
        for kind in kinds or CHILD_KINDS:
            listing = await self.cluster.list(
                kind, self.namespace, labels=f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"
            )
            found += listing.items if listing is not None else []
        return sorted(found, key=lambda body: (body["kind"], body["metadata"]["name"]))

    async def condition(self, name: str, condition: str) -> Manifest:
        """Return one condition, if it has been set for the current generation."""
        body = await self.get(name) or {}
        status = body.get("status") or {}
        if not body or status.get("observedGeneration") != body["metadata"]["generation"]:
            return {}
        return next((each for each in status.get("conditions", ()) if each["type"] == condition), {})

    async def is_ready(self, name: str) -> bool:
        return (await self.condition(name, "Ready")).get("status") == "True"

    async def make_pods_ready(self) -> None:
        """Imitate kubelets: nothing runs here, so every pod is simply said to be ready."""
        listing = await self.cluster.list("Pod", self.namespace)
        for pod in listing.items if listing is not None else ():
            await self._say_ready(pod)

    async def take_routes(self) -> None:
        """Imitate a gateway's controller: every route that nobody has spoken of is taken."""
        listing = await self.cluster.list("HTTPRoute", self.namespace)
        for route in listing.items if listing is not None else ():
            if not (route.get("status") or {}).get("parents"):
                await self.answer_route(route)

    async def answer_route(self, route: Manifest, **said: str) -> None:
        """Say of a route what Envoy Gateway says: that it takes it, unless it is told otherwise."""
        now = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
        words = {"Accepted": "True", "ResolvedRefs": "True"} | said
        conditions = [
            {
                "type": word,
                "status": status,
                "reason": word if status == "True" else "NotAllowedByListeners",
                "message": "",
                "observedGeneration": route["metadata"]["generation"],
                "lastTransitionTime": now,
            }
            for word, status in words.items()
        ]
        controller = "gateway.envoyproxy.io/gatewayclass-controller"
        parents = [
            {"parentRef": reference, "controllerName": controller, "conditions": conditions}
            for reference in route["spec"].get("parentRefs") or ()
        ]
        await self.patch("HTTPRoute", route["metadata"]["name"], {"status": {"parents": parents}}, "/status")

    async def keep_pods_ready(self) -> None:
        """Imitate kubelets, and a gateway, until cancelled."""
        while True:
            try:
                await self.make_pods_ready()
                await self.take_routes()
            except Transient:
                await asyncio.sleep(0.5)
            await asyncio.sleep(0.25)

    async def _say_ready(self, pod: Manifest) -> None:
        if any(each["type"] == "Ready" for each in pod["status"].get("conditions", ())):
            return
        now = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {
            "phase": "Running",
            "startTime": now,
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": now}
                for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
            ],
        }
        await self.patch("Pod", pod["metadata"]["name"], {"status": status}, "/status")

    async def versions(self) -> dict[tuple[str, str], str]:
        """Return the resourceVersion of every child and of every ModelDeployment."""
        bodies = [*map(_ordered, await self.children()), *(await self.cluster.list(names.KIND, self.namespace)).items]
        return {(body["kind"], body["metadata"]["name"]): body["metadata"]["resourceVersion"] for body in bodies}

    async def end_state(self) -> Any:
        """Return all that matters of every object of ours, without what no two runs have in common."""
        bodies = [*map(_ordered, await self.children()), *(await self.cluster.list(names.KIND, self.namespace)).items]
        return [normalised(body) for body in bodies]

    async def steady_state(
        self, wanted: Any = None, *, view: Callable[[Manifest], Manifest] = lambda body: body
    ) -> Any:
        """Return the end state, each object as `view` shows it, once it stays the wanted one or no longer changes.

        On a busy machine seconds may pass between the operator's last write and what the garbage collector does.
        """
        state, since = None, time.monotonic()
        while time.monotonic() - since < STILL_SECONDS:
            await asyncio.sleep(1)
            latest = [view(body) for body in await self.end_state()]
            if latest != state:
                state, since = latest, time.monotonic()
            elif state == wanted:
                break
        return state


def difference(outcome: Any, wanted: Any) -> str:
    """Return only the lines in which two end states differ."""
    before, after = (json.dumps(state, indent=1, sort_keys=True).splitlines() for state in (wanted, outcome))
    return "\n".join(difflib.unified_diff(before, after, "undisturbed", "disturbed", lineterm=""))


_RANDOM = frozenset(
    {"uid", "resourceVersion", "managedFields", "creationTimestamp", "namespace", "clusterIP", "clusterIPs"}
)
_NOISE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"  # times
    r"|(?<=tritonfleet-operator=)[0-9a-f]{32}"  # the pods' key, made from the owner's uid
    r"|(?<=a pod takes about )\d+s"
    r"|(?<=ReplicaSet )\S+"  # named by Kubernetes after the hash of a template that holds the key
)


def _ordered(child: Any) -> Any:
    """Return it with its conditions by type: Kubernetes' controllers append them in the order they came to be in."""
    status = child.get("status", {})
    if "conditions" not in status:
        return child
    conditions = sorted(status["conditions"], key=itemgetter("type"))
    return {**child, "status": {**status, "conditions": conditions}}


def normalised(value: Any, *, namespace: str | None = None) -> Any:
    """Return a copy without uids, versions, addresses, times and what is made from them."""
    if isinstance(value, dict):
        namespace = namespace or value.get("metadata", {}).get("namespace")
        return {name: normalised(each, namespace=namespace) for name, each in value.items() if name not in _RANDOM}
    if isinstance(value, list):
        return [normalised(each, namespace=namespace) for each in value]
    if isinstance(value, str):
        value = _NOISE.sub("<any>", value)
        return value.replace(namespace, "<namespace>") if namespace else value
    return value
