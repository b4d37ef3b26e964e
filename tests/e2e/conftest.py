"""The real thing: this machine's Kubernetes, the operator installed by its chart, Triton pods and an S3 server."""

import json
import runpy
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devcluster import cluster as local_cluster
from devcluster import release
from devcluster.addons import s3
from devcluster.cluster import Cluster
from devcluster.progress import Progress

Body = dict[str, Any]
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Place:
    """A namespace of its own, and a way to put models and ModelDeployments there."""

    cluster: Cluster
    store: s3.Store
    namespace: str

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        command = [
            str(self.cluster.kubectl),
            "--kubeconfig",
            str(self.cluster.kubeconfig),
            "-n",
            self.namespace,
            *words,
        ]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def apply(self, name: str, spec: Body) -> None:
        body = {
            "apiVersion": "tritonfleet.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name},
            "spec": spec,
        }
        self.kubectl("apply", "-f", "-", stdin=json.dumps(body))

    def patch(self, name: str, spec: Body) -> int:
        """Change the spec; return the generation that this made."""
        self.kubectl("patch", "mdep", name, "--type=merge", "-p", json.dumps({"spec": spec}))
        return int(self.get("mdep", name)["metadata"]["generation"])

    def get(self, kind: str, name: str) -> Body:
        return dict(json.loads(self.kubectl("get", kind, name, "-o", "json")))

    def list(self, kind: str, labels: str = "", *, everywhere: bool = False) -> list[Body]:
        where = ["--all-namespaces"] if everywhere else []
        return list(json.loads(self.kubectl("get", kind, *where, "-l", labels, "-o", "json"))["items"])

    def condition(self, name: str, type_: str) -> Body:
        conditions = self.get("mdep", name).get("status", {}).get("conditions", ())
        return next(
            (one for one in conditions if one["type"] == type_), {"status": "Unknown", "reason": "", "message": ""}
        )

    def wait(self, what: str, holds: Callable[[], bool], timeout_seconds: float = 90) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not holds():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_seconds:.0f} s: {what}\n{self.kubectl('get', 'mdep,pods')}")
            time.sleep(POLL_SECONDS)

    def wait_ready(self, name: str, generation: int = 1, timeout_seconds: float = 90) -> Body:
        def ready() -> bool:
            status = self.get("mdep", name).get("status", {})
            one = self.condition(name, "Ready")
            return one["status"] == "True" and status["observedGeneration"] >= generation

        self.wait(f"{name} is Ready at generation {generation}", ready, timeout_seconds)
        return self.get("mdep", name)

    def wait_reason(self, name: str, reason: str, timeout_seconds: float = 90) -> Body:
        """Wait until `Ready` gives this reason and return the condition."""
        self.wait(f"{name} says {reason}", lambda: self.condition(name, "Ready")["reason"] == reason, timeout_seconds)
        return self.condition(name, "Ready")

    def address(self, service: str) -> str:
        return str(self.get("service", service)["spec"]["clusterIP"])

    def upload(self, folder: str, files: dict[str, bytes]) -> str:
        """Put files into the store; return the URI of their folder."""
        prefix = f"models/{self.namespace}/{folder}"
        for path, content in files.items():
            self.store.put(f"{prefix}/{path}", content)
        return f"s3://{prefix}"


@pytest.fixture(scope="session")
def local() -> Cluster:
    """The running cluster with the operator of this checkout in it."""
    cluster = local_cluster.ensure()
    release.install(cluster)
    return cluster


@pytest.fixture(scope="session")
def store(local: Cluster) -> s3.Store:
    """The S3 server that pods reach."""
    return s3.ensure(local, Progress())


@pytest.fixture
def place(local: Cluster, store: s3.Store) -> Iterator[Place]:
    """A new namespace with the store's credentials in it; gone afterwards."""
    place = Place(local, store, f"e2e-{uuid.uuid4().hex[:8]}")
    place.kubectl("create", "namespace", place.namespace)
    literals = [f"--from-literal={name}={value}" for name, value in store.credentials().items()]
    place.kubectl("create", "secret", "generic", "model-store", *literals)
    yield place
    place.kubectl("delete", "mdep", "--all", "--wait=false")
    place.kubectl("delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false")
    place.kubectl("delete", "namespace", place.namespace, "--wait=false")


@pytest.fixture(scope="session")
def digits_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's model, trained on the spot."""
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    train = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "quickstart" / "train.py"))["train"]
    assert train(path) > 0.9
    return path


@pytest.fixture
def digits(place: Place, digits_model: Path) -> Body:
    """A spec that serves the digits model."""
    uri = place.upload("digits/1", {"model.onnx": digits_model.read_bytes()})
    return {
        "model": {"uri": uri, "backend": "onnxruntime", "credentialsSecretName": "model-store"},
        "batching": {"maxBatchSize": 16, "dynamic": {"maxQueueDelay": "1ms"}},
        "server": {"gpu": {"count": 1}},
    }
