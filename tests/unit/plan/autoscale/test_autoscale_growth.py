"""Headroom is what growth calls for, however much was missed, and pods are started for when they will be ready."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tritonfleet.plan.autoscale import (
    Bursts,
    Growth,
    PodState,
    pods_to_start,
    solved_quantile,
    startup_of,
    update_growth,
)
from tritonfleet.plan.autoscale.demand import BINS, EDGES, QUANTILES, Readiness

TIMES = tuple(60.0 * (0.5 + 2.5 * (index / 49) ** 2) for index in range(50))


def histogram(weights):
    """Return the histograms of one standing with those weights, by bin."""
    bins = [0.0] * BINS
    for index, weight in weights.items():
        bins[index] = weight
    return (tuple(bins),)


def test_traffic_that_never_grows_needs_the_least_headroom():
    assert solved_quantile(histogram({0: 1e6}), 0.003, 1.0) == QUANTILES[0]


def test_growth_is_covered_until_what_lies_beyond_is_the_allowed_share():
    seen = histogram({0: 9_000.0, 10: 900.0, 20: 100.0})
    strict, loose = (solved_quantile(seen, limit, 1.0) for limit in (0.001, 0.1))
    assert loose < strict
    excess = 100.0 * (EDGES[20] - EDGES[10]) / (9_000.0 + 900.0 * EDGES[10] + 100.0 * EDGES[20])
    assert solved_quantile(seen, excess * 1.05, 1.0) <= 0.98
    assert solved_quantile(seen, excess * 0.5, 1.0) > 0.95


@settings(max_examples=30, deadline=None)
@given(
    weights=st.dictionaries(st.integers(0, BINS - 1), st.floats(1.0, 1e5), min_size=1),
    limit=st.floats(1e-4, 0.1),
    more=st.floats(1.0, 10.0),
)
def test_a_smaller_allowance_never_means_less_headroom(weights, limit, more):
    seen = histogram(weights)
    assert solved_quantile(seen, limit, 1.0) >= solved_quantile(seen, limit * more, 1.0)


def test_hours_of_missed_requests_after_a_step_leave_no_lasting_headroom(new_fleet):
    fleet = new_fleet(2)
    fleet.play(60.0, 1800.0)
    fleet.play(480.0, 1800.0)
    fleet.play(60.0, 5400.0)
    assert fleet.replicas <= 3


def test_a_rise_after_a_quiet_night_never_asks_for_more_than_was_ever_needed(new_fleet):
    fleet = new_fleet(2)
    fleet.play(30.0, 2 * 3600.0)
    fleet.play(200.0, 1800.0)
    enough = fleet.verdicts[-1].replicas
    fleet.play(30.0, 3600.0)
    dawn = fleet.play(200.0, 1800.0)
    assert max(verdict.wanted for verdict in dawn[180:]) <= enough + 1


def test_growth_is_learned_by_how_the_rate_stands_to_the_usual_one():
    chance = random.Random(2)
    growth, bursts, startup = Growth(), Bursts(), startup_of(Readiness((50.0,)), (), 0.0)
    for step in range(4000):
        rate = 100.0 if step % 60 < 45 else 60.0
        growth, bursts = update_growth(
            growth, bursts, rate * chance.uniform(0.98, 1.02), 10.0, startup, 1.0, step * 10.0
        )
    low, usual = growth.factor(0.9, 60.0, bursts.usual), growth.factor(0.9, 100.0, bursts.usual)
    assert low > 1.4
    assert usual < 1.15


@pytest.mark.parametrize("needed", [1, 2, 5, 20])
def test_more_pods_are_started_than_needed_where_start_times_vary(needed):
    assert needed < pods_to_start(needed, TIMES) <= 3 * needed


def test_no_more_pods_are_started_than_needed_where_all_take_the_same_time():
    assert pods_to_start(4, (60.0,) * 20) == 4
    assert pods_to_start(4, ()) == 4
    assert pods_to_start(0, TIMES) == 0


def test_what_was_asked_for_in_a_step_stays_asked_for_until_pods_are_ready(new_fleet):
    fleet = new_fleet(2)
    fleet.play(60.0, 900.0)
    fleet.follow = False
    asked = []
    for tick in range(int(720.0 / 5)):
        born = fleet.now - tick * 5
        starting = (PodState(f"new-{index}", "one", born, None) for index in range(fleet.replicas - 2))
        verdict = fleet.tick(600.0, pods=(*(pod.state for pod in fleet.pods), *starting))
        fleet.replicas = verdict.replicas
        asked.append(verdict.replicas)
    assert asked == sorted(asked)
    assert asked[-1] >= 11
