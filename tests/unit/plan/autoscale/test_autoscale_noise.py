"""Noise is no burst, and bursts that come back are waited for."""

import random

import pytest

from tritonfleet.plan.autoscale import (
    BURSTS,
    Noise,
    Stabilization,
    burst_demand,
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


def test_a_peak_is_held_longer_where_bursts_came_back_and_for_an_hour_only():
    state = Stabilization()
    for clock in range(0, 3000, 300):
        state = record_peak(state, 90.0, 5, float(clock), burst=True)
        state = record_peak(state, 90.0, 2, clock + 5.0, burst=True)
    assert len(state.bursts) == BURSTS
    assert stabilization_window(state, 90.0, 3000.0, replicas=12) == pytest.approx(180.0)
    assert stabilization_window(state, 90.0, 9000.0, replicas=12) == pytest.approx(90.0)


def test_a_ripple_waits_for_four_holds():
    state = record_peak(Stabilization(), 90.0, 11, 0.0, burst=False)
    assert stabilization_window(state, 90.0, 60.0, replicas=12) == pytest.approx(360.0)


def test_the_hold_survives_a_restart():
    state = record_peak(Stabilization(), 90.0, 7, 100.0, burst=True)
    assert Stabilization.restore(state.document(160.0), 160.0) == state
