"""Trouble with the API server delays the end state and changes nothing about it."""

import asyncio

import pytest

from tests.cluster.faultproxy import Fault, FaultProxy
from tests.cluster.world import eventually
from tritonfleet.api import names


@pytest.fixture
def proxy(control_plane):
    proxy = FaultProxy(control_plane).start()
    yield proxy
    proxy.stop()


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
async def test_each_write_failing_once_ends_in_the_same_state(world, start_operator, kubelet, proxy, fault):
    operator = start_operator(kubeconfig=proxy.kubeconfig)
    await eventually(lambda: operator.synced, "a first sweep")
    struck = proxy.fail_each_write_once(fault)
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready", within=120)
    assert {path.split("/")[-2] for method, path in struck if method == "PATCH"} >= {
        "controllerrevisions",
        "configmaps",
        "services",
        "deployments",
        "poddisruptionbudgets",
    }
    assert any(path.endswith("/status") for _, path in struck)
    troubled = await world.end_state()
    await world.delete(names.KIND, "demo")
    await eventually(lambda: _no_children(world), "everything gone")
    proxy.choose(lambda _method, _path: None)
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    assert troubled == await world.end_state()


async def _no_children(world) -> bool:
    return not await world.children()


async def test_a_lost_event_costs_no_reconcile(world, start_operator, kubelet, proxy):
    operator = start_operator(kubeconfig=proxy.kubeconfig)
    proxy.choose(lambda _method, path: Fault.SERVER_ERROR if path.endswith("/events") else None)
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    assert operator.metric("controller_runtime_reconcile_errors_total") == 0


async def test_what_happens_while_the_watches_are_down_is_seen_when_they_come_back(
    world, start_operator, kubelet, proxy
):
    operator = start_operator(kubeconfig=proxy.kubeconfig)
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    # A sweep lists everything, and sees it all the same.
    await eventually(lambda: operator.synced, "a first sweep")
    proxy.cut_watches()
    await world.create("unseen")
    await world.delete("ConfigMap", (await world.children("ConfigMap"))[0]["metadata"]["name"])
    await asyncio.sleep(1)
    assert len(await world.children("ConfigMap")) == 0
    proxy.restore_watches()
    await eventually(lambda: world.is_ready("unseen"), "the new one Ready")
    await eventually(lambda: _has(world, "ConfigMap", 2), "the ConfigMap again")
    assert operator.alive


async def test_what_was_deleted_before_a_watch_expired_is_made_again(world, start_operator, kubelet, proxy):
    operator = start_operator(kubeconfig=proxy.kubeconfig)
    await world.create("demo")
    await world.create("doomed")
    for name in ("demo", "doomed"):
        await eventually(lambda name=name: world.is_ready(name), "Ready")
    await eventually(lambda: operator.synced, "a first sweep")
    proxy.cut_watches()
    await world.delete(names.KIND, "doomed")
    for kind in ("ConfigMap", "Service", "PodDisruptionBudget"):
        for child in await world.children(kind):
            if child["metadata"]["labels"][names.OWNER_LABEL] == "demo":
                await world.delete(kind, child["metadata"]["name"])
    proxy.restore_watches(expired=True)

    async def healed() -> bool:
        kinds = [child["kind"] for child in await world.children()]
        return len(kinds) == 6 and len(set(kinds)) == 5

    await eventually(healed, "the six children of the one that is left")
    assert [key.name for key in operator.operator.store.known()] == ["demo"]


async def _has(world, kind: str, number: int) -> bool:
    return len(await world.children(kind)) == number


async def test_an_api_server_that_crashes_and_comes_back_loses_nothing(world, control_plane, start_operator, kubelet):
    start_operator(identity="first")
    await world.create("before")
    await eventually(lambda: world.is_ready("before"), "Ready")
    untouched = await world.end_state()
    await world.create("during")
    control_plane.kill_apiserver()
    await asyncio.sleep(1)
    control_plane.start_apiserver()
    await world.create("after")
    for name in ("before", "during", "after"):
        await eventually(lambda name=name: world.is_ready(name), f"{name} Ready")
    states = [body for body in await world.end_state() if body["metadata"]["name"].startswith("before")]
    assert states == untouched
