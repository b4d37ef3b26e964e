"""Names inside the cluster: CoreDNS without any way out."""

from typing import Any

from devcluster import gobuild, images
from devcluster.cluster import Cluster
from devcluster.kube import wait_until
from devcluster.progress import Progress

IMAGE = "docker.io/tritonfleet/coredns:1.15.0"
_NAME = "coredns"
_APPS = "/apis/apps/v1/namespaces/kube-system"
_CORE = "/api/v1/namespaces/kube-system"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_COREFILE = """cluster.local:53 in-addr.arpa:53 {
    errors
    health :8080
    ready :8181
    cache 5
    kubernetes cluster.local in-addr.arpa {
        pods disabled
        ttl 5
    }
}
.:53 {
    errors
    template ANY ANY {
        rcode NXDOMAIN
    }
}
"""


def start(cluster: Cluster, progress: Progress) -> list[str]:
    """Build and deploy CoreDNS, and wait until it answers."""
    binary = gobuild.build(gobuild.COREDNS, progress) / "coredns"
    cluster.load_image(images.from_files(IMAGE, {"coredns": binary}, ["/coredns"], progress).path, progress)
    with progress.step("starting CoreDNS"):
        for path, manifest in _manifests(cluster.slot.service_address(10)):
            cluster.api.apply(path, manifest)
        deployment = f"{_APPS}/deployments/{_NAME}"
        wait_until(
            "a ready CoreDNS",
            lambda: bool(cluster.api.get(deployment).get("status", {}).get("readyReplicas")),
        )
    return ["names such as SERVICE.NAMESPACE.svc.cluster.local resolve inside pods; all others are NXDOMAIN"]


def _manifests(address: str) -> list[tuple[str, dict[str, Any]]]:
    here = {"name": _NAME, "namespace": "kube-system"}
    role = f"system:{_NAME}"
    verbs = ["list", "watch"]
    return [
        (f"{_CORE}/serviceaccounts/{_NAME}", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": here}),
        (
            f"{_RBAC}/clusterroles/{role}",
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": role},
                "rules": [
                    {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": verbs},
                    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
                ],
            },
        ),
        (
            f"{_RBAC}/clusterrolebindings/{role}",
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": role},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", **here}],
            },
        ),
        (
            f"{_CORE}/configmaps/{_NAME}",
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": here, "data": {"Corefile": _COREFILE}},
        ),
        (
            f"{_APPS}/deployments/{_NAME}",
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": here, "spec": _deployment()},
        ),
        (
            f"{_CORE}/services/kube-dns",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
                "spec": {
                    "clusterIP": address,
                    "selector": {"k8s-app": "kube-dns"},
                    "ports": [
                        {"name": "dns", "port": 53, "protocol": "UDP"},
                        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                    ],
                },
            },
        ),
    ]


def _deployment() -> dict[str, Any]:
    labels = {"k8s-app": "kube-dns"}
    container = {
        "name": _NAME,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    return {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "serviceAccountName": _NAME,
                "containers": [container],
                "volumes": [{"name": "config", "configMap": {"name": _NAME}}],
            },
        },
    }
