"""Which series of a gateway are one revision's, and what is counted of them."""

from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.api.traffic import TrafficGateway
from tritonfleet.plan.objects import http_route
from tritonfleet.plan.rollout import (
    GatewayCounters,
    GatewayFailures,
    count_gateway,
    merge_gateway_counts,
    revisions_by_cluster,
)
from tritonfleet.plan.rollout.analysis import PodCounts, RevisionCounts
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


def counters(requests: int, refused: int = 0, pod: str = "envoy-1", **labels: str) -> GatewayCounters:
    own = {"envoy_cluster_name": "c", "namespace": "gateways", "pod": pod, **labels}
    bucket, status = {"__name__": "envoy_cluster_upstream_rq_time_bucket", "le": "+Inf"}, {}
    if refused:
        status = {"__name__": "envoy_cluster_upstream_rq_xx", "envoy_response_code_class": "4"}
    found = {frozenset({**own, **bucket}.items()): float(requests)}
    return {**found, frozenset({**own, **status}.items()): float(refused)} if status else found


def gained(before: GatewayCounters, after: GatewayCounters) -> tuple[int, int, bool]:
    found = count_gateway(before, after, {"c": A})[A]
    return sum(each.timed for each in found.timed.values()), found.refused, found.partial


def test_an_instance_that_is_missing_at_either_end_is_left_out_with_all_that_it_ever_counted() -> None:
    one, later = counters(1000), counters(1060, 3)
    other = counters(500_000, 7_000, pod="envoy-2")

    assert gained(one, later) == (60, 3, False)
    assert gained(one, {**later, **other}) == gained({**one, **other}, later) == (60, 3, True)


def test_an_instance_that_restarted_counts_from_zero_with_all_its_series() -> None:
    # The second series has outgrown what it was before the restart.
    assert gained(counters(1000, 2), counters(40, 5)) == (40, 5, False)


def test_a_pod_that_is_scraped_twice_counts_once() -> None:
    twice = [{**counters(of), **counters(of, job="again")} for of in (1000, 1060)]

    assert gained(*twice) == (60, 0, False)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), min_size=1, max_size=8))
def test_failures_of_which_the_pods_counted_some_add_up_to_those_the_gateway_saw(
    windows: list[tuple[int, int]],
) -> None:
    before, added, refused, total = counters(0), 0, 0, 0
    failures, errors = GatewayFailures(), 0
    for of, own in windows:
        refused, total, errors = refused + own + of, total + 100, errors + own
        after = counters(total, refused)
        counts = RevisionCounts({"p": PodCounts(100, own)})
        merged, failures = merge_gateway_counts(
            counts, count_gateway(before, after, {"c": A})[A], failures, alone=False
        )
        before, added = after, added + merged.refused

    assert added == refused - errors


@given(st.lists(st.integers(0, 300), min_size=1, max_size=6), st.integers(0, 500))
def test_failures_that_reached_no_pod_are_spread_over_the_pods(requests: list[int], refused: int) -> None:
    pods = {str(pod): PodCounts(of, 0) for pod, of in enumerate(requests)}
    cells = RevisionCounts(pods, refused=refused).error_cells()

    assert sum(bad for bad, _ in cells) == refused
    assert sum(of for _, of in cells) == refused + sum(requests)
    if any(requests):
        assert all(abs(bad - refused * of / sum(requests)) < 1 for (bad, _), of in zip(cells, requests, strict=True))
