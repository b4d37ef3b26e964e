"""An operator that is there before its CustomResourceDefinition."""

from tests.cluster.conftest import _install_crds
from tests.cluster.harness import RunningOperator
from tests.cluster.world import World, eventually
from tritonfleet.adapters.cluster import Cluster, load_configuration


async def test_an_operator_waits_for_the_definition_and_then_works(own_control_plane):
    operator = RunningOperator(own_control_plane.kubeconfig, "default").start()
    client = Cluster(await load_configuration(own_control_plane.kubeconfig))
    try:
        await eventually(lambda: operator.leads, "the operator leads")
        assert not operator.synced

        await _install_crds(own_control_plane.kubeconfig)
        world = World(client, "default")
        await world.create("m")

        await eventually(lambda: world.condition("m", "ConfigValid"), "the object is looked at")
        assert operator.alive
    finally:
        operator.kill()
        await client.close()
