"""Where no rollout is under way: the first revision, a stable one, and one that was taken back."""

from datetime import timedelta

import pytest

from tests.unit.plan.rollout.stage import CRASHING, NEW, NO_GPU, NOW, OLD, THIRD, go, plan, policy, seen, track
from tritonfleet.api.canary import Canary
from tritonfleet.plan.rollout import Phase, Rejection, Standby, State

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


def test_nothing_is_compared_with_a_stable_that_has_no_ready_pod():
    found = go(SERVES, seen(old=track(0, OLD, asked=4))).state

    assert found.attempt.plan.steps == ()
    assert found.attempt.plan.verification.contract == "Off"
    assert "no ready pod" in found.message


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
