"""Mean times of requests, where nobody keeps a histogram: a canary 1.5 times slower never passes unseen."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tritonfleet.plan.rollout.analysis.counts import PodCounts, Revision
from tritonfleet.plan.rollout.analysis.outcome import Outcome, Why
from tritonfleet.plan.rollout.analysis.pace import Pace, Paces
from tritonfleet.plan.rollout.analysis.policy import LatencyObjective
from tritonfleet.plan.rollout.analysis.progress import Progress
from tritonfleet.plan.rollout.analysis.window import Beat


def beats(factor, *, number=12, canary=40, stable=120, mean=0.010, noise=0.15, seed=0):
    """So many intervals in which the canary takes `factor` times as long, each mean off by `noise`."""
    draw = random.Random(seed)
    return tuple(
        Beat(
            canary,
            canary * mean * factor * draw.lognormvariate(0, noise),
            stable,
            stable * mean * draw.lognormvariate(0, noise / 2),
        )
        for _ in range(number)
    )


def look(step, factor, seed, *, canary=480, stable=480, **kwargs):
    both = {
        "canary": Revision({"c": PodCounts(canary, 0)}),
        "stable": Revision(dict.fromkeys("xyz", PodCounts(stable, 0))),
    }
    return step.look(**both, beats=beats(factor, seed=seed, **kwargs))


def slow(step):
    return step.result("slow")


@pytest.mark.parametrize("seed", range(20))
def test_a_canary_that_takes_half_as_long_again_fails_at_the_second_look(rollout, seed):
    step = rollout(compare_latency=True)
    first, second = (look(step, 1.5, 100 * seed + turn) for turn in range(2))

    assert first.outcome is Outcome.INCONCLUSIVE
    assert (second.outcome, second.why) == (Outcome.FAILED, Why.WORSE)
    assert "mean time of a request: canary" in second.message


def test_one_that_is_as_fast_passes_and_hardly_ever_fails(rollout):
    outcomes = []
    for seed in range(100):
        step = rollout(compare_latency=True)
        for turn in range(10):
            verdict = look(step, 1.0, 1000 * seed + turn, noise=0.3)
        outcomes.append(verdict.outcome)

    assert outcomes == [Outcome.PASSED] * 100


def test_a_canary_that_is_a_little_slower_is_none_of_our_business(rollout):
    step = rollout(compare_latency=True)
    for turn in range(10):
        verdict = look(step, 1.1, turn)

    assert verdict.outcome is Outcome.PASSED


def test_one_that_looks_slower_without_proof_does_not_pass(rollout):
    step = rollout(compare_latency=True, max_looks=10)
    for turn in range(9):
        look(step, 1.3, turn, noise=1.2)

    assert slow(step).outcome is not Outcome.PASSED


def test_means_that_nobody_notices_do_not_count(rollout):
    step = rollout(compare_latency=True)
    for turn in range(10):
        verdict = look(step, 1.5, turn, mean=0.0001)

    assert verdict.outcome is Outcome.PASSED


def test_one_slow_window_is_not_enough(rollout):
    step = rollout(compare_latency=True)
    look(step, 3.0, 1)
    verdict = look(step, 1.0, 2)

    assert verdict.outcome is not Outcome.FAILED


def test_without_requests_nothing_is_good(rollout):
    step = rollout(compare_latency=True)
    verdict = step.looks(10, beats=())

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert (slow(step).outcome, slow(step).why) == (Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS)


def test_few_requests_are_not_judged_good(rollout):
    step = rollout(compare_latency=True)
    for turn in range(10):
        look(step, 1.0, turn, number=1)

    assert slow(step).why is Why.TOO_FEW_REQUESTS


def test_means_of_a_canary_with_more_to_do_do_not_compare(rollout):
    step = rollout(compare_latency=True)
    look(step, 3.0, 1, canary=1000)

    assert slow(step).why is Why.UNEQUAL_LOAD


def test_an_objective_about_single_requests_is_not_asked_of_means(rollout):
    step = rollout(compare_latency=True, latency=LatencyObjective(0.1, 0.01))
    for turn in range(10):
        verdict = look(step, 1.0, turn)

    assert verdict.outcome is Outcome.PASSED
    assert [result.check for result in verdict.results] == ["errors", "slow", "arrival"]


def test_the_test_is_welchs_where_intervals_are_alike():
    draw = random.Random(7)
    one = [0.012 * draw.gauss(1, 0.04) for _ in range(30)]
    other = [0.010 * draw.gauss(1, 0.06) for _ in range(20)]
    paces = Paces(Pace().add((100, 100 * each) for each in one), Pace().add((300, 300 * each) for each in other))
    logs = [math.log(each) for each in one], [math.log(1.18 * each) for each in other]

    expected = stats.ttest_ind(*logs, equal_var=False, alternative="greater").pvalue

    assert 0.001 < expected < 0.5
    assert paces.p_ratio(1.18) == pytest.approx(expected, rel=0.15)


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 10)), max_size=30))
def test_sums_say_the_same_in_whatever_order_they_come(cells):
    one, other = Pace().add(cells), Pace().add(reversed(cells))

    assert (one.beats, one.requests) == (other.beats, other.requests)
    assert one.mean_seconds == pytest.approx(other.mean_seconds)
    assert 0 <= Paces(one, other).p_ratio(1.0) <= 1


def test_what_is_kept_survives_the_status(rollout):
    step = rollout(compare_latency=True)
    look(step, 1.5, 1)

    assert Progress.restore(step.progress.document()) == step.progress
    assert step.progress.next_step().paces == Paces()
