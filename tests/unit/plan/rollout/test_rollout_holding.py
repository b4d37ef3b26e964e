"""Held rollouts, lost stables, and the safety that no hold suspends."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.plan.rollout.stage import (
    CRASHING,
    NEW,
    NOW,
    OLD,
    but,
    evidence,
    go,
    plan,
    policy,
    running,
    seen,
    settle,
    track,
    window,
)
from tritonfleet.api.conditions import Reason
from tritonfleet.plan.pods import Finding
from tritonfleet.plan.rollout import Phase, record_conflicts
from tritonfleet.plan.rollout.analysis import PodCounts, RevisionCounts
from tritonfleet.plan.rollout.inputs import ObservedSplit

PAUSED = policy(25, 50, rollout={"paused": True})
HELD = running(Phase.HELD, reason="Paused", message="paused by ann")
SAFE = [Phase.SHIFTING, Phase.ANALYZING, Phase.AWAITING_APPROVAL, Phase.HELD, Phase.STABLE_LOST, Phase.PROVISIONING]
UNSTEADY = track(1, unsteady="container 'triton' of pod 'm-1' ended (exit code 139)")


def with_traffic(phase):
    return running(phase, weight=25, applied_weight=25)


@pytest.mark.parametrize("phase", SAFE)
@pytest.mark.parametrize("paused", [False, True])
def test_a_canary_pod_that_restarts_under_traffic_is_rolled_back_from_every_phase(phase, paused):
    inputs = seen(new=UNSTEADY, **({"policy": PAUSED} if paused else {}))
    state = go(with_traffic(phase), inputs).state

    assert (state.phase, state.reason, state.attempt.rejecting) == (Phase.ROLLING_BACK, "CanaryUnsteady", True)
    assert (state.attempt.weight, state.applied_weight) == (0, 25)
    assert "exit code 139" in state.message


@pytest.mark.parametrize("phase", SAFE)
def test_a_canary_that_has_traffic_and_no_ready_pod_goes_back_from_everywhere(phase):
    state = go(with_traffic(phase), seen(new=track(0, asked=1, finding=CRASHING))).state

    assert (state.phase, state.reason) == (Phase.ROLLING_BACK, "CanaryLost")
    assert "0/1 pods ready: container 'triton' exited with code 1" in state.message


@pytest.mark.parametrize("phase", SAFE)
def test_a_canary_whose_pods_were_all_evicted_goes_back_from_everywhere_and_is_not_rejected(phase):
    state = go(with_traffic(phase), seen(new=track(0, asked=1, replaced=True))).state

    assert (state.phase, state.reason) == (Phase.ROLLING_BACK, "CanaryEvicted")
    assert (state.attempt.weight, state.attempt.rejecting) == (0, False)


def test_a_canary_whose_pods_are_evicted_again_and_again_is_held_until_one_is_ready():
    lost = Finding(Reason.PODS_LOST, "2 pods evicted or rejected")
    state = running(Phase.PROVISIONING, weight=0, applied_weight=0)
    held = go(state, seen(new=track(0, asked=1, finding=lost, replaced=True)), after=7200).state

    assert (held.phase, held.reason, held.rejected) == (Phase.HELD, "CanaryEvicted", ())
    assert go(held, seen(new=track(0, asked=1, finding=lost)), after=7300).state.phase is Phase.HELD
    assert go(held, seen(new=1), after=7300).state.phase is Phase.PROVISIONING


@pytest.mark.parametrize("phase", [Phase.AWAITING_APPROVAL, Phase.HELD])
def test_a_canary_that_fails_its_requests_goes_back_also_while_a_person_is_asked(phase):
    inputs = seen(evidence=evidence(with_traffic(phase), window=window(7200, errors=300)))

    assert go(with_traffic(phase), inputs, after=7200).state.reason == "HardLimit"


def test_the_field_holds_a_rollout_where_it_is_and_lets_it_go_on():
    held = go(running(Phase.ANALYZING), seen(policy=PAUSED)).state
    assert (held.phase, held.reason, held.attempt.resume, held.attempt.weight) == (
        Phase.HELD,
        "PausedBySpec",
        Phase.ANALYZING,
        25,
    )
    assert go(held, seen(policy=PAUSED), after=3600).state is held

    assert go(held, seen(), after=3601).state.phase is Phase.ANALYZING


def test_a_pause_of_a_person_does_not_end_by_itself():
    assert go(HELD, seen(), after=10**6).state is HELD


def test_what_goes_on_begins_to_wait_anew():
    held = running(Phase.HELD, reason="PausedBySpec", resume=Phase.PROVISIONING, weight=0, applied_weight=0)
    state = go(held, seen(new=track(0, asked=1)), after=3600).state

    assert (state.phase, state.entered_at) == (Phase.PROVISIONING, NOW + timedelta(hours=1))
    assert go(state, seen(new=track(0, asked=1)), after=3700).state is state


def test_a_suspended_rollout_is_held_without_traffic_and_goes_on_with_its_pods():
    held = go(running(Phase.ANALYZING), seen(suspended=True)).state
    assert (held.phase, held.reason, held.attempt.weight, held.applied_weight) == (Phase.HELD, "Suspended", 0, 0)
    assert go(held, seen(old=0, new=0, suspended=True), after=3600).state is held

    assert go(held, seen(old=0, new=0), after=3601).state.phase is Phase.PROVISIONING


def test_a_rollout_scaled_to_zero_is_held_for_that_reason_and_goes_on_with_its_pods():
    held = go(running(Phase.ANALYZING), seen(suspended=True, scaled_to_zero=True, replicas=0)).state
    assert (held.phase, held.reason, held.attempt.weight, held.applied_weight) == (Phase.HELD, "NoReplicas", 0, 0)
    assert held.message == "replicas is 0: held in Analyzing at 25%"

    assert go(held, seen(old=0, new=0), after=3601).state.phase is Phase.PROVISIONING


@pytest.mark.parametrize("phase", [Phase.STABLE, Phase.ROLLED_BACK, Phase.ROLLING_BACK])
def test_what_is_suspended_elsewhere_stands_still(phase):
    state = running(phase)

    assert go(state, seen(suspended=True), after=10**6).state is state


@pytest.mark.parametrize("phase", [Phase.HELD, Phase.STABLE_LOST])
def test_a_canary_is_not_blamed_for_the_pods_that_a_suspension_took(phase):
    held = settle(with_traffic(phase), seen(suspended=True))
    assert (held.phase, held.attempt.weight, held.applied_weight, held.attempt.resume) == (
        Phase.HELD,
        0,
        0,
        Phase.PROVISIONING,
    )

    assert go(held, seen(old=0, new=0), after=600).state.phase in (Phase.HELD, Phase.PROVISIONING)


def test_a_rollout_that_was_suspended_before_it_had_a_mode_needs_capacity_again():
    waiting = running(Phase.WAITING_FOR_CAPACITY, mode=None, surge=0, canary_replicas=0)

    assert go(waiting, seen(suspended=True)).state.attempt.resume is Phase.WAITING_FOR_CAPACITY


def test_a_canary_that_was_about_to_become_stable_does_so_when_it_is_suspended():
    state = running(Phase.PROMOTING, step=2, weight=100, applied_weight=100)

    assert go(state, seen(old=0, new=0, suspended=True)).state.stable == NEW


CHANGED = ObservedSplit(0, settled=False, foreign=True)


def test_a_rollout_is_held_if_the_weights_keep_being_changed():
    state = running(Phase.ANALYZING)
    for minute in range(3):
        state = record_conflicts(state, seen(split=CHANGED), NOW + timedelta(minutes=minute))
        assert record_conflicts(state, seen(split=CHANGED), NOW + timedelta(minutes=minute)) is state
    held = go(state, seen(), after=121).state

    assert (held.phase, held.reason, held.attempt.resume) == (Phase.HELD, "RouteConflict", Phase.ANALYZING)
    assert "3 times within 5m" in held.message
    assert go(held, seen(), after=10_000).state is held


def test_weights_that_are_changed_occasionally_are_reverted():
    state = running(Phase.ANALYZING)
    for minute in range(0, 30, 3):
        state = record_conflicts(state, seen(split=CHANGED), NOW + timedelta(minutes=minute))

    assert go(state, seen(), after=1800).state.phase is Phase.ANALYZING


GONE = track(0, OLD, asked=4)


def test_nothing_moves_to_a_stable_that_cannot_take_it():
    lost = go(running(Phase.ANALYZING), seen(old=GONE)).state
    assert (lost.phase, lost.reason, lost.attempt.weight) == (Phase.STABLE_LOST, "StableLost", 25)
    assert "0 ready pods and needs 3 for 75% of the traffic" in lost.message

    assert go(lost, seen(old=GONE), after=60).state is lost


def test_a_canary_that_carries_everything_takes_it_while_stable_is_gone_and_gives_it_back():
    state = running(Phase.ANALYZING, step=1, canary_replicas=4, weight=50, applied_weight=50)
    lost = settle(state, seen(old=GONE, new=4, split=ObservedSplit(100, settled=True)))
    assert (lost.phase, lost.attempt.weight) == (Phase.STABLE_LOST, 100)
    lost = settle(lost, seen(old=GONE, new=4, split=ObservedSplit(100, settled=True)), after=3)
    assert lost.applied_weight == 100
    back = go(lost, seen(old=4, new=4), after=60).state
    assert (back.phase, back.reason) == (Phase.PROVISIONING, "StableBack")

    assert go(back, seen(old=4, new=4), after=60).state.attempt.weight == 50


def test_a_pod_of_stable_that_is_missing_for_a_moment_is_no_loss():
    state = running(Phase.ANALYZING)

    assert go(state, seen(old=track(2, OLD, asked=4))).state is state
    assert go(state, seen(old=track(2, OLD, asked=4, unsteady="not ready for 60 s"))).state.phase is Phase.STABLE_LOST


def test_a_rollout_that_was_held_is_held_again_when_stable_is_back():
    lost = go(HELD, seen(old=GONE)).state
    assert (lost.phase, lost.attempt.resume) == (Phase.STABLE_LOST, Phase.HELD)
    held = go(lost, seen(), after=60).state

    assert (held.phase, held.attempt.resume) == (Phase.HELD, Phase.PROVISIONING)
    assert go(held, seen(), after=600).state is held


def test_before_it_has_traffic_a_canary_does_not_keep_stable_from_being_replaced():
    asking = running(Phase.VERIFYING, verified=False)

    assert go(asking, seen(old=GONE)).state is asking


def test_one_more_replica_is_given_to_both_and_none_is_taken_away():
    state = go(but(running(Phase.ANALYZING), canary_replicas=1), seen(replicas=8)).state
    assert (state.replicas, state.attempt.canary_replicas) == (8, 2)

    assert go(state, seen(replicas=2), after=1).state is state
    assert state.canary == NEW


def test_a_hold_for_want_of_requests_ends_by_itself_when_they_come_and_keeps_them():
    few = plan(25, 50, analysis={"windows": 3, "maxWindows": 5, "minRequests": 500})
    state = running(Phase.ANALYZING, plan=few)
    ends = []
    for number in range(1, 10):
        look = window(30.0 * number, requests=4000)
        if number < 6:
            nobody = {name: RevisionCounts({name: PodCounts(0, 0)}) for name in ("canary", "stable")}
            look = replace(look, **nobody)
        state = go(state, seen(evidence=evidence(state, window=look)), after=30.0 * number + 1).state
        ends.append((state.phase, state.reason))

    assert ends[4:8] == [(Phase.HELD, "TooFewRequests")] * 3 + [(Phase.ANALYZING, "Resumed")]
    assert state.phase is Phase.PROVISIONING
    assert state.attempt.step == 1
