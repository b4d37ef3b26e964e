import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.autoscale.front import LEAST_MISS, Point, front, price

SWEEP = (Point(100.0, 0.04, "a"), Point(120.0, 0.01, "b"), Point(160.0, 0.001, "c"))

points = st.lists(st.builds(Point, st.floats(1, 1e4), st.floats(0, 1), st.text(max_size=3)), min_size=1, max_size=12)


def test_a_setting_that_another_beats_in_both_is_not_on_the_front():
    beaten = Point(130.0, 0.02, "beaten")
    assert front([*SWEEP, beaten]) == list(SWEEP)


def test_of_two_settings_at_one_price_only_the_better_stays():
    assert front([Point(100.0, 0.04), Point(100.0, 0.02)]) == [Point(100.0, 0.02)]


def test_the_price_of_a_measured_miss_is_what_was_measured():
    assert [price(SWEEP, point.miss).gpu_hours for point in SWEEP] == [100.0, 120.0, 160.0]


def test_between_two_settings_the_price_follows_the_logarithm_of_the_miss():
    halfway = math.sqrt(0.04 * 0.01)
    found = price(SWEEP, halfway)
    assert found.gpu_hours == pytest.approx(110.0)
    assert found.bound == " "
    assert found.label == "a..b"


def test_a_rival_that_misses_less_at_its_cheapest_costs_at_most_that():
    found = price(SWEEP, 0.2)
    assert (found.gpu_hours, found.bound, found.label) == (100.0, "<", "a")


def test_a_rival_that_never_gets_there_costs_at_least_its_best():
    found = price(SWEEP, 0.0001)
    assert (found.gpu_hours, found.bound, found.label) == (160.0, ">", "c")


def test_no_miss_at_all_counts_as_one_in_a_million():
    perfect = (Point(100.0, 0.01), Point(200.0, 0.0))
    between = price(perfect, math.sqrt(0.01 * LEAST_MISS))
    assert between.gpu_hours == pytest.approx(150.0)


def test_nothing_has_no_price():
    with pytest.raises(ValueError, match="at least one point"):
        price([], 0.1)


@given(points)
def test_along_the_front_every_hour_more_buys_fewer_misses(settings):
    found = front(settings)
    assert all(first.gpu_hours < then.gpu_hours and first.miss > then.miss for first, then in pairwise(found))


@given(points)
def test_every_setting_is_matched_by_one_of_the_front(settings):
    best = front(settings)
    assert all(
        any(one.gpu_hours <= each.gpu_hours and one.miss <= max(each.miss, LEAST_MISS) for one in best)
        for each in settings
    )


@given(points, st.floats(0, 1), st.floats(0, 1))
def test_fewer_misses_never_cost_less(settings, one, other):
    strict, lax = sorted((one, other))
    assert price(settings, strict).gpu_hours >= price(settings, lax).gpu_hours - 1e-9
