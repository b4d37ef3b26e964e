"""Errors of a canary, look by look."""

import pytest

from tritonfleet.plan.rollout.analysis import Outcome, PodCounts, RevisionCounts, Why


def test_a_canary_like_stable_passes_when_the_planned_windows_are_over(rollout):
    step = rollout(windows=5)
    before = [step.look(canary_errors=1, stable_errors=1) for _ in range(4)]

    assert {(verdict.outcome, verdict.why) for verdict in before} == {(Outcome.INCONCLUSIVE, Why.ANALYSIS_RUNNING)}
    last = step.look(canary_errors=1, stable_errors=1)
    assert (last.outcome, last.why) == (Outcome.PASSED, Why.NOT_WORSE)


def test_five_percent_errors_fail_at_the_second_look(rollout):
    step = rollout()
    first, second = (step.look(canary_errors=10, stable_errors=1) for _ in range(2))

    assert (first.outcome, first.why) == (Outcome.INCONCLUSIVE, Why.CONFIRMING)
    assert (second.outcome, second.why) == (Outcome.FAILED, Why.WORSE)
    assert second.message.startswith("error rate worse than stable: canary 5.0% (20/400), stable 0.50% (6/1,200)")


def test_one_burst_does_not_confirm_itself(rollout):
    step = rollout(windows=5)
    assert step.look(canary_errors=20, stable_errors=1).why is Why.CONFIRMING

    verdicts = [step.look(canary_errors=1, stable_errors=1) for _ in range(3)]
    assert Outcome.FAILED not in {verdict.outcome for verdict in verdicts}


def test_a_look_without_requests_confirms_nothing(rollout):
    step = rollout()
    step.look(canary_errors=15, stable_errors=1)

    assert step.look(canary=0, stable_errors=1).outcome is Outcome.INCONCLUSIVE
    assert step.look(canary_errors=15, stable_errors=1).outcome is Outcome.FAILED


@pytest.mark.parametrize(("errors", "requests"), [(17, 50), (60, 200), (210, 1000)])
def test_a_fifth_of_requests_failing_fails_at_once(rollout, errors, requests):
    verdict = rollout().look(canary_errors=errors, canary=requests, stable_errors=1)

    assert (verdict.outcome, verdict.why) == (Outcome.FAILED, Why.HARD_LIMIT)


def test_a_window_with_bad_luck_is_not_beyond_the_hard_limit(rollout):
    assert rollout().look(canary_errors=10, canary=50, stable_errors=1).why is Why.CONFIRMING


def test_a_burst_is_not_confirmed_by_an_error_in_some_of_the_windows_after_it(rollout):
    step = rollout()
    step.windows(2, canary=225, stable=170)
    step.look(canary_errors=34, canary=225, stable=170)
    after = [step.look(canary_errors=errors, canary=225, stable=170) for errors in (1, 1, 0, 0, 1, 1)]

    assert Outcome.FAILED not in {verdict.outcome for verdict in after}


def test_the_hard_limit_needs_fifty_requests(rollout):
    assert rollout().look(canary_errors=20, canary=49, stable_errors=0).outcome is Outcome.INCONCLUSIVE


def test_the_hard_limit_also_sees_what_begins_late(rollout):
    step = rollout(windows=20)
    step.windows(10, canary_errors=1, stable_errors=1)

    assert step.look(canary_errors=60, stable_errors=1).why is Why.HARD_LIMIT


@pytest.mark.parametrize("errors", [6, 60, 150])
def test_an_incident_of_both_is_not_the_canarys_fault(rollout, errors):
    verdict = rollout().windows(10, canary_errors=errors, stable_errors=errors)

    assert verdict.outcome is Outcome.PASSED


def test_an_incident_of_both_beyond_the_objective_holds_the_rollout(rollout):
    verdict = rollout(max_error_rate=1).windows(10, canary_errors=6, stable_errors=6)

    assert (verdict.outcome, verdict.why) == (Outcome.INCONCLUSIVE, Why.SHARED_INCIDENT)


def test_an_objective_that_only_the_canary_breaks_fails_it(rollout):
    step = rollout(max_error_rate=1)
    verdict = step.windows(10, canary_errors=26, stable_errors=19, canary=2000, stable=2000)

    assert (verdict.outcome, verdict.why) == (Outcome.FAILED, Why.BEYOND_LIMIT)


def test_a_suspect_canary_is_looked_at_longer_and_then_left_to_a_person(rollout):
    step = rollout(windows=5, max_windows=7)
    planned = step.windows(5, canary_errors=2, stable_errors=1, stable_pods=1)

    assert (planned.outcome, planned.why, planned.needs_person) == (Outcome.INCONCLUSIVE, Why.SUSPECT, False)
    last = step.windows(2, canary_errors=2, stable_errors=1, stable_pods=1)
    assert (last.outcome, last.why, last.needs_person) == (Outcome.INCONCLUSIVE, Why.SUSPECT, True)


def test_a_small_but_lasting_difference_fails_after_the_planned_windows(rollout):
    step = rollout()
    traffic = {"canary_errors": 6, "stable_errors": 3, "canary": 600, "stable": 600, "stable_pods": 9}

    assert step.windows(9, **traffic).outcome is Outcome.INCONCLUSIVE
    verdict = step.look(**traffic)
    assert (verdict.outcome, verdict.why) == (Outcome.FAILED, Why.WORSE)


def test_too_few_requests_are_never_good(rollout):
    verdict = rollout().windows(12, canary=20, stable=20)

    assert (verdict.outcome, verdict.why) == (Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS)


def test_a_rollout_without_users_says_so(rollout):
    verdict = rollout().windows(12, canary=0, stable=0)

    assert (verdict.outcome, verdict.why) == (Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS)
    assert verdict.message == "error rate needs more requests: no requests from users so far, 500 needed"


def test_the_numbers_go_into_the_status(rollout):
    step = rollout()
    step.windows(2, canary_errors=10, stable_errors=1)
    document = step.result("error-rate").document()

    assert document["pValue"] < 1e-6
    assert {name: document[name] for name in document if name not in {"pValue", "message"}} == {
        "check": "error-rate",
        "outcome": "Fail",
        "reason": "Worse",
        "canary": 0.05,
        "canarySamples": 400,
        "stable": 0.005,
        "stableSamples": 1200,
        "limit": pytest.approx(0.0075),
    }


def with_refused(name, pods, errors, refused):
    return RevisionCounts({f"{name}{pod}": PodCounts(400, errors) for pod in range(pods)}, refused=refused)


def test_requests_that_clients_got_wrong_on_both_neither_hide_failures_nor_look_like_some(rollout):
    for errors, outcome in ((20, Outcome.FAILED), (4, Outcome.PASSED)):
        step = rollout(windows=5)
        for _ in range(5):
            verdict = step.look(canary=with_refused("c", 1, errors, 4), stable=with_refused("s", 3, 4, 12))
            if verdict.outcome is Outcome.FAILED:
                break
        assert verdict.outcome is outcome, verdict.message


def test_a_few_requests_are_enough_if_all_of_them_fail(rollout):
    step = rollout()
    verdicts = [step.look(canary=1, canary_errors=1, stable=1, stable_errors=0) for _ in range(4)]

    assert [verdict.outcome for verdict in verdicts] == [Outcome.INCONCLUSIVE] * 3 + [Outcome.FAILED]
    assert rollout().windows(8, canary=1, canary_errors=1, stable=1, stable_errors=1).outcome is Outcome.INCONCLUSIVE


def test_requests_that_come_one_by_one_are_compared_over_all_windows(rollout):
    step = rollout()
    for _ in range(4):
        for requests in ({"canary": 0, "stable": 1}, {"canary": 1, "canary_errors": 1, "stable": 0}):
            verdict = step.look(**requests)
    step.look(canary=0, stable=1)

    assert Outcome.FAILED in {verdict.outcome for verdict in (*step.verdicts, verdict)}


@pytest.mark.parametrize("good", [1, 2])
def test_errors_that_come_and_go_fail_with_the_second_bad_window_of_four(rollout, good):
    step = rollout()
    step.look(canary_errors=30, stable_errors=1)
    for _ in range(good):
        assert step.look(canary_errors=1, stable_errors=1).outcome is Outcome.INCONCLUSIVE

    assert step.look(canary_errors=30, stable_errors=1).outcome is Outcome.FAILED


@pytest.mark.parametrize("good", [100, 400])
def test_errors_that_begin_late_are_not_diluted_by_the_time_before(rollout, good):
    step = rollout(windows=20, max_windows=1000)
    step.windows(good, canary_errors=1, stable_errors=1)

    assert step.windows(2, canary_errors=10, stable_errors=1).outcome is Outcome.FAILED


def test_one_bad_window_passes_once_it_is_over_and_is_not_confirmed_by_a_slightly_bad_one(rollout):
    step = rollout()
    step.look(canary_errors=3, stable_errors=1)
    assert step.look(canary_errors=30, stable_errors=1).outcome is Outcome.INCONCLUSIVE
    assert step.look(canary_errors=3, stable_errors=1).outcome is Outcome.INCONCLUSIVE

    assert step.windows(8, canary_errors=1, stable_errors=1).outcome is Outcome.INCONCLUSIVE
    assert step.look(canary_errors=1, stable_errors=1).outcome is Outcome.PASSED
