"""Mean times of requests, where nobody keeps a histogram: a canary 1.5 times slower never passes unseen."""

import math
import random
from dataclasses import replace
from statistics import NormalDist, mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.api.slo import LatencyObjective
from tritonfleet.plan.rollout.analysis import (
    Outcome,
    PodCounts,
    Progress,
    RevisionCounts,
    ScrapeInterval,
    Why,
)
from tritonfleet.plan.rollout.analysis.mean_latency import BatchFit, MeanLatency, MeanRecord


def intervals(factor, *, number=12, canary=40, stable=120, usual=0.010, noise=0.15, seed=0):
    """So many intervals in which the canary takes `factor` times as long, each mean off by `noise`."""
    draw = random.Random(seed)
    return tuple(
        ScrapeInterval(
            canary,
            canary * usual * factor * draw.lognormvariate(0, noise),
            stable,
            stable * usual * draw.lognormvariate(0, noise / 2),
        )
        for _ in range(number)
    )


def look(step, factor, seed, *, canary=480, stable=480, **kwargs):
    both = {
        "canary": RevisionCounts({"c": PodCounts(canary, 0)}),
        "stable": RevisionCounts(dict.fromkeys("xyz", PodCounts(stable, 0))),
    }
    return step.look(**both, intervals=intervals(factor, seed=seed, **kwargs))


def slow(step):
    return step.result("latency")


@pytest.mark.parametrize("seed", range(20))
def test_a_canary_that_takes_half_as_long_again_fails_within_few_windows(rollout, seed):
    step = rollout(compare_latency=True)
    for turn in range(4):
        verdict = look(step, 1.5, 100 * seed + turn, noise=0.1)
        if verdict.outcome is Outcome.FAILED:
            break

    assert turn >= 1
    assert (verdict.outcome, verdict.why) == (Outcome.FAILED, Why.WORSE)
    assert "latency worse than stable: mean: canary" in verdict.message


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
    step = rollout(compare_latency=True, max_windows=10)
    for turn in range(9):
        look(step, 1.3, turn, noise=1.2)

    assert slow(step).outcome is not Outcome.PASSED


def test_negligible_differences_of_means_do_not_count(rollout):
    step = rollout(compare_latency=True)
    for turn in range(10):
        verdict = look(step, 1.5, turn, usual=0.0001)

    assert verdict.outcome is Outcome.PASSED


def test_one_slow_window_is_not_enough(rollout):
    step = rollout(compare_latency=True)
    look(step, 3.0, 1)
    verdict = look(step, 1.0, 2)

    assert verdict.outcome is not Outcome.FAILED


def test_without_requests_nothing_is_good(rollout):
    step = rollout(compare_latency=True)
    verdict = step.windows(10, intervals=())

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert (slow(step).outcome, slow(step).why) == (Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS)


def test_few_requests_are_not_judged_good(rollout):
    step = rollout(compare_latency=True)
    for turn in range(10):
        look(step, 1.0, turn, number=1)

    assert slow(step).why is Why.TOO_FEW_REQUESTS


def test_an_objective_about_single_requests_is_not_asked_of_means(rollout):
    step = rollout(compare_latency=True, objective=LatencyObjective(target="100ms"))
    for turn in range(10):
        verdict = look(step, 1.0, turn)

    assert verdict.outcome is Outcome.PASSED
    assert [result.check for result in verdict.results] == ["error-rate", "latency", "traffic-share"]


def test_the_test_is_students_on_the_logarithms_where_moments_are_unlike():
    draw = random.Random(7)
    drawn = [draw.gauss(0.2, 0.05) for _ in range(500)]
    # So many that the usual likeness of neighbors no longer counts.
    sums = MeanLatency().add(ScrapeInterval(100, 100 * math.exp(log), 100, 100.0) for log in drawn)

    t = (mean(drawn) - 0.197) / (stdev(drawn) / math.sqrt(len(drawn)))
    expected = 1 - NormalDist().cdf(t)

    assert 0.001 < expected < 0.5
    assert sums.p_ratio(math.exp(0.197)) == pytest.approx(expected, rel=0.25)


def test_moments_that_follow_their_neighbors_prove_less():
    draw = random.Random(3)
    alone = [draw.gauss(0.25, 0.1) for _ in range(48)]
    in_fours = sorted(alone, key=lambda log: log > 0.25)

    one, other = (
        MeanLatency().add(ScrapeInterval(100, 100 * math.exp(log), 100, 100.0) for log in logs)
        for logs in (alone, in_fours)
    )

    assert one.canary_mean == pytest.approx(other.canary_mean)
    assert other.p_ratio(1.2) > 5 * one.p_ratio(1.2)


def test_what_slows_both_down_at_once_is_no_noise():
    draw = random.Random(5)
    intervals = []
    for _ in range(24):
        shared = draw.lognormvariate(0, 1)
        intervals.append(ScrapeInterval(100, 1.5 * shared * draw.lognormvariate(0, 0.05), 300, 3 * shared))

    assert MeanLatency().add(intervals).p_ratio(1.2) < 1e-6


def test_moments_with_few_requests_are_joined():
    few = [ScrapeInterval(2, 0.02, 100, 1.0)] * 12

    sums = MeanLatency().add(few)

    assert (sums.intervals, sums.canary, sums.stable) == (2, 20, 1000)
    assert sums.canary_mean == pytest.approx(0.01)


@given(
    st.lists(st.builds(ScrapeInterval, st.integers(0, 999), st.floats(0, 10), st.integers(0, 999), st.floats(0, 10)))
)
def test_any_counts_give_a_p_value_between_0_and_1(intervals):
    sums = MeanLatency().add(intervals)

    assert 0 <= sums.p_ratio(1.0) <= 1
    assert sums.p_ratio(1.5) >= sums.p_ratio(1.0) - 1e-9


def test_what_is_kept_survives_the_status(rollout):
    step = rollout(compare_latency=True)
    look(step, 1.5, 1)

    assert Progress.restore(step.progress.document()) == step.progress
    assert step.progress.next_step().mean_latency == MeanRecord()


def served(factor, *, queue=0.0, batch=1.0, seed=0, noise=0.05):
    """Intervals in which the canary works `factor` times as long, and waits `queue` seconds for it."""
    draw = random.Random(seed)
    for _ in range(12):
        work = 0.01 * draw.lognormvariate(0, noise)
        own = 0.01 * factor * draw.lognormvariate(0, noise) + queue
        yield ScrapeInterval(40, 40 * own, 120, 120 * work, 40 * queue, 0.0, batch, 1.0)


def tails(canary_slow, stable_slow=4):
    def pod(slow):
        return PodCounts(480, 0, 480, {0.025: 480 - slow, 0.1: 480})

    return {
        "canary": RevisionCounts({"c": pod(canary_slow)}),
        "stable": RevisionCounts(dict.fromkeys("xyz", pod(stable_slow))),
    }


@pytest.mark.parametrize(
    ("factor", "queue", "expected"),
    [(1.0, 0.02, Outcome.PASSED), (1.5, 0.02, Outcome.FAILED), (1.5, 0.0, Outcome.FAILED)],
)
def test_waiting_for_a_turn_is_not_the_versions_fault_and_work_is(rollout, factor, queue, expected):
    step = rollout(compare_latency=True)
    for turn in range(10):
        service = tuple(served(factor, queue=queue, seed=turn))
        verdict = step.look(**tails(100), service=service)
        if verdict.outcome is Outcome.FAILED:
            break

    assert verdict.outcome is expected, verdict.message


@pytest.mark.parametrize("queue", [0.0, 0.0001], ids=["no waiting", "too little waiting"])
def test_a_longer_tail_that_waiting_cannot_explain_fails_although_the_mean_is_as_good(rollout, queue):
    """As of a model that answers after it has returned: by Triton's count it neither works nor waits for long."""
    step = rollout(compare_latency=True)
    for turn in range(2):
        verdict = step.look(**tails(100), service=tuple(served(1.0, queue=queue, seed=turn)))

    assert (verdict.outcome, verdict.why) == (Outcome.FAILED, Why.WORSE)
    assert "requests above 25ms" in verdict.message


def test_a_canary_that_is_slower_within_one_bucket_of_the_histogram_is_found_by_its_mean(rollout):
    step = rollout(compare_latency=True)
    for turn in range(2):
        verdict = step.look(**tails(4), service=tuple(served(1.9, seed=turn)))

    assert (verdict.outcome, step.result("compute-time").outcome) == (Outcome.FAILED, Outcome.FAILED)


@pytest.mark.parametrize(("factor", "expected"), [(1.4, Outcome.PASSED), (2.1, Outcome.FAILED)])
def test_larger_batches_may_take_longer_in_proportion(rollout, factor, expected):
    step = rollout(compare_latency=True)
    for turn in range(10):
        verdict = look_at(step, tuple(served(factor, batch=1.5, seed=turn)))
        if verdict.outcome is Outcome.FAILED:
            break

    assert verdict.outcome is expected, verdict.message


def look_at(step, intervals):
    counts = {"canary": RevisionCounts({"c": PodCounts(480, 0)})}
    counts["stable"] = RevisionCounts(dict.fromkeys("xyz", PodCounts(480, 0)))
    return step.look(**counts, intervals=intervals)


def test_stables_own_intervals_tell_what_larger_batches_cost():
    draw = random.Random(2)
    sizes = [draw.uniform(1, 4) for _ in range(60)]
    intervals = [ScrapeInterval(40, 0.4, 40, 40 * 0.01 * (0.6 + 0.4 * size), 0, 0, 1.0, size) for size in sizes]

    assert BatchFit().elasticity == 1
    assert BatchFit().add(intervals).elasticity == pytest.approx(0.63, abs=0.08)


@pytest.mark.parametrize(
    ("canary", "stable", "outcome"),
    [("L4", "L4", Outcome.FAILED), ("L4", "H100", Outcome.INCONCLUSIVE), ("", "", Outcome.FAILED)],
)
def test_other_gpus_are_not_compared_and_the_status_says_so(rollout, canary, stable, outcome):
    step = rollout(compare_latency=True, windows=3)
    counts = tails(100)
    counts["canary"] = replace(counts["canary"], products={"c": canary} if canary else {})
    counts["stable"] = replace(counts["stable"], products=dict.fromkeys("xyz", stable) if stable else {})
    for turn in range(3):
        verdict = step.look(**counts, service=tuple(served(3.0, seed=turn)) if stable != "H100" else ())
        if verdict.outcome is Outcome.FAILED:
            break

    assert verdict.outcome is outcome, verdict.message
    if outcome is not Outcome.FAILED:
        assert "run on L4 and those of stable on H100" in verdict.message


@pytest.mark.parametrize(
    ("factors", "outcome"),
    [
        ((3.0, 3.0, 3.0, 1.0, 1.0), Outcome.PASSED),
        ((3.0, 3.0, 3.0, 3.0), Outcome.FAILED),
        ((1.0, 3.0, 3.0, 3.0), Outcome.FAILED),
    ],
)
def test_a_pod_that_warms_up_is_judged_once_it_is_warm(rollout, factors, outcome):
    step = rollout(compare_latency=True, windows=5, min_requests=400)
    for turn, factor in enumerate(factors):
        counts = tails(100 if factor > 1 else 4)
        counts["canary"] = replace(counts["canary"], cold=frozenset("c") if turn < 3 else frozenset())
        verdict = step.look(**counts, service=tuple(served(factor, seed=turn)))
        if turn < 3:
            assert verdict.outcome is Outcome.INCONCLUSIVE, verdict.message

    assert verdict.outcome is outcome, verdict.message


def test_errors_of_a_pod_that_warms_up_count_at_once(rollout):
    step = rollout(compare_latency=True)
    for turn in range(2):
        counts = tails(4)
        counts["canary"] = RevisionCounts({"c": replace(counts["canary"].pods["c"], errors=48)}, cold=frozenset("c"))
        verdict = step.look(**counts, service=tuple(served(1.0, seed=turn)))

    assert (verdict.outcome, verdict.why) == (Outcome.FAILED, Why.WORSE)
