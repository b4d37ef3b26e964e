"""What people ask for is carried out or refused, once, and told with who asked and when."""

import pytest

from tests.unit.plan.rollout.stage import (
    NEW,
    NOW,
    OLD,
    THIRD,
    but,
    go,
    gpus,
    plan,
    policy,
    running,
    seen,
    track,
)
from tritonfleet.api.canary import Canary
from tritonfleet.plan.rollout import TRAITS, Attempt, Phase, Rejection, Request, State, Verb

AT = "2026-01-01T12:00:00Z"
SERVES = State(phase=Phase.STABLE, entered_at=NOW, stable=OLD, replicas=4, reason="Serves", message="it serves")
AWAITING = running(Phase.AWAITING_APPROVAL)
BEFORE_PROMOTION = [phase for phase in Phase if TRAITS[phase].before_promotion]


def asked(verb, revision=NEW, step=None, **inputs):
    return seen(requests=(Request(verb, revision, step, by="ann", at=AT),), **inputs)


def refused(state, inputs):
    found = go(state, inputs)
    assert found.state == but(state, consumed=found.state.consumed)
    assert len(found.state.consumed) == 1
    assert (found.events[0].type, found.events[0].reason) == ("Warning", "RequestRefused")
    assert "RequestRefused" not in [event.reason for event in go(found.state, inputs).events]
    return found.events[0].message


@pytest.mark.parametrize("phase", BEFORE_PROMOTION)
def test_an_abort_rolls_the_canary_back_from_everywhere_and_rejects_it(phase):
    found = go(running(phase), asked(Verb.ABORT))

    assert (found.state.phase, found.state.reason, found.state.attempt.rejecting) == (
        Phase.ROLLING_BACK,
        "Aborted",
        True,
    )
    assert f"by ann at {AT}" in found.state.message
    assert found.events[0].message == f"Abort of revision 2 requested by ann at {AT}: accepted"
    assert found.state.consumed == (f"abort={NEW}@{AT}",)


def test_an_abort_during_a_rollback_only_rejects():
    state = go(running(Phase.ROLLING_BACK, reason="Superseded", weight=0, applied_weight=25), asked(Verb.ABORT)).state

    assert (state.phase, state.attempt.rejecting) == (Phase.ROLLING_BACK, True)


def test_an_abort_after_the_point_of_no_return_says_what_to_do_instead():
    assert "rollback-to" in refused(running(Phase.PROMOTING, weight=0), asked(Verb.ABORT))
    assert "no rollout is in progress" in refused(SERVES, asked(Verb.ABORT, target=OLD))


@pytest.mark.parametrize("verb", [Verb.ABORT, Verb.PAUSE, Verb.RESUME, Verb.PROMOTE])
@pytest.mark.parametrize(("revision", "why"), [(OLD, "the canary is another revision"), ("f" * 10, "there is no")])
def test_what_means_another_revision_is_refused_once(verb, revision, why):
    assert why in refused(AWAITING, asked(verb, revision))


def test_a_revision_may_be_named_by_its_number():
    assert go(AWAITING, asked(Verb.ABORT, "2")).state.phase is Phase.ROLLING_BACK


def test_unreadable_input_is_rejected_with_the_parsers_message():
    broken = Request(Verb.ABORT, "!1", problem="annotation tritonfleet.dev/abort is 'x': must name a revision")

    assert broken.problem in refused(AWAITING, seen(requests=(broken,)))


def test_an_approval_lets_its_step_go_on_and_no_other():
    assert "at step 1, not 2" in refused(AWAITING, asked(Verb.APPROVE, step=2))
    state = go(AWAITING, asked(Verb.APPROVE, step=1)).state

    assert (state.phase, state.attempt.step, state.reason) == (Phase.PROVISIONING, 1, "Approved")


def test_an_approval_after_the_last_step_promotes():
    last = but(AWAITING, step=2, weight=100, applied_weight=100)

    assert go(last, asked(Verb.APPROVE, step=3, new=4)).state.phase is Phase.PROMOTING


def test_an_approval_settles_what_the_analysis_could_not():
    held = running(Phase.HELD, reason="TooFewRequests", message="12 requests")
    state = go(held, asked(Verb.APPROVE, step=1)).state

    assert (state.phase, state.attempt.step, state.attempt.resume) == (Phase.PROVISIONING, 1, None)
    assert "12 requests" in state.message


@pytest.mark.parametrize("reason", ["Paused", "RouteConflict", "RollbackUnsafe"])
def test_an_approval_settles_no_other_hold(reason):
    held = running(Phase.HELD, reason=reason, message="held")

    assert "no step is waiting" in refused(held, asked(Verb.APPROVE, step=1))


@pytest.mark.parametrize("phase", [phase for phase in Phase if TRAITS[phase].can_hold])
def test_a_pause_holds_the_rollout_and_a_resume_lets_it_go_on(phase):
    held = go(running(phase), asked(Verb.PAUSE)).state
    assert (held.phase, held.reason, held.attempt.resume) == (Phase.HELD, "Paused", phase)
    assert "paused by ann" in held.message
    state = go(held, asked(Verb.RESUME)).state

    assert (state.phase, state.attempt.resume, state.reason) == (phase, None, "Resumed")


def test_a_pause_of_what_is_held_keeps_it_held_when_the_cause_is_over():
    held = running(Phase.HELD, reason="PausedBySpec", message="by the field")
    state = go(held, asked(Verb.PAUSE, policy=policy(25, rollout={"paused": True}))).state

    assert state.reason == "Paused"
    assert go(state, seen(), after=60).state is state


def test_a_resume_does_not_overrule_the_field():
    held = running(Phase.HELD, reason="PausedBySpec", message="by the field")
    paused = policy(25, rollout={"paused": True})

    assert "spec.rollout.paused is set" in refused(held, asked(Verb.RESUME, policy=paused))
    assert "not held" in refused(AWAITING, asked(Verb.RESUME))


def test_promote_goes_straight_to_everything_without_further_analysis():
    state = go(AWAITING, asked(Verb.PROMOTE)).state

    assert (state.phase, state.reason, state.attempt.step, state.attempt.canary_replicas) == (
        Phase.PROVISIONING,
        "PromoteRequested",
        0,
        4,
    )
    assert state.attempt.plan.steps == ()
    assert (state.attempt.weight, state.applied_weight) == (25, 25)


def test_promote_does_not_skip_the_questions():
    fresh = running(Phase.PROVISIONING, verified=False)
    state = go(fresh, asked(Verb.PROMOTE)).state
    assert (state.phase, state.attempt.canary_replicas, state.attempt.verified) == (Phase.PROVISIONING, 4, False)

    assert go(state, seen(new=4)).state.phase is Phase.VERIFYING


def test_promote_of_what_is_held_for_room_still_needs_capacity():
    held = running(
        Phase.HELD,
        mode=None,
        surge=0,
        canary_replicas=0,
        weight=0,
        applied_weight=0,
        reason="NoCapacity",
        resume=Phase.WAITING_FOR_CAPACITY,
    )
    inputs = asked(Verb.PROMOTE, new=0, gpus_per_pod=1, headroom=gpus(0))

    assert go(held, inputs).state.phase is Phase.WAITING_FOR_CAPACITY


def test_promote_saves_users_whose_stable_is_gone():
    lost = running(Phase.STABLE_LOST, resume=Phase.PROVISIONING)
    state = go(lost, asked(Verb.PROMOTE, old=track(0, OLD, asked=4))).state
    assert (state.phase, state.attempt.canary_replicas) == (Phase.PROVISIONING, 4)
    assert go(state, seen(old=track(0, OLD, asked=4), new=track(2, asked=4))).state is state

    assert go(state, seen(old=track(0, OLD, asked=4), new=4)).state.attempt.weight == 100


def test_promote_is_refused_where_there_is_nothing_to_promote():
    assert "nothing to promote" in refused(running(Phase.ADMITTING, verified=False), asked(Verb.PROMOTE))
    assert "paused" in refused(AWAITING, asked(Verb.PROMOTE, policy=policy(25, rollout={"paused": True})))


def test_a_retry_lifts_the_rejection_of_the_specs_revision():
    rejected = State(
        phase=Phase.ROLLED_BACK,
        stable=OLD,
        replicas=4,
        reason="Worse",
        rejected=(Rejection(NEW, "Worse", "", NOW), Rejection(THIRD, "Worse", "", NOW)),
    )
    state = go(rejected, asked(Verb.RETRY, "again")).state
    assert [each.revision for each in state.rejected] == [THIRD]
    assert go(state, seen()).state.phase is Phase.ADMITTING

    assert "not rejected" in refused(SERVES, asked(Verb.RETRY, "again", target=OLD))


def test_rollback_to_serves_an_older_revision_until_the_spec_asks_for_something_new():
    serves = but(SERVES, stable=NEW)
    state = go(serves, asked(Verb.ROLLBACK_TO, "1", old=0, new=4)).state
    assert (state.override, state.override_of) == (OLD, NEW)
    begun = go(state, seen(old=0, new=4)).state
    assert (begun.phase, begun.canary, begun.reason) == (Phase.ADMITTING, OLD, "OlderRevision")
    assert begun.attempt.plan == Canary.model_validate(plan(analysis={"bakeTime": "0s"}))
    found = go(but(state, stable=OLD), seen(old=4, new=0, target=THIRD, third=0))

    assert (found.state.override, found.state.canary) == ("", THIRD)
    assert found.events[0].reason == "OverrideEnded"


def test_rollback_to_stable_during_a_rollout_rolls_the_canary_back():
    state = go(AWAITING, asked(Verb.ROLLBACK_TO, OLD)).state

    assert go(state, seen()).state.reason == "Reverted"


def test_rollback_to_what_the_spec_asks_for_ends_the_override():
    overridden = but(SERVES, override=OLD, override_of=NEW)
    state = go(overridden, asked(Verb.ROLLBACK_TO, NEW)).state

    assert (state.override, state.override_of) == ("", "")


def test_rollback_to_is_refused_with_its_reason():
    rejected = but(SERVES, rejected=(Rejection(NEW, "Worse", "", NOW),))

    assert "there is no revision" in refused(SERVES, asked(Verb.ROLLBACK_TO, "f" * 10, target=OLD))
    assert "already the requested revision" in refused(SERVES, asked(Verb.ROLLBACK_TO, OLD, target=OLD))
    assert "was rejected" in refused(rejected, asked(Verb.ROLLBACK_TO, NEW, target=OLD))
    assert "no revision has served" in refused(
        State(attempt=Attempt(canary=NEW), reason="Starting"), asked(Verb.ROLLBACK_TO, OLD)
    )


def test_a_request_that_was_answered_is_not_answered_again():
    state = go(AWAITING, asked(Verb.PAUSE)).state
    resumed = go(state, seen()).state

    assert go(resumed, asked(Verb.PAUSE)) == go(resumed, seen())


def test_a_broken_override_is_given_up():
    state = running(
        Phase.ROLLING_BACK,
        canary=OLD,
        stable=NEW,
        override=OLD,
        override_of=NEW,
        weight=0,
        applied_weight=0,
        rejecting=True,
    )
    state = go(but(state, reason="CanaryUnsteady"), seen(old=0, new=4)).state

    assert (state.phase, state.override) == (Phase.ROLLED_BACK, "")
    assert go(state, seen(old=0, new=4)).state.phase is Phase.STABLE
