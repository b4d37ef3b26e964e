"""Parts that are built and started only when asked for."""

from collections.abc import Callable

from devcluster.addons import coredns, gateway, kwok, prometheus, s3
from devcluster.cluster import Cluster
from devcluster.progress import Progress

ALL: dict[str, Callable[[Cluster, Progress], list[str]]] = {
    "coredns": coredns.start,
    "gateway": gateway.start,
    "kwok": kwok.ensure,
    "prometheus": prometheus.start,
    "s3": s3.start,
}
