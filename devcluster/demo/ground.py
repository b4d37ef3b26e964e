"""The demo's cluster: a local one or the user's; and builds in the background."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from devcluster import cluster as local_cluster
from devcluster import host, release
from devcluster.addons import gateway, prometheus, s3
from devcluster.cluster import Cluster
from devcluster.commands import raise_priority
from devcluster.demo.console import (
    DemoFailed,
    Witness,
    ask,
    look_at_model,
    look_at_pods,
    run,
    say,
    step,
)
from devcluster.demo.inference import PORTS, wait_until_served
from devcluster.paths import CHECKOUT, State
from devcluster.progress import Progress

NAMESPACE = "default"
SECRET = "model-store"  # noqa: S105 - the name of a Secret
GONE_SECONDS_MAX = 180.0
END_SECONDS_MAX = 10.0
DEVCLUSTER = f"{shlex.quote(os.path.relpath(sys.executable))} -m devcluster"
FIRST = ("triton-image", "operator-image")
"""Parts of the first prediction that wait for the network while Kubernetes is compiled."""
LATER = ("k6", "prometheus", "envoy", "coredns", "envoy-gateway")
"""Parts that nothing needs before the first prediction."""
LOWEST = 19
"""The niceness of builds in the background."""


@dataclass
class Background:
    """Parts that a process of its own builds while the demo goes on; ended with the block.

    What an interrupted build has compiled is kept, and the next one goes on from there.
    """

    name: str
    parts: Sequence[str]
    niceness: int = 0
    logs: Path = field(default_factory=lambda: State.of_checkout().logs)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.logs / f"{self.name}.log"

    @property
    def witness(self) -> Witness:
        """How to see more of it."""
        return Witness(f"{DEVCLUSTER} logs {self.name}")

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        self._start([*("nice", "-n", str(self.niceness)), sys.executable, "-m", "devcluster", "build", *self.parts])
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def wait(self, progress: Progress) -> None:
        """Show what it does until it is through; raises DemoFailed with its last words."""
        process = self._running
        # It is needed now.
        raise_priority(process.pid)
        with progress.step(f"waiting for {self.name}") as shown:
            while process.poll() is None:
                shown.note = self._last_words(1)
                time.sleep(0.2)
        if process.returncode != 0:
            raise DemoFailed(f"building {', '.join(self.parts)} failed: {self._last_words(12)}")

    def end(self) -> None:
        """End the process and the compilers it has started."""
        process = self._running
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                break
            deadline = time.monotonic() + END_SECONDS_MAX
            # The group is there as long as any compiler is.
            while _group_lives(process) and time.monotonic() < deadline:
                time.sleep(0.05)
        process.wait()

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise DemoFailed(f"the build of {', '.join(self.parts)} was not begun")
        return self._process

    def _start(self, command: Sequence[str]) -> None:
        with self.log.open("wb") as log:
            # A group, so that it can be ended with its children; not a session, because Linux weighs the sessions
            # against each other before it looks at anybody's priority.
            self._process = subprocess.Popen(
                command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )

    def _last_words(self, lines: int) -> str:
        said = self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []
        return "\n".join(re.sub(r"^\[ *[\d.]+s\] ", "", line) for line in said)


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

    def complaints(self) -> str:
        """What is wrong with the cluster itself; empty when all is well, or when nobody here can tell."""

    @property
    def store_witness(self) -> Witness:
        """Whom to ask about the place for models."""

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
    later: Background
    """What traffic needs, and the first prediction does not."""

    @property
    def kubectl(self) -> list[str]:
        """Kubectl for this cluster and the demo's namespace."""
        return [str(self.cluster.kubectl), "--kubeconfig", str(self.cluster.kubeconfig), "--namespace", NAMESPACE]

    @property
    def farewell(self) -> str:
        """How to clean up."""
        return "    make cluster-down\n        (removes everything but the caches)"

    def complaints(self) -> str:
        """Ask every process of the cluster."""
        return "\n".join(f"{name}: {wrong}" for name, wrong in self.cluster.complaints().items())

    @property
    def store_witness(self) -> Witness:
        """Ask the S3 server's log, and every process."""
        return Witness(f"{DEVCLUSTER} logs {s3.NAME}", self.complaints)

    def install_operator(self) -> None:
        """Install this checkout's chart with this checkout's image, and with Prometheus where there is one."""
        known = self.cluster.registry.find(prometheus.NAME) is not None
        url = prometheus.address(self.cluster) if known else ""
        release.install(self.cluster, Progress(), prometheus_url=url)

    def prepare_for_traffic(self) -> None:
        """Start Prometheus and a gateway, and configure the operator of them."""
        prometheus.start(self.cluster, Progress())
        gateway.start(self.cluster, Progress())
        self.install_operator()

    def upload(self, file: Path, key: str) -> None:
        """Put a file into the local S3 server, and its credentials into the Secret that the quickstart names."""
        self.store.put(key, file.read_bytes())
        literals = [f"--from-literal={name}={value}" for name, value in self.store.credentials().items()]
        secret = run(*self.kubectl, "create", "secret", "generic", SECRET, *literals, "--dry-run=client", "-o", "json")
        run(*self.kubectl, "apply", "-f", "-", stdin=secret)

    @contextmanager
    def service_address(self, name: str) -> Iterator[str]:
        """Give the Service's own address: the host has a route to it."""
        address = str(ask(self.kubectl, "service", name)["spec"]["clusterIP"])
        wait_until_served(address)
        yield address


@dataclass
class ExistingGround:
    """A cluster of the user's, with the operator's published image and the user's own store."""

    kubeconfig: Path
    workspace: Path
    farewell: str = "    kubectl delete mdep digits; helm uninstall tritonfleet --namespace tritonfleet-system"

    @property
    def kubectl(self) -> list[str]:
        """Kubectl from PATH for this cluster and the demo's namespace."""
        return ["kubectl", "--kubeconfig", str(self.kubeconfig), "--namespace", NAMESPACE]

    def complaints(self) -> str:
        """Say nothing: the cluster is the user's."""
        return ""

    @property
    def store_witness(self) -> Witness:
        """Ask whether the Secret is there; the rest is the user's."""
        return Witness(shlex.join([*self.kubectl, "get", "secret", SECRET]))

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
            wait_until_served("127.0.0.1")
            yield "127.0.0.1"
        finally:
            forward.terminate()
            forward.wait()


@contextmanager
def local_ground() -> Iterator[LocalGround]:
    """Bring up what the first prediction needs; the rest is built meanwhile, and no longer than the block."""
    progress = Progress()
    healthy = Witness(f"{DEVCLUSTER} status", _complaints)
    first, later = Background("build-first", FIRST), Background("build-later", LATER, LOWEST)
    with ExitStack() as ending:
        with step("Start a real Kubernetes on this machine (the first time it compiles Kubernetes)", healthy):
            host.require_root_on_debian()
            host.install_packages(progress)
            # Fetched here where the machine has none: everything that is built asks for it.
            host.go_binary(progress)
            ending.enter_context(later)
            ending.enter_context(first)
            cluster = local_cluster.ensure(progress=progress)
        with step("Start an S3 server for models (compiled the first time)", Witness(f"{DEVCLUSTER} logs s3")):
            store = s3.ensure(cluster, progress)
        with step("Build the images of Triton and the operator (started beside Kubernetes)", first.witness):
            first.wait(progress)
        yield LocalGround(cluster, store, _workspace(), later)


@contextmanager
def existing_ground(kubeconfig: Path) -> Iterator[ExistingGround]:
    """Use the cluster that a kubeconfig leads to; it needs an `s3://models` store and a Secret `model-store`."""
    ground = ExistingGround(kubeconfig, _workspace())
    with step(f"Use the cluster of {kubeconfig}", Witness(shlex.join([*ground.kubectl, "cluster-info"]))):
        say(run(*ground.kubectl, "version", "--request-timeout=20s").strip().replace("\n", "\n    "))
    yield ground


def of_model(ground: Ground, name: str) -> Witness:
    """Return whom to ask about a ModelDeployment."""
    command = shlex.join([*ground.kubectl, "describe", "mdep", name])
    return Witness(command, lambda: ground.complaints() or look_at_model(ground.kubectl, name))


def of_operator(ground: Ground) -> Witness:
    """Return whom to ask about the operator."""
    there = [*ground.kubectl[:-2], "--namespace", release.NAMESPACE]
    command = shlex.join([*there, "logs", f"deployment/{release.RELEASE}"])
    labels = f"app.kubernetes.io/instance={release.RELEASE}"
    return Witness(command, lambda: ground.complaints() or look_at_pods(there, labels))


def of_gateway(ground: Ground) -> Witness:
    """Return whom to ask about the gateway, Prometheus and the names inside the cluster."""
    there = [*ground.kubectl[:-2], "--namespace", gateway.NAMESPACE]
    return Witness(f"{DEVCLUSTER} status", lambda: ground.complaints() or look_at_pods(there, ""))


def delete_leftovers(ground: Ground, name: str) -> None:
    """Remove what an earlier run left, so that this one starts from nothing."""
    run(*ground.kubectl, "delete", "mdep", name, "--ignore-not-found", "--wait=true")
    _until_gone(ground, "pods", f"tritonfleet.dev/modeldeployment={name}")


def wait_until_old_pods_are_gone(ground: Ground, name: str, serving: str) -> None:
    """Wait until only the pods of the serving revision are left; `serving` is its hash."""
    _until_gone(ground, "pods", f"tritonfleet.dev/modeldeployment={name},tritonfleet.dev/revision!={serving}")


def _until_gone(ground: Ground, kind: str, labels: str) -> None:
    deadline = time.monotonic() + GONE_SECONDS_MAX
    while left := [one["metadata"]["name"] for one in ask(ground.kubectl, kind, "-l", labels)["items"]]:
        if time.monotonic() > deadline:
            raise DemoFailed(f"still there after {GONE_SECONDS_MAX:.0f}s: {', '.join(left)}")
        time.sleep(1)


def _complaints() -> str:
    found = local_cluster.find()
    return "\n".join(f"{name}: {wrong}" for name, wrong in found.complaints().items()) if found else ""


def _group_lives(process: "subprocess.Popen[bytes]") -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _workspace() -> Path:
    folder = Path(tempfile.gettempdir()) / f"tritonfleet-demo-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    return folder
