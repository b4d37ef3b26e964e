"""Objects that were stored before a bound on their depth cost nobody else anything."""

import asyncio
import copy
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.cluster.controlplane import TOKEN
from tests.cluster.harness import RunningOperator
from tests.cluster.world import World, eventually
from tritonfleet.adapters.cluster import Cluster, load_configuration
from tritonfleet.api import names
from tritonfleet.api.crd import definition

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
DEPTHS = (20, 300, 1500, 8000)


def unbounded_definition():
    """The definition as it was when its open fields took any depth."""
    former = copy.deepcopy(definition())
    spec = former["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    affinity = spec["server"]["properties"]["affinity"]["properties"]
    for node in (spec["modelConfig"], affinity["podAffinity"], affinity["podAntiAffinity"]):
        del node["additionalProperties"]
    return former


def nested(levels):
    """JSON text, since Python cannot write what the API server takes."""
    return '{"a":' * levels + "1" + "}" * levels


def manifest(name, spec):
    return f"""{{"apiVersion": "{names.API_VERSION}", "kind": "{names.KIND}", "metadata": {{"name": "{name}"}},
        "spec": {{"model": {{"uri": "s3://models/demo"}}, {spec}}}}}"""


def record(name, data):
    labels = json.dumps(names.owner_labels("fine"))
    return f"""{{"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1, "data": {data},
        "metadata": {{"name": "{name}", "labels": {labels}}}}}"""


def post(plane, path, text):
    """Create an object, given as JSON text."""
    request = urllib.request.Request(f"https://127.0.0.1:{plane.port}{path}", data=text.encode())
    request.add_header("Authorization", f"Bearer {TOKEN}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=60) as answer:
        assert answer.status == 201


@pytest.fixture
async def world(own_control_plane):
    """A cluster whose definition has no bound yet."""
    client = Cluster(await load_configuration(own_control_plane.kubeconfig))
    await client._call("POST", "CustomResourceDefinition", DEFINITIONS, body=unbounded_definition())
    await eventually(lambda: client.list(names.KIND), "the kind")
    yield World(client, "default")
    await client.close()


@pytest.fixture
def start(own_control_plane):
    running = []

    def begin():
        running.append(RunningOperator(own_control_plane.kubeconfig, "default", clusterwide=True).start())
        return running[-1]

    yield begin
    for operator in running:
        operator.kill()


async def _bound(world):
    path = f"{DEFINITIONS}/{names.PLURAL}.{names.GROUP}"
    bounded = {"spec": definition()["spec"]}
    await world.cluster._call("PATCH", "CustomResourceDefinition", path, {}, bounded, "application/merge-patch+json")


async def _is_told(world, name):
    condition = await world.condition(name, "ConfigValid")
    return "must not be nested more than" in condition.get("message", "") and condition["reason"] == "ConfigInvalid"


async def test_what_was_stored_too_deep_is_told_so_and_delays_nobody(own_control_plane, world, start):
    collection = f"/apis/{names.API_VERSION}/namespaces/default/{names.PLURAL}"
    for depth in DEPTHS:
        post(own_control_plane, collection, manifest(f"config-{depth}", f'"modelConfig": {nested(depth)}'))
        term = f'{{"topologyKey": "zone", "labelSelector": {nested(depth)}}}'
        affinity = f'"server": {{"affinity": {{"podAffinity": {{"{REQUIRED}": [{term}]}}}}}}'
        post(own_control_plane, collection, manifest(f"affinity-{depth}", affinity))
    await _bound(world)
    start()
    await world.create("fine")
    await eventually(lambda: world.children("Deployment"), "the Deployment of the other object")
    for depth in DEPTHS:
        for name in (f"config-{depth}", f"affinity-{depth}"):
            await eventually(lambda name=name: _is_told(world, name), f"the condition of {name}")


async def test_what_a_watch_brings_too_deep_is_told_so_and_ends_no_watch(own_control_plane, world, start):
    operator = start()
    await eventually(lambda: operator.synced, "a first sweep")
    collection = f"/apis/{names.API_VERSION}/namespaces/default/{names.PLURAL}"
    for depth in DEPTHS:
        post(own_control_plane, collection, manifest(f"config-{depth}", f'"modelConfig": {nested(depth)}'))
    await world.create("fine")
    await eventually(lambda: world.children("Deployment"), "the Deployment of the other object")
    for depth in DEPTHS:
        await eventually(lambda name=f"config-{depth}": _is_told(world, name), f"the condition of config-{depth}")
    assert operator.alive


async def test_records_that_python_cannot_read_end_neither_watch_nor_list(own_control_plane, world, start):
    records = "/apis/apps/v1/namespaces/default/controllerrevisions"
    post(own_control_plane, records, record("deep", nested(8000)))
    operator = start()
    await eventually(lambda: operator.synced, "a first sweep")
    post(own_control_plane, records, record("deep-later", nested(8000)))
    await world.create("other")
    await eventually(lambda: world.children("Deployment"), "the Deployment of the other object")
    assert operator.alive


MEMORY_MIB = 300
LARGE = '{"a": [' + ", ".join([f'"{"x" * 4000}"'] * 320) + "]}"


@pytest.mark.acceptance
async def test_a_restart_beside_objects_as_large_as_they_can_be_takes_little_memory(own_control_plane, world, tmp_path):
    await _bound(world)
    collection = f"/apis/{names.API_VERSION}/namespaces/default/{names.PLURAL}"
    for number in range(120):
        text = manifest(f"large-{number}", f'"modelConfig": {LARGE}')
        await asyncio.to_thread(post, own_control_plane, collection, text)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "KUBECONFIG": str(own_control_plane.kubeconfig),
        "TRITONFLEET_LEASE_NAMESPACE": "default",
        "TRITONFLEET_HTTP_PORT": "0",
    }
    process = _started(environment, tmp_path / "operator.log")
    try:
        await world.create("fine")
        await eventually(lambda: world.children("Deployment"), "the Deployment of the other object", within=180)

        async def all_are_told() -> bool:
            each = [await world.condition(f"large-{number}", "ConfigValid") for number in (0, 60, 119)]
            return all("must not have more than" in condition.get("message", "") for condition in each)

        await eventually(all_are_told, "the conditions of the large objects", within=180)
        assert process.poll() is None
        assert _peak_mib(process) < MEMORY_MIB
    finally:
        process.kill()
        process.wait()


def _started(environment, log):
    with log.open("wb") as lines:
        return subprocess.Popen([sys.executable, "-m", "tritonfleet"], env=environment, stderr=lines)


def _peak_mib(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
