"""The administrator's settings for the pods of every ModelDeployment: the chart's value `workloads`."""

from typing import Annotated

from pydantic import AfterValidator, Field

from tritonfleet.api.base import ApiModel, Labels, ObjectName
from tritonfleet.api.placement import Toleration
from tritonfleet.api.quantities import canonical_quantities
from tritonfleet.api.server import Resources, Server
from tritonfleet.errors import InvalidSpec


class PodMonitor(ApiModel):
    """A PodMonitor for every ModelDeployment."""

    enabled: bool = False
    labels: Labels = Field(default_factory=dict)
    """Labels by which a Prometheus selects it."""
    interval: str = ""
    """Interval of its scrapes; empty: the Prometheus's own."""


def _canonical(resources: Resources) -> Resources:
    return Resources(requests=canonical_quantities(resources.requests), limits=canonical_quantities(resources.limits))


_Canonical = Annotated[Resources, AfterValidator(_canonical)]
"""Resources whose quantities are written as the API server writes them."""


class Workloads(ApiModel):
    """What an administrator decides for the pods of every ModelDeployment.

    The settings of pods are frozen with a revision: changing them rolls nothing.
    """

    run_as_user: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = 1000
    """User and group of every container; None leaves both to the cluster, as OpenShift's `restricted-v2` demands.

    1000 is `triton-server` in NVIDIA's images; other users are known to cause problems with some backends.
    """
    fetch_resources: _Canonical = Resources(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "1Gi"})
    """Resources of the init container that fetches the model, unless the ModelDeployment has its own."""
    proxy_resources: _Canonical = Resources(requests={"cpu": "50m", "memory": "32Mi"}, limits={"memory": "256Mi"})
    """Resources of the HTTP proxy, unless the ModelDeployment has its own."""
    image_pull_secrets: tuple[ObjectName, ...] = ()
    """Names of pull Secrets beside the ModelDeployment's; the kubelet looks for them in its namespace."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that all pods tolerate."""
    priority_class_name: str = ""
    """PriorityClass of pods whose ModelDeployment names none; empty: the cluster's default."""
    allowed_priority_classes: tuple[str, ...] = ()
    """PriorityClasses that a ModelDeployment may name; empty: any whose name does not begin with `system-`."""
    allowed_runtime_classes: tuple[str, ...] = ()
    """RuntimeClasses that a ModelDeployment may name; empty: any."""
    network_policy: bool = False
    """Whether a NetworkPolicy restricts ingress to Triton's ports."""
    pod_monitor: PodMonitor = PodMonitor()
    """The PodMonitor of every ModelDeployment."""

    def refuse_classes(self, server: Server) -> None:
        """Raise InvalidSpec for a class that is not left to authors of ModelDeployments."""
        wanted, allowed = server.priority_class_name, self.allowed_priority_classes
        if wanted is not None and wanted not in allowed and (allowed or wanted.startswith("system-")):
            raise InvalidSpec(
                f"spec.server.priorityClassName: '{wanted}' is not allowed: {_allowed(allowed, 'any but system-*')},"
                " or ask the administrator to add it to the chart's workloads.allowedPriorityClasses"
            )
        wanted, allowed = server.runtime_class_name, self.allowed_runtime_classes
        if wanted is not None and wanted not in allowed and allowed:
            raise InvalidSpec(
                f"spec.server.runtimeClassName: '{wanted}' is not allowed: {_allowed(allowed, 'any')},"
                " or ask the administrator to add it to the chart's workloads.allowedRuntimeClasses"
            )


def _allowed(names: tuple[str, ...], otherwise: str) -> str:
    return f"use {', '.join(names) if names else otherwise}"
