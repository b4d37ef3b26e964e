"""A real Kubernetes control plane as plain processes on loopback: no root, no network namespace, no node."""

import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from devcluster import gobuild
from devcluster.progress import Progress
from tests.ports import free_port

TOKEN = "test-administrator"
_CONTROLLED = ("deployment", "replicaset", "garbage-collector", "namespace", "disruption", "horizontal-pod-autoscaler")
CONTROLLERS = ",".join(f"{name}-controller" for name in _CONTROLLED)


class ControlPlane:
    """etcd, kube-apiserver and the few controllers that the tests need; nothing schedules or runs pods."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._etcd = f"http://127.0.0.1:{free_port()}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.kubeconfig = self.kubeconfig_for(self.port)

    def start(self) -> None:
        """Build what is not built, start etcd and the API server, and wait for the latter."""
        progress = Progress(stream=sys.stderr)
        for module in (gobuild.ETCD, gobuild.KUBERNETES):
            gobuild.build(module, progress)
        (self.folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        key = self.folder / "service-accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        peers = f"http://127.0.0.1:{free_port()}"
        self._spawn(
            gobuild.ETCD.path("etcd"),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={self._etcd}",
            f"--advertise-client-urls={self._etcd}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self.start_apiserver()

    def start_controllers(self) -> None:
        """Start the controllers; the garbage collector knows at once only the kinds that are there by now."""
        self._spawn(
            gobuild.KUBERNETES.path("kube-controller-manager"),
            f"--kubeconfig={self.kubeconfig}",
            f"--controllers={CONTROLLERS}",
            f"--cert-dir={self.folder}",
            "--leader-elect=false",
            "--secure-port=0",
            "--horizontal-pod-autoscaler-sync-period=1s",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        )

    def start_apiserver(self) -> None:
        """Start the API server and wait until it is ready."""
        key = self.folder / "service-accounts.key"
        self._spawn(
            gobuild.KUBERNETES.path("kube-apiserver"),
            f"--etcd-servers={self._etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self.folder}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            # There is no controller that would make a service account for every namespace.
            "--disable-admission-plugins=ServiceAccount",
        )
        deadline = time.monotonic() + 300
        while not self._ready():
            if time.monotonic() > deadline:
                log = (self.folder / "kube-apiserver.log").read_text(errors="replace")
                raise RuntimeError(f"the API server did not become ready:\n{log[-3000:]}")
            time.sleep(0.1)

    def kill_apiserver(self) -> None:
        """End the API server as a crash does."""
        process = self._processes.pop("kube-apiserver")
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End every process that was started here."""
        for process in reversed(self._processes.values()):
            process.kill()
        for process in self._processes.values():
            process.wait()

    def kubeconfig_for(self, port: int) -> Path:
        """Write a kubeconfig for this API server as it is reached through a loopback port."""
        path = self.folder / f"kubeconfig-{port}"
        cluster = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def _spawn(self, binary: Path, *flags: str) -> None:
        with (self.folder / f"{binary.name}.log").open("ab") as log:
            self._processes[binary.name] = subprocess.Popen([binary, *flags], stdout=log, stderr=log)

    def _ready(self) -> bool:
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}/readyz")
        request.add_header("Authorization", f"Bearer {TOKEN}")
        try:
            with urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=30) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False
