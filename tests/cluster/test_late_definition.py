"""An operator that is there before its CustomResourceDefinition, or before one of others that it can do without."""

from tests.cluster.conftest import CRDS, http_route_definition, install_definitions
from tests.cluster.harness import RunningOperator
from tests.cluster.world import World, eventually
from tritonfleet.adapters.cluster import Cluster, load_configuration
from tritonfleet.runtime import watching


async def test_an_operator_waits_for_the_definition_and_then_works(own_control_plane):
    operator = RunningOperator(own_control_plane.kubeconfig, "default").start()
    client = Cluster(await load_configuration(own_control_plane.kubeconfig))
    try:
        await eventually(lambda: operator.leads, "the operator leads")
        assert not operator.synced

        await install_definitions(own_control_plane.kubeconfig, *CRDS.glob("*.yaml"))
        world = World(client, "default")
        await world.create("m")

        await eventually(lambda: world.condition("m", "ConfigValid"), "the object is looked at")
        assert operator.alive
    finally:
        operator.kill()
        await client.close()


async def test_routes_are_kept_once_the_gateway_api_has_come(own_control_plane, monkeypatch):
    monkeypatch.setattr(watching, "LATE_SECONDS", 0.5)
    await install_definitions(own_control_plane.kubeconfig, *CRDS.glob("*.yaml"))
    operator = RunningOperator(own_control_plane.kubeconfig, "default", gateway_api=True, resync_seconds=5).start()
    client = Cluster(await load_configuration(own_control_plane.kubeconfig))
    world = World(client, "default")
    try:
        await world.create("m", traffic={"gateway": {"parentRefs": [{"name": "public"}]}})
        await eventually(lambda: world.children("Deployment"), "pods without a route")
        deployment = (await world.children("Deployment"))[0]["metadata"]["name"]
        await world.patch("Deployment", deployment, _READY, "/status")
        await eventually(lambda: _says(world, "kind HTTPRoute does not exist"), "what is missing in the status")

        await install_definitions(own_control_plane.kubeconfig, http_route_definition())
        await eventually(lambda: client.get("HTTPRoute", "default", "m"), "a route")
        await eventually(lambda: operator.synced, "a sweep")
        await world.edit("HTTPRoute", "m", lambda body: body["spec"].update(hostnames=["elsewhere.example.com"]))
        await eventually(lambda: _has_no_host_names(client), "the route as it was")
        assert operator.alive
    finally:
        operator.kill()
        await client.close()


_READY = {"status": {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1}}


async def _says(world: World, text: str) -> bool:
    return text in (await world.condition("m", "Ready")).get("message", "")


async def _has_no_host_names(client: Cluster) -> bool:
    route = await client.get("HTTPRoute", "default", "m")
    return route is not None and not route["spec"].get("hostnames")
