"""etcd, the API server, the controller manager and the scheduler."""

from dataclasses import dataclass
from pathlib import Path

from devcluster import gobuild
from devcluster.kube import Api, wait_until
from devcluster.paths import State
from devcluster.processes import Registry
from devcluster.slots import Slot

NAMES = ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")
_ETCD_CLIENTS = "http://127.0.0.1:2379"
_ETCD_PEERS = "http://127.0.0.1:2380"


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The four processes; `bench` lifts the request limits that would hide what a benchmark measures.

    `apiserver_flags` come after the API server's own, such as an audit log's.
    """

    state: State
    slot: Slot
    registry: Registry
    bench: bool = False
    apiserver_flags: tuple[str, ...] = ()

    def ensure(self, api: Api) -> None:
        """Start whichever process does not run, and wait until the API server is ready."""
        self._start("etcd", gobuild.ETCD.path("etcd"), *self._etcd())
        self._start("kube-apiserver", self._binary("kube-apiserver"), *self._apiserver())
        wait_until("a ready API server", lambda: self._healthy(api), f"See the logs in {self.state.logs}.")
        self._start("kube-controller-manager", self._binary("kube-controller-manager"), *self._controllers())
        self._start("kube-scheduler", self._binary("kube-scheduler"), *self._scheduler())

    def _healthy(self, api: Api) -> bool:
        for name in ("etcd", "kube-apiserver"):
            self.registry.require(name)
        return api.healthy()

    def _start(self, name: str, binary: Path, *flags: str) -> None:
        self.registry.ensure(name, self.slot.enter(binary, *flags))

    def _binary(self, name: str) -> Path:
        return gobuild.KUBERNETES.path(name)

    def _etcd(self) -> list[str]:
        return [
            f"--data-dir={self.state.etcd}",
            f"--listen-client-urls={_ETCD_CLIENTS}",
            f"--advertise-client-urls={_ETCD_CLIENTS}",
            f"--listen-peer-urls={_ETCD_PEERS}",
            f"--initial-advertise-peer-urls={_ETCD_PEERS}",
            f"--initial-cluster=default={_ETCD_PEERS}",
            "--unsafe-no-fsync",
            "--quota-backend-bytes=4294967296",
            "--log-level=warn",
        ]

    def _apiserver(self) -> list[str]:
        pki = self.state.pki
        return [
            f"--etcd-servers={_ETCD_CLIENTS}",
            "--bind-address=0.0.0.0",
            "--secure-port=6443",
            f"--advertise-address={self.slot.address}",
            f"--tls-cert-file={pki}/kube-apiserver.crt",
            f"--tls-private-key-file={pki}/kube-apiserver.key",
            f"--cert-dir={pki}",
            f"--client-ca-file={pki}/ca.crt",
            f"--service-account-key-file={pki}/service-accounts.pub",
            f"--service-account-signing-key-file={pki}/service-accounts.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={self.slot.service_range}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--kubelet-client-certificate={pki}/admin.crt",
            f"--kubelet-client-key={pki}/admin.key",
            # Otherwise logs and exec would look node-0 up in DNS.
            "--kubelet-preferred-address-types=InternalIP",
            *self.apiserver_flags,
        ]

    def _controllers(self) -> list[str]:
        pki = self.state.pki
        faster = ["--kube-api-qps=2000", "--kube-api-burst=4000"] if self.bench else []
        # A benchmark of a thousand objects is not to wait for five workers of the endpoint controllers.
        workers = ["--concurrent-deployment-syncs=20", "--concurrent-replicaset-syncs=20"] if self.bench else []
        return [
            f"--kubeconfig={self.state.root}/kube-controller-manager.kubeconfig",
            f"--service-account-private-key-file={pki}/service-accounts.key",
            f"--root-ca-file={pki}/ca.crt",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            f"--cert-dir={pki}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            f"--cluster-cidr={self.slot.pod_range}",
            "--allocate-node-cidrs=false",
            *faster,
            *workers,
        ]

    def _scheduler(self) -> list[str]:
        faster = ["--kube-api-qps=2000", "--kube-api-burst=4000"] if self.bench else []
        return [
            f"--kubeconfig={self.state.root}/kube-scheduler.kubeconfig",
            f"--cert-dir={self.state.pki}",
            "--leader-elect=false",
            *faster,
        ]
