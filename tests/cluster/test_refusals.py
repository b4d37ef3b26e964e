"""What the API server itself says to wrong manifests, and that it takes the right ones."""

import copy
import os
import subprocess

import pytest
import yaml

from devcluster import gobuild
from tests.refusals import COMPLETE, EXAMPLES, REFUSALS, SOURCES, VALID, put, wrong
from tritonfleet.api import names
from tritonfleet.api.crd import root_schema
from tritonfleet.api.quantities import canonical_quantity
from tritonfleet.api.renames import RENAMES
from tritonfleet.errors import Refused


@pytest.fixture
def send(cluster):
    """Create an object without keeping it, unknown fields refused, as `kubectl create --dry-run=server` does."""

    async def create(manifest):
        path = f"/apis/{manifest['apiVersion']}/namespaces/default/{names.PLURAL}"
        if manifest["kind"] == "Pod":
            path = "/api/v1/namespaces/default/pods"
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        return await cluster._call("POST", manifest["kind"], path, query, manifest)

    return create


def test_there_is_one_wrong_manifest_for_each_name():
    assert len({entry["name"] for entry in REFUSALS}) == len(REFUSALS) >= 70


@pytest.mark.parametrize("entry", REFUSALS, ids=lambda entry: entry["name"])
async def test_the_api_server_refuses(send, entry):
    with pytest.raises(Refused) as refusal:
        await send(wrong(entry))
    message = str(refusal.value)
    assert [words for words in entry["says"] if str(words) not in message] == [], message
    assert [words for words in entry.get("hides", ()) if words in message] == [], message
    assert "evaluating rule" not in message, "a rule failed on what another rule refuses"


@pytest.mark.parametrize("uri", SOURCES)
async def test_the_api_server_accepts_every_kind_of_source(send, uri):
    manifest = copy.deepcopy(VALID)
    manifest["spec"]["model"]["uri"] = uri
    await send(manifest)


async def test_every_rule_of_the_spec_is_broken_by_some_manifest(send):
    heard = []
    for entry in REFUSALS:
        with pytest.raises(Refused) as refusal:
            await send(wrong(entry))
        heard.append(str(refusal.value))
    told = "\n".join(heard)
    silent = {message for message in _rules(root_schema()["properties"]["spec"]) if message not in told}
    assert silent == set()


FORMER_VALUES = {"boolean": True, "integer": 5, "number": 5, "string": "5m", "object": {"ratio": 2.0}}


@pytest.mark.parametrize("rename", RENAMES, ids=lambda rename: rename.old)
async def test_the_api_server_refuses_a_former_name_with_the_new_one(send, rename):
    manifest = copy.deepcopy(VALID)
    manifest["spec"]["slo"] = {"throughput": 5}
    manifest["spec"]["autoscaling"] = {"maxReplicas": 4}
    for value in (FORMER_VALUES[rename.schema["type"]], rename.default):
        if value is not None:
            put(manifest, rename.path, value)
            with pytest.raises(Refused) as refusal:
                await send(manifest)
            assert f"{rename.path}: Invalid value" in str(refusal.value)
            assert f"must not be set: it was renamed to `{rename.new}`" in str(refusal.value)


async def test_the_api_server_takes_the_manifest_that_the_wrong_ones_are_made_from(send):
    assert "replicas" not in (await send(VALID))["spec"]


async def test_the_api_server_takes_a_manifest_that_uses_every_field(send):
    accepted = await send(COMPLETE[0])
    assert accepted["spec"] == COMPLETE[0]["spec"]


@pytest.mark.parametrize("manifest", COMPLETE[1:], ids=lambda manifest: manifest["metadata"]["name"])
async def test_the_api_server_takes_and_keeps_the_fields_that_exclude_others(send, manifest):
    accepted = await send(manifest)
    assert accepted["spec"]["batching"] == manifest["spec"]["batching"]


def test_the_complete_manifests_use_every_field():
    wanted = set(_paths(root_schema()["properties"]["spec"]))
    assert wanted - {path for manifest in COMPLETE for path in _used(manifest["spec"])} == set()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name + "/" + path.name)
async def test_the_api_server_takes_every_example(send, path):
    documents = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]
    for document in documents:
        if document["kind"] == names.KIND:
            assert (await send(document))["kind"] == names.KIND


async def test_the_name_that_clients_use_cannot_change(world):
    await world.create("named", model={"uri": "s3://models/demo", "name": "first"})
    with pytest.raises(Refused, match=r"must not change.*create a new ModelDeployment.*'second'"):
        await world.patch(names.KIND, "named", {"spec": {"model": {"name": "second"}}})
    with pytest.raises(Refused, match=r"must not change.*'named'"):
        await world.patch(names.KIND, "named", {"spec": {"model": {"name": None}}})


async def test_the_name_of_the_object_may_be_written_down_as_the_models_name(world):
    await world.create("unnamed")
    await world.patch(names.KIND, "unnamed", {"spec": {"model": {"name": "unnamed"}}})
    body = await world.get("unnamed")
    assert body["spec"]["model"]["name"] == "unnamed"


async def test_a_new_object_has_the_observed_generation_minus_one(world):
    await world.create("fresh")
    assert (await world.get("fresh"))["status"] == {"observedGeneration": -1}


QUANTITIES = (
    "0.5 500m 1000m 1 1.0 1.50 .5 0.25 1e3 12e6 100e-3 1E 1.5k 1500 1024Mi 1000Mi 1Gi 1.5Gi 0.5Gi 0.5Ki 0.1Ki 1023Ki "
    "1024 2048 4096Ki 1048576Ki 0.001 1n 0.1n 1u 1000u 0 0Gi 0.0 1000000 1000k 1Ti 1.1Gi 100M 0.1 7E"
    " 123456789012Ki 0.1Ei"
)


@pytest.mark.parametrize("written", QUANTITIES.split())
async def test_quantities_are_written_as_the_api_server_writes_them(send, written):
    sizes = {"given": written, "canonical": canonical_quantity(written)}
    volumes = [{"name": name, "emptyDir": {"sizeLimit": size}} for name, size in sizes.items()]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "quantities"},
        "spec": {"containers": [{"name": "x", "image": "x"}], "volumes": volumes},
    }
    accepted = (await send(pod))["spec"]["volumes"]
    returned = {one["name"]: one["emptyDir"]["sizeLimit"] for one in accepted if one["name"] in sizes}
    assert returned == dict.fromkeys(sizes, canonical_quantity(written))


def test_kubectl_explains_every_field(control_plane):
    def explain(field, *options):
        command = [gobuild.KUBERNETES.path("kubectl"), "explain", field, *options]
        environment = {**os.environ, "KUBECONFIG": str(control_plane.kubeconfig)}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    everything = explain("mdep.spec", "--recursive")
    assert all(field in everything for field in ("maxQueueDelay", "nodeSelectorTerms", "progressDeadline"))
    assert "How long a request may wait for others" in explain("mdep.spec.batching.dynamic.maxQueueDelay")
    assert "Rejects requests that would miss the target" in explain("mdep.spec.slo.loadShedding")
    assert "Limits at certain times" in explain("mdep.spec.autoscaling.schedules")
    assert "Learned requests per second" in explain("mdep.status.autoscaling.capacityPerReplica")


def _paths(schema, prefix=""):
    inner = schema.get("items", schema)
    for name, child in inner.get("properties", {}).items():
        yield f"{prefix}.{name}"
        yield from _paths(child, f"{prefix}.{name}")


def _rules(schema):
    if isinstance(schema, list):
        for item in schema:
            yield from _rules(item)
    elif isinstance(schema, dict):
        for rule in schema.get("x-kubernetes-validations", ()):
            yield rule["message"]
        for child in schema.values():
            yield from _rules(child)


def _used(value, prefix=""):
    if isinstance(value, list):
        for item in value:
            yield from _used(item, prefix)
    elif isinstance(value, dict):
        for name, child in value.items():
            yield f"{prefix}.{name}"
            yield from _used(child, f"{prefix}.{name}")
