"""Slow requests of a canary."""

import json

import pytest

from tritonfleet.api.slo import LatencyObjective
from tritonfleet.plan.rollout.analysis import (
    AnalysisPolicy,
    Outcome,
    PodCounts,
    Progress,
    RevisionCounts,
    Why,
    Window,
    analyze,
    record_stable,
)
from tritonfleet.plan.rollout.analysis.proportions import bound_nearest_p99


def timed(requests, above_quarter, above_half=0):
    within = {0.1: requests // 2, 0.25: requests - above_quarter, 0.5: requests - above_half}
    return PodCounts(requests, 0, requests, within)


def pods(name, number, *counts):
    return RevisionCounts({f"{name}{pod}": timed(*counts) for pod in range(number)})


def test_a_canary_with_more_slow_requests_fails_at_the_second_look(rollout):
    step = rollout(compare_latency=True)
    first, second = (step.look(canary=pods("c", 1, 400, 20), stable=pods("s", 3, 400, 4)) for _ in range(2))

    assert (first.why, second.outcome, second.why) == (Why.CONFIRMING, Outcome.FAILED, Why.WORSE)
    assert second.message.startswith(
        "latency worse than stable: requests above 250ms: canary 5.0% (40/800), stable 1.0%"
    )


def test_an_equally_slow_canary_passes(rollout):
    verdict = rollout(compare_latency=True).windows(10, canary=pods("c", 1, 400, 4), stable=pods("s", 3, 400, 4))

    assert verdict.outcome is Outcome.PASSED


def test_a_canary_pod_with_less_to_do_may_pass_and_must_not_be_slower(rollout):
    for bad, outcome in ((1, Outcome.PASSED), (10, Outcome.FAILED)):
        step = rollout(compare_latency=True)
        verdict = step.windows(10, canary=pods("c", 1, 100, bad), stable=pods("s", 3, 300, 3), desired_share=0.1)
        assert verdict.outcome is outcome, verdict.message


def test_a_canary_pod_with_more_to_do_may_pass_and_proves_nothing_by_being_slower(rollout):
    for bad, outcome, why in (
        (7, Outcome.PASSED, Why.NOT_WORSE),
        (70, Outcome.INCONCLUSIVE, Why.UNEQUAL_LOAD),
    ):
        step = rollout(compare_latency=True)
        verdict = step.windows(10, canary=pods("c", 1, 700, bad), stable=pods("s", 3, 300, 3), desired_share=0.43)
        assert (verdict.outcome, step.result("latency").why) == (outcome, why)


def test_without_a_histogram_the_check_says_so(rollout):
    verdict = rollout(compare_latency=True).look()

    assert (verdict.outcome, verdict.why) == (Outcome.ERROR, Why.NO_SERIES)


def test_latency_need_not_be_compared(rollout):
    assert rollout(compare_latency=False).windows(10).outcome is Outcome.PASSED


def test_the_objective_holds_both_when_both_break_it(rollout):
    step = rollout(objective=LatencyObjective(target="200ms"))
    verdict = step.windows(10, canary=pods("c", 1, 400, 12), stable=pods("s", 3, 400, 12))

    assert (verdict.outcome, verdict.why) == (Outcome.INCONCLUSIVE, Why.SHARED_INCIDENT)
    assert step.progress.objective_bound_seconds == 0.25


def test_the_objective_fails_a_canary_that_breaks_it_alone(rollout):
    step = rollout(objective=LatencyObjective(target="250ms"))
    verdict = step.windows(10, canary=pods("c", 1, 4000, 55), stable=pods("s", 3, 4000, 39))

    assert (verdict.outcome, verdict.why) == (Outcome.FAILED, Why.BEYOND_LIMIT)


def test_an_objective_above_every_bound_cannot_be_asked(rollout):
    step = rollout(objective=LatencyObjective(target="5000ms"))
    step.look(canary=pods("c", 1, 400, 4), stable=pods("s", 3, 400, 4))

    assert step.result("latency-objective").outcome is Outcome.ERROR


@pytest.mark.parametrize(
    ("within", "bound"),
    [
        ({0.1: 500, 0.25: 995, 0.5: 1000}, 0.25),
        ({0.1: 985, 0.25: 991, 0.5: 1000}, 0.25),
        ({0.1: 989, 0.25: 1000, 0.5: 1000}, 0.1),
        ({0.1: 500, 0.25: 900, 0.5: 950}, 0.5),
        ({}, None),
    ],
)
def test_the_bound_is_the_one_nearest_stables_p99(within, bound):
    assert bound_nearest_p99([PodCounts(1000, 0, 1000, within)]) == bound


def test_the_bound_stays_for_the_step(rollout):
    step = rollout(compare_latency=True)
    step.look(canary=pods("c", 1, 400, 4), stable=pods("s", 3, 400, 4))
    step.look(canary=pods("c", 1, 400, 200, 100), stable=pods("s", 3, 400, 200, 100))

    assert step.progress.latency_bound_seconds == 0.25


def test_the_bound_is_chosen_by_all_windows_of_stable_and_not_by_an_odd_one():
    progress = Progress()
    for end in range(1, 11):
        stable = RevisionCounts({"s": timed(1000, 1)})
        progress = record_stable(AnalysisPolicy(), progress, Window(float(end), stable=stable))
    progress = Progress.restore(json.loads(json.dumps(progress.document()))).next_step()
    window = Window(99.0, pods("c", 1, 400, 4), RevisionCounts({"s": timed(1000, 40)}), desired_share=0.25)
    quiet, odd = (analyze(AnalysisPolicy(), before, window).progress for before in (progress, Progress()))

    assert (quiet.latency_bound_seconds, odd.latency_bound_seconds) == (0.25, 0.5)
    assert 6000 < quiet.usual.timed < 7000


def test_latencies_with_other_bounds_replace_those_that_were_seen():
    seen = RevisionCounts({"s": timed(1000, 5)}).with_latencies(PodCounts(0, 0, 9000, {7.0: 8000}))

    assert (seen.timed, dict(seen.within)) == (1000, {0.1: 500, 0.25: 995, 0.5: 1000})
    assert RevisionCounts().with_latencies(seen) is seen
