"""How a rollout ends: promoted, or taken back."""

from datetime import timedelta

import pytest

from tests.unit.plan.rollout.stage import (
    NEW,
    NO_GPU,
    NOW,
    OLD,
    THIRD,
    but,
    go,
    policy,
    running,
    seen,
    settle,
    track,
)
from tritonfleet.plan.rollout import TRAITS, Phase, Rejection, Standby
from tritonfleet.plan.rollout.inputs import ObservedSplit

DONE = running(Phase.PROMOTING, step=2, canary_replicas=4, weight=100, applied_weight=100)
BACK = running(
    Phase.ROLLING_BACK,
    canary_replicas=2,
    weight=0,
    applied_weight=50,
    rejecting=True,
    reason="Worse",
    message="canary 5.0%",
)
BEFORE_PROMOTION = [phase for phase in Phase if TRAITS[phase].before_promotion]
ZERO = ObservedSplit(0, settled=True)


def test_a_canary_with_all_traffic_and_all_pods_becomes_stable_and_the_old_one_is_on_standby():
    found = go(DONE, seen(new=4), after=1)
    state = found.state

    assert (state.phase, state.stable, state.attempt, state.reason) == (Phase.STABLE, NEW, None, "Promoted")
    assert state.standby == Standby(OLD, NOW + timedelta(seconds=601), 4)
    assert "is serving with 4 ready pods; keeping 4 pods of revision 1" in state.message
    assert found.events[0].type == "Normal"


def test_no_canary_is_promoted_with_fewer_pods_than_desired():
    state = go(DONE, seen(new=4, replicas=6)).state
    assert (state.phase, state.replicas, state.attempt.canary_replicas) == (Phase.PROMOTING, 6, 6)
    assert go(state, seen(new=5, replicas=6), after=1).state is state

    assert go(state, seen(new=6, replicas=6), after=2).state.stable == NEW


def test_a_wish_for_more_pods_that_was_given_up_holds_up_nothing():
    state = go(DONE, seen(new=4, replicas=6)).state

    assert go(state, seen(new=4, replicas=4), after=1).state.phase is Phase.STABLE


def test_pods_that_find_no_place_hold_up_nothing_for_those_that_stand_by_may_have_it():
    crowded = track(4, asked=6, finding=NO_GPU)

    assert go(DONE, seen(new=crowded, replicas=6)).state.stable == NEW


@pytest.mark.parametrize(
    ("changes", "inputs"),
    [({"mode": "InPlace", "surge": 0}, {}), ({}, {"policy": policy(25, rollout={"stableRetention": "0s"})})],
)
def test_nothing_is_on_standby_where_there_is_no_room_or_no_wish_for_it(changes, inputs):
    state = go(but(DONE, **changes), seen(new=4, old=0, **inputs)).state

    assert (state.phase, state.stable, state.standby) == (Phase.STABLE, NEW, None)


def test_a_canary_that_breaks_before_it_is_stable_still_goes_back():
    state = go(DONE, seen(new=track(4, unsteady="it ended"))).state

    assert (state.phase, state.stable, state.attempt.weight) == (Phase.ROLLING_BACK, OLD, 0)


def test_another_wish_waits_until_the_canary_is_stable():
    assert go(DONE, seen(new=4, target=THIRD, third=0)).state.stable == NEW


FLIPPING = but(DONE, stable=NEW, canary=OLD, weight=100, applied_weight=0)


def test_going_back_to_the_retained_revision_counts_when_it_is_in_force():
    inputs = seen(old=4, new=4, target=OLD, split=ObservedSplit(100, settled=True))
    assert go(FLIPPING, seen(old=4, new=4, target=OLD, split=ObservedSplit(0, settled=False))).state is FLIPPING
    state = settle(settle(FLIPPING, inputs), inputs, after=3)

    assert (state.phase, state.stable, state.standby.revision) == (Phase.STABLE, OLD, NEW)


def test_a_promoted_revision_that_broke_is_rejected_when_the_old_one_serves_again():
    broke = but(FLIPPING, rejecting=True, applied_weight=100, reason="PromotedRevisionFailed", message="it ended")
    found = go(broke, seen(old=4, new=2))
    state = found.state

    assert (state.phase, state.stable, state.standby) == (Phase.ROLLED_BACK, OLD, None)
    assert state.rejected == (Rejection(NEW, "PromotedRevisionFailed", "it ended", NOW),)
    assert found.events[0].type == "Warning"


def test_a_canary_keeps_its_pods_until_its_traffic_is_gone():
    assert go(BACK, seen(new=2, split=ObservedSplit(50, settled=False))).state is BACK
    accepted = go(BACK, seen(new=2, split=ZERO)).state
    assert accepted.applied_weight == 50
    gone = go(accepted, seen(new=2, split=ZERO), after=3).state

    assert (gone.phase, gone.applied_weight) == (Phase.ROLLING_BACK, 0)
    assert go(gone, seen(new=2, split=ZERO), after=4).state is gone


def test_what_failed_is_remembered_with_its_reason_and_stable_serves():
    found = go(but(BACK, applied_weight=0), seen(new=0))
    state = found.state

    assert (state.phase, state.stable, state.canary, state.reason) == (Phase.ROLLED_BACK, OLD, "", "Worse")
    assert state.rejected == (Rejection(NEW, "Worse", "canary 5.0%", NOW),)
    assert "revision 1 has all traffic (4 ready pods); revision 2 was rolled back" in state.message
    assert found.events[0].type == "Warning"


def test_only_the_last_five_rejections_are_remembered():
    earlier = tuple(Rejection(f"{number:010}", "Worse", "", NOW) for number in range(5))
    state = go(but(BACK, applied_weight=0, rejected=earlier), seen(new=0)).state

    assert [each.revision for each in state.rejected] == [*(each.revision for each in earlier[1:]), NEW]


def test_what_was_only_superseded_is_not_held_against_it():
    state = go(but(BACK, applied_weight=0, rejecting=False, reason="Superseded"), seen(new=0)).state

    assert (state.phase, state.rejected, state.reason) == (Phase.STABLE, (), "Superseded")


def test_a_stable_that_was_shrunk_takes_the_traffic_back_pod_by_pod():
    state = running(Phase.ANALYZING, mode="InPlace", surge=0, step=2, canary_replicas=4, weight=100, applied_weight=100)
    state = go(state, seen(old=0, new=4, target=OLD)).state
    assert (state.phase, state.attempt.weight) == (Phase.ROLLING_BACK, 100)
    assert go(state, seen(old=0, new=3, target=OLD), after=1).state is state
    state = go(state, seen(old=1, new=3, target=OLD), after=2).state
    assert state.attempt.weight == 67

    assert go(state, seen(old=3, new=1, target=OLD), after=3).state.attempt.weight == 0


def test_a_rollback_that_has_to_wait_for_pods_says_for_how_many_and_how_long():
    state = running(Phase.ANALYZING, mode="InPlace", surge=0, weight=50, applied_weight=50, canary_replicas=2)
    inputs = seen(old=track(2, OLD, ready_seconds=45.4), new=2, target=OLD)
    says = "; restarting 2 pods of revision 1; a pod takes about 45s to become ready, 91s for 2 in sequence"

    assert says in go(state, inputs).state.message


def test_a_weight_that_may_be_in_force_already_counts_until_it_is_known_not_to_be():
    state = go(running(Phase.SHIFTING, weight=50, applied_weight=25), seen(new=2, target=OLD)).state

    assert (state.attempt.weight, state.applied_weight) == (0, 50)


@pytest.mark.parametrize("phase", BEFORE_PROMOTION)
@pytest.mark.parametrize(("target", "reason"), [(OLD, "Reverted"), (THIRD, "Superseded")])
def test_a_superseded_canary_is_rolled_back_from_every_phase_and_not_rejected(phase, target, reason):
    state = go(running(phase), seen(target=target)).state

    assert (state.phase, state.reason, state.attempt.rejecting, state.canary) == (
        Phase.ROLLING_BACK,
        reason,
        False,
        NEW,
    )
    done = settle(
        settle(state, seen(new=0, target=target, split=ZERO)), seen(new=0, target=target, split=ZERO), after=3
    )
    assert (done.stable, done.rejected) == (OLD, ())
    assert done.phase is (Phase.STABLE if target == OLD else Phase.PROVISIONING)


def test_history_holds_the_last_twenty_transitions_the_newest_first():
    state = running(Phase.HELD, reason="PausedBySpec", message="paused")
    for turn in range(30):
        paused = policy(25, rollout={"paused": bool(turn % 2)})
        state = go(state, seen(policy=paused, split=ObservedSplit(25, settled=True)), after=turn).state

    assert len(state.history) == 20
    assert state.history[0].at == NOW + timedelta(seconds=29)
    assert state.history[0].target is state.phase
