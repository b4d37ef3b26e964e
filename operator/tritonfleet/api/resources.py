"""The API paths of the kinds that the operator reads or writes."""

from dataclasses import dataclass
from typing import Final

from tritonfleet.api import names


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind; `group` is empty for the core API."""

    kind: str
    group: str
    version: str
    plural: str
    namespaced: bool = True
    labeled: bool = True
    """Whether only objects with the operator's label are watched."""

    @property
    def api_version(self) -> str:
        """The `apiVersion` of a manifest of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the URL path of one object, or of the collection; without a namespace, of all namespaces."""
        parts = ["/apis" if self.group else "/api", self.api_version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        return "/".join(parts)


MODEL_DEPLOYMENT: Final = Resource(names.KIND, names.GROUP, names.VERSION, names.PLURAL, labeled=False)
SCALER: Final = Resource("HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers", labeled=False)
POD: Final = Resource("Pod", "", "v1", "pods")
CHILDREN: Final = (
    Resource("ControllerRevision", "apps", "v1", "controllerrevisions"),
    Resource("ConfigMap", "", "v1", "configmaps"),
    Resource("Service", "", "v1", "services"),
    Resource("Deployment", "apps", "v1", "deployments"),
    Resource("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets"),
)
NETWORK_POLICY: Final = Resource("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies")
POD_MONITOR: Final = Resource("PodMonitor", "monitoring.coreos.com", "v1", "podmonitors")
HTTP_ROUTE: Final = Resource("HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes")
BACKEND_TRAFFIC_POLICY: Final = Resource(
    "BackendTrafficPolicy", "gateway.envoyproxy.io", "v1alpha1", "backendtrafficpolicies"
)

BY_KIND: Final = {
    resource.kind: resource
    for resource in (
        MODEL_DEPLOYMENT,
        SCALER,
        POD,
        *CHILDREN,
        NETWORK_POLICY,
        POD_MONITOR,
        HTTP_ROUTE,
        BACKEND_TRAFFIC_POLICY,
        Resource("Gateway", "gateway.networking.k8s.io", "v1", "gateways"),
        Resource("Node", "", "v1", "nodes", namespaced=False),
        Resource("Event", "", "v1", "events"),
        Resource("Lease", "coordination.k8s.io", "v1", "leases"),
        Resource("SelfSubjectReview", "authentication.k8s.io", "v1", "selfsubjectreviews", namespaced=False),
    )
}
