import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tritonfleet.plan.autoscale import BatchServer, Capacity, Fit, Policy, ScaleReason, Work, capacity_of, update_fit

SERVERS = st.builds(
    BatchServer,
    alpha=st.floats(0.001, 0.2),
    beta=st.floats(0.0001, 0.05),
    max_batch=st.integers(1, 64),
    delay=st.just(0.0),
    instances=st.integers(1, 4),
    percentile=st.sampled_from([90.0, 95.0, 99.0, 99.9]),
    sigma=st.sampled_from([0.0, 0.1, 0.5]),
    pooled=st.booleans(),
)
SIZES = st.integers(1, 12)
FEW = settings(max_examples=60, deadline=None)


@FEW
@given(server=SERVERS, times=st.floats(1.05, 20.0), replicas=SIZES)
def test_a_fleet_never_carries_more_than_its_full_batches(server, times, replicas):
    assert 0 <= server.rate_at(server.idle_seconds * times, replicas) < replicas * server.throughput


@FEW
@given(server=SERVERS, times=st.floats(1.05, 20.0), more=st.floats(1.0, 5.0), replicas=SIZES)
def test_a_longer_target_never_lowers_the_capacity(server, times, more, replicas):
    target = server.idle_seconds * times
    assert server.rate_at(target * more, replicas) >= server.rate_at(target, replicas) * 0.999


@FEW
@given(server=SERVERS, times=st.floats(1.5, 20.0), replicas=SIZES)
def test_pooled_replicas_carry_at_least_what_they_carry_alone(server, times, replicas):
    target = server.idle_seconds * times
    alone = replicas * replace(server, pooled=False).rate_at(target, 1)
    assert replace(server, pooled=True).rate_at(target, replicas) >= 0.99 * alone


FAST = BatchServer(0.060, 0.015, 16, 0.002, 1, 99.0, sigma=0.05, pooled=True)
HEAVY = BatchServer(0.300, 0.100, 8, 0.010, 1, 99.0, sigma=0.1, pooled=True)
SECONDS = BatchServer(7.9, 0.1, 1, 0.0, 1, 99.0, sigma=0.4, pooled=True)
SIMULATED = {(1, 0): 0.93, (2, 0): 0.96, (8, 0): 0.99, (1, 1): 0.80, (8, 1): 0.94, (1, 2): 0.22, (8, 2): 0.79}
"""Share of the full throughput that keeps 99% within the target, by replicas and model, in the simulated engine with
requests sent to the least busy replica."""


@pytest.mark.parametrize(("replicas", "model"), SIMULATED)
def test_the_model_of_a_fleet_is_a_little_below_what_the_engine_serves(replicas, model):
    server, target = ((FAST, 0.750), (HEAVY, 3.0), (SECONDS, 30.0))[model]
    share = server.rate_at(target, replicas) / replicas / server.throughput
    truth = SIMULATED[replicas, model]
    assert truth - 0.1 < share < truth + 0.005


def test_slow_requests_one_by_one_need_far_fewer_replicas_where_they_are_pooled():
    alone = replace(SECONDS, pooled=False)
    assert SECONDS.rate_at(30.0, 16) > 3 * alone.rate_at(30.0, 16)


@FEW
@given(server=SERVERS, times=st.floats(1.5, 10.0), demand=st.floats(0.01, 500.0))
def test_the_fleet_for_a_demand_carries_it_and_one_replica_less_does_not(server, times, demand):
    capacity = Capacity(1.0, server, server.idle_seconds * times, 1.0, infeasible=False)
    if capacity.rate(1) <= 0 or demand > 200 * capacity.rate(1):
        return
    count = capacity.replicas_for(demand)
    assert capacity.rate(count) >= demand * 0.999
    assert count == 1 or capacity.rate(count - 1) < demand * 1.001


class CountedServer(BatchServer):
    """Counts how often its capacity is computed."""

    asked = 0

    def rate_at(self, latency, replicas=1):
        CountedServer.asked += 1
        return super().rate_at(latency, replicas)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("times", [1.01, 1.2, 1.7])
def test_a_target_that_hardly_any_request_meets_is_not_decided_on_for_long(pooled, times, monkeypatch):
    monkeypatch.setattr(CountedServer, "asked", 0)
    server = CountedServer(0.8, 0.05, 8, 0.002, 1, 99.0, sigma=0.0, pooled=pooled)
    for demand in (0.1, 20.0, 5000.0):
        Capacity(1.0, server, server.idle_seconds * times, 1.0, infeasible=False).replicas_for(demand)
    assert CountedServer.asked <= 3 * 40


def batches(fit, alpha, beta, sizes):
    for size in sizes:
        seconds = size * (alpha + beta * size)
        fit = update_fit(fit, Work(5.0, 100 * size, 0, 100 * size, 100, 0, 0, 100 * seconds), 1000)
    return fit


def test_the_line_through_batches_of_many_sizes_is_found():
    fit = batches(Fit(), 0.06, 0.015, [4, 8, 12, 16] * 30)
    alpha, beta = fit.line()
    assert alpha + beta * 17 == pytest.approx(0.06 + 0.015 * 16, rel=0.05)


def test_a_model_that_becomes_slower_is_noticed_with_the_first_batches_that_show_it():
    fit = batches(Fit(), 0.06, 0.015, [4, 8, 12, 16] * 30)
    slower = batches(fit, 0.096, 0.024, [8])
    assert sum(slower.line()) == pytest.approx(1.6 * sum(fit.line()), rel=0.1)


def noisy(fit, count, sigma, mean=8.0, executions=3, seed=1):
    """Let unbatched requests be served whose times vary, a few in each tick."""
    chance = random.Random(seed)
    for _ in range(count):
        times = [mean * chance.lognormvariate(-sigma * sigma / 2, sigma) for _ in range(executions)]
        fit = update_fit(fit, Work(5.0, executions, 0, executions, executions, 0, 0, sum(times)), 1)
    return fit


@pytest.mark.parametrize("sigma", [0.1, 0.4, 0.8])
def test_the_variation_of_times_is_learned(sigma):
    assert noisy(Fit(), 3000, sigma).sigma == pytest.approx(sigma, rel=0.35)


@pytest.mark.parametrize("seed", range(5))
def test_a_few_slow_requests_do_not_change_the_capacity_where_times_vary(seed):
    fit = noisy(Fit(), 600, 0.4, seed=seed)
    lines = []
    for step in range(60):
        fit = noisy(fit, 10, 0.4, seed=1000 * seed + step)
        lines.append(sum(fit.line()))
    assert max(lines) < 1.15 * min(lines)


def test_hours_a_little_off_the_line_do_not_hide_a_real_change():
    fit = noisy(Fit(), 300, 0.05)
    fit = noisy(fit, 300, 0.05, mean=8.2)
    assert sum(noisy(fit, 8, 0.05, mean=12.0).line()) == pytest.approx(12.0, rel=0.1)


def test_a_batch_of_its_own_size_teaches_nothing_about_the_variation():
    fit = batches(Fit(), 0.06, 0.015, [8] * 60)
    assert batches(fit, 0.06, 0.018, [16, 4, 16, 4]).variance == fit.variance


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


QUEUED = {(1, 0): 0.31, (8, 0): 0.31, (2, 1): 0.44, (1, 2): 0.62, (2, 2): 0.78, (8, 2): 0.93}
"""Share of the full throughput at which requests wait as long in the mean as an idle replica takes for one, in the
simulated engine, by replicas and model."""


@pytest.mark.parametrize(("replicas", "model"), QUEUED)
def test_a_limit_of_the_mean_wait_is_a_rate_near_that_of_the_engine(replicas, model):
    server = (FAST, HEAVY, SECONDS)[model]
    limited = replace(server, queue=server.seconds(1))
    share = limited.rate_at(math.inf, replicas) / replicas / server.throughput
    assert QUEUED[replicas, model] - 0.12 < share < QUEUED[replicas, model] + 0.02


@FEW
@given(server=SERVERS, times=st.floats(0.1, 10.0), replicas=SIZES)
def test_a_limit_of_the_mean_wait_only_ever_lowers_the_capacity(server, times, replicas):
    limited = replace(server, queue=times * server.seconds(1))
    for target in (server.idle_seconds * 2, math.inf):
        assert limited.rate_at(target, replicas) <= server.rate_at(target, replicas)
    longer = replace(server, queue=2 * times * server.seconds(1))
    assert longer.rate_at(math.inf, replicas) >= limited.rate_at(math.inf, replicas)


def test_a_batching_delay_beyond_the_limit_of_the_queue_is_infeasible():
    policy = Policy(None, queue_seconds=0.005, max_queue_delay_seconds=0.01, max_batch_size=8)
    fit = Fit()
    for batch in (1.0, 4.0):
        fit = update_fit(fit, Work(5.0, 100 * batch, 0.0, 100 * batch, 100.0, 9.0, 1.0, batch * (3 + batch)), 8)
    assert capacity_of(policy, {"a": fit}, "a").infeasible
    assert not capacity_of(replace(policy, queue_seconds=0.02), {"a": fit}, "a").infeasible
