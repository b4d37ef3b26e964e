"""Whatever is uninstalled first, nothing is left behind and nothing hangs."""

import asyncio
import contextlib

import pytest

from tests.cluster.conftest import CRDS, install_definitions
from tests.cluster.harness import RunningOperator
from tests.cluster.world import World, eventually
from tritonfleet.adapters.cluster import Cluster, load_configuration

DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modeldeployments.tritonfleet.dev"


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "after the operator"])
async def test_deleting_the_definition_takes_everything_with_it(own_control_plane, running):
    await install_definitions(own_control_plane.kubeconfig, *CRDS.glob("*.yaml"))
    own_control_plane.start_controllers()
    client = Cluster(await load_configuration(own_control_plane.kubeconfig))
    world = World(client, "default")
    operator = RunningOperator(own_control_plane.kubeconfig, "default").start()
    kubelet = asyncio.create_task(world.keep_pods_ready())
    try:
        await world.create("demo")
        await eventually(lambda: world.is_ready("demo"), "Ready")
        if not running:
            operator.stop()
        await client._call("DELETE", "CustomResourceDefinition", DEFINITION)

        async def nothing_is_left() -> bool:
            definition = await client._call("GET", "CustomResourceDefinition", DEFINITION)
            return definition is None and not await world.children()

        await eventually(nothing_is_left, "no definition and no child", within=60)
        if running:
            await eventually(lambda: not operator.alive, "the end of an operator without anything to watch")
            assert operator.error is not None
    finally:
        operator.kill()
        kubelet.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await kubelet
        await client.close()
