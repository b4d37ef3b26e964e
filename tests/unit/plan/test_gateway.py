"""A model behind a Gateway is ready when clients can come that way, and says why when they cannot."""

from typing import Any

import pytest

from tests.unit.plan.conftest import World
from tests.unit.plan.test_routed_plans import routed
from tritonfleet.plan.world import ChildId, Gateway, GatewayView, Route

EDGE = {"gateway": {"parentRefs": [{"name": "public", "namespace": "edge"}], "hostnames": ["m.example.com"]}}
LISTENERS = ({"name": "https", "protocol": "HTTPS", "port": 443}, {"name": "http", "protocol": "HTTP", "port": 8080})
GATEWAYS = {("edge", "public"): Gateway(LISTENERS, ("192.0.2.1",))}


def served(world: World, traffic: dict[str, Any] = EDGE) -> World:
    world.gateways = GatewayView(GATEWAYS)
    return routed(world, traffic)


def ready(world: World) -> tuple[str, str]:
    return world.condition("Ready")[:2]


def test_a_model_without_a_gateway_does_not_wait_for_one(world: World) -> None:
    world.settle()
    world.make_ready(world.revisions()[0])
    world.settle()
    assert ready(world) == ("True", "Ready")
    assert world.condition("GatewayReady")[:2] == ("Unknown", "NoGateway")


def test_a_model_is_ready_once_its_gateway_takes_the_route(world: World) -> None:
    served(world)
    assert ready(world) == ("False", "GatewayPending")
    assert world.condition("Reconciling")[0] == "True"
    assert world.condition("Available")[0] == "True"
    assert (world.plan().requeue_after_seconds or 0) <= 15
    world.take_route()
    world.settle()
    assert ready(world) == ("True", "Ready")
    assert world.condition("GatewayReady")[:2] == ("True", "RouteAccepted")
    assert world.status["gatewayUrl"] == "https://m.example.com"
    assert world.plan().requeue_after_seconds is None


def test_a_route_that_changes_is_ready_while_the_gateway_has_not_read_the_change(world: World) -> None:
    served(world).take_route()
    world.children[ChildId("HTTPRoute", "m")]["metadata"]["generation"] += 5
    world.settle()
    assert ready(world) == ("True", "Ready")


def test_a_gateway_that_says_nothing_stalls_at_the_progress_deadline(world: World) -> None:
    served(world)
    world.wait(minutes=5)
    world.settle()
    assert world.condition("Stalled")[0] == "False"
    world.wait(minutes=60)
    world.settle()
    assert world.condition("Stalled")[:2] == ("True", "GatewayPending")


def refuse(world: World) -> None:
    world.take_route(Accepted="False")


def unresolved(world: World) -> None:
    world.take_route(ResolvedRefs="False")


def lose_gateway(world: World) -> None:
    world.take_route()
    world.gateways = GatewayView({})


def older_route(world: World) -> None:
    world.take_route()
    world.gateways = GatewayView(GATEWAYS, (another(),))


def another(created: str = "2020-01-01T00:00:00Z", path: str = "/", section: str = "", *names: str) -> Route:
    parent: dict[str, Any] = {"name": "public", "namespace": "edge"} | ({"sectionName": section} if section else {})
    rules = [{"matches": [{"path": {"type": "PathPrefix", "value": path}}]}]
    metadata = {"name": "old", "namespace": "other", "creationTimestamp": created}
    spec = {"parentRefs": [parent], "hostnames": list(names or ("m.example.com",)), "rules": rules}
    return Route.of({"metadata": metadata, "spec": spec})


@pytest.mark.parametrize(
    ("happen", "reason", "words"),
    [
        (refuse, "GatewayRefused", "Gateway 'public' in namespace 'edge' does not take the route: Accepted is False"),
        (unresolved, "GatewayRefused", "ResolvedRefs is False (ResolvedRefs): words"),
        (lose_gateway, "GatewayNotFound", "Gateway 'public' in namespace 'edge' does not exist: create it"),
        (
            older_route,
            "HostnameConflict",
            "an HTTPRoute of another namespace is older and gets the requests",
        ),
    ],
    ids=["refused", "unresolved", "no gateway", "older route"],
)
def test_clients_that_cannot_come_through_the_gateway_keep_a_model_from_being_ready(
    world: World, happen: Any, reason: str, words: str
) -> None:
    served(world).take_route()
    world.settle()
    assert ready(world) == ("True", "Ready")
    happen(world)
    world.settle()
    assert ready(world) == ("False", reason)
    assert words in world.condition("Ready")[2]
    assert words in world.condition("GatewayReady")[2]
    assert (world.condition("Reconciling")[0], world.condition("Stalled")[0]) == ("True", "False")
    world.wait(seconds=61)
    world.settle()
    assert (world.condition("Reconciling")[0], world.condition("Stalled")[0]) == ("False", "True")


@pytest.mark.parametrize(
    "route",
    [
        another(created="2030-01-01T00:00:00Z"),
        another(path="/elsewhere"),
        another("2020-01-01T00:00:00Z", "/", "", "other.example.com"),
        another("2020-01-01T00:00:00Z", "/", "", "*.example.com"),
    ],
    ids=["younger", "longer path", "other name", "less specific name"],
)
def test_a_route_that_does_not_get_the_requests_is_no_conflict(world: World, route: Route) -> None:
    served(world).take_route()
    world.gateways = GatewayView(GATEWAYS, (route,))
    world.settle()
    assert ready(world) == ("True", "Ready")


def test_where_gateways_may_not_be_listed_the_controllers_word_is_enough(world: World) -> None:
    served(world).take_route()
    world.gateways = GatewayView(None)
    world.settle()
    assert ready(world) == ("True", "Ready")
    assert "gatewayUrl" not in world.status


def test_a_gateway_that_somebody_added_without_a_namespace_is_one_of_the_routes_own(world: World) -> None:
    served(world).take_route()
    route = world.children[ChildId("HTTPRoute", "m")]
    route["spec"]["parentRefs"].append({"name": "other"})
    assert world.plan().applies[0].target == ChildId("HTTPRoute", "m")


PARENT = {"name": "public", "namespace": "edge"}
BARE = {"gateway": {"parentRefs": [PARENT]}}
SECTION = {"gateway": {"parentRefs": [{**PARENT, "sectionName": "http"}]}}


@pytest.mark.parametrize(
    ("listeners", "traffic", "url"),
    [
        (LISTENERS, EDGE, "https://m.example.com"),
        (LISTENERS[1:], EDGE, "http://m.example.com:8080"),
        (LISTENERS[1:], BARE, "http://[2001:db8::1]:8080"),
        (LISTENERS, SECTION, "http://[2001:db8::1]:8080"),
        (({**LISTENERS[0], "hostname": "*.example.com"},), BARE, "https://[2001:db8::1]"),
        (({**LISTENERS[0], "hostname": "a.example.com"},), BARE, "https://a.example.com"),
        (({**LISTENERS[0], "protocol": "TLS"},), EDGE, None),
    ],
    ids=["https", "http", "address", "section", "wildcard", "listener", "no listener"],
)
def test_the_url_is_that_of_the_listener(world: World, listeners: Any, traffic: Any, url: str | None) -> None:
    served(world, traffic).take_route()
    world.gateways = GatewayView({("edge", "public"): Gateway(listeners, ("2001:db8::1",))})
    world.settle()
    assert world.status.get("gatewayUrl") == url
