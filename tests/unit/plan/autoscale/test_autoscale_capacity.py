from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.plan.autoscale import BatchServer, Fit, ScaleReason, Work, update_fit

SERVERS = st.builds(
    BatchServer,
    alpha=st.floats(0.001, 0.2),
    beta=st.floats(0.0001, 0.05),
    max_batch=st.integers(1, 64),
    delay=st.just(0.0),
    instances=st.integers(1, 4),
    percentile=st.sampled_from([90.0, 95.0, 99.0, 99.9]),
)


@given(server=SERVERS, times=st.floats(1.05, 20.0))
def test_the_rate_at_a_latency_and_the_latency_at_a_rate_agree(server, times):
    target = server.idle_seconds * times
    rate = server.rate_at(target)
    assert 0 < rate < server.throughput * 1.0001
    assert server.latency_at(rate * 0.999) <= target * 1.001


@given(server=SERVERS, times=st.floats(1.05, 20.0), more=st.floats(1.0, 5.0))
def test_a_longer_target_never_lowers_the_capacity(server, times, more):
    target = server.idle_seconds * times
    assert server.rate_at(target * more) >= server.rate_at(target) * 0.999999


def batches(fit, alpha, beta, sizes):
    for size in sizes:
        seconds = size * (alpha + beta * size)
        fit = update_fit(fit, Work(5.0, 100 * size, 0, 100 * size, 100, 0, 0, 100 * seconds), 1000)
    return fit


def test_the_line_through_batches_of_many_sizes_is_found():
    fit = batches(Fit(), 0.06, 0.015, [4, 8, 12, 16] * 30)
    alpha, beta = fit.line()
    assert alpha + beta * 17 == pytest.approx(0.06 + 0.015 * 16, rel=0.05)


def test_a_model_that_becomes_slower_is_noticed_by_the_second_tick():
    fit = batches(Fit(), 0.06, 0.015, [4, 8, 12, 16] * 30)
    before = sum(fit.line())
    slower = batches(fit, 0.096, 0.024, [8, 8])
    assert sum(slower.line()) == pytest.approx(1.6 * before, rel=0.1)
    assert sum(batches(fit, 0.096, 0.024, [8]).line()) == pytest.approx(before, rel=0.05)


def test_a_target_that_one_idle_replica_misses_is_reported_as_infeasible_and_throughput_decides(new_fleet):
    fleet = new_fleet(4, latency_target_seconds=0.050)
    verdict = fleet.play(100.0, 300.0)[-1]
    assert verdict.attainment.reason is ScaleReason.SLO_INFEASIBLE
    assert verdict.attainment.met is False
    assert verdict.capacity_per_replica > 0


def test_a_hint_stands_until_the_capacity_is_learned(new_fleet):
    fleet = new_fleet(2, capacity_hint=10.0)
    hinted = fleet.tick(0.0).capacity_per_replica
    assert hinted == 10.0
    assert fleet.play(100.0, 120.0)[-1].capacity_per_replica > 30


def test_an_unknown_capacity_adds_one_at_a_time_while_requests_wait(new_fleet):
    fleet = new_fleet(2)
    fleet.follow = False
    fleet.tick(0.0)

    def waiting(number, sample):
        return replace(sample, counters=replace(sample.counters, executions=0, inferences=0, pending=50.0))

    verdict = fleet.play(0.0, 20.0, broken=waiting)[-1]
    assert verdict.reason is ScaleReason.LEARNING
    assert verdict.replicas == 3


def test_a_fleet_without_traffic_scales_in_without_a_known_capacity(new_fleet):
    fleet = new_fleet(8)
    assert {verdict.replicas for verdict in fleet.play(0.0, 110.0)} == {8}
    verdict = fleet.play(0.0, 300.0)[-1]
    assert verdict.capacity_per_replica is None
    assert (verdict.replicas, verdict.reason) == (1, ScaleReason.NO_TRAFFIC)


def test_a_new_revision_is_trusted_with_a_part_of_the_old_ones_capacity(fleet):
    old = fleet.verdicts[-1].capacity_per_replica
    assert fleet.tick(120.0, serving="two").capacity_per_replica == pytest.approx(0.8 * old, rel=0.02)


def test_the_throughput_that_was_asked_for_is_kept_ready_without_any_traffic(new_fleet):
    fleet = new_fleet(4, throughput=300.0)
    fleet.play(100.0, 300.0)
    verdict = fleet.play(0.0, 1800.0)[-1]
    assert verdict.replicas * verdict.capacity_per_replica >= 300.0


def test_noise_around_a_constant_load_moves_replicas_at_most_once(new_fleet):
    fleet = new_fleet(4)
    fleet.play(150.0, 600.0)
    seen = [fleet.tick(150.0 * factor).replicas for factor in [1.0, 1.12, 0.9, 1.06, 0.94, 0.98, 1.03, 0.91] * 30]
    assert sum(one != other for one, other in pairwise(seen)) <= 1


def test_nothing_grows_or_shrinks_faster_than_allowed(new_fleet):
    fleet = new_fleet(2)
    fleet.play(60.0, 600.0)
    before = fleet.replicas
    assert fleet.tick(20_000.0).replicas <= max(4 * before, before + 1)
