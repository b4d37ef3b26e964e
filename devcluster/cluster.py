"""The cluster of this checkout as a whole: bring it up, take it down, say how it is."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from devcluster import cgroups, controlplane, gobuild, health, host, images, network, node, pki, runtime, slots
from devcluster.commands import run
from devcluster.controlplane import ControlPlane
from devcluster.errors import DevclusterError
from devcluster.kube import Api, wait_until
from devcluster.node import Node
from devcluster.paths import State, locked
from devcluster.processes import Registry
from devcluster.progress import Progress
from devcluster.runtime import Containerd
from devcluster.slots import Slot

DEFAULT_GPUS = 8
PROCESSES = (*node.NAMES, *controlplane.NAMES, runtime.NAME)
_PROGRAMS = (gobuild.KUBERNETES, gobuild.ETCD, gobuild.HELM, gobuild.PAUSE)
_SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster and everything a test or a script needs to use it."""

    state: State
    slot: Slot
    registry: Registry

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; its server is reachable from the host."""
        return self.state.kubeconfig

    @property
    def kubectl(self) -> Path:
        """Kubectl of the cluster's own version."""
        return gobuild.KUBERNETES.path("kubectl")

    @property
    def helm(self) -> Path:
        """helm, built by `up`."""
        return gobuild.HELM.path("helm")

    @property
    def api(self) -> Api:
        """Raw requests as administrator."""
        return Api(self.slot.server, self.state.pki)

    @property
    def containerd(self) -> Containerd:
        """The container runtime: images and containers."""
        return Containerd(self.state, self.slot, self.registry)

    def environment(self) -> dict[str, str]:
        """KUBECONFIG, and a PATH that finds kubectl and helm first."""
        path = os.pathsep.join([str(self.kubectl.parent), str(self.helm.parent), os.environ.get("PATH", os.defpath)])
        return {"KUBECONFIG": str(self.kubeconfig), "PATH": path}

    def helm_install(self, release: str, chart: Path, namespace: str, *flags: str, values: str | None = None) -> None:
        """Install or upgrade a release and wait until it is ready; `values` are YAML.

        One at a time: Helm refuses a second operation on a release. Raises CommandFailed with Helm's words.
        """
        given = ("--values", "-") if values is not None else ()
        with locked(self.state.root / "helm.lock"):
            self.forget_interrupted(release, namespace)
            run(
                *(self.helm, "upgrade", "--install", release, chart, "--namespace", namespace),
                *("--create-namespace", "--wait", *flags, *given),
                stdin=values,
                env=self.environment(),
            )

    def forget_interrupted(self, release: str, namespace: str) -> None:
        """Remove Helm's record of an operation that was killed: Helm would refuse every later one because of it."""
        pending = "pending-install,pending-upgrade,pending-rollback"
        labels = f"owner=helm,name={release},status in ({pending})"
        run(self.kubectl, "delete", "secret", "--namespace", namespace, "-l", labels, env=self.environment())

    def complaints(self) -> dict[str, str]:
        """What is wrong: name of a process -> why; empty when all is well."""
        names = {*PROCESSES, *self.registry.recorded()}
        return health.complaints(self.slot, self.registry, sorted(names))

    def load_image(self, archive: Path, progress: Progress | None = None) -> list[str]:
        """Import a docker-archive unless its images are there already; returns their references."""
        return images.import_archive(self.containerd, archive, progress or Progress())

    def build_image(self, tag: str, file: Path, context: Path, progress: Progress | None = None) -> str:
        """Build a Containerfile and import the image; returns its reference."""
        shown = progress or Progress()
        archive = images.build(tag, file, context, (), shown)
        self.load_image(archive.path, shown)
        return archive.reference


def _of(state: State, slot: Slot) -> Cluster:
    return Cluster(state, slot, Registry(slot.run_dir / "processes", state.logs))


def find(state: State | None = None) -> Cluster | None:
    """The cluster of `state` (default: this checkout's) if it is up or half up, else None; never changes anything."""
    state = state or State.of_checkout()
    slot = slots.current(state)
    return _of(state, slot) if slot else None


def ensure(
    *,
    state: State | None = None,
    gpus: int | None = None,
    bench: bool | None = None,
    progress: Progress | None = None,
) -> Cluster:
    """Bring the cluster up, or mend it, or find it whole; safe to call from many processes at once.

    `state` defaults to this checkout's; `gpus` and `bench` to what the running cluster has (8, off when there is none).
    Raises DevclusterError with what to do.
    """
    host.require_root_on_debian()
    shown = progress or Progress()
    state = state or State.of_checkout()
    state.root.mkdir(parents=True, exist_ok=True)
    with locked(state.root / "lock"):
        gpus, bench = _settings(state, gpus, bench)
        shown.add(_steps_ahead())
        host.install_packages(shown)
        for module in _PROGRAMS:
            gobuild.build(module, shown)
        pause = images.pause(shown)
        cluster = _of(state, slots.claim(state))
        _start(cluster, pause, gpus=gpus, bench=bench, progress=shown)
        _remember(state, gpus, bench)
    return cluster


def _steps_ahead() -> int:
    """Steps that `ensure` will show: what has to be installed and built, the control plane and the node."""
    return bool(host.missing_packages()) + sum(not gobuild.is_built(module) for module in _PROGRAMS) + 2


def _start(cluster: Cluster, pause: images.Archive, *, gpus: int, bench: bool, progress: Progress) -> None:
    state, slot, registry = cluster.state, cluster.slot, cluster.registry
    api = cluster.api
    if network.up(slot) and registry.names():
        # They live on in a namespace that has lost its name: nothing can reach them any more.
        _end_everything(cluster)
        network.up(slot)
    fresh = not state.etcd.exists()
    pki.ensure(state, slot)
    with progress.step("starting the control plane"):
        cluster.containerd.ensure()
        ControlPlane(state, slot, registry, bench).ensure(api)
    if fresh:
        # Containers of a cluster that is no more: the new one's kubelet would take a while to see that.
        cluster.containerd.end_containers()
    images.import_archive(cluster.containerd, pause.path, progress)
    with progress.step("waiting for the node"):
        Node(state, slot, registry, gpus).ensure(api)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_until("the default service account", lambda: api.exists(account))
        registry.revive()
        wait_until("a cluster whose every part is well", lambda: not cluster.complaints(), "See `status`.")


def down(progress: Progress | None = None, *, state: State | None = None, purge: bool = False) -> None:
    """Stop everything and leave no process, mount, namespace, link or cgroup behind.

    Built programs and images stay in the cache; `purge` also forgets the images imported by this cluster.
    Raises DevclusterError naming whatever could not be removed.
    """
    host.require_root_on_debian()
    shown = progress or Progress()
    state = state or State.of_checkout()
    if not state.root.exists():
        return
    with locked(state.root / "lock"):
        slot = slots.current(state)
        if slot:
            with shown.step("stopping the cluster"):
                _end_everything(_of(state, slot))
                slots.release(slot)
        _forget(state, purge=purge)


def _end_everything(cluster: Cluster) -> None:
    slot, registry = cluster.slot, cluster.registry
    # First whoever would start things again; then the pods while containerd can still tidy up after them.
    registry.stop(*node.NAMES, *controlplane.NAMES[:2], term_seconds=3)
    cluster.containerd.end_containers()
    others = [name for name in registry.names() if name != runtime.NAME]
    # On SIGTERM the API server waits up to a minute for its watchers.
    registry.stop(*others, runtime.NAME, term_seconds=2)
    for _ in range(3):
        node.unmount_below(cluster.state.root, slot.run_dir)
    network.down(slot)
    cgroups.remove(slot.cgroup)
    node.remove_log_links(cluster.state.logs / "pods")
    _verify_gone(cluster)


def _verify_gone(cluster: Cluster) -> None:
    slot = cluster.slot
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (cgroups.members(slot.cgroup) or cgroups.present(slot.cgroup)):
        cgroups.remove(slot.cgroup)
        time.sleep(0.1)
    left = [f"process {each.pid}" for each in cgroups.members(slot.cgroup)]
    left += [f"process {name}" for name in cluster.registry.names()]
    left += [f"mount {path}" for path in node.mounts_below(cluster.state.root, slot.run_dir)]
    left += [f"cgroup {path}" for path in cgroups.present(slot.cgroup)]
    if left:
        raise DevclusterError(f"still there after stopping the cluster: {', '.join(left[:10])}.")


def _forget(state: State, *, purge: bool) -> None:
    kept = {"lock"} if purge else {"lock", "logs", "containerd", "imported"}
    for entry in state.root.iterdir():
        if entry.name in kept:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _settings(state: State, gpus: int | None, bench: bool | None) -> tuple[int, bool]:
    path = state.root / _SETTLED
    words = path.read_text().split() if path.exists() else []
    known_gpus, known_bench = (int(words[0]), words[1] == "bench") if words else (DEFAULT_GPUS, False)
    return (known_gpus if gpus is None else gpus, known_bench if bench is None else bench)


def _remember(state: State, gpus: int, bench: bool) -> None:
    (state.root / _SETTLED).write_text(f"{gpus} {'bench' if bench else 'plain'}")
