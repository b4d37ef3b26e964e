"""Which series of a gateway are one revision's."""

import re

from tritonfleet.api.traffic import TrafficGateway
from tritonfleet.plan.children.httproute import http_route
from tritonfleet.plan.rollout.gateways import revision_matchers
from tritonfleet.plan.world import Manifest

A, B = ("aaaaaaaaaa", "bbbbbbbbbb")
ENVOY_GATEWAY = "gateway.envoyproxy.io/gatewayclass-controller"


def route(*controllers: str) -> Manifest:
    gateway = TrafficGateway.model_validate({"parentRefs": [{"name": "public"}]})
    found = http_route({"name": "demo", "namespace": "shop", "uid": "u"}, gateway, {A: 90, B: 10})
    return {**found, "status": {"parents": [{"controllerName": each} for each in controllers]}}


def test_envoy_gateway_names_a_revision_by_its_place_in_the_rules_that_divide_the_traffic() -> None:
    matchers = revision_matchers(route(ENVOY_GATEWAY))
    assert matchers is not None
    label, pattern = matchers[B].split("=~", 1)
    assert label == "envoy_cluster_name"
    own = re.compile(pattern.strip('"'))
    for name in ("httproute/shop/demo/rule/0/backend/1", "httproute/shop/demo/rule/1/backend/1"):
        assert own.fullmatch(name)
    for name in (
        "httproute/shop/demo/rule/0/backend/0",
        "httproute/shop/demo/rule/4/backend/0",
        "httproute/shop/demo/rule/0/backend/11",
        "httproute/other/demo/rule/0/backend/1",
    ):
        assert not own.fullmatch(name)


def test_two_gateways_of_one_kind_count_alike() -> None:
    assert revision_matchers(route(ENVOY_GATEWAY, ENVOY_GATEWAY)) == revision_matchers(route(ENVOY_GATEWAY))


def test_of_other_gateways_of_none_and_of_a_mixture_no_series_are_known() -> None:
    assert revision_matchers(route("istio.io/gateway-controller")) is None
    assert revision_matchers(route()) is None
    assert revision_matchers(route(ENVOY_GATEWAY, "istio.io/gateway-controller")) is None
