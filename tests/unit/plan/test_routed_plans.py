"""Plans for a ModelDeployment that a gateway leads to."""

from typing import Any

from tests.unit.plan.conftest import World
from tritonfleet.plan.objects import split_seen
from tritonfleet.plan.world import ChildId

ROUTE = ChildId("HTTPRoute", "m")
GATEWAY: dict[str, Any] = {"gateway": {"parentRefs": [{"name": "public"}]}}
NEWER = {"uri": "s3://models/m/2", "backend": "onnxruntime"}


def routed(world: World, traffic: dict[str, Any] = GATEWAY) -> World:
    world.with_defaults(gateway_api=True)
    world.edit(traffic=traffic)
    world.settle()
    world.make_ready(world.revisions()[0])
    world.settle()
    return world


def shares(world: World) -> dict[str, int]:
    grpc, http = split_seen(world.children[ROUTE])
    assert grpc == http
    return dict(http)


def test_an_update_moves_the_route_and_the_service_by_the_same_plan(world: World) -> None:
    old = routed(world).serving()
    assert shares(world) == {old: 100}

    world.edit(model=NEWER)
    world.settle()
    new = world.revisions()[1]
    assert shares(world) == {old: 100}, "until the new pods are ready"

    world.make_ready(new)
    plan = world.plan()
    assert {apply.target for apply in plan.applies} == {ROUTE, ChildId("Service", "m")}
    world.settle()
    assert (world.serving(), shares(world)) == (new, {new: 100})


def test_without_a_gateway_in_the_spec_the_route_goes_and_nothing_else(world: World) -> None:
    routed(world).edit(traffic={})
    plan = world.plan()
    assert [delete.target for delete in plan.deletes] == [ROUTE]
    assert plan.applies == ()


def test_a_route_stays_while_no_revision_can_serve(world: World) -> None:
    routed(world)
    world.make_ready(world.revisions()[0], 0)
    del world.children[ChildId("Service", "m")]
    assert world.plan().deletes == ()


def test_where_routes_may_not_be_written_a_gateway_is_refused_and_what_serves_stays(world: World) -> None:
    routed(world).with_defaults(gateway_api=False)
    del world.children[ROUTE]
    serving = world.serving()
    world.edit(model=NEWER)
    world.settle()
    status, reason, message = world.condition("ConfigValid")
    assert (status, reason) == ("False", "ConfigInvalid")
    assert "spec.traffic.gateway" in message
    assert (world.serving(), len(world.revisions())) == (serving, 1)
    assert world.condition("Available")[0] == "True"
