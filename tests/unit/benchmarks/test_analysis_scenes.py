"""The requests that the benchmark of canary scenes sends through queues, and what becomes of the canaries."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.analysis.pods import OK, Fleet, Pod, Routing, Service, Version
from benchmarks.analysis.scenes import BACK, PASSED, Ours, Scene, interval, live


def fleet(pods=1, **service):
    version = Version(errors=0.0)
    given = Service(**{"seconds": 1.0, "spread": 0.0, **service})
    return Fleet(version, version, given, [Pod(f"p{index}") for index in range(pods)], np.random.default_rng(1))


def test_requests_wait_for_those_before_them():
    found = fleet().window(0, 0.0, np.array([1.0, 1.5, 9.0])).all()

    assert found[:, 0].tolist() == pytest.approx([2.0, 3.0, 10.0])
    assert found[:, 2].tolist() == pytest.approx([0.0, 0.5, 0.0])
    assert (found[:, 4] == OK).all()


def test_what_is_not_done_by_the_end_of_a_window_is_counted_in_the_next():
    one = fleet()

    assert [len(one.window(0, 0.0, np.array([1.0, 59.5])).all()), len(one.window(1, 60.0, np.array([])).all())] == [
        1,
        1,
    ]


def test_a_batch_takes_what_waits():
    found = fleet(batch=2).window(0, 0.0, np.array([0.0, 0.1, 0.2, 0.3])).all()

    assert found[:, 0].tolist() == pytest.approx([1.0, 2.4, 2.4, 3.4])
    assert found[:, 5].sum() == pytest.approx(3)


@pytest.mark.parametrize("routing", Routing)
def test_every_request_is_served_once(routing):
    found = fleet(pods=3, seconds=0.01, routing=routing).window(0, 0.0, np.linspace(0, 50, 300))

    assert sum(map(len, found.pods.values())) == 300
    assert min(map(len, found.pods.values())) > 50


def test_a_canary_that_fails_is_taken_back_and_one_that_does_not_is_promoted():
    quiet = Scene("a scene", utilization=0.1, service=Service(spread=0.05))
    ends = {errors: live(replace(quiet, canary=Version(errors)), 1)[Ours.name].end for errors in (0.0, 0.3)}

    assert ends == {0.0: PASSED, 0.3: BACK}


def test_the_interval_holds_the_share():
    low, high = interval(0.0, 30)

    assert low == 0
    assert high == pytest.approx(0.114, abs=0.001)
