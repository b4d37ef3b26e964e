"""What Kubernetes does by itself: Deployments make pods, and say how many are ready."""

from collections.abc import Mapping
from datetime import datetime

from tests.sim.rollout.apiserver import ApiServer
from tests.sim.rollout.behavior import GOOD, Behavior
from tests.sim.rollout.pool import Pod, Pool, stamp
from tritonfleet.api import names
from tritonfleet.plan.world import ChildId, Manifest


def control_deployments(
    api: ApiServer, pool: Pool, behaviors: Mapping[str, Behavior], now: datetime, *, status_lags: bool = False
) -> None:
    """Let every Deployment have as many pods as it asks for, and end the pods of those that are gone."""
    wanted: dict[str, Manifest] = {
        child["metadata"]["labels"][names.REVISION_LABEL]: child
        for target, child in api.children.items()
        if target.kind == "Deployment"
    }
    for pod in pool.pods:
        if pod.revision not in wanted:
            pool.end(pod, now)
    for revision, deployment in wanted.items():
        _resize(api, pool, revision, deployment, behaviors, now)
        if not status_lags:
            api.report(ChildId("Deployment", deployment["metadata"]["name"]), _status(pool, revision, deployment))


def _resize(
    api: ApiServer,
    pool: Pool,
    revision: str,
    deployment: Manifest,
    behaviors: Mapping[str, Behavior],
    now: datetime,
) -> None:
    pods = [pod for pod in pool.of(revision) if pod.stays]
    replicas = deployment["spec"]["replicas"]
    for pod in sorted(pods, key=_goes_last)[: max(0, len(pods) - replicas)]:
        pool.end(pod, now)
    if len(pods) < replicas:
        behavior = behaviors.get(uri_of(api, revision), GOOD)
        for _ in range(replicas - len(pods)):
            pool.create(revision, deployment["spec"]["template"], behavior, now)


def _goes_last(pod: Pod) -> tuple[bool, bool, float]:
    """Order pods as the ReplicaSet controller does: without a node first, then not ready, then the youngest."""
    return bool(pod.node), pod.ready, -pod.created.timestamp()


def uri_of(api: ApiServer, revision: str) -> str:
    """Return the model that a revision serves, from its record; empty if the record is gone."""
    record = api.children.get(ChildId("ControllerRevision", names.revision_name("m", revision)))
    return str(record["data"]["spec"]["model"]["uri"]) if record is not None else ""


def _status(pool: Pool, revision: str, deployment: Manifest) -> Manifest:
    pods = [pod for pod in pool.of(revision) if pod.stays]
    return {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": len(pods),
        "updatedReplicas": len(pods),
        "readyReplicas": sum(pod.ready for pod in pods),
    }


def route_status(route: Manifest, *, accepted: bool, now: datetime) -> Manifest:
    """Return what a gateway's controller says of a route."""
    generation, moment = route["metadata"]["generation"], stamp(now)
    verdicts = {"Accepted": accepted, "ResolvedRefs": True}
    conditions = [
        {
            "type": word,
            "status": str(holds),
            "reason": word if holds else "NotAllowedByListeners",
            "message": "" if holds else "no listener of the Gateway admits this route",
            "observedGeneration": generation,
            "lastTransitionTime": moment,
        }
        for word, holds in verdicts.items()
    ]
    parents = route["spec"].get("parentRefs", ())
    return {
        "parents": [
            {
                "parentRef": parent,
                "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
                "conditions": conditions,
            }
            for parent in parents
        ]
    }
