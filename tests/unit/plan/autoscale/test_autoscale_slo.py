"""The SLO is said to be met or missed only where that is known, and only counted misses move the headroom."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.autoscale.conftest import POLICY
from tritonfleet.plan.autoscale import LatencyReading, ScaleReason
from tritonfleet.plan.autoscale.slo import (
    ESTIMATED,
    ErrorBudget,
    Headroom,
    SloEvaluation,
    adjust,
    late_share,
    record,
)


def waiting(times):
    """Return what makes every pod report waits that are so many times as long."""

    def broken(_number, sample):
        counters = sample.counters
        return replace(sample, counters=replace(counters, queue_us=counters.queue_us * times))

    return broken


@pytest.mark.parametrize(
    ("times", "met", "reason"),
    [(1.0, True, None), (8.0, None, ScaleReason.SLO_UNCERTAIN), (40.0, False, None)],
)
def test_an_estimate_says_met_or_missed_where_every_distribution_of_the_waits_agrees(fleet, times, met, reason):
    fleet.follow = False
    attainment = fleet.play(120.0, 900.0, broken=waiting(times))[-1].attainment
    assert (attainment.met, attainment.reason, attainment.source) == (met, reason, "Estimated")


@pytest.mark.parametrize(("within", "met"), [(0.995, True), (0.985, False)])
def test_a_histogram_leaves_no_doubt(fleet, within, met):
    fleet.follow = False
    for _ in range(180):
        reading = LatencyReading("Triton", fleet.now, 0.4, within, 120.0)
        verdict = fleet.tick(120.0, broken=waiting(8.0), latency=reading)
    assert (verdict.attainment.met, verdict.attainment.reason) == (met, None)


@given(target=st.floats(0.1, 10.0), service=st.floats(0.01, 2.0), sigma=st.floats(0.0, 1.0), wait=st.floats(0.001, 5.0))
def test_longer_waits_are_never_later_by_less(target, service, sigma, wait):
    for form in ({}, {"waiting": 1.0}, {"waiting": 0.1}):
        late = late_share(target, service, sigma, wait, **form)
        assert 0 <= late <= 1 + 1e-9
        assert late_share(target * 2, service, sigma, wait, **form) <= late + 1e-9


def test_without_waits_the_late_ones_are_the_tail_of_the_times():
    assert late_share(1.0, 1.0, 0.4, 0.0) == pytest.approx(0.5 * math.erfc(0.2 / math.sqrt(2)), abs=0.06)
    assert late_share(1.0, 0.5, 0.0, 0.25, waiting=1.0) == pytest.approx(math.exp(-2))


def hours_of(source, misses, *, calm=True):
    headroom = Headroom()
    for _ in range(720 * 3):
        headroom = adjust(headroom, SloEvaluation(source, 0.1, 500.0, misses), POLICY, 5.0, calm=calm)
    return headroom.factor


def test_counted_misses_raise_the_headroom_and_their_absence_lowers_it_within_bounds():
    assert hours_of("Gateway", 0.0) == 3.0
    assert hours_of("Gateway", 50.0) == 0.3


def test_estimated_misses_and_those_of_bursts_teach_nothing():
    assert hours_of(ESTIMATED, 50.0) == 1.0
    assert hours_of("Gateway", 50.0, calm=False) == 1.0


@pytest.mark.parametrize(
    ("source", "failed", "met"), [("Gateway", 0.0005, True), ("Gateway", 0.002, False), ("Triton", None, True)]
)
def test_failures_beyond_the_promised_availability_miss_the_slo_although_the_latency_is_kept(
    fleet, source, failed, met
):
    fleet.follow, fleet.policy = False, replace(fleet.policy, availability=99.9)
    for _ in range(180):
        reading = LatencyReading(source, fleet.now, 0.4, 0.995, 120.0, failed)
        verdict = fleet.tick(120.0, latency=reading)
    assert verdict.attainment.met is met
    assert verdict.attainment.available == pytest.approx(1 - (failed or 0.0))


@pytest.mark.parametrize(("limit", "met"), [(0.02, True), (0.005, False)])
def test_a_mean_wait_above_the_promised_queue_time_misses_the_slo(fleet, limit, met):
    fleet.follow = False
    fleet.policy = replace(fleet.policy, latency_target_seconds=None, queue_seconds=limit)
    attainment = fleet.play(120.0, 900.0, broken=waiting(0.1))[-1].attainment
    assert attainment.met is met
    assert 0.005 < attainment.queue_seconds < 0.02


def test_failures_survive_a_restart_and_waits_are_measured_anew():
    evaluation = SloEvaluation("Gateway", 0.1, 1000.0, 20.0, 0.0, 7.0, 993.0, 3.5)
    kept = ErrorBudget.restore(record(ErrorBudget(), evaluation, 0.0).document(0.0), 0.0).lately(0.0, 1)
    assert (kept.requests, kept.misses, kept.failures, kept.answered) == (1000.0, 20.0, 7.0, 0.0)
