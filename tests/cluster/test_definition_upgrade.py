"""Objects that were stored under the former names of fields, after the definition has been upgraded."""

import copy

import pytest

from tests.cluster.world import World, eventually
from tritonfleet.adapters.cluster import Cluster, load_configuration
from tritonfleet.api import names
from tritonfleet.api.crd import definition
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.renames import RENAMES
from tritonfleet.errors import InvalidSpec, Refused
from tritonfleet.plan.world import Manifest

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WITH_EVERY_PARENT = {
    "slo": {"throughput": 5},
    "autoscaling": {"maxReplicas": 4, "behavior": {"scaleDown": {}}},
    "rollout": {"canary": {"analysis": {}}},
}


def former_definition():
    """The definition as it was: former names with their defaults, and none of the new ones."""
    former = copy.deepcopy(definition())
    schema = former["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for rename in RENAMES:
        parent = schema
        for name in rename.parent.split("."):
            parent = parent["properties"][name]
            parent["x-kubernetes-validations"] = []
        old = parent["properties"][rename.old]
        del old["x-kubernetes-validations"]
        if rename.default is not None:
            old["default"] = rename.default
        del parent["properties"][rename.new]
    return former


async def test_what_is_stored_under_former_names_keeps_its_status_and_is_told_the_new_ones(own_control_plane):
    client = Cluster(await load_configuration(own_control_plane.kubeconfig))
    world = World(client, "default")
    try:
        await client._call("POST", "CustomResourceDefinition", DEFINITIONS, body=former_definition())
        await eventually(lambda: client.list(names.KIND), "the kind")
        await world.create("defaults", **WITH_EVERY_PARENT)
        await world.create("asked", **{**WITH_EVERY_PARENT, "rollout": {"canary": {"analysis": {"looks": 3}}}})
        path = f"{DEFINITIONS}/{names.PLURAL}.{names.GROUP}"
        upgraded = {"spec": definition()["spec"]}
        await client._call("PATCH", "CustomResourceDefinition", path, {}, upgraded, "application/merge-patch+json")

        stored = await eventually(lambda: _upgraded(world), "the new defaults")
        assert stored["spec"]["rollout"]["canary"]["analysis"]["looks"] == 10
        assert ModelDeployment.parse(stored).spec.rollout.canary.analysis.windows == 10

        for name in ("defaults", "asked"):
            await world.patch(names.KIND, name, {"status": {"url": "http://here"}}, "/status")
            assert (await read(world, name))["status"]["url"] == "http://here"
            await world.patch(names.KIND, name, {"spec": {"autoscaling": {"maxReplicas": 5}}})
        with pytest.raises(InvalidSpec, match=r"analysis\.looks: must not be set: it was renamed to `windows`, got 3"):
            ModelDeployment.parse(await read(world, "asked"))
        with pytest.raises(Refused, match="it was renamed to `windows`"):
            await world.patch(names.KIND, "asked", {"spec": {"rollout": {"canary": {"analysis": {"looks": 4}}}}})
        renamed = {"looks": None, "windows": 3}
        await world.patch(names.KIND, "asked", {"spec": {"rollout": {"canary": {"analysis": renamed}}}})
        assert ModelDeployment.parse(await read(world, "asked")).spec.rollout.canary.analysis.windows == 3
    finally:
        await client.close()


async def read(world: World, name: str) -> Manifest:
    """Return the object, which is there."""
    body = await world.get(name)
    assert body is not None
    return body


async def _upgraded(world):
    stored = await world.get("defaults")
    return stored if "windows" in stored["spec"]["rollout"]["canary"]["analysis"] else None
