"""The real thing: this machine's Kubernetes, the operator installed by its chart, Triton pods and an S3 server."""

import fcntl
import json
import runpy
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import cluster as local_cluster
from devcluster.addons import gateway, s3
from devcluster.cluster import Cluster
from devcluster.commands import run
from devcluster.paths import State, locked
from devcluster.progress import Progress
from tests.ahead import bring_up
from tests.e2e.chronicle import Chronicle
from tests.e2e.shop import GATEWAY, GATEWAY_NAMESPACE, NAME, Shop

Body = dict[str, Any]
POLL_SECONDS = 0.2
KNOWN_WITHIN_SECONDS = 30
"""A pod's own words are in the status in a moment, on a machine however busy; the next sweep would be minutes away."""
GIVE_UP_SECONDS = 300
TURNS = State.of_tests().root.with_suffix(".turns")
"""Files whose locks say who has the tests' cluster: it is shared by the processes of one run, and by several runs."""


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

    def wait_for_cause(self, name: str, reason: str, shows: Callable[[Body], bool]) -> str:
        """Wait until `Ready` gives the reason; return its message if it came soon after a pod showed the cause."""
        start, known = time.monotonic(), None
        while self.condition(name, "Ready")["reason"] != reason:
            if known is None and any(shows(pod) for pod in self.list("pods")):
                known = time.monotonic()
            waited = time.monotonic() - (known or start)
            limit = GIVE_UP_SECONDS if known is None else KNOWN_WITHIN_SECONDS
            assert waited < limit, f"not {reason} but {self.condition(name, 'Ready')}"
            time.sleep(POLL_SECONDS)
        assert self.condition(name, "Ready")["status"] == "False"
        return str(self.condition(name, "Ready")["message"])

    def children(self) -> dict[str, str]:
        """Return the version of each object that the operator made, by kind and name."""
        kinds = "deployments,services,configmaps,controllerrevisions,poddisruptionbudgets"
        items = self.list(kinds, "app.kubernetes.io/managed-by=tritonfleet")
        return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in items}

    def address(self, service: str) -> str:
        return str(self.get("service", service)["spec"]["clusterIP"])

    def clear(self) -> None:
        """Delete the namespace and what is in it; its pods are not given their time."""
        self.kubectl("delete", "mdep", "--all", "--wait=false")
        self.kubectl("delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false")
        self.kubectl("delete", "namespace", self.namespace, "--wait=false")

    def upload(self, folder: str, files: dict[str, bytes]) -> str:
        """Put files into the store; return the URI of their folder."""
        prefix = f"models/{self.namespace}/{folder}"
        for path, content in files.items():
            self.store.put(f"{prefix}/{path}", content)
        return f"s3://{prefix}"


@pytest.fixture(scope="session")
def local() -> Cluster:
    """A cluster of the tests' own with the operator of this checkout in it: the demo's models keep their GPUs."""
    with locked(TURNS / "bring-up"):
        return bring_up(Progress())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the tests' cluster once every process is through, unless a test failed: then it stays to be looked at."""
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    state = State.of_tests()
    if session.testsfailed == 0:
        local_cluster.down(state=state)
    elif state.kubeconfig.exists():
        Progress().say(f"the tests' cluster still runs: export KUBECONFIG={state.kubeconfig}")


@pytest.fixture(scope="module", autouse=True)
def turn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let modules of tests run beside each other, and one that is marked `alone` by itself; who came first goes first.

    Locks of the kernel: those of a process that dies are free again.
    """
    wanted = fcntl.LOCK_SH if request.node.get_closest_marker("alone") is None else fcntl.LOCK_EX
    TURNS.mkdir(parents=True, exist_ok=True)
    with (TURNS / "cluster").open("w") as cluster:
        with locked(TURNS / "door"):
            fcntl.flock(cluster, wanted)
        yield


@pytest.fixture(scope="module")
def operator_at_rest(local: Cluster) -> Iterator[None]:
    """Let the operator of all namespaces rest meanwhile, so that what is done is done by the one under test."""

    def kubectl(*words: str) -> str:
        return run(local.kubectl, *words, env=local.environment()).stdout

    listing = kubectl("get", "deployments", "-A", "-l", "app.kubernetes.io/name=tritonfleet", "-o", "json")
    places = [(each["metadata"]["namespace"], each["metadata"]["name"]) for each in json.loads(listing)["items"]]
    for namespace, name in places:
        kubectl("-n", namespace, "scale", f"deployment/{name}", "--replicas=0")
        kubectl("-n", namespace, "wait", "pods", "--for=delete", "-l", "app.kubernetes.io/component=operator")
    yield
    for namespace, name in places:
        kubectl("-n", namespace, "scale", f"deployment/{name}", "--replicas=1")
        kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=60s")


@pytest.fixture(scope="session")
def store(local: Cluster) -> s3.Store:
    """The S3 server that pods reach."""
    return s3.ensure(local, Progress())


@pytest.fixture(scope="session")
def new_place(local: Cluster, store: s3.Store) -> Iterator[Callable[[], Place]]:
    """Return a function that makes a namespace with the store's credentials in it; all are gone afterwards."""
    made = []

    def make() -> Place:
        place = Place(local, store, f"e2e-{uuid.uuid4().hex[:8]}")
        place.kubectl("create", "namespace", place.namespace)
        literals = [f"--from-literal={name}={value}" for name, value in store.credentials().items()]
        place.kubectl("create", "secret", "generic", "model-store", *literals)
        made.append(place)
        return place

    yield make
    for place in made:
        place.kubectl("delete", "namespace", place.namespace, "--wait=false", "--ignore-not-found")


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Iterator[Place]:
    """A namespace of the test's own."""
    place = new_place()
    yield place
    place.clear()


@pytest.fixture(scope="session")
def digits_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's model, trained on the spot."""
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    train = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "quickstart" / "train.py"))["train"]
    assert train(path) > 0.9
    return path


@pytest.fixture(scope="session")
def gateway_address(local: Cluster) -> str:
    """The address of a gateway that takes routes from every namespace."""
    everywhere = Place(local, s3.ensure(local, Progress()), GATEWAY_NAMESPACE)
    listener = {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}
    spec = {"gatewayClassName": gateway.CLASS, "listeners": [listener]}
    for manifest in (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": GATEWAY_NAMESPACE}},
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": GATEWAY},
            "spec": spec,
        },
    ):
        everywhere.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    everywhere.kubectl("wait", f"gateway/{GATEWAY}", "--for=condition=Programmed", "--timeout=120s")
    return str(everywhere.get("gateway", GATEWAY)["status"]["addresses"][0]["value"])


@pytest.fixture(scope="session")
def open_shop(
    new_place: Callable[[], Place], gateway_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[Shop]]:
    """Return a function that opens a shop; `changes` go over the parts of its spec."""

    @contextmanager
    def opened(version: str = "good", **changes: Any) -> Iterator[Shop]:
        place = new_place()
        with Chronicle(place.cluster, place.namespace, NAME) as chronicle:
            one = Shop(place, gateway_address, tmp_path_factory.mktemp("shop"), chronicle, version)
            one.golden()
            place.apply(NAME, one.spec(version, **changes))
            yield one
            place.clear()

    return opened


@pytest.fixture(scope="module")
def one_shop(open_shop: Callable[..., AbstractContextManager[Shop]]) -> Iterator[Shop]:
    """Three replicas of the good version behind a gateway, for all tests of a module."""
    with open_shop() as one:
        yield one


@pytest.fixture
def shop(one_shop: Shop) -> Shop:
    """The module's shop, at rest."""
    one_shop.rest()
    return one_shop


@pytest.fixture
def digits(place: Place, digits_model: Path) -> Body:
    """A spec that serves the digits model."""
    uri = place.upload("digits/1", {"model.onnx": digits_model.read_bytes()})
    return {
        "model": {"uri": uri, "backend": "onnxruntime", "credentialsSecretName": "model-store"},
        "batching": {"maxBatchSize": 16, "dynamic": {"maxQueueDelay": "1ms"}},
        "server": {"gpu": {"count": 1}},
    }


@pytest.fixture(scope="session")
def ranker_spec() -> Callable[[Place], Body]:
    """Return a function that uploads the model of the autoscaling example and gives the example's spec for it."""
    example = Path(__file__).parents[2] / "examples" / "autoscaling"

    def spec(place: Place) -> Body:
        found = yaml.safe_load((example / "modeldeployment.yaml").read_text())["spec"]
        found["model"]["uri"] = place.upload("ranker/1", {"1/model.py": (example / "model.py").read_bytes()})
        return dict(found)

    return spec


@pytest.fixture
def ranker(place: Place, ranker_spec: Callable[[Place], Body]) -> Body:
    """The spec of the autoscaling example, its model in this test's own folder."""
    return ranker_spec(place)
