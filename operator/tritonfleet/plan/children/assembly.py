"""All children of a ModelDeployment, in the order in which they are written."""

import math
from collections.abc import Collection, Mapping

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.plan.children.configmap import config_map
from tritonfleet.plan.children.controller_revision import controller_revision
from tritonfleet.plan.children.deployment import deployment as deployment_manifest
from tritonfleet.plan.children.disruption import disruption_budget
from tritonfleet.plan.children.httproute import http_route
from tritonfleet.plan.children.lifecycle import Lifecycle
from tritonfleet.plan.children.networkpolicy import network_policy
from tritonfleet.plan.children.podmonitor import pod_monitor
from tritonfleet.plan.children.revision import Revision
from tritonfleet.plan.children.service import front_service, revision_service
from tritonfleet.plan.world import Defaults, Manifest


def revision_children(
    deployment: ModelDeployment, revision: Revision, number: int, replicas: int
) -> tuple[Manifest, ...]:
    """Return the objects of one revision: its record first, so that nothing runs that is not recorded."""
    owner = _owner(deployment)
    return (
        controller_revision(owner, revision.hash, number, revision.data),
        config_map(owner, revision.hash, revision.config),
        revision_service(owner, revision.hash),
        revision_deployment(deployment, revision.hash, number, replicas, revision.template),
    )


def revision_deployment(
    deployment: ModelDeployment, revision_hash: str, number: int, replicas: int, template: Manifest
) -> Manifest:
    """Return the Deployment of one revision alone."""
    return deployment_manifest(
        _owner(deployment),
        revision_hash,
        number,
        replicas=replicas,
        template=template,
        progress_deadline_seconds=math.ceil(duration_seconds(deployment.spec.rollout.progress_deadline)),
    )


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
    owner, service = _owner(deployment), deployment.spec.traffic.service
    children = [
        front_service(owner, split, service_type=str(service.type), annotations=dict(service.annotations)),
        disruption_budget(owner, split),
    ]
    gateway = deployment.spec.traffic.gateway
    if gateway is not None and defaults.gateway_api:
        children.append(http_route(owner, gateway, split, route, opened=opened))
    if defaults.network_policy:
        children.append(network_policy(owner))
    if defaults.pod_monitor:
        children.append(pod_monitor(owner))
    return tuple(children)


def linger_seconds(deployment: ModelDeployment) -> int:
    """Return how long an old revision must stay after the front Service has left it.

    Connections that clients hold open still lead to it, and deleting it leaves its pods time only up to a limit.
    """
    return Lifecycle.of(deployment.spec.server).linger


def _owner(deployment: ModelDeployment) -> Manifest:
    metadata = deployment.metadata
    return {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid}
