"""Exact counts from raw counters."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.plan.rollout.analysis import CounterReading, PodCounts, count_window

INF = float("inf")
POD = frozenset({"a"})


def reading(success, started=0.0, buckets=None, **failures):
    return CounterReading(started, success, failures, buckets or {})


def counted(before, after, start=100.0):
    return count_window(before, after, start, POD).pods.get("a")


def test_a_window_is_what_was_added_between_its_ends():
    before = {"a": reading(100, BACKEND=2, buckets={0.1: 90, INF: 100})}
    after = {"a": reading(150, BACKEND=5, REJECTED=1, buckets={0.1: 120, INF: 150})}

    assert counted(before, after) == PodCounts(54, 4, 50, {0.1: 30})
    assert counted(before, after).slower_than(0.1) == 20


def test_what_the_client_canceled_is_no_request():
    assert counted({"a": reading(0)}, {"a": reading(10, CANCELED=7, OTHER=1)}) == PodCounts(11, 1, canceled=7)


def test_a_container_that_started_again_counts_from_zero():
    assert counted({"a": reading(100, BACKEND=9)}, {"a": reading(40, started=150.0, BACKEND=1)}) == PodCounts(41, 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (reading(100), reading(40)),
        (reading(10, BACKEND=9), reading(40, BACKEND=1)),
        (reading(10, BACKEND=9), reading(40)),
        (reading(10, buckets={INF: 10}), reading(40, buckets={INF: 5})),
    ],
)
def test_a_counter_that_fell_is_a_counter_that_started_again(before, after):
    assert counted({"a": before}, {"a": after}).requests == sum((after.success, *after.failures.values()))


def test_the_first_requests_of_a_new_pod_are_not_lost():
    assert counted({}, {"a": reading(12, started=130.0, BACKEND=3)}) == PodCounts(15, 3)


def test_an_old_pod_that_was_not_read_before_is_missing_and_not_idle():
    window = count_window({}, {"a": reading(12, started=20.0)}, 100.0, POD)

    assert (window.pods, window.missing) == ({}, ("a",))


def test_a_pod_that_does_not_answer_is_missing():
    window = count_window({"a": reading(1)}, {}, 100.0, POD)

    assert (window.pods, window.missing, window.requests) == ({}, ("a",), 0)


def test_no_pods_give_no_counts():
    assert count_window({}, {"b": reading(5, started=200.0)}, 100.0, POD).pods == {}


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=8))
def test_windows_that_touch_add_up_to_the_whole(steps):
    totals = [sum(steps[: end + 1]) for end in range(len(steps))]
    parts = [counted({"a": reading(first)}, {"a": reading(last)}).requests for first, last in pairwise(totals)]

    assert sum(parts) == counted({"a": reading(totals[0])}, {"a": reading(totals[-1])}).requests
