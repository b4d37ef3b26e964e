import numpy as np
import pytest

from tritonfleet.sim import (
    Capacity,
    Distribution,
    Fixed,
    Plant,
    RateTrace,
    Routing,
    ServerModel,
    Slo,
    clairvoyant,
    simulate,
)

SERVER = ServerModel(0.060, 0.015, max_batch_size=16, noise=0.05, queue_timeout_seconds=0.45)
SLO = Slo(0.75)
PLANT = Plant(ready=Distribution.always(60.0), max_replicas=12)
MINUTE_RATES = 150.0 + 100.0 * np.sin(np.arange(60) / 9.0)
DAY = RateTrace("day", 60.0, MINUTE_RATES, seed=2)


def test_capacity_is_where_the_slo_begins_to_fail():
    capacity = Capacity.measured(SERVER, SLO, Routing.LEAST_OUTSTANDING, 4)
    plant = Plant(min_replicas=4, max_replicas=4)
    below, above = (
        simulate(RateTrace("steady", 600.0, np.array([rate])), Fixed(4), SERVER, plant, slo=SLO).attainment
        for rate in (0.95 * capacity.rate(4), 1.08 * capacity.rate(4))
    )

    assert below > 0.99 > above
    assert capacity.rate(4) > 4 * capacity.rate(1)
    assert capacity.replicas(np.array([0.0, capacity.rate(1), capacity.rate(1) + 1.0])).tolist() == [0, 1, 2]


def test_the_clairvoyant_keeps_the_slo_for_less_than_any_fixed_number_of_replicas():
    oracle = clairvoyant(DAY, SERVER, PLANT, slo=SLO)
    fixed = [simulate(DAY, Fixed(count), SERVER, Plant(initial_replicas=count), slo=SLO) for count in (3, 4, 5, 6)]

    assert oracle.attainment >= 0.99
    assert all(run.attainment < 0.99 or run.gpu_hours > oracle.gpu_hours for run in fixed)


def test_more_attainment_costs_more():
    cheap, dear = (clairvoyant(DAY, SERVER, PLANT, slo=SLO, attainment=share) for share in (0.97, 0.9999))

    assert cheap.attainment >= 0.97
    assert dear.attainment >= 0.9999
    assert cheap.gpu_hours < dear.gpu_hours


def test_pods_are_started_a_ready_time_ahead():
    step = RateTrace("step", 300.0, np.array([40.0, 40.0, 160.0]), seed=2)
    run = clairvoyant(step, SERVER, PLANT, slo=SLO, attainment=0.999)
    ready = np.flatnonzero(run.minutes.ready > 1.5)

    assert 590.0 - 60.0 - 10.0 <= run.changes[0].at_seconds <= 600.0 - 60.0
    assert ready[0] in {9, 10}


def test_what_the_limits_do_not_allow_is_attained_as_far_as_they_do():
    tight = Plant(ready=Distribution.always(60.0), max_replicas=3)
    run = clairvoyant(DAY, SERVER, tight, slo=SLO)

    assert run.attainment < 0.99
    assert run.minutes.wanted.max() == pytest.approx(3)
