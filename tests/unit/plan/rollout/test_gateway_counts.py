"""What a gateway counted in a window, from its raw counters at both ends."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.plan.rollout import GatewayCounts, GatewayFailures, count_gateway, merge_gateway_counts
from tritonfleet.plan.rollout.analysis import PodCounts, RevisionCounts

OURS = {"httproute/shop/m/rule/0/backend/0": "stable", "httproute/shop/m/rule/1/backend/0": "stable"}
OURS |= {"httproute/shop/m/rule/0/backend/1": "canary", "httproute/shop/m/rule/1/backend/1": "canary"}


def series(name, rule, backend, **labels):
    cluster = f"httproute/shop/m/rule/{rule}/backend/{backend}"
    return frozenset({"__name__": name, "envoy_cluster_name": cluster, "pod": "e1", **labels}.items())


def bucket(rule, backend, le, **labels):
    return series("envoy_cluster_upstream_rq_time_bucket", rule, backend, le=le, **labels)


def status(rule, backend, code):
    return series("envoy_cluster_upstream_rq_xx", rule, backend, envoy_response_code_class=code)


def test_http_and_grpc_of_one_revision_are_added_up_and_instances_kept_apart():
    before = {bucket(0, 1, "+Inf"): 5, bucket(1, 1, "+Inf"): 100, bucket(1, 1, "250"): 90}
    after = {bucket(0, 1, "+Inf"): 15, bucket(1, 1, "+Inf"): 120, bucket(1, 1, "250"): 108}
    before[bucket(1, 1, "+Inf", pod="e2")] = 0
    after[bucket(1, 1, "+Inf", pod="e2")] = 3

    found = count_gateway(before, after, OURS)["canary"]

    assert found.timed == {"/e1": PodCounts(30, 0, 30, {0.25: 18}), "/e2": PodCounts(3, 0, 3, {})}


def test_a_counter_that_fell_counts_from_zero():
    before, after = {bucket(1, 1, "+Inf"): 1000}, {bucket(1, 1, "+Inf"): 7}

    assert count_gateway(before, after, OURS)["canary"].timed["/e1"].timed == 7


def test_a_route_that_was_not_read_at_the_start_has_no_counts():
    assert count_gateway({}, {bucket(1, 1, "+Inf"): 1000}, OURS) == {}


def test_clusters_of_others_do_not_count():
    other = bucket(3, 0, "+Inf")

    assert count_gateway({other: 1}, {other: 9}, OURS) == {}


def test_failures_are_sorted_by_whom_they_blame():
    grpc = {0: "fine", 1: "went away", 3: "request", 5: "request", 13: "server", 14: "server"}
    after = {series(f"envoy_cluster_grpc_ModelInfer_{code}", 0, 1): 1 for code in grpc}
    after |= {status(1, 1, "5"): 10, status(1, 1, "4"): 20, status(1, 1, "2"): 500, bucket(1, 1, "+Inf"): 530}

    found = count_gateway(dict.fromkeys(after, 0), after, OURS)["canary"]

    assert (found.failed, found.refused) == (12, 22)
    assert (found.bad(alone=False), found.bad(alone=True)) == (34, 12)


def test_failures_that_only_the_gateway_saw_are_counted_once():
    idle, tally, refused = RevisionCounts({"c": PodCounts(0, 0)}), GatewayFailures(), []
    for more in (6, 6, 0, 6):
        revision, tally = merge_gateway_counts(idle, GatewayCounts({}, failed=more), tally, alone=False)
        refused.append(revision.refused)

    assert refused == [6, 6, 0, 6]
    assert revision.requests == 6


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=20))
def test_never_more_failures_are_reported_than_the_gateway_saw(windows):
    tally, refused = GatewayFailures(), 0
    for seen, errors in windows:
        revision, tally = merge_gateway_counts(
            RevisionCounts({"c": PodCounts(errors, errors)}), GatewayCounts({}, seen), tally, alone=False
        )
        assert revision.refused >= 0
        refused += revision.refused

    assert refused <= sum(seen for seen, _ in windows)


@given(st.dictionaries(st.sampled_from(["5", "10", "25", "+Inf"]), st.integers(0, 10**6)), st.integers(0, 10**6))
def test_counts_are_never_negative(buckets, start):
    after = {bucket(1, 1, bound): value for bound, value in buckets.items()}
    for edge in count_gateway({bucket(1, 1, "+Inf"): start}, after, OURS).values():
        for counts in edge.timed.values():
            assert counts.timed >= 0
            assert all(count >= 0 and bound < math.inf for bound, count in counts.within.items())


def test_requests_that_clients_gave_up_on_are_counted_once_and_told_by_revision():
    resets, all_of_them = series("envoy_cluster_upstream_rq_tx_reset", 0, 1), bucket(0, 1, "+Inf")
    counts = count_gateway({resets: 5, all_of_them: 9}, {resets: 35, all_of_them: 99}, OURS)["canary"]
    pods = RevisionCounts({"c": PodCounts(90, 0, canceled=12)})

    assert counts.canceled == 30
    assert merge_gateway_counts(pods, counts, GatewayFailures(), alone=False)[0].abandoned == 18
