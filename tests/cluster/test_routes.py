"""The HTTPRoute of a ModelDeployment, as a real API server with the Gateway API keeps it. A gateway is imitated."""

import asyncio

import pytest

from tests.cluster.world import SOON_SECONDS, eventually
from tritonfleet.api import names
from tritonfleet.api.traffic import TrafficGateway
from tritonfleet.plan.objects import PLACES, http_route, split_seen, split_written
from tritonfleet.plan.writes import covers

PUBLIC = {"gateway": {"parentRefs": [{"name": "public"}], "hostnames": ["demo.example.com"]}}


@pytest.fixture
def operator(start_operator):
    """One that may write routes."""
    return start_operator(gateway_api=True)


async def route_of(world, name="demo"):
    return await world.cluster.get("HTTPRoute", world.namespace, name)


async def test_a_route_is_kept_and_written_once(world, operator, kubelet):
    body = await world.create("demo", traffic=PUBLIC)
    await eventually(lambda: world.is_ready("demo"), "Ready")
    await eventually(lambda: operator.synced, "a first sweep")
    await asyncio.sleep(1)
    written = await route_of(world)
    assert written["metadata"]["ownerReferences"] == [names.owner_reference(body["metadata"])]
    assert written["spec"]["hostnames"] == ["demo.example.com"]

    writes, reconciles = len(operator.writes), operator.metric("controller_runtime_reconcile_total")
    for _ in range(3):
        operator.enqueue(world.namespace, "demo")
        operator.sweep()
    await eventually(lambda: operator.metric("controller_runtime_reconcile_total") > reconciles, "another reconcile")
    assert len(operator.writes) == writes
    assert (await route_of(world))["metadata"]["generation"] == written["metadata"]["generation"] == 1


EDITS = {
    "weight": lambda spec: spec["rules"][0]["backendRefs"][0].update(weight=7),
    "backend": lambda spec: spec["rules"][1]["backendRefs"].append({"name": "other", "port": 80}),
    "rule": lambda spec: spec["rules"].pop(),
    "gateway": lambda spec: spec["parentRefs"].append({"name": "other"}),
    "host name": lambda spec: spec.update(hostnames=["other.example.com"]),
}


@pytest.mark.parametrize("edit", EDITS)
async def test_a_route_edited_by_hand_is_put_right_long_before_a_sweep(world, operator, kubelet, edit):
    await world.create("demo", traffic=PUBLIC)
    await eventually(lambda: world.is_ready("demo"), "Ready")
    wanted = (await route_of(world))["spec"]
    await world.edit("HTTPRoute", "demo", lambda body: EDITS[edit](body["spec"]))

    async def is_back() -> bool:
        return (await route_of(world))["spec"] == wanted

    await eventually(is_back, "the route as it was", within=SOON_SECONDS)


async def test_a_model_is_ready_when_its_gateway_takes_the_route_and_not_when_it_refuses(world, operator, kubelet):
    await world.create("demo", traffic=PUBLIC)
    await eventually(lambda: world.is_ready("demo"), "Ready")
    await world.answer_route(await route_of(world), Accepted="False")

    async def is_refused() -> bool:
        ready = await world.condition("demo", "Ready")
        return ready.get("reason") == "GatewayRefused" and "NotAllowedByListeners" in ready["message"]

    await eventually(is_refused, "GatewayRefused")
    assert (await world.condition("demo", "Available"))["status"] == "True"
    await world.answer_route(await route_of(world))
    await eventually(lambda: world.is_ready("demo"), "Ready again")


async def test_an_older_route_with_the_same_host_name_is_named(world, operator, kubelet):
    spec = {"parentRefs": [{"name": "public"}], "hostnames": ["demo.example.com"]}
    metadata = {"namespace": world.namespace, "name": "older"}
    kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
    await world.cluster.create({**kind, "metadata": metadata, "spec": spec})
    # Kubernetes keeps the age in whole seconds.
    await asyncio.sleep(1.1)
    await world.create("demo", traffic=PUBLIC)

    async def is_named() -> bool:
        ready = await world.condition("demo", "Ready")
        return ready.get("reason") == "HostnameConflict" and "HTTPRoute 'older'" in ready["message"]

    await eventually(is_named, "HostnameConflict")
    await world.delete("HTTPRoute", "older")
    await eventually(lambda: world.is_ready("demo"), "Ready")


async def test_a_route_deleted_by_hand_is_back(world, operator, kubelet):
    await world.create("demo", traffic=PUBLIC)
    await eventually(lambda: world.is_ready("demo"), "Ready")
    await world.delete("HTTPRoute", "demo")
    await eventually(lambda: route_of(world), "a route again", within=SOON_SECONDS)


async def test_a_route_goes_with_the_gateway_in_the_spec_and_nothing_else_does(world, operator, kubelet):
    await world.create("demo", traffic=PUBLIC)
    await eventually(lambda: world.is_ready("demo"), "Ready")
    others = await world.versions()

    await world.edit(names.KIND, "demo", lambda body: body["spec"].pop("traffic"))

    async def is_gone() -> bool:
        return await route_of(world) is None

    await eventually(is_gone, "no route")
    await eventually(lambda: world.is_ready("demo"), "still Ready")
    after = await world.versions()
    assert {each: after[each] for each in others if each[0] != names.KIND} == {
        each: others[each] for each in others if each[0] != names.KIND
    }


async def test_a_route_goes_with_its_model_deployment(world, operator, kubelet):
    await world.create("demo", traffic=PUBLIC)
    await eventually(lambda: route_of(world), "a route")
    await world.delete(names.KIND, "demo")

    async def is_gone() -> bool:
        return await route_of(world) is None

    await eventually(is_gone, "no route")


async def test_a_foreign_route_of_the_same_name_is_left_alone(world, operator, kubelet):
    theirs = {"parentRefs": [{"name": "theirs"}]}
    await world.cluster.create(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"namespace": world.namespace, "name": "demo"},
            "spec": theirs,
        }
    )
    await world.create("demo", traffic=PUBLIC)

    async def is_reported() -> bool:
        ready = await world.condition("demo", "Ready")
        return ready.get("reason") == "NameConflict" and "HTTPRoute 'demo'" in ready["message"]

    await eventually(is_reported, "the conflict in the status")
    assert [each["name"] for each in (await route_of(world))["spec"]["parentRefs"]] == ["theirs"]


async def test_a_gateway_that_an_operator_may_not_write_routes_for_is_refused_and_the_model_serves_on(
    world, start_operator, kubelet
):
    start_operator(gateway_api=False)
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    await world.edit(names.KIND, "demo", lambda body: body["spec"].update(traffic=PUBLIC, model=NEWER))

    async def is_refused() -> str:
        valid = await world.condition("demo", "ConfigValid")
        return valid["message"] if valid.get("status") == "False" else ""

    message = await eventually(is_refused, "the refusal")
    assert "spec.traffic.gateway" in message
    assert "gatewayApi.enabled=true" in message
    assert (await world.condition("demo", "Available"))["status"] == "True"
    assert len(await world.children("Deployment")) == 1


NEWER = {"uri": "s3://models/demo2", "backend": "onnxruntime"}
HASHES = [f"{letter * 10}" for letter in "abcdef0"]


async def test_the_api_server_takes_every_split_and_adds_nothing_that_looks_like_drift(world):
    gateway = TrafficGateway.model_validate(
        {"parentRefs": [{"name": "own"}, {"name": "public", "namespace": "edge", "sectionName": "https"}]}
    )
    owner = await world.create("demo")
    metadata = {"name": "demo", "namespace": world.namespace, "uid": owner["metadata"]["uid"]}
    stages = [
        {HASHES[0]: 100},
        {HASHES[0]: 100, HASHES[1]: 0},
        {HASHES[0]: 67, HASHES[1]: 33},
        {HASHES[1]: 100, HASHES[0]: 0},
        {HASHES[1]: 100},
        dict.fromkeys(HASHES[:PLACES], 14),
    ]
    existing = None
    for split in stages:
        wanted = http_route(metadata, gateway, split, existing)
        existing = await world.cluster.apply(wanted)
        assert covers(wanted, existing)
        assert split_seen(existing) == [split_written(existing)] * 2
        assert covers(http_route(metadata, gateway, split, existing), existing)
