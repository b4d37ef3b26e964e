"""A real API server for the whole run, a namespace for each test."""

import asyncio
import contextlib
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import yaml

from devcluster import gobuild
from devcluster.progress import Progress
from tests.cluster.controlplane import ControlPlane
from tests.cluster.harness import RunningOperator
from tests.cluster.world import World, eventually
from tritonfleet.adapters.cluster import Cluster, load_configuration

CRDS = Path(__file__).parents[2] / "crds"


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path_factory.mktemp("controlplane"))
    try:
        plane.start()
        asyncio.run(install_definitions(plane.kubeconfig, *CRDS.glob("*.yaml"), http_route_definition()))
        plane.start_controllers()
        yield plane
    finally:
        plane.stop()


@pytest.fixture
def own_control_plane(tmp_path) -> Iterator[ControlPlane]:
    """An API server without a definition and without controllers, to do with as the test likes."""
    plane = ControlPlane(tmp_path)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


def http_route_definition() -> Path:
    """The Gateway API's, of the release that the local cluster's gateway is built with."""
    source = gobuild.dependency(gobuild.GATEWAY, "sigs.k8s.io/gateway-api", Progress(stream=sys.stderr))
    return source / "config" / "crd" / "standard" / "gateway.networking.k8s.io_httproutes.yaml"


async def install_definitions(kubeconfig: Path, *files: Path) -> None:
    """Create CustomResourceDefinitions and wait until their kinds are served."""
    cluster = Cluster(await load_configuration(kubeconfig))
    collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    try:
        for path in files:
            definition = yaml.safe_load(path.read_text())
            await cluster._call("POST", "CustomResourceDefinition", collection, body=definition)
            kind = definition["spec"]["names"]["kind"]
            await eventually(lambda kind=kind: cluster.list(kind), f"the kind {kind}")
    finally:
        await cluster.close()


@pytest.fixture
async def cluster(control_plane) -> AsyncIterator[Cluster]:
    """The operator's own client, as an administrator."""
    client = Cluster(await load_configuration(control_plane.kubeconfig))
    yield client
    await client.close()


@pytest.fixture
async def world(cluster) -> World:
    """A namespace of its own."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await cluster._call("POST", "Namespace", "/api/v1/namespaces", body=body)
    return World(cluster, name)


@pytest.fixture
async def kubelet(world) -> AsyncIterator[None]:
    """Imitated kubelets: every pod becomes ready within moments, though nothing runs."""
    task = asyncio.create_task(world.keep_pods_ready())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def start_operator(control_plane, world) -> Iterator[Callable[..., RunningOperator]]:
    """Start operators on the test's namespace; whichever still run at the end are killed."""
    running: list[RunningOperator] = []

    def start(**options) -> RunningOperator:
        kubeconfig = options.pop("kubeconfig", control_plane.kubeconfig)
        running.append(RunningOperator(kubeconfig, world.namespace, **options).start())
        return running[-1]

    yield start
    for operator in running:
        operator.kill()


@pytest.fixture
def operator(start_operator) -> RunningOperator:
    """One operator on the test's namespace."""
    return start_operator()
