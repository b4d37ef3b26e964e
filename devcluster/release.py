"""The operator of this checkout, built and installed in the local cluster by its Helm chart."""

from devcluster import images
from devcluster.addons import gateway
from devcluster.cluster import Cluster
from devcluster.paths import HERE
from devcluster.progress import Progress

CHECKOUT = HERE.parent
NAMESPACE = "tritonfleet-system"
RELEASE = "tritonfleet"
OPERATOR_IMAGE = "docker.io/tritonfleet/operator:dev"
TRITON_IMAGE = "docker.io/tritonfleet/triton-cpu:24.10"
READY_SECONDS_MAX = 240
"""A machine that compiles beside it is slow to start a pod."""


def operator_image(progress: Progress) -> images.Archive:
    """Build the operator's image into the cache; no cluster is needed."""
    return images.build(OPERATOR_IMAGE, CHECKOUT / "Containerfile", CHECKOUT, (), progress)


def install(cluster: Cluster, progress: Progress | None = None, *, prometheus_url: str = "") -> None:
    """Build what the operator needs, install or upgrade it, and wait until it leads.

    Without `prometheus_url` it asks pods alone. Raises DevclusterError with the last words of whatever failed.
    """
    shown = progress or Progress()
    for archive in (images.triton(shown), operator_image(shown)):
        cluster.load_image(archive.path, shown)
    with shown.step("helm upgrade --install tritonfleet charts/tritonfleet"):
        cluster.helm_install(RELEASE, CHECKOUT / "charts" / "tritonfleet", NAMESPACE, *_flags(cluster, prometheus_url))


def _flags(cluster: Cluster, prometheus_url: str) -> list[str]:
    values = {
        "image.tag": "dev",
        "triton.image": TRITON_IMAGE,
        # Triton 24.10 is the newest that a package registry carries; nobody but this machine reaches it.
        "triton.allowUnsafeImage": "true",
        "fetch.allowPrivateAddresses": "true",
        "prometheus.url": prometheus_url,
        # Its Prometheus gives every series the namespace of the pod.
        "prometheus.gatewayLabels.namespace": gateway.NAMESPACE,
        # The tag stays the same: this is what makes the pod change with the image.
        "podAnnotations.image": cluster.containerd.images()[OPERATOR_IMAGE].removeprefix("sha256:"),
    }
    settings = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    # The CRD may be there already, from a `kubectl apply` or from an installation in another namespace.
    return ["--take-ownership", "--timeout", f"{READY_SECONDS_MAX}s", *settings]
