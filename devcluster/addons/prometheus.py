"""A Prometheus that finds every pod with a port named `metrics`, beside the cluster."""

import json
import urllib.request
from typing import Any

from devcluster import gobuild
from devcluster.cluster import Cluster
from devcluster.kube import wait_until
from devcluster.paths import write_keyed
from devcluster.progress import Progress

NAME = "prometheus"
_PORT = 9090


def address(cluster: Cluster) -> str:
    """Its URL, the same from pods and from the host."""
    return f"http://{cluster.slot.address}:{_PORT}"


def start(cluster: Cluster, progress: Progress) -> list[str]:
    """Build and start it, and wait until it answers queries."""
    gobuild.build(gobuild.PROMETHEUS, progress)
    config = write_keyed(cluster.state.root / "prometheus.json", json.dumps(_config(cluster), indent=1))
    cluster.registry.ensure(
        NAME,
        cluster.slot.enter(
            gobuild.PROMETHEUS.path("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={cluster.state.root / 'prometheus'}",
            "--storage.tsdb.retention.time=1d",
            f"--web.listen-address={cluster.slot.address}:{_PORT}",
            "--log.level=warn",
        ),
    )
    wait_until("a ready Prometheus", lambda: _ready(cluster))
    return [f"Prometheus answers at {address(cluster)}"]


def _ready(cluster: Cluster) -> bool:
    cluster.registry.require(NAME)
    # No proxy of the environment must stand between us and our own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f"{address(cluster)}/-/ready", timeout=2).close()
    except OSError:
        return False
    return True


def _config(cluster: Cluster) -> dict[str, Any]:
    pod = "__meta_kubernetes_pod"
    label = f"{pod}_label_tritonfleet_dev"
    copied = {
        "__meta_kubernetes_namespace": "namespace",
        f"{pod}_name": "pod",
        f"{label}_modeldeployment": "modeldeployment",
        f"{label}_revision": "revision",
    }
    relabel: list[dict[str, Any]] = [
        {"source_labels": [f"{pod}_container_port_name"], "regex": ".*metrics", "action": "keep"},
        {"source_labels": [f"{pod}_phase"], "regex": "Running", "action": "keep"},
        # Envoy serves its metrics on a path of its own.
        {
            "source_labels": [f"{pod}_label_app_kubernetes_io_component"],
            "regex": "proxy",
            "target_label": "__metrics_path__",
            "replacement": "/stats/prometheus",
        },
    ]
    relabel += [{"source_labels": [source], "target_label": target} for source, target in copied.items()]
    kubernetes = {"role": "pod", "kubeconfig_file": str(cluster.kubeconfig)}
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "pods", "kubernetes_sd_configs": [kubernetes], "relabel_configs": relabel}],
    }
