"""All objects of a ModelDeployment, one builder per kind, in the order in which they are written.

Each revision has a ControllerRevision, a ConfigMap, a Service and a Deployment (`revision_children()`); all revisions
share the front Service, a PodDisruptionBudget and, where the operator's settings ask for them, an HTTPRoute, a
NetworkPolicy and a PodMonitor (`shared_children()`). `reconcile()` calls both in each pass and writes what is missing
or differs. The HTTPRoute, which is also read back, has a module of its own.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any, Final

from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.resources import BACKEND_TRAFFIC_POLICY, HTTP_ROUTE
from tritonfleet.api.workloads import PodMonitor
from tritonfleet.plan.objects.containers import CONFIG_KEY, PORTS, Lifecycle
from tritonfleet.plan.objects.httproute import http_route
from tritonfleet.plan.objects.revision import Revision
from tritonfleet.plan.world import Defaults, Manifest


def revision_children(
    deployment: ModelDeployment, revision: Revision, number: int, replicas: int
) -> tuple[Manifest, ...]:
    """Return the objects of one revision: its record first, so that nothing runs unrecorded."""
    workload = revision_deployment(deployment, revision.hash, number, replicas, revision.template)
    metadata = {name: value for name, value in workload["metadata"].items() if name != "annotations"}
    return (
        controller_revision(metadata, number, revision.data),
        config_map(metadata, revision.config),
        _service(metadata, workload["spec"]["selector"]["matchLabels"], "ClusterIP"),
        workload,
    )


def revision_deployment(
    deployment: ModelDeployment, revision_hash: str, number: int, replicas: int, template: Manifest
) -> Manifest:
    """Return the Deployment of one revision.

    Its `template` is the frozen one of the revision, so it never rolls by itself; `number` counts revisions from 1.
    """
    owner = _owner_of(deployment)
    metadata = names.revision_metadata(owner, revision_hash)
    metadata["annotations"] = {names.REVISION_NUMBER_ANNOTATION: str(number)}
    selector = names.serving_selector(owner["name"], revision_hash)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "progressDeadlineSeconds": math.ceil(duration_seconds(deployment.spec.rollout.progress_deadline)),
            "revisionHistoryLimit": 1,
            "template": template,
        },
    }


TRIAL_GRACE_SECONDS: Final = 5
_ADMISSION: Final = ("kueue.x-k8s.io/", "azure.workload.identity/")
"""Labels of pods that a trial needs as well: without them it would pass by a quota, or not reach the model."""


def trial_objects(deployment: ModelDeployment, revision: Revision, config: str, seconds: int) -> tuple[Manifest, ...]:
    """Return the ConfigMap and the pod of a trial: the revision's pod, with another configuration of the model.

    They have none of the labels that Services, budgets and the operator select by. The pod ends by itself after so
    many seconds, serves no one that would have to be drained, and is deleted with the ModelDeployment.
    """
    owner = _owner_of(deployment)
    kept = {key: value for key, value in revision.template["metadata"]["labels"].items() if key.startswith(_ADMISSION)}
    metadata: Manifest = {
        "name": f"{owner['name']}-tune",
        "namespace": owner["namespace"],
        "labels": {names.TRIAL_LABEL: owner["name"]},
        "ownerReferences": [names.owner_reference(owner) | {"controller": False}],
    }
    spec = {name: value for name, value in revision.template["spec"].items() if name != "topologySpreadConstraints"}
    spec |= {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": seconds,
        "terminationGracePeriodSeconds": TRIAL_GRACE_SECONDS,
        "containers": [
            {name: value for name, value in container.items() if name != "lifecycle"}
            for container in spec["containers"]
        ],
        "volumes": [
            {**volume, "configMap": {"name": metadata["name"]}} if volume["name"] == "config" else volume
            for volume in spec["volumes"]
        ],
    }
    pod_metadata = {
        **metadata,
        "labels": {**kept, **metadata["labels"]},
        "annotations": dict(revision.template["metadata"].get("annotations") or {}),
    }
    files = config_map(metadata, {**revision.config, CONFIG_KEY: config})
    return files, {"apiVersion": "v1", "kind": "Pod", "metadata": pod_metadata, "spec": spec}


def shared_children(
    deployment: ModelDeployment,
    split: Mapping[str, int],
    defaults: Defaults,
    route: Manifest | None = None,
    *,
    opened: Collection[str] = (),
) -> tuple[Manifest, ...]:
    """Return the objects that all revisions share.

    `split` is percent of the traffic by revision, to those `opened` a gateway keeps a way though they have none;
    `route` is the HTTPRoute as it is now, None if there is none.
    """
    owner, service = _owner_of(deployment), deployment.spec.traffic.service
    children = [
        front_service(owner, split, service_type=str(service.type), annotations=dict(service.annotations)),
        disruption_budget(owner, split),
    ]
    gateway = deployment.spec.traffic.gateway
    if gateway is not None and defaults.gateway_api:
        children.append(http_route(owner, gateway, split, route, opened=opened))
        if gateway.consistent_hash is not None and defaults.envoy_policies:
            children.append(backend_traffic_policy(owner, gateway.consistent_hash.header))
    if defaults.workloads.network_policy:
        children.append(network_policy(owner))
    if defaults.workloads.pod_monitor.enabled:
        children.append(pod_monitor(owner, defaults.workloads.pod_monitor))
    return tuple(children)


def _owner_of(deployment: ModelDeployment) -> Manifest:
    """Return what the builders need to know about the owner."""
    metadata = deployment.metadata
    return {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid}


def linger_seconds(deployment: ModelDeployment) -> int:
    """Return how long an old revision must stay after the front Service has moved on.

    Open client connections still lead to it, and deletion leaves its pods only limited time.
    """
    return Lifecycle.of(deployment.spec.server).linger


def front_service(
    owner: Manifest, split: Mapping[str, int], *, service_type: str, annotations: dict[str, str]
) -> Manifest:
    """Return the Service that clients use. `split` is percent by revision.

    A revision that gets everything is selected alone. Several that share are selected by what every pod of the
    ModelDeployment has in common: each gets what its ready pods are of all of them.
    """
    metadata = names.shared_metadata(owner)
    if annotations:
        metadata["annotations"] = annotations
    taking = [revision for revision, weight in split.items() if weight > 0]
    alone = len(taking) == 1
    selector = names.serving_selector(owner["name"], taking[0]) if alone else {names.OWNER_LABEL: owner["name"]}
    return _service(metadata, selector, service_type)


def _service(metadata: Manifest, selector: dict[str, str], service_type: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": service_type,
            "selector": selector,
            "ports": [_port(name, number) for name, number in PORTS.items()],
        },
    }


def _port(name: str, number: int) -> dict[str, Any]:
    port: dict[str, Any] = {"name": name, "port": number, "targetPort": name, "protocol": "TCP"}
    if name == "grpc":
        # Without it a gateway that routes both protocols uses HTTP/1.1 and every gRPC call fails.
        port["appProtocol"] = "kubernetes.io/h2c"
    return port


def disruption_budget(owner: Manifest, split: Mapping[str, int]) -> Manifest:
    """Return the budget over the pods of all revisions with traffic in `split`.

    Pods that are not ready can always be evicted, but they count as unavailable: a canary that waits for a GPU for
    days would block every drain of a node with stable's pods.
    """
    selector: Manifest = {"matchLabels": {names.OWNER_LABEL: owner["name"]}}
    idle = sorted(revision for revision, weight in split.items() if weight == 0)
    if idle:
        selector["matchExpressions"] = [{"key": names.REVISION_LABEL, "operator": "NotIn", "values": idle}]
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": names.shared_metadata(owner),
        "spec": {
            "maxUnavailable": 1,
            "selector": selector,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def network_policy(owner: Manifest) -> Manifest:
    """Return a policy on ingress; egress stays open, since the fetch step needs the model's store."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": names.shared_metadata(owner),
        "spec": {
            "podSelector": {"matchLabels": {names.OWNER_LABEL: owner["name"]}},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": number} for number in PORTS.values()]}],
        },
    }


def pod_monitor(owner: Manifest, settings: PodMonitor) -> Manifest:
    """Return a PodMonitor that stamps `modeldeployment` and `revision` on every series."""
    metadata = names.shared_metadata(owner)
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {**metadata, "labels": {**settings.labels, **metadata["labels"]}},
        "spec": {
            "selector": {"matchLabels": {names.OWNER_LABEL: owner["name"]}},
            "podMetricsEndpoints": [
                {
                    "port": "metrics",
                    "path": "/metrics",
                    **({"interval": settings.interval} if settings.interval else {}),
                    "relabelings": [
                        _stamp(names.OWNER_LABEL, "modeldeployment"),
                        _stamp(names.REVISION_LABEL, "revision"),
                    ],
                }
            ],
        },
    }


def backend_traffic_policy(owner: Manifest, header: str) -> Manifest:
    """Return Envoy Gateway's policy that sends requests with one value of the header to the same pod."""
    return {
        "apiVersion": BACKEND_TRAFFIC_POLICY.api_version,
        "kind": BACKEND_TRAFFIC_POLICY.kind,
        "metadata": names.shared_metadata(owner),
        "spec": {
            "targetRefs": [{"group": HTTP_ROUTE.group, "kind": HTTP_ROUTE.kind, "name": owner["name"]}],
            "loadBalancer": {
                "type": "ConsistentHash",
                "consistentHash": {"type": "Header", "header": {"name": header}},
            },
        },
    }


def _stamp(label: str, target: str) -> Manifest:
    source = "".join(character if character.isalnum() else "_" for character in label)
    return {
        "action": "replace",
        "sourceLabels": [f"__meta_kubernetes_pod_label_{source}"],
        "targetLabel": target,
    }


def config_map(metadata: Manifest, config: dict[str, str]) -> Manifest:
    """Return the immutable ConfigMap of a revision; `config` maps the name of each file to its text."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "immutable": True,
        "data": config,
    }


def controller_revision(metadata: Manifest, number: int, data: Manifest) -> Manifest:
    """Return the record of a revision; `data` is what `Revision.data` holds, `number` counts from 1."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "revision": number,
        "data": data,
    }
