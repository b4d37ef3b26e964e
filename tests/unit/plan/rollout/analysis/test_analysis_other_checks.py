"""Arrival, golden requests and custom queries."""

import math

import pytest

from tritonfleet.api.canary import PromQuery
from tritonfleet.plan.rollout.analysis import (
    AnalysisPolicy,
    Outcome,
    PodCounts,
    ProbeRun,
    QueryAnswer,
    RevisionCounts,
    Why,
)
from tritonfleet.plan.rollout.analysis.checks import Threshold, evaluate_query

WRONG = ProbeRun(right=1, wrong=2, first_wrong="output `label`: 3 is not 7")
RIGHT = ProbeRun(right=3)


def test_a_canary_that_refuses_everything_fails_when_golden_requests_fail_too(rollout):
    step = rollout()
    first, second = (step.look(canary=0, probe_expected=True, probe=WRONG) for _ in range(2))

    assert step.result("traffic-share").why is Why.REJECTS_EVERYTHING
    assert (first.outcome, second.outcome) == (Outcome.INCONCLUSIVE, Outcome.FAILED)


def test_a_canary_that_nothing_reaches_but_that_answers_is_held(rollout):
    step = rollout()
    verdict = step.windows(10, canary=0, probe_expected=True, probe=RIGHT)

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert step.result("traffic-share").why is Why.NO_CANARY_TRAFFIC
    assert step.result("traffic-share").message == "0/600 requests reached the canary, about 150 expected"


def test_traffic_that_does_not_arrive_as_desired_is_no_proof(rollout):
    verdict = rollout().windows(10, canary=200, stable=200, desired_share=0.05)

    assert (verdict.outcome, verdict.why) == (Outcome.INCONCLUSIVE, Why.SHARE_MISMATCH)
    assert verdict.message == "traffic share off target: canary 25.0%, desired 5.0%"


def test_shares_are_not_judged_while_pods_are_missing(rollout):
    step = rollout()
    step.look(canary=RevisionCounts({"c": PodCounts(10, 0)}, missing=("d",)))

    assert step.result("traffic-share").why is Why.PODS_MISSING


def test_wrong_answers_fail_at_the_second_look(rollout):
    step = rollout()
    first, second = (step.look(probe_expected=True, probe=WRONG) for _ in range(2))

    assert (first.outcome, first.why) == (Outcome.INCONCLUSIVE, Why.CONFIRMING)
    assert (second.outcome, second.why) == (Outcome.FAILED, Why.PROBE_FAILED)
    assert "2/3 answered wrong; output `label`: 3 is not 7" in second.message


def test_wrong_answers_need_no_metrics_to_fail(rollout):
    step = rollout()
    verdict = step.windows(2, probe_expected=True, probe=WRONG, unreachable="Prometheus does not answer")

    assert (verdict.outcome, verdict.why) == (Outcome.FAILED, Why.PROBE_FAILED)


@pytest.mark.parametrize("run", [None, ProbeRun()])
def test_golden_requests_that_could_not_be_sent_prove_nothing(rollout, run):
    verdict = rollout().windows(10, probe_expected=True, probe=run)

    assert (verdict.outcome, verdict.why) == (Outcome.ERROR, Why.UNREACHABLE)


def test_one_wrong_answer_in_between_is_forgiven(rollout):
    step = rollout()
    step.look(probe_expected=True, probe=WRONG)
    step.look(probe_expected=True, probe=RIGHT)

    assert step.look(probe_expected=True, probe=WRONG).outcome is Outcome.INCONCLUSIVE


P95 = Threshold("queue", limit=100.0, max_ratio=1.5)


@pytest.mark.parametrize(
    ("threshold", "values", "baseline", "limit", "outcome"),
    [
        (P95, (60.0,), (50.0,), 75.0, Outcome.PASSED),
        (P95, (60.0, 80.0), (50.0,), 75.0, Outcome.FAILED),
        (P95, (101.0,), (90.0,), 100.0, Outcome.FAILED),
        (Threshold("hits", above_is_bad=False, limit=0.8), (0.9, 0.7), (), 0.8, Outcome.FAILED),
        (Threshold("hits", above_is_bad=False, limit=0.8), (0.9, 0.85), (), 0.8, Outcome.PASSED),
        (Threshold("hits", above_is_bad=False, max_ratio=0.5), (0.4,), (0.9,), 0.45, Outcome.FAILED),
    ],
)
def test_the_worst_series_is_held_against_the_stricter_limit(threshold, values, baseline, limit, outcome):
    result, _ = evaluate_query(AnalysisPolicy(), threshold, 1, QueryAnswer(threshold.name, values, baseline))

    assert (result.outcome, result.numbers.limit) == (outcome, pytest.approx(limit))


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (None, Outcome.ERROR),
        (QueryAnswer("queue", error="HTTP 500"), Outcome.ERROR),
        (QueryAnswer("queue"), Outcome.INCONCLUSIVE),
        (QueryAnswer("queue", (math.nan,), (1.0,)), Outcome.INCONCLUSIVE),
        (QueryAnswer("queue", (math.inf,), (1.0,)), Outcome.INCONCLUSIVE),
        (QueryAnswer("queue", (500.0,), ()), Outcome.INCONCLUSIVE),
        (QueryAnswer("queue", (500.0,), (math.nan,)), Outcome.INCONCLUSIVE),
    ],
)
def test_no_number_is_neither_good_nor_bad(answer, outcome):
    result, streak = evaluate_query(AnalysisPolicy(), P95, 1, answer)

    assert (result.outcome, streak) == (outcome, 1)


def test_a_query_must_be_beyond_its_limit_in_two_windows_running(rollout):
    step = rollout(queries=(PromQuery(name="queue", query="q", max=10),))
    bad, good = (QueryAnswer("queue", (11.0,)),), (QueryAnswer("queue", (9.0,)),)
    verdicts = [step.look(answers=answers) for answers in (bad, good, bad, bad)]

    assert [verdict.why for verdict in verdicts] == [
        Why.CONFIRMING,
        Why.ANALYSIS_RUNNING,
        Why.CONFIRMING,
        Why.BEYOND_LIMIT,
    ]
    assert verdicts[-1].message == "promql/queue beyond the limit: canary 11, limit 10"


def giving_up(name, pods, requests, canceled=0, abandoned=0):
    counts = PodCounts(requests - canceled, 0, canceled=canceled)
    return RevisionCounts({f"{name}{pod}": counts for pod in range(pods)}, abandoned=abandoned)


@pytest.mark.parametrize("seen_by", ["canceled", "abandoned"])
def test_requests_that_hang_until_the_client_leaves_fail_at_the_second_look(rollout, seen_by):
    step = rollout()
    looks = [step.look(canary=giving_up("c", 1, 200, **{seen_by: 20}), stable=giving_up("s", 3, 200)) for _ in range(2)]

    assert [verdict.outcome for verdict in looks] == [Outcome.INCONCLUSIVE, Outcome.FAILED]
    assert looks[-1].message.startswith("canceled requests worse than stable: canary ")


def test_clients_that_leave_both_alike_hold_nothing(rollout):
    step = rollout()
    verdict = step.windows(10, canary=giving_up("c", 1, 200, 6), stable=giving_up("s", 3, 200, 5))

    assert verdict.outcome is Outcome.PASSED
    assert step.result("canceled-requests").outcome is Outcome.PASSED


@pytest.mark.parametrize(("answered", "outcome"), [(500, Outcome.PASSED), (460, Outcome.INCONCLUSIVE)])
def test_a_gateway_that_sees_too_few_answers_of_the_canary_holds_it(rollout, answered, outcome):
    step = rollout()
    sides = {
        name: RevisionCounts({name: PodCounts(count, 0)}, gateways={"g": PodCounts(count, 0, count)})
        for name, count in (("canary", answered), ("stable", 1500))
    }

    assert step.windows(10, **sides).outcome is outcome
