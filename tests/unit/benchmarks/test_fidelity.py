"""The arithmetic with which the simulator is compared with Triton."""

import numpy as np
import pytest

from benchmarks.fidelity.comparison import Comparison, Figures, figures
from benchmarks.fidelity.tally import Counts


def run(p99_seconds, rejected=0.0):
    return Figures(0.04, p99_seconds, 3.0, rejected)


def compared(real, simulated):
    return Comparison("sleep", 0.6, 100, tuple(real), tuple(simulated))


def test_what_was_counted_before_is_not_counted_again():
    before = Counts(10, 4, 1.0, {1: (3, 0.3), 2: (1, 0.2)})
    after = Counts(16, 6, 1.5, {1: (3, 0.3), 2: (2, 0.4), 4: (1, 0.3)})
    seen = after.since(before)
    assert (seen.requests, seen.executions, seen.mean_batch) == (6, 2, 3.0)
    assert seen.batches == {2: (1, pytest.approx(0.2)), 4: (1, pytest.approx(0.3))}


def test_the_line_through_executions_on_a_line_is_that_line():
    batches = {size: (count, count * (0.020 + 0.002 * size)) for size, count in ((1, 90), (3, 5), (8, 2))}
    assert Counts(121, 97, 9.9, batches).line() == pytest.approx((0.020, 0.002))


def test_a_size_that_was_seen_often_draws_the_line_more_than_one_seen_once():
    batches = {1: (1000, 10.0), 2: (1000, 20.0), 3: (1, 0.09)}
    alpha, beta = Counts(3003, 2001, 30.1, batches).line()
    assert alpha + 2 * beta == pytest.approx(0.020, rel=0.01)


def test_one_disturbed_replay_of_three_does_not_count():
    case = compared([run(0.10), run(0.50), run(0.10)], [run(0.11), run(0.11), run(0.11)])
    assert case.ratio("p99_seconds") == pytest.approx(1.1)
    assert case.spread("p99_seconds") == pytest.approx(4.0)


def test_a_simulation_that_rejects_fewer_is_off_downwards():
    case = compared([run(0.1, 0.12)], [run(0.1, 0.10)])
    assert case.difference("rejected") == pytest.approx(-0.02)


def test_refused_requests_count_as_rejected_and_not_in_latencies():
    found = figures(np.array([0.25, np.nan, 0.25, 0.25]), executions=2)
    assert found == Figures(p50_seconds=0.25, p99_seconds=0.25, mean_batch=1.5, rejected=0.25)
