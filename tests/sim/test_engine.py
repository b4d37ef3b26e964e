import numpy as np
import pytest

from tests.sim.reference import Reference
from tritonfleet.sim import (
    Fixed,
    Plant,
    RateTrace,
    Routing,
    Run,
    ServerModel,
    Slo,
    TimestampTrace,
    engine_rules,
    simulate,
)

SLO = Slo(0.5)
BUSY = RateTrace("busy", 10.0, np.array([20.0, 150.0, 60.0, 220.0, 5.0]), seed=7)
ALPHA, BETA = 0.030, 0.004

SERVERS = {
    "one at a time": ServerModel(0.015, 0.001),
    "batches": ServerModel(ALPHA, BETA, max_batch_size=8),
    "noise": ServerModel(ALPHA, BETA, max_batch_size=8, noise=0.3),
    "two instances": ServerModel(ALPHA, BETA, max_batch_size=8, instances=2, noise=0.1),
    "a delay": ServerModel(ALPHA, BETA, max_batch_size=8, max_queue_delay_seconds=0.02, noise=0.1),
    "preferred sizes": ServerModel(ALPHA, BETA, max_batch_size=8, preferred_batch_sizes=(3, 6), noise=0.1),
    "preferred sizes and a delay": ServerModel(
        ALPHA, BETA, max_batch_size=8, preferred_batch_sizes=(4,), max_queue_delay_seconds=0.05, instances=2
    ),
    "a full queue": ServerModel(ALPHA, BETA, max_batch_size=4, max_queue_size=6, noise=0.1),
    "a timeout": ServerModel(ALPHA, BETA, max_batch_size=4, queue_timeout_seconds=0.12, noise=0.1),
    "a timeout shorter than the delay": ServerModel(
        ALPHA, BETA, max_batch_size=8, queue_timeout_seconds=0.03, max_queue_delay_seconds=0.05
    ),
    "overhead": ServerModel(ALPHA, BETA, max_batch_size=8, overhead_seconds=0.007),
}


def alone(times: list[float], server: ServerModel, seconds: float = 60.0) -> Run:
    trace = TimestampTrace("given", np.array(times), seconds)
    plant = Plant(min_replicas=1, max_replicas=1)
    return simulate(trace, Fixed(1), server, plant, slo=SLO, record=True)


@pytest.mark.parametrize("routing", list(Routing))
@pytest.mark.parametrize("name", SERVERS)
def test_every_request_fares_as_in_a_plain_reimplementation(name, routing):
    server, pods = SERVERS[name], 3
    plant = Plant(min_replicas=pods, max_replicas=pods, routing=routing, client_timeout_seconds=2.0)
    rules = engine_rules(server, plant, SLO, seed=5)
    reference = Reference(rules, server.preferred_batch_sizes or (server.max_batch_size,), server.instances, pods)

    run = simulate(BUSY, Fixed(pods), server, plant, slo=SLO, seed=5, record=True)
    answers = reference.play(BUSY.arrivals(0.0, 50.0).tolist())

    assert run.sample.pod.tolist() == [answer.pod for answer in answers]
    assert run.sample.batch.tolist() == [answer.batch for answer in answers]
    expected = np.array([np.nan if answer.latency_seconds is None else answer.latency_seconds for answer in answers])
    np.testing.assert_allclose(run.sample.latency_seconds, expected, rtol=1e-12)
    assert run.good == int(np.sum(expected <= SLO.latency_seconds))
    assert run.executions == sum(pod.executions for pod in reference.pods)
    assert run.rejected == int(np.isnan(expected).sum())


def test_an_idle_server_answers_in_the_time_of_a_batch_of_one():
    run = alone([1.0, 2.0], ServerModel(0.030, 0.004, max_batch_size=8))

    np.testing.assert_allclose(run.sample.latency_seconds, [0.034, 0.034])


def test_requests_that_come_during_an_execution_form_the_next_batch():
    run = alone([1.0, 1.01, 1.02, 1.03], ServerModel(0.030, 0.004, max_batch_size=8))

    assert run.sample.batch.tolist() == [1, 3, 3, 3]


def test_a_queue_delay_gathers_a_batch_before_the_first_execution():
    server = ServerModel(0.030, 0.004, max_batch_size=8, max_queue_delay_seconds=0.02)
    run = alone([1.0, 1.01, 1.019, 1.5], server)

    assert run.sample.batch.tolist() == [3, 3, 3, 1]
    np.testing.assert_allclose(run.sample.latency_seconds[[0, 3]], [0.02 + 0.042, 0.02 + 0.034])


def test_a_full_preferred_batch_does_not_wait_for_the_delay():
    server = ServerModel(0.030, 0.004, max_batch_size=8, preferred_batch_sizes=(2,), max_queue_delay_seconds=0.5)
    run = alone([1.0, 1.01], server)

    np.testing.assert_allclose(run.sample.latency_seconds, [0.01 + 0.038, 0.038])


def test_without_a_delay_the_largest_preferred_size_goes_first_and_the_rest_follows():
    server = ServerModel(0.1, 0.0, max_batch_size=8, preferred_batch_sizes=(4,))
    run = alone([1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06], server)

    assert run.sample.batch.tolist() == [1, 4, 4, 4, 4, 2, 2]


def test_a_timeout_is_noticed_only_when_an_instance_is_free():
    server = ServerModel(1.0, 0.0, max_batch_size=1, queue_timeout_seconds=0.5)
    run = alone([1.0, 1.1, 1.6], server)

    assert np.isnan(run.sample.latency_seconds).tolist() == [False, True, False]
    assert run.rejected == 1


def test_a_full_queue_refuses_the_newest():
    server = ServerModel(1.0, 0.0, max_batch_size=1, max_queue_size=1)
    run = alone([1.0, 1.1, 1.2], server)

    assert np.isnan(run.sample.latency_seconds).tolist() == [False, False, True]


def test_more_load_than_capacity_lets_latency_grow_with_the_queue():
    trace = RateTrace("flood", 60.0, np.array([100.0]))
    plant = Plant(min_replicas=1, max_replicas=1, client_timeout_seconds=0.0)
    run = simulate(trace, Fixed(1), ServerModel(0.020, 0.0), plant, slo=SLO, record=True)

    assert run.requests == len(run.sample.arrival_seconds)
    assert run.attainment < 0.2
    assert run.sample.latency_seconds[-1] == pytest.approx(60.0, rel=0.1)
