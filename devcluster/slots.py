"""Which addresses and names a cluster uses, so that two checkouts on one machine never collide."""

import ipaddress
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from devcluster.commands import run
from devcluster.errors import DevclusterError
from devcluster.paths import State, locked

RUN_DIR = Path("/run/tritonfleet")
_SLOTS = 32


@dataclass(frozen=True, slots=True)
class Slot:
    """One of 32 disjoint sets of names and address ranges."""

    number: int

    @property
    def namespace(self) -> str:
        """The network namespace everything runs in."""
        return f"tritonfleet-{self.number}"

    @property
    def namespace_file(self) -> Path:
        """What nsenter opens."""
        return Path("/run/netns") / self.namespace

    @property
    def host_link(self) -> str:
        """The host's end of the veth pair."""
        return f"tfleet{self.number}h"

    @property
    def inner_link(self) -> str:
        """The namespace's end of the veth pair."""
        return f"tfleet{self.number}n"

    @property
    def address(self) -> str:
        """The node and the API server."""
        return f"10.250.{self.number}.1"

    @property
    def host_address(self) -> str:
        """The host as the cluster sees it."""
        return f"10.250.{self.number}.2"

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.address}:6443"

    @property
    def link_range(self) -> str:
        """The two addresses of the veth pair."""
        return f"10.250.{self.number}.0/30"

    @property
    def service_range(self) -> str:
        """Service cluster addresses: 65,000, for thousands of ModelDeployments."""
        return f"10.{96 + self.number}.0.0/16"

    @property
    def pod_range(self) -> str:
        """All pod addresses: the node's, then the simulated nodes'."""
        return f"10.{160 + self.number}.0.0/16"

    @property
    def node_pod_range(self) -> str:
        """Pods of the one real node."""
        return f"10.{160 + self.number}.0.0/23"

    @property
    def fake_pod_range(self) -> str:
        """Pods of simulated nodes: addresses that nothing answers on."""
        return f"10.{160 + self.number}.128.0/17"

    def service_address(self, host: int) -> str:
        """The Service address number `host` of the range: 1 is the API server's, 10 the DNS's."""
        return str(ipaddress.ip_network(self.service_range)[host])

    @property
    def cgroup(self) -> str:
        """The parent of every pod's cgroup, in each hierarchy."""
        return f"/tritonfleet-{self.number}"

    @property
    def run_dir(self) -> Path:
        """Sockets, process records and mounts: gone after `down` and after a reboot."""
        return RUN_DIR / str(self.number)

    @property
    def containerd_socket(self) -> Path:
        """Containerd's socket; short, since a socket's path may have 107 characters."""
        return self.run_dir / "containerd.sock"

    def enter(self, *command: str | Path) -> list[str]:
        """The command, run inside the namespace.

        `ip netns exec` would remount /sys and hide the cgroup mounts from the kubelet.
        """
        return ["nsenter", f"--net={self.namespace_file}", "--", *(str(word) for word in command)]


def current(state: State) -> Slot | None:
    """The slot this state folder holds now, or None when its cluster is down."""
    for owner in sorted(RUN_DIR.glob("*/owner")):
        if owner.read_text() == str(state.root):
            return Slot(int(owner.parent.name))
    return None


def claim(state: State) -> Slot:
    """The slot this state folder holds, else the first that nobody on this machine uses."""
    with locked(RUN_DIR / "lock"):
        held = current(state)
        if held:
            return held
        taken = _host_ranges()
        for number in range(_SLOTS):
            slot = Slot(number)
            ranges = [ipaddress.IPv4Network(r) for r in (slot.link_range, slot.service_range, slot.pod_range)]
            if slot.run_dir.exists() or slot.namespace_file.exists():
                continue
            if any(mine.overlaps(other) for mine in ranges for other in taken):
                continue
            slot.run_dir.mkdir(parents=True)
            (slot.run_dir / "owner").write_text(str(state.root))
            return slot
    raise DevclusterError(
        f"all {_SLOTS} address ranges are taken by other clusters or by this machine's own routes: "
        f"run `make cluster-down` in a checkout you no longer need (see {RUN_DIR}/*/owner)."
    )


def release(slot: Slot) -> None:
    """Give the slot back; everything in its run folder goes."""
    with locked(RUN_DIR / "lock"):
        shutil.rmtree(slot.run_dir, ignore_errors=True)
        if not any(path.is_dir() for path in RUN_DIR.iterdir()):
            shutil.rmtree(RUN_DIR, ignore_errors=True)


def _host_ranges() -> list[ipaddress.IPv4Network]:
    routes = json.loads(run("ip", "-4", "-json", "route", "show", "table", "all").stdout or "[]")
    return [
        ipaddress.IPv4Network(route["dst"], strict=False)
        for route in routes
        if route["dst"] != "default" and route["dst"][0].isdigit()
    ]
