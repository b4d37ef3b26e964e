"""Where no rollout is under way: the first revision, a stable one, and one that was taken back."""

from datetime import timedelta

import pytest

from tests.unit.plan.rollout.stage import (
    CRASHING,
    NEW,
    NO_GPU,
    NOW,
    OLD,
    THIRD,
    go,
    plan,
    policy,
    seen,
    settle,
    track,
    window,
)
from tritonfleet.api.canary import Canary
from tritonfleet.plan.rollout import Phase, Rejection, Standby, State, restore_state, rollout_document
from tritonfleet.plan.rollout.analysis import Evidence

SERVES = State(phase=Phase.STABLE, entered_at=NOW, stable=OLD, replicas=4, reason="Serves", message="it serves")
REJECTED = (Rejection(NEW, "Worse", "error rate 5.0%", NOW),)
RETAINED = State(
    phase=Phase.STABLE,
    entered_at=NOW,
    reason="Promoted",
    stable=NEW,
    standby=Standby(OLD, NOW + timedelta(minutes=10), 4),
    replicas=4,
)


def test_the_first_revision_serves_when_all_its_pods_are_ready_and_not_before():
    state = State(entered_at=NOW)
    state = go(state, seen(old=None, new=track(0, asked=4))).state
    assert (state.phase, state.canary, state.reason) == (Phase.INITIALIZING, NEW, "Starting")
    assert go(state, seen(old=None, new=track(3, asked=4))).state is state
    found = go(state, seen(old=None, new=4))

    assert (found.state.phase, found.state.stable, found.state.canary) == (Phase.STABLE, NEW, "")
    assert "4/4 pods ready" in found.state.message


def test_a_serving_target_revision_causes_no_changes():
    assert go(SERVES, seen(target=OLD)).state is SERVES


def test_a_spec_that_cannot_be_rendered_changes_nothing():
    assert go(SERVES, seen(target="")).state is SERVES


def test_another_revision_begins_a_rollout_whose_plan_is_pinned():
    state = go(SERVES, seen(new=None)).state

    assert (state.phase, state.canary, state.attempts, state.reason) == (Phase.ADMITTING, NEW, 1, "NewRevision")
    assert state.attempt.plan == Canary.model_validate(plan(25, 50))
    assert (state.attempt.weight, state.attempt.step, state.attempt.canary_replicas) == (0, 0, 0)


def test_a_rejected_revision_is_not_retried_by_itself():
    rejected = State(phase=Phase.STABLE, stable=OLD, replicas=4, reason="Reverted", rejected=REJECTED)
    state = go(rejected, seen()).state
    assert (state.phase, state.reason) == (Phase.ROLLED_BACK, "Rejected")

    assert go(state, seen()).state is state


def test_after_a_rollback_another_revision_is_tried_and_stable_is_simply_stable():
    state = State(phase=Phase.ROLLED_BACK, stable=OLD, replicas=4, reason="Worse", rejected=REJECTED)

    assert go(state, seen(target=THIRD, third=0)).state.phase is Phase.ADMITTING
    back = go(state, seen(target=OLD)).state
    assert (back.phase, back.reason, back.rejected) == (Phase.STABLE, "Reverted", REJECTED)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [({"policy": policy(25, rollout={"paused": True})}, "PausedBySpec"), ({"replicas": 0}, "NoReplicas")],
)
def test_a_rollout_that_may_not_begin_says_why(inputs, reason):
    state = go(SERVES, seen(**inputs)).state
    assert (state.phase, state.reason) == (Phase.STABLE, reason)
    assert "not started" in state.message

    assert go(state, seen(target=OLD)).state.reason == "Serves"


def test_a_revision_asked_for_by_name_is_verified_and_takes_no_steps():
    state = go(SERVES, seen(older=True)).state

    assert state.reason == "OlderRevision"
    assert state.attempt.plan == Canary.model_validate(plan(analysis={"bakeTime": "0s"}))


def test_a_stable_that_has_just_been_scaled_up_gets_a_pod_before_another_revision_is_compared_with_it():
    starting = seen(old=track(0, OLD, asked=4))
    waiting = settle(SERVES, starting)
    assert (waiting.phase, waiting.reason) == (Phase.ADMITTING, "StableNotReady")
    assert waiting.message == "waiting for a ready pod of revision 1 to compare with"
    assert go(waiting, starting, after=600).state is waiting

    found = go(waiting, seen(old=track(1, OLD, asked=4)), after=600).state
    assert (found.phase, len(found.attempt.plan.steps)) == (Phase.PROVISIONING, 2)


@pytest.mark.parametrize(
    ("broken", "after"),
    [
        ({"finding": CRASHING}, 1),
        ({"finding": NO_GPU}, 1),
        ({"unsteady": "pod 'm-1' has not been ready for 60s"}, 1),
        ({}, 901),
    ],
)
def test_nothing_is_compared_with_a_stable_that_gets_no_ready_pod_but_the_bake_time_remains(broken, after):
    inputs = seen(old=track(0, OLD, asked=4, **broken))
    found = go(go(SERVES, inputs).state, inputs, after=after).state

    assert (found.phase, found.attempt.plan.steps) == (Phase.PROVISIONING, ())
    assert found.attempt.plan.analysis.bake_time == "20s"
    assert found.attempt.plan.verification.contract == "Off"
    assert found.message.endswith("; without steps: revision 1 has no ready pod to compare it with")


def test_within_retention_going_back_is_a_change_of_weight_alone():
    state = go(RETAINED, seen(target=OLD, old=4, new=4)).state

    assert (state.phase, state.canary, state.attempt.weight, state.reason) == (
        Phase.PROMOTING,
        OLD,
        100,
        "RetainedRevision",
    )
    assert not state.attempt.rejecting


def test_within_retention_a_promoted_revision_that_breaks_goes_back_by_itself():
    broken = track(2, asked=4, unsteady="container 'triton' of pod 'm-1' ended (OOMKilled)")
    state = go(RETAINED, seen(old=4, new=broken)).state

    assert (state.phase, state.canary, state.attempt.rejecting) == (Phase.PROMOTING, OLD, True)
    assert "OOMKilled" in state.message


def test_a_revision_that_has_fewer_pods_left_than_the_broken_one_does_not_take_over():
    broken = track(3, asked=4, unsteady="restarted")

    assert go(RETAINED, seen(old=2, new=broken)).state is RETAINED


def after_promotion(errors, *, end=60.0, requests=2000, old=4):
    """Return what is seen of a promoted revision, NEW, in a window."""
    look = window(end, errors=errors, share=1.0, requests=requests)
    return seen(old=old, new=4, evidence=Evidence(NEW, RETAINED.attempts, -1, window=look))


def test_within_retention_a_promoted_revision_whose_requests_fail_is_taken_back():
    watched = go(RETAINED, after_promotion(2), after=61).state
    assert (watched.phase, watched.standby.analysis.windows) == (Phase.STABLE, 1)
    assert restore_state(rollout_document(watched, "shop")).standby == watched.standby
    assert go(watched, after_promotion(2), after=62).state is watched

    state = go(watched, after_promotion(1200, end=120.0), after=121).state
    assert (state.phase, state.reason, state.stable, state.canary) == (
        Phase.ROLLING_BACK,
        "PromotedRevisionFailed",
        OLD,
        NEW,
    )
    assert (state.attempt.weight, state.attempt.applied_weight, state.attempt.rejecting) == (0, 100, True)
    assert state.message.startswith("revision 2 fails after its promotion: error rate above the hard limit: canary ")


def test_traffic_returns_to_the_retained_pods_as_far_as_they_can_serve_it():
    few = go(RETAINED, after_promotion(1200, old=track(1, OLD, asked=1)), after=61).state

    assert (few.phase, few.attempt.weight) == (Phase.ROLLING_BACK, 75)


@pytest.mark.parametrize(
    "given",
    [
        {"errors": 300},
        {"errors": 1200, "end": 0.0},
        {"errors": 12, "requests": 20, "old": track(0, OLD, asked=0)},
    ],
    ids=["15%", "a window of the bake time", "nothing is retained"],
)
def test_a_promoted_revision_is_not_taken_back_for_less(given):
    assert go(RETAINED, after_promotion(**given), after=61).state.phase is Phase.STABLE


def test_after_retention_a_promoted_revision_that_breaks_has_nothing_to_go_back_to():
    found = go(RETAINED, seen(old=4, new=4), after=600).state
    assert (found.phase, found.standby) == (Phase.STABLE, None)

    assert go(found, seen(old=None, new=track(0, asked=4, finding=CRASHING)), after=601).state is found


def test_the_retained_revision_makes_room_for_stable_to_grow():
    crowded = track(4, asked=6, finding=NO_GPU)

    assert go(RETAINED, seen(old=4, new=crowded, replicas=6)).state.standby is None


def test_going_back_after_retention_is_a_rollout():
    state = go(go(RETAINED, seen(old=4, new=4), after=601).state, seen(target=OLD, old=0, new=4), after=602).state

    assert (state.phase, state.canary) == (Phase.ADMITTING, OLD)


def test_the_end_of_retention_is_looked_at_in_time():
    assert go(RETAINED, seen(old=4, new=4), after=540).wait_seconds == 60
