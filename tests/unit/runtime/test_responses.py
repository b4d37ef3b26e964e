"""Triton's own histograms, over a minute and over all pods."""

import math

import pytest

from tritonfleet.adapters.pods import Answer
from tritonfleet.plan.autoscale import PodSample, Policy
from tritonfleet.runtime.latency_sources import Responses

POLICY = Policy(latency_target_seconds=0.05)


def answer(uid, at, within, total, *, started=0.0, bound=50.0):
    buckets = {bound: within, 100.0: total, math.inf: total}
    return Answer(PodSample(uid, started, "abc", at, None), buckets)


def heard(*rounds):
    responses = Responses()
    for answers in rounds:
        responses.record(answers)
    return responses.reading(POLICY)


def test_what_all_pods_gained_is_added_up():
    reading = heard(
        [answer("a", 100, 0, 0), answer("b", 100, 1000, 1000)],
        [answer("a", 110, 90, 100), answer("b", 110, 1100, 1100)],
    )
    assert reading.source == "Triton"
    assert reading.at_seconds == 110
    assert reading.requests_per_second == pytest.approx(20)
    assert reading.within == pytest.approx(190 / 200)
    assert reading.percentile_seconds == pytest.approx(0.05 + 0.05 * 0.8)


def test_a_container_that_started_anew_counts_from_then_on():
    rounds = [
        [answer("a", 100, 5000, 9000)],
        [answer("a", 105, 10, 10, started=101)],
        [answer("a", 115, 110, 110, started=101)],
    ]
    assert heard(*rounds[:2]) is None
    reading = heard(*rounds)
    assert (reading.requests_per_second, reading.within) == (pytest.approx(10), pytest.approx(1))


def test_counters_that_went_backwards_say_nothing():
    assert heard([answer("a", 100, 50, 90)], [answer("a", 105, 10, 20)]) is None


def test_only_the_last_minute_counts():
    rounds = [[answer("a", at, 0 if at <= 100 else at - 100, at)] for at in range(0, 201, 5)]
    assert heard(*rounds).within == pytest.approx(1)


def test_a_pod_that_stops_answering_does_not_make_the_others_stale():
    reading = heard(
        [answer("a", 100, 0, 0), answer("b", 100, 0, 0)],
        [answer("a", 105, 100, 100), answer("b", 105, 0, 100)],
        [answer("a", 130, 600, 600), answer("b", 105, 0, 100)],
    )
    assert (reading.at_seconds, reading.within) == (130, pytest.approx(1))


def test_of_two_sets_of_buckets_the_one_with_most_requests_decides():
    reading = heard(
        [answer("old", 100, 0, 0, bound=20.0), answer("new", 100, 0, 0)],
        [answer("old", 110, 300, 300, bound=20.0), answer("new", 110, 0, 100)],
    )
    assert (reading.within, reading.requests_per_second) == (1, pytest.approx(30))


def test_without_histograms_traffic_or_a_target_there_is_no_reading():
    silent = Answer(PodSample("a", 0.0, "abc", 100, None), {})
    assert heard([silent], [silent]) is None
    assert heard([answer("a", 100, 7, 9)], [answer("a", 105, 7, 9)]) is None
    responses = Responses()
    responses.record([answer("a", 100, 0, 0)])
    responses.record([answer("a", 105, 9, 9)])
    assert responses.reading(Policy(latency_target_seconds=None, throughput=9.0)) is None
