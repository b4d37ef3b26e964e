"""While the canary gets its share: the weight, the windows, and what follows from them."""

from dataclasses import replace

import pytest

from tests.unit.plan.rollout.stage import (
    NEW,
    OLD,
    but,
    context,
    evidence,
    go,
    plan,
    running,
    seen,
    settle,
    window,
)
from tritonfleet.plan.rollout import Phase, desired_rollout
from tritonfleet.plan.rollout.analysis import ProbeRun, QueryAnswer
from tritonfleet.plan.rollout.inputs import ObservedSplit

MOVING = running(Phase.SHIFTING, weight=25, applied_weight=0)
LOOKING = running(Phase.ANALYZING)
BAKING = running(Phase.ANALYZING, step=2, canary_replicas=4, weight=100, applied_weight=100)
ACCEPTED = ObservedSplit(25, settled=True)


def looked(state, *windows, **more):
    """Return the state after each window, at its end."""
    for one in windows:
        at = one.end_seconds - state.attempt.step_entered_at.timestamp()
        state = go(state, seen(evidence=evidence(state, window=one), split=ACCEPTED, **more), after=at).state
    return state


def test_a_weight_counts_only_some_seconds_after_the_gateway_accepts_it():
    waits = seen(split=ObservedSplit(0, settled=False))
    assert go(MOVING, waits, after=10).state is MOVING
    accepted = go(MOVING, seen(split=ACCEPTED), after=10).state
    assert (accepted.phase, accepted.applied_weight) == (Phase.SHIFTING, 0)
    assert go(accepted, seen(split=ACCEPTED), after=12).state is accepted
    found = go(accepted, seen(split=ACCEPTED), after=13).state

    assert (found.phase, found.applied_weight, found.reason) == (Phase.ANALYZING, 25, "WeightInForce")
    assert found.attempt.step_entered_at == found.entered_at


def test_a_gateway_knows_the_canary_before_it_sends_anything_to_it():
    moving = but(MOVING, opening=True)
    assert desired_rollout(context(moving, seen())).split == {OLD: 100, NEW: 0}
    assert desired_rollout(context(moving, seen())).opened == {NEW}

    known = go(go(moving, seen(split=ACCEPTED)).state, seen(split=ACCEPTED), after=3)

    assert (known.state.phase, known.state.applied_weight, known.state.attempt.settled_at) == (Phase.SHIFTING, 0, None)
    assert desired_rollout(context(known.state, seen())).split == {OLD: 75, NEW: 25}
    assert settle(known.state, seen(split=ObservedSplit(25, settled=False)), after=4).applied_weight == 0


def test_a_weight_that_is_reverted_before_it_counts_must_be_accepted_again():
    accepted = go(MOVING, seen(split=ACCEPTED), after=1).state
    lost = go(accepted, seen(split=ObservedSplit(0, settled=False, foreign=True)), after=2).state

    assert lost.attempt.settled_at is None
    assert go(lost, seen(split=ACCEPTED), after=60).state.phase is Phase.SHIFTING


def test_a_route_that_the_gateway_refuses_holds_the_rollout_in_its_words_until_it_is_taken():
    refused = seen(split=ObservedSplit(0, settled=False, problem="no listener admits this route"))
    assert go(MOVING, refused, after=29).state is MOVING
    held = go(MOVING, refused, after=30).state
    assert (held.phase, held.reason) == (Phase.HELD, "RouteRefused")
    assert "no listener admits this route" in held.message

    assert go(held, seen(split=ACCEPTED), after=60).state.phase is Phase.SHIFTING


def test_a_gateway_that_says_nothing_holds_the_rollout():
    assert go(MOVING, seen(split=ObservedSplit(0, settled=False)), after=15 * 60).state.reason == "RouteUnsettled"


def test_a_part_of_the_weight_leads_back_to_the_pods():
    part = running(Phase.SHIFTING, mode="InPlace", surge=0, plan=plan(50), weight=33, applied_weight=0)
    inputs = seen(old=3, split=ObservedSplit(33, settled=True))
    state = go(go(part, inputs).state, inputs, after=3).state

    assert (state.phase, state.applied_weight, state.attempt.canary_replicas) == (Phase.PROVISIONING, 33, 2)


def test_a_window_that_passes_leads_to_the_next_step_with_its_pods():
    state = looked(LOOKING, window())

    assert (state.phase, state.attempt.step, state.attempt.canary_replicas) == (Phase.PROVISIONING, 1, 2)
    assert state.reason == "AnalysisPassed"
    assert "error rate" in state.message
    assert {check["check"] for check in state.results} == {"error-rate", "latency", "traffic-share"}
    assert state.attempt.measured_share == 0.25
    assert state.attempt.analysis.windows == 0


def test_a_step_may_ask_for_a_person_after_it_has_passed():
    paused = but(LOOKING, plan={**plan(), "steps": [{"weight": 25, "pause": {}}]})
    state = looked(paused, window())

    assert (state.phase, state.reason) == (Phase.AWAITING_APPROVAL, "PauseBetweenSteps")
    assert go(state, seen(split=ACCEPTED), after=100_000).state is state


def test_a_step_may_ask_for_a_time_after_it_has_passed():
    paused = but(LOOKING, plan={**plan(), "steps": [{"weight": 25, "pause": {"duration": "10m"}}]})
    state = looked(paused, window())
    assert go(state, seen(split=ACCEPTED), after=629).state is state

    assert go(state, seen(split=ACCEPTED), after=631).state.phase is Phase.PROVISIONING


@pytest.mark.parametrize(("errors", "reason"), [(300, "HardLimit"), (30, "Worse")])
def test_a_canary_that_is_worse_goes_back_with_the_numbers(errors, reason):
    slower = but(LOOKING, plan=plan(25, analysis={"windows": 10}))
    state = looked(slower, window(10, errors))
    if state.phase is Phase.ANALYZING:
        assert state.reason == "AnalysisRunning"
        state = looked(state, window(20, errors))

    assert (state.phase, state.reason, state.attempt.rejecting, state.attempt.weight) == (
        Phase.ROLLING_BACK,
        reason,
        True,
        0,
    )
    assert f"({errors}/500)" in state.message or f"({2 * errors}/1,000)" in state.message


def test_the_same_window_is_looked_at_once():
    slower = but(LOOKING, plan=plan(25, analysis={"windows": 10}))
    inputs = seen(evidence=evidence(slower, window=window(10)))
    state = go(slower, inputs, after=10).state

    assert state.attempt.analysis.windows == 1
    assert go(state, inputs, after=11).state is state
    assert go(slower, inputs, after=12).state == state


@pytest.mark.parametrize("other", [{"attempt": 9}, {"step": 1}, {"canary": "d" * 10}])
def test_a_window_of_another_canary_attempt_or_step_says_nothing(other):
    inputs = seen(evidence=replace(evidence(LOOKING, window=window()), **other))

    assert go(LOOKING, inputs, after=30).state is LOOKING


def test_a_window_from_before_the_weight_was_in_force_says_nothing():
    inputs = seen(evidence=evidence(LOOKING, window=window(-10)))

    assert go(LOOKING, inputs, after=1).state is LOOKING


@pytest.mark.parametrize(("option", "phase"), [("Hold", Phase.HELD), ("Rollback", Phase.ROLLING_BACK)])
def test_metrics_that_stay_away_are_no_pass_and_lead_where_the_spec_says(option, phase):
    analysis = {"metricsTimeout": "5m", "onMetricsError": option}
    blind = but(LOOKING, plan=plan(25, analysis=analysis))
    state = looked(blind, window(30, unreachable="no pod answers"))
    assert (state.phase, state.attempt.metrics_lost_since) == (Phase.ANALYZING, state.entered_at.replace(second=30))
    state = looked(state, window(300, unreachable="no pod answers"))
    assert state.phase is Phase.ANALYZING
    state = looked(state, window(331, unreachable="no pod answers"))

    assert (state.phase, state.reason) == (phase, "MetricsLost")
    assert "no pod answers" in state.message


def test_metrics_that_are_back_end_the_hold_and_the_step_begins_to_compare_anew():
    held = running(Phase.HELD, reason="MetricsLost", message="no answer for 5m")
    state = looked(held, window())

    assert (state.phase, state.attempt.metrics_lost_since, state.attempt.step) == (Phase.ANALYZING, None, 0)
    assert state.attempt.analysis.windows == 0


def test_windows_that_never_come_are_metrics_that_stay_away():
    assert go(LOOKING, seen(), after=30).state is LOOKING
    state = go(LOOKING, seen(), after=31).state
    assert state.attempt.metrics_lost_since is not None

    assert go(state, seen(), after=31 + 1800).state.reason == "MetricsLost"


def test_a_shared_incident_neither_fails_nor_passes():
    objective = but(LOOKING, plan=plan(25, analysis={"maxErrorRate": 1, "windows": 5}))
    held = looked(objective, window(10, errors=50, stable_errors=150))
    assert (held.phase, held.reason) == (Phase.HELD, "SharedIncident")

    assert looked(held, window(500, requests=40_000)).phase is Phase.ANALYZING


def test_a_step_that_looking_does_not_settle_asks_a_person():
    short = but(LOOKING, plan=plan(25, analysis={"maxWindows": 2, "minRequests": 5000}))
    state = looked(short, window(10), window(20))

    assert (state.phase, state.reason, state.attempt.resume) == (Phase.HELD, "TooFewRequests", Phase.ANALYZING)


def test_a_query_that_is_not_answered_is_no_pass():
    queries = [{"name": "mine", "query": "up", "max": 1}]
    asking = but(LOOKING, plan=plan(25, analysis={"queries": queries}))

    assert looked(asking, window(10)).phase is Phase.ANALYZING
    assert looked(asking, window(10, answers=(QueryAnswer("mine", (0.5,)),))).phase is Phase.PROVISIONING


def test_the_bake_lasts_its_time_and_then_the_canary_is_promoted():
    state = looked(BAKING, window(10, share=1.0))
    assert (state.phase, state.reason) == (Phase.ANALYZING, "AnalysisRunning")
    assert "10s of the bake time left" in state.message

    assert looked(state, window(20, share=1.0)).phase is Phase.PROMOTING


def test_golden_requests_that_fail_during_the_bake_take_it_back():
    wrong = {"share": 1.0, "probe": ProbeRun(0, 5, "class 3, should be 7"), "probe_expected": True}
    state = looked(BAKING, window(10, **wrong), window(15, **wrong))

    assert (state.phase, state.reason, state.canary) == (Phase.ROLLING_BACK, "ProbeFailed", NEW)


def test_without_a_bake_the_weight_in_force_is_enough():
    state = running(
        Phase.SHIFTING, step=2, weight=100, applied_weight=50, plan=plan(25, 50, analysis={"bakeTime": "0s"})
    )
    inputs = seen(new=4, split=ObservedSplit(100, settled=True))

    assert go(go(state, inputs).state, inputs, after=3).state.phase is Phase.PROMOTING


def test_waiting_for_approval_does_not_stop_the_monitoring():
    waiting = running(Phase.AWAITING_APPROVAL)
    state = looked(waiting, window(3600, 300))

    assert (state.phase, state.reason) == (Phase.ROLLING_BACK, "HardLimit")


def test_everything_settles_at_one_moment():
    inputs = seen(evidence=evidence(LOOKING, window=window()), split=ACCEPTED)

    assert settle(LOOKING, inputs, after=30).phase is Phase.PROVISIONING
