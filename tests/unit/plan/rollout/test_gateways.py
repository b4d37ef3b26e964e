"""Which series of a gateway are one revision's."""

from tritonfleet.api.traffic import TrafficGateway
from tritonfleet.plan.objects import http_route
from tritonfleet.plan.rollout import revisions_by_cluster
from tritonfleet.plan.world import Manifest

A, B = ("aaaaaaaaaa", "bbbbbbbbbb")
ENVOY_GATEWAY = "gateway.envoyproxy.io/gatewayclass-controller"


def route(*controllers: str) -> Manifest:
    gateway = TrafficGateway.model_validate({"parentRefs": [{"name": "public"}]})
    found = http_route({"name": "demo", "namespace": "shop", "uid": "u"}, gateway, {A: 90, B: 10})
    return {**found, "status": {"parents": [{"controllerName": each} for each in controllers]}}


def test_envoy_gateway_names_a_revision_by_its_place_in_the_rules_that_divide_the_traffic() -> None:
    assert revisions_by_cluster(route(ENVOY_GATEWAY)) == {
        f"httproute/shop/demo/rule/{rule}/backend/{place}": revision
        for rule in (0, 1)
        for place, revision in enumerate((A, B))
    }


def test_two_gateways_of_one_kind_count_alike() -> None:
    assert revisions_by_cluster(route(ENVOY_GATEWAY, ENVOY_GATEWAY)) == revisions_by_cluster(route(ENVOY_GATEWAY))


def test_of_other_gateways_of_none_and_of_a_mixture_no_series_are_known() -> None:
    assert revisions_by_cluster(route("istio.io/gateway-controller")) is None
    assert revisions_by_cluster(route()) is None
    assert revisions_by_cluster(route(ENVOY_GATEWAY, "istio.io/gateway-controller")) is None
