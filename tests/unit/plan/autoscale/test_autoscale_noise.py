"""Noise is no burst, and replicas do not follow it up and down."""

import random
from itertools import pairwise

import pytest

from tritonfleet.plan.autoscale import (
    Noise,
    Stabilization,
    burst_demand,
    record_change,
    record_peak,
    stabilization_window,
    update_noise,
)


def heard(rates):
    noise = Noise()
    for rate in rates:
        noise = update_noise(noise, rate, 5.0)
    return noise


def counts(mean, clump, seed=1):
    """Rates over 5 s of requests that come in clumps: their index of dispersion is the clump's size."""
    chance = random.Random(seed)
    clumps = (chance.gauss(mean * 5 / clump, (mean * 5 / clump) ** 0.5) for _ in range(2000))
    return [max(0.0, each) * clump / 5 for each in clumps]


@pytest.mark.parametrize("clump", [1, 4, 10])
def test_clumps_are_measured_by_their_size(clump):
    assert heard(counts(300.0, clump)).dispersion == pytest.approx(clump, rel=0.35)


def test_a_slope_is_no_noise():
    assert heard([100.0 + step for step in range(500)]).dispersion < 1.2


def test_the_edge_of_a_burst_is_hardly_noise():
    calm = heard(counts(300.0, 1))
    assert update_noise(calm, 1500.0, 5.0).dispersion < 1.1 * calm.dispersion


def test_what_is_usual_among_clumps_is_no_burst_there_and_one_among_independent_users():
    assert burst_demand(newest=490.0, fast=420.0, slow=300.0, dispersion=1.0) > 0
    assert burst_demand(newest=490.0, fast=400.0, slow=300.0, dispersion=60.0) == 0


def test_a_ripple_waits_for_four_windows_and_a_large_fall_for_one():
    state = record_peak(Stabilization(), 90.0, 11, 0.0)
    assert stabilization_window(state, 90.0, 60.0, replicas=12) == pytest.approx(360.0)
    assert stabilization_window(state, 90.0, 60.0, replicas=20) == pytest.approx(90.0)


def test_a_ripple_waits_twice_as_long_for_each_change_of_direction_within_the_hour_but_the_first():
    state = record_peak(Stabilization(), 90.0, 11, 400.0)
    waits = []
    for turn in range(7):
        state = record_change(state, 11 + turn % 2, 12 - turn % 2, 60.0 * turn)
        waits.append(stabilization_window(state, 90.0, 400.0, replicas=12))
    assert waits == [360.0, 360.0, 720.0, 1440.0, 2880.0, 3600.0, 3600.0]
    assert stabilization_window(record_peak(state, 90.0, 11, 9000.0), 90.0, 9000.0, replicas=12) == pytest.approx(360.0)


def test_the_stabilization_survives_a_restart():
    state = record_peak(Stabilization(), 90.0, 7, 100.0)
    state = record_change(record_change(state, 7, 8, 110.0), 8, 7, 120.0)
    assert Stabilization.restore(state.document(160.0), 160.0) == state


def test_a_steady_load_of_independent_users_changes_replicas_at_most_twice_an_hour(new_fleet):
    fleet, chance = new_fleet(5), random.Random(7)
    fleet.play(190.0, 900.0)
    seen = [fleet.tick(max(0.0, chance.gauss(190.0, (190.0 / 5) ** 0.5))).replicas for _ in range(1440)]
    rises = [later > earlier for earlier, later in pairwise(seen) if later != earlier]
    assert sum(one != other for one, other in pairwise(rises)) <= 4
