"""The bake time after the last step."""

import pytest

from tritonfleet.api.slo import LatencyObjective
from tritonfleet.plan.rollout.analysis import (
    AnalysisPolicy,
    Outcome,
    PodCounts,
    ProbeRun,
    Progress,
    RevisionCounts,
    Why,
    Window,
    bake,
    record_stable,
)


def baked(windows=12, policy=None, requests=600, errors=0, above=0, **given):
    progress, verdict = Progress(), None
    counts = PodCounts(requests, errors, requests, {0.25: requests - above})
    for number in range(1, windows + 1):
        window = Window(60.0 * number, **{"canary": RevisionCounts({"c": counts}), "desired_share": 1.0, **given})
        verdict = bake(policy or AnalysisPolicy(), progress, window, started_seconds=0.0)
        progress = verdict.progress
        if verdict.outcome in {Outcome.FAILED, Outcome.PASSED}:
            break
    return verdict


def test_a_quiet_bake_passes_when_its_time_is_over():
    early, last = baked(9), baked(10)

    assert (early.outcome, early.why) == (Outcome.INCONCLUSIVE, Why.BAKING)
    assert early.message.startswith("60s of the bake time left; error rate OK")
    assert last.outcome is Outcome.PASSED


def test_without_an_objective_there_is_no_limit_and_no_probability_to_show():
    assert baked().message == "error rate OK: canary 0.00% (0/6,000)"


def test_errors_below_the_objective_do_not_hold_it():
    assert baked(errors=3, policy=AnalysisPolicy(max_error_rate=1)).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"errors": 150}, Why.HARD_LIMIT),
        ({"errors": 30, "policy": AnalysisPolicy(max_error_rate=1)}, Why.BEYOND_LIMIT),
        ({"above": 30, "policy": AnalysisPolicy(objective=LatencyObjective(target="250ms"))}, Why.BEYOND_LIMIT),
        ({"probe_expected": True, "probe": ProbeRun(wrong=1)}, Why.PROBE_FAILED),
    ],
)
def test_a_revision_that_turns_bad_is_rolled_back(given, why):
    verdict = baked(**given)

    assert (verdict.outcome, verdict.why) == (Outcome.FAILED, why)


def measured(*, errors=0, above=0, requests=1000, windows=2):
    """Return the progress after windows of stable alone, before the canary had traffic."""
    progress = Progress()
    for number in range(windows):
        counts = PodCounts(requests, errors, requests, {0.1: requests - above, 1.0: requests})
        progress = record_stable(
            AnalysisPolicy(), progress, Window(number - 10.0, stable=RevisionCounts({"s": counts}))
        )
    return progress.next_step()


def unseen(progress, *, errors=0, above=0, windows=3):
    """Return the verdict on a canary that has all traffic and was never compared."""
    for number in range(windows):
        counts = PodCounts(1000, errors, 1000, {0.1: 1000 - above, 1.0: 1000})
        window = Window(60.0 * (number + 1), RevisionCounts({"c": counts}), desired_share=1.0)
        verdict = bake(AnalysisPolicy(), progress, window, 0.0, unseen=True)
        progress = verdict.progress
    return verdict


@pytest.mark.parametrize(("given", "check"), [({"errors": 100}, "error-rate"), ({"above": 400}, "latency")])
def test_where_nothing_of_stable_is_left_a_canary_must_not_be_grossly_worse_than_it_was(given, check):
    verdict = unseen(measured(errors=5, above=10), **given)

    assert (verdict.outcome, verdict.why) == (Outcome.FAILED, Why.BEYOND_LIMIT)
    assert next(each.check for each in verdict.results if each.outcome is Outcome.FAILED) == check
    assert unseen(Progress(), **given).outcome is not Outcome.FAILED


def test_a_difference_that_the_time_of_day_may_explain_fails_nothing():
    assert unseen(measured(errors=5, above=10), errors=30, above=100).why is Why.BAKING


def test_a_canary_that_fails_no_more_than_stable_did_is_not_beyond_the_hard_limit():
    assert unseen(measured(errors=600), errors=600).why is Why.BAKING
    assert unseen(measured(errors=5), errors=600, windows=1).why is Why.HARD_LIMIT


def test_an_outage_of_the_metrics_is_no_pass():
    assert baked(20, unreachable="Prometheus does not answer").outcome is Outcome.ERROR


def test_no_traffic_holds_nothing_when_golden_requests_are_right():
    assert baked(requests=0, probe_expected=True, probe=ProbeRun(right=1)).outcome is Outcome.PASSED


def test_too_few_requests_do_not_hold_it():
    assert baked(requests=1).outcome is Outcome.PASSED


def test_a_window_that_was_seen_is_not_counted_again():
    first = bake(AnalysisPolicy(), Progress(), Window(60.0, RevisionCounts({"c": PodCounts(9, 0)})), 0.0)

    assert bake(AnalysisPolicy(), first.progress, Window(60.0), 0.0).why is Why.ALREADY_SEEN
