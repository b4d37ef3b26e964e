"""The planner against Dynamo's planner/core/{throughput_scaling,load_scaling}.py and core/load/predictors.py."""

import pytest

from tritonfleet.plan.autoscale import Counters, PodSample
from tritonfleet.sim.baselines import EngineModel, KalmanPredictor, Planner, Profile

PROFILE = Profile(engine_rps=30.0, latency_seconds=0.75, max_batch_size=16, max_replicas=20)


def sample(uid, executions, *, batch=8, pending=0.0, alpha=0.06, beta=0.015):
    done = executions * batch
    compute_us = done * (alpha + beta * batch) * 1e6
    return PodSample(uid, 0.0, "r", 0.0, Counters(done, 0, done, executions, 0, 0, compute_us, pending))


def test_a_constant_load_is_forecast_as_it_is():
    predictor = KalmanPredictor()
    for _ in range(20):
        predictor.add(100.0)
    assert predictor.next() == pytest.approx(100.0)


def test_a_trend_is_carried_one_interval_on():
    """KalmanPredictor: level and trend, so that a ramp is met ahead of time."""
    predictor = KalmanPredictor()
    for turn in range(60):
        predictor.add(10.0 * turn)
    assert predictor.next() == pytest.approx(600.0, rel=0.01)


def test_the_first_gains_are_those_of_the_filter():
    """Worked out by hand from P = 1000 I, Q = diag(1, 0.1), R = 10: the second reading moves the level by 2001/2011."""
    predictor = KalmanPredictor()
    predictor.add(0.0)
    predictor.add(2011.0)
    assert predictor.next() == pytest.approx(2001.0 + 1000.0)


def test_the_throughput_loop_sizes_every_three_minutes_for_the_forecast(answers, pods):
    """`_throughput_agg`: ceil(demand / engine_rps)."""
    planner = Planner("dynamo", PROFILE, load_loop=False)
    steady = answers(rate=300.0)
    seen = [planner.desired(float(now), 4, pods(4), steady) for now in range(0, 360, 5)]
    assert seen[0] == 4
    assert set(seen[1:36]) == {4}
    assert set(seen[36:]) == {10}


def test_without_traffic_data_the_floor_stays(answers, pods):
    planner = Planner("dynamo", PROFILE, load_loop=False)
    assert [planner.desired(now, 4, pods(4), answers()) for now in (0.0, 180.0, 360.0)] == [4, 4, 4]


def test_the_engine_model_learns_the_line_of_time_by_batch():
    engines = EngineModel(16)
    done, executions, compute = 0, 0, 0.0
    for batch in (1, 4, 8, 12, 16, 2):
        executions, done = executions + 10, done + 10 * batch
        compute += 10 * batch * (0.06 + 0.015 * batch) * 1e6
        engines.learn((PodSample("a", 0.0, "r", 0.0, Counters(done, 0, done, executions, 0, 0, compute, 0)),))
    assert engines.latency_seconds(0) == pytest.approx(0.075)
    assert engines.latency_seconds(15) == pytest.approx(0.30)
    assert engines.latency_seconds(31) == pytest.approx(0.60)


def loaded(answers, queues, turns=8):
    """Every engine busy with batches of 8 and then of 12, and as many waiting as said."""
    rounds = []
    for turn in range(1, turns):
        batch = 8 if turn % 2 else 12
        scrapes = tuple(
            sample(f"pod-{number}", 10 * turn, batch=batch, pending=queue) for number, queue in enumerate(queues)
        )
        rounds.append(answers(rate=90.0, scraped=scrapes))
    return rounds


def test_one_more_only_when_every_engine_would_miss_the_target(answers, pods):
    """`_scale_decision`: all(estimates > SLA) adds one."""
    for queues, wanted in (((60, 60, 60), 4), ((60, 60, 20), 3)):
        planner = Planner("dynamo", PROFILE)
        seen = [planner.desired(5.0 * turn, 3, pods(3), each) for turn, each in enumerate(loaded(answers, queues))]
        assert seen[-1] == wanted


def test_nothing_moves_while_pods_start(answers, pods):
    """`_scaling_in_progress`: observing only."""
    planner = Planner("dynamo", PROFILE)
    rounds = loaded(answers, (60, 60, 60))
    assert [planner.desired(5.0 * turn, 3, pods(2, starting=1), each) for turn, each in enumerate(rounds)] == [3] * 7


def test_one_fewer_only_when_the_rest_could_take_the_queue(answers, pods):
    """`_prefill_load_decision`: N/(N-1) of the queue within 0.8 of the target's share for queues."""
    for queues, wanted in (((0, 0, 0), 2), ((30, 30, 30), 3)):
        planner = Planner("dynamo", Profile(1000.0, 0.75, 16, max_replicas=20))
        rounds = loaded(answers, queues, turns=50)
        seen = [planner.desired(5.0 * turn, 3, pods(3), each) for turn, each in enumerate(rounds)]
        assert seen[-1] == wanted


def test_the_floor_of_the_throughput_loop_is_kept(answers, pods):
    planner = Planner("dynamo", PROFILE)
    rounds = loaded(answers, (0, 0, 0), turns=50)
    assert [planner.desired(5.0 * turn, 3, pods(3), each) for turn, each in enumerate(rounds)][-1] == 3
