"""A control plane with simulated nodes and nothing else: no kubelet, no kube-proxy and no container beside it."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fleet.audit import policy
from devcluster import gobuild, host, network, pki, slots
from devcluster.controlplane import ControlPlane
from devcluster.kube import Api
from devcluster.paths import State
from devcluster.processes import Registry
from devcluster.progress import Progress

STAGES = Path(__file__).parent / "stages.yaml"
FINAL_SECONDS_MAX = 5


@dataclass(frozen=True, slots=True)
class Place:
    """Where a running control plane is reached, and where it writes down who asked for what."""

    admin_kubeconfig: Path
    server: str
    certificate_authority: Path
    audit_log: Path


def build(progress: Progress) -> None:
    """Install and build what the machine and the cache lack; raises DevclusterError where that cannot be."""
    host.require_root_on_debian()
    host.install_packages(progress)
    for module in (gobuild.KUBERNETES, gobuild.ETCD, gobuild.KWOK):
        gobuild.build(module, progress)


@contextmanager
def control_plane(audited_user: str) -> Iterator[Place]:
    """Run a control plane of its own, empty at the start, until the block ends; nothing of it stays."""
    state = State(Path(tempfile.mkdtemp(prefix="tritonfleet-bench-")))
    slot = slots.claim(state)
    registry = Registry(slot.run_dir / "processes", state.logs)
    try:
        network.up(slot)
        pki.ensure(state, slot)
        (state.root / "audit-policy.json").write_text(json.dumps(policy(audited_user)))
        audit_log = state.root / "audit.log"
        audit = (f"--audit-policy-file={state.root}/audit-policy.json", f"--audit-log-path={audit_log}")
        plane = ControlPlane(state, slot, registry, bench=True, apiserver_flags=audit)
        plane.ensure(Api(slot.server, state.pki))
        registry.ensure("kwok", slot.enter(gobuild.KWOK.path("kwok"), *_kwok_flags(state)))
        yield Place(state.root / "admin.kubeconfig", slot.server, state.pki / "ca.crt", audit_log)
    finally:
        registry.stop(*registry.names(), term_seconds=FINAL_SECONDS_MAX)
        network.down(slot)
        slots.release(slot)
        shutil.rmtree(state.root)


def _kwok_flags(state: State) -> list[str]:
    return [
        f"--kubeconfig={state.root}/admin.kubeconfig",
        f"--config={STAGES}",
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        "--node-lease-duration-seconds=40",
    ]
