"""What the demo stands on: this machine's own cluster, or one that the user has."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from devcluster import cluster as local_cluster
from devcluster import images, release
from devcluster.addons import gateway, prometheus, s3
from devcluster.cluster import Cluster
from devcluster.demo.console import DemoFailed, run, say, step
from devcluster.progress import Progress

NAMESPACE = "default"
SECRET = "model-store"  # noqa: S105 - the name of a Secret
GONE_SECONDS_MAX = 180.0
PORTS = (8000, 8001)


class Ground(Protocol):
    """A cluster, a place for models that its pods reach, and a way to its Services."""

    @property
    def workspace(self) -> Path:
        """A folder for what the demo makes."""

    @property
    def kubectl(self) -> list[str]:
        """How kubectl is called for this cluster and the demo's namespace."""

    @property
    def farewell(self) -> str:
        """How to clean up."""

    @property
    def reaches_services(self) -> bool:
        """Whether requests from here are spread over the pods of a Service."""

    def install_operator(self) -> None:
        """Install or upgrade the operator and wait until it is ready."""

    def upload(self, file: Path, key: str) -> None:
        """Put a file into the store; `key` is bucket and path."""

    @contextmanager
    def service_address(self, name: str) -> Iterator[str]:
        """Give an address at which a Service's ports 8000 and 8001 answer."""


@dataclass
class LocalGround:
    """The cluster of this checkout; Services and pods are reached directly."""

    cluster: Cluster
    store: s3.Store
    workspace: Path
    reaches_services: bool = True

    @property
    def kubectl(self) -> list[str]:
        """Kubectl for this cluster and the demo's namespace."""
        return [str(self.cluster.kubectl), "--kubeconfig", str(self.cluster.kubeconfig), "--namespace", NAMESPACE]

    @property
    def farewell(self) -> str:
        """How to clean up."""
        return "    make cluster-down\n        (nothing of it stays behind but the caches)"

    def install_operator(self) -> None:
        """Install this checkout's chart with this checkout's image."""
        release.install(self.cluster, Progress(), prometheus_url=prometheus.address(self.cluster))

    def upload(self, file: Path, key: str) -> None:
        """Put a file into the local S3 server, and its credentials into the Secret that the quickstart names."""
        self.store.put(key, file.read_bytes())
        literals = [f"--from-literal={name}={value}" for name, value in self.store.credentials().items()]
        secret = run(*self.kubectl, "create", "secret", "generic", SECRET, *literals, "--dry-run=client", "-o", "json")
        run(*self.kubectl, "apply", "-f", "-", stdin=secret)

    @contextmanager
    def service_address(self, name: str) -> Iterator[str]:
        """Give the Service's own address: the host has a route to it."""
        yield run(*self.kubectl, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}")


@dataclass
class ExistingGround:
    """A cluster of the user's, with the operator's published image and the user's own store."""

    kubeconfig: Path
    workspace: Path
    reaches_services: bool = False
    """Forwarded ports lead to one pod, whatever comes to help it."""
    farewell: str = "    kubectl delete mdep digits; helm uninstall tritonfleet --namespace tritonfleet-system"

    @property
    def kubectl(self) -> list[str]:
        """Kubectl from PATH for this cluster and the demo's namespace."""
        return ["kubectl", "--kubeconfig", str(self.kubeconfig), "--namespace", NAMESPACE]

    def install_operator(self) -> None:
        """Install the chart as a user would."""
        run(
            *("helm", "--kubeconfig", str(self.kubeconfig), "upgrade", "--install", release.RELEASE),
            *("charts/tritonfleet", "--namespace", release.NAMESPACE, "--create-namespace"),
            *("--wait", "--timeout", f"{release.READY_SECONDS_MAX}s"),
            show=True,
        )

    def upload(self, file: Path, key: str) -> None:
        """Use the AWS command line and a Secret that is there: the store is the user's."""
        run(*self.kubectl, "get", "secret", SECRET)
        run("aws", "s3", "cp", str(file), f"s3://{key}", show=True)

    @contextmanager
    def service_address(self, name: str) -> Iterator[str]:
        """Forward the ports to this machine while the block runs; one pod answers."""
        ports = [f"{port}:{port}" for port in PORTS]
        forward = subprocess.Popen(
            [*self.kubectl, "port-forward", f"service/{name}", *ports], stdout=subprocess.DEVNULL
        )
        try:
            for port in PORTS:
                _wait_for_port(port)
            yield "127.0.0.1"
        finally:
            forward.terminate()
            forward.wait()


def local_ground() -> LocalGround:
    """Bring up the local cluster and what the demo needs beside it."""
    with step("Start a real Kubernetes on this machine (about 8 minutes the first time, most of it compiling)"):
        cluster = local_cluster.ensure()
        cluster.load_image(images.triton(Progress()).path, Progress())
    with step("Start an S3 server for models, a gateway for traffic and a Prometheus (compiled the first time)"):
        store = s3.ensure(cluster, Progress())
        gateway.start(cluster, Progress())
        prometheus.start(cluster, Progress())
    return LocalGround(cluster, store, _workspace())


def existing_ground(kubeconfig: Path) -> ExistingGround:
    """Use the cluster that a kubeconfig leads to; it needs an `s3://models` store and a Secret `model-store`."""
    ground = ExistingGround(kubeconfig, _workspace())
    say(run(*ground.kubectl, "version").strip())
    return ground


def delete_leftovers(ground: Ground, name: str) -> None:
    """Remove what an earlier run left, so that this one starts from nothing."""
    run(*ground.kubectl, "delete", "modeldeployment", name, "--ignore-not-found", "--wait=true")
    _until_gone(ground, "pods", f"tritonfleet.dev/modeldeployment={name}")


def wait_until_old_pods_are_gone(ground: Ground, name: str, serving: str) -> None:
    """Wait until only the pods of the serving revision are left; `serving` is its hash."""
    _until_gone(ground, "pods", f"tritonfleet.dev/modeldeployment={name},tritonfleet.dev/revision!={serving}")


def _until_gone(ground: Ground, kind: str, labels: str) -> None:
    deadline = time.monotonic() + GONE_SECONDS_MAX
    while left := run(*ground.kubectl, "get", kind, "-l", labels, "-o", "name").split():
        if time.monotonic() > deadline:
            raise DemoFailed(f"still there after {GONE_SECONDS_MAX:.0f} s: {', '.join(left)}")
        time.sleep(1)


def _wait_for_port(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise DemoFailed(f"nothing answers on port {port} of this machine")


def _workspace() -> Path:
    folder = Path(tempfile.gettempdir()) / f"tritonfleet-demo-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    return folder
