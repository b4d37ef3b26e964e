"""The one real node: kubelet, kube-proxy, and the GPUs it is told to have."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster import cgroups, gobuild
from devcluster.commands import run
from devcluster.kube import Api, ApiError, wait_until
from devcluster.paths import State, write_keyed
from devcluster.processes import Registry
from devcluster.slots import Slot

NODE = "node-0"
NAMES = ("kubelet", "kube-proxy")
_PATH = f"/api/v1/nodes/{NODE}"
_MAX_PODS = 200


def gpu_labels(count: int) -> dict[str, str]:
    """The labels NVIDIA's GPU feature discovery puts on a node of A100 cards."""
    return {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.count": str(count),
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
        "nvidia.com/gpu.family": "ampere",
        "nvidia.com/gpu.memory": "81920",
        "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.compute.major": "8",
        "nvidia.com/gpu.compute.minor": "0",
        "nvidia.com/mig.capable": "true",
        "nvidia.com/mig.strategy": "single",
    }


@dataclass(frozen=True, slots=True)
class Node:
    """The node's two processes and its entry in the API."""

    state: State
    slot: Slot
    registry: Registry
    gpus: int

    def ensure(self, api: Api) -> None:
        """Start what does not run, wait until the node is ready, and give it its GPUs."""
        cgroups.create(self.slot.cgroup)
        kubelet = self._write("kubelet.json", self._kubelet())
        proxy = self._write("kube-proxy.json", self._proxy())
        self.registry.ensure(
            "kubelet",
            self.slot.enter(
                gobuild.KUBERNETES.path("kubelet"),
                f"--config={kubelet}",
                f"--kubeconfig={self.state.root}/kubelet.kubeconfig",
                f"--hostname-override={NODE}",
                f"--root-dir={self.state.kubelet}",
                f"--cert-dir={self.state.kubelet}/pki",
                f"--node-ip={self.slot.address}",
            ),
        )
        self.registry.ensure("kube-proxy", self.slot.enter(gobuild.KUBERNETES.path("kube-proxy"), f"--config={proxy}"))
        hint = f"See {self.state.logs}/kubelet.log."
        wait_until(f"Node {NODE} being ready", lambda: self._ready(api), hint)
        self._give_gpus(api)
        wait_until(f"{self.gpus} allocatable GPUs", lambda: self._has_gpus(api), hint)

    def _ready(self, api: Api) -> bool:
        try:
            status = api.get(_PATH)["status"]
        except ApiError:
            return False
        return any(
            each["type"] == "Ready" and each["status"] == "True" and _fresh(each["lastHeartbeatTime"])
            for each in status.get("conditions", ())
        )

    def _give_gpus(self, api: Api) -> None:
        amount = {"nvidia.com/gpu": str(self.gpus)}
        api.merge(f"{_PATH}/status", {"status": {"capacity": amount, "allocatable": amount}})
        api.merge(_PATH, {"metadata": {"labels": gpu_labels(self.gpus)}})

    def _has_gpus(self, api: Api) -> bool:
        allocatable: dict[str, Any] = api.get(_PATH)["status"]["allocatable"]
        return allocatable.get("nvidia.com/gpu") == str(self.gpus)

    def _write(self, name: str, content: dict[str, object]) -> Path:
        return write_keyed(self.state.root / name, json.dumps(content, indent=1))

    def _kubelet(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{self.state.pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "healthzBindAddress": self.slot.address,
            "containerRuntimeEndpoint": f"unix://{self.slot.containerd_socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.slot.cgroup,
            "cgroupsPerQOS": True,
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "resolvConf": "",
            "clusterDNS": [self.slot.service_address(10)],
            "clusterDomain": "cluster.local",
            "maxPods": _MAX_PODS,
            "podLogsDir": str(self.state.logs / "pods"),
            "volumePluginDir": str(self.state.kubelet / "volume-plugins"),
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            # Tests start many pods at once; the defaults (5 a second) would hold them back.
            "registryPullQPS": 0,
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
            "nodeStatusUpdateFrequency": "5s",
        }

    def _proxy(self) -> dict[str, object]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": self.slot.pod_range,
            "hostnameOverride": NODE,
            "clientConnection": {"kubeconfig": f"{self.state.root}/kube-proxy.kubeconfig"},
            "conntrack": {"maxPerCore": 0},
        }


def _fresh(stamp: str) -> bool:
    """Whether a heartbeat is younger than a minute: an old kubelet's word does not count."""
    beat = time.mktime(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    return time.time() - beat < 60


def mounts_below(*folders: Path) -> list[str]:
    """Mount points below these folders, the deepest first."""
    prefixes = tuple(f"{folder}/" for folder in folders)
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [path for path in reversed(mounted) if path.startswith(prefixes)]


def unmount_below(*folders: Path) -> None:
    """Unmount everything mounted below these folders."""
    for path in mounts_below(*folders):
        run("umount", "--lazy", path, check=False)


def remove_log_links(pod_logs: Path) -> None:
    """Remove the links the kubelet made in a folder it cannot be told to keep away from."""
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{pod_logs}/"):
            link.unlink()
