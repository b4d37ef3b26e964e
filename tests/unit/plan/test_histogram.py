"""What buckets say of a percentile and of a target."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.plan.histogram import histogram

INF = math.inf


def test_a_percentile_is_interpolated_within_its_bucket_as_prometheus_does():
    found = histogram({0.01: 50, 0.05: 90, 0.1: 100, INF: 100})
    assert found.percentile(50) == pytest.approx(0.01)
    assert found.percentile(70) == pytest.approx(0.03)
    assert found.percentile(99) == pytest.approx(0.095)


def test_what_lies_beyond_the_last_bound_is_reported_as_that_bound():
    assert histogram({0.1: 10, INF: 100}).percentile(99) == 0.1


def test_the_share_within_a_target_is_interpolated_and_what_lies_beyond_every_bound_misses_it():
    found = histogram({0.01: 50, 0.05: 90, INF: 100})
    assert found.within(0.03) == pytest.approx(70)
    assert found.within(0.05) == pytest.approx(90)
    assert found.within(7.0) == 90


@pytest.mark.parametrize(
    "cumulative", [{}, {0.1: 3}, {0.1: math.nan, INF: 3}, {0.1: -1, INF: 3}, {0.1: 1, INF: INF}, {math.nan: 1, INF: 1}]
)
def test_buckets_that_cannot_be_are_no_histogram(cumulative):
    assert histogram(cumulative) is None


def test_without_requests_there_is_no_percentile():
    assert math.isnan(histogram({0.1: 0, INF: 0}).percentile(99))


def test_counts_that_descend_by_rounding_are_raised():
    assert histogram({0.1: 5.0000001, 0.2: 5, INF: 6}).counts == (5.0000001, 5.0000001, 6)


buckets = st.dictionaries(st.floats(0.001, 10), st.floats(0, 1e6), min_size=1, max_size=8)


@given(buckets, st.floats(1, 1e6), st.floats(1, 99.9), st.floats(0.001, 20))
def test_every_answer_lies_within_the_bounds_and_rises_with_the_question(counts, beyond, percent, seconds):
    found = histogram({**counts, INF: max(counts.values()) + beyond})
    assert 0 <= found.percentile(percent) <= found.bounds_seconds[-2]
    assert found.percentile(percent) <= found.percentile(99.9) * (1 + 1e-9)
    assert 0 <= found.within(seconds) <= found.within(seconds * 2) * (1 + 1e-9) <= found.total * (1 + 1e-9)
