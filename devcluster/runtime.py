"""containerd: the configuration of its own instance, its images and its containers."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from devcluster import cgroups
from devcluster.commands import run, succeeds
from devcluster.kube import wait_until
from devcluster.paths import State, write_keyed
from devcluster.processes import Registry, running_with, stop
from devcluster.slots import Slot

PAUSE_IMAGE = "docker.io/tritonfleet/pause:1"
NAME = "containerd"
_CNI_NOTES = Path("/var/lib/cni/results")
_SNAPSHOTTERS = ("aufs", "btrfs", "zfs", "devmapper")


@dataclass(frozen=True, slots=True)
class Containerd:
    """This cluster's containerd, apart from any other on the machine."""

    state: State
    slot: Slot
    registry: Registry

    def ensure(self) -> None:
        """Start it unless it runs, and wait until it answers."""
        config = write_keyed(self.state.root / "containerd.toml", self._config())
        network = self.state.root / "cni" / "10-devcluster.conflist"
        network.parent.mkdir(parents=True, exist_ok=True)
        network.write_text(json.dumps(self._network(), indent=1))
        started = self.registry.ensure(NAME, self.slot.enter("/usr/bin/containerd", "--config", config))
        if started or not self.answers():
            wait_until("an answering containerd", self.answers, f"See {self.state.logs}/containerd.log.")

    def answers(self) -> bool:
        """Whether its socket is served."""
        return succeeds(*self._ctr("version"))

    def ctr(self, *arguments: str) -> str:
        """Run `ctr` in the kubelet's namespace; returns what it printed."""
        return run(*self._ctr(*arguments)).stdout

    def _ctr(self, *arguments: str) -> list[str]:
        # Unpacking an image uses mounts and no network, but the shims must start in our namespace.
        return self.slot.enter("ctr", "-a", str(self.slot.containerd_socket), "-n", "k8s.io", *arguments)

    def images(self) -> dict[str, str]:
        """Image reference -> digest of its manifest."""
        found = {}
        for line in self.ctr("images", "ls").splitlines()[1:]:
            words = line.split()
            found[words[0]] = words[2]
        return found

    def end_containers(self) -> None:
        """Kill every container, wait for their shims, and forget the containers."""
        stop(cgroups.members(self.slot.cgroup), term_seconds=0)
        shims = running_with("-address", str(self.slot.containerd_socket))
        if self.registry.find(NAME) and self.answers():
            # containerd removes a task, and with it the shim, once it has seen the process end.
            deadline = time.monotonic() + 5
            while any(shim.alive() for shim in shims) and time.monotonic() < deadline:
                time.sleep(0.05)
            left = self.ctr("containers", "ls", "-q").split()
            if left:
                run(*self._ctr("containers", "delete", *left), check=False)
        stop((shim for shim in shims if shim.alive()), term_seconds=1)
        # Shims that died without containerd leave their runc state behind, and the plugins what they noted.
        shutil.rmtree(self.slot.run_dir / "runc", ignore_errors=True)
        for note in _CNI_NOTES.glob(f"{self.slot.namespace}-*-eth0"):
            container = note.name.removeprefix(f"{self.slot.namespace}-").removesuffix("-eth0")
            (_CNI_NOTES / f"cni-loopback-{container}-lo").unlink(missing_ok=True)
            note.unlink(missing_ok=True)

    def _config(self) -> str:
        disabled = [f"io.containerd.snapshotter.v1.{name}" for name in _SNAPSHOTTERS]
        disabled.append("io.containerd.internal.v1.opt")
        return f"""version = 2
root = "{self.state.containerd}"
state = "{self.slot.run_dir}/containerd"
disabled_plugins = {json.dumps(disabled)}
[grpc]
  address = "{self.slot.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE runc would die on a negative score with "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  sandbox_image = "{PAUSE_IMAGE}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{self.state.root}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{self.slot.run_dir}/runc"
"""

    def _network(self) -> dict[str, object]:
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.slot.run_dir / "addresses"),
                "ranges": [[{"subnet": self.slot.node_pod_range}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "0.4.0", "name": self.slot.namespace, "plugins": [bridge, ports]}
