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


def test_an_outage_of_the_metrics_is_no_pass():
    assert baked(20, unreachable="Prometheus does not answer").outcome is Outcome.ERROR


def test_no_traffic_holds_nothing_when_golden_requests_are_right():
    assert baked(requests=0, probe_expected=True, probe=ProbeRun(right=1)).outcome is Outcome.PASSED


def test_too_few_requests_do_not_hold_it():
    assert baked(requests=1).outcome is Outcome.PASSED


def test_a_window_that_was_seen_is_not_counted_again():
    first = bake(AnalysisPolicy(), Progress(), Window(60.0, RevisionCounts({"c": PodCounts(9, 0)})), 0.0)

    assert bake(AnalysisPolicy(), first.progress, Window(60.0), 0.0).why is Why.ALREADY_SEEN
