"""The canary's pods, and what they are asked before any user asks them."""

import pytest

from tests.unit.plan.rollout.stage import CRASHING, OLD, but, evidence, go, plan, running, seen, track
from tritonfleet.api.conditions import Reason
from tritonfleet.plan.pods import Finding
from tritonfleet.plan.rollout import Phase
from tritonfleet.plan.rollout.analysis import CheckResult, Outcome, Verification, Why

FIRST = running(Phase.PROVISIONING, verified=False)
ASKING = running(Phase.VERIFYING, verified=False)
NOT_PULLED = Finding(Reason.IMAGE_PULL_FAILED, "cannot pull image 'triton:1': not found")
LOADING = Finding(Reason.MODEL_LOAD_FAILED, "no such op", stalled=True)


def answered(outcome, check="contract", pods=1, state=ASKING, **more):
    said = CheckResult(check, outcome, Why.NOT_WORSE, f"{check} says so")
    return seen(evidence=evidence(state, verification=Verification(outcome, (said,), pods)), **more)


def test_pods_that_start_are_waited_for_until_the_deadline():
    found = go(FIRST, seen(new=track(0, asked=1)), after=60)

    assert found.state is FIRST
    assert found.wait_seconds == 14 * 60


def test_the_first_pods_are_asked_before_they_get_anything():
    state = go(FIRST, seen()).state

    assert (state.phase, state.attempt.weight) == (Phase.VERIFYING, 0)


def test_where_nothing_is_to_be_asked_the_weight_follows_at_once():
    silent = but(FIRST, plan=plan(25, verification={"contract": "Off"}))
    state = go(silent, seen()).state

    assert (state.phase, state.attempt.weight, state.attempt.verified) == (Phase.SHIFTING, 25, True)


def test_later_pods_get_their_weight_without_being_asked_again():
    later = running(Phase.PROVISIONING, step=1, canary_replicas=2, weight=25, applied_weight=25)
    state = go(later, seen(new=2)).state

    assert (state.phase, state.attempt.weight, state.applied_weight) == (Phase.SHIFTING, 50, 25)


@pytest.mark.parametrize(
    ("old", "more", "opening"),
    [(4, {}, True), (0, {}, False), (4, {"by_gateway": False}, False)],
    ids=["a gateway", "nobody else answers", "no gateway"],
)
def test_the_way_to_a_canary_is_made_first_where_a_gateway_has_to_learn_it(old, more, opening):
    state = running(Phase.PROVISIONING, weight=0, applied_weight=0)
    assert go(state, seen(old=old, new=4, **more)).state.attempt.opening is opening


@pytest.mark.parametrize("applied", [0, 25])
def test_the_way_to_a_canary_that_was_given_a_share_is_there(applied):
    state = running(Phase.PROVISIONING, step=1, weight=25, applied_weight=applied, canary_replicas=2)
    assert not go(state, seen(new=2)).state.attempt.opening


def test_no_weight_moves_while_stable_is_too_small_for_the_rest():
    state = running(Phase.PROVISIONING)

    assert go(state, seen(old=track(2, OLD, asked=4))).state is state


def test_in_place_a_part_of_the_weight_moves_first():
    state = running(Phase.PROVISIONING, mode="InPlace", surge=0, canary_replicas=2, plan=plan(50))
    found = go(state, seen(old=3, new=1)).state

    assert (found.phase, found.attempt.weight) == (Phase.SHIFTING, 33)


@pytest.mark.parametrize(
    ("finding", "after", "reason"),
    [(CRASHING, 0, "CrashLooping"), (LOADING, 0, "ModelLoadFailed"), (NOT_PULLED, 60, "ImagePullFailed")],
)
def test_a_canary_that_will_not_start_goes_back_with_its_own_reason(finding, after, reason):
    state = go(FIRST, seen(new=track(0, asked=1, finding=finding)), after=after).state

    assert (state.phase, state.reason, state.attempt.rejecting) == (Phase.ROLLING_BACK, reason, True)
    assert finding.message in state.message


def test_a_registry_that_is_away_for_a_moment_is_forgiven():
    assert go(FIRST, seen(new=track(0, asked=1, finding=NOT_PULLED)), after=59).state is FIRST


def test_a_canary_that_is_not_ready_in_time_goes_back():
    state = go(FIRST, seen(new=track(0, asked=1)), after=15 * 60).state

    assert (state.phase, state.reason) == (Phase.ROLLING_BACK, "ProgressDeadlineExceeded")
    assert "0/1 pods ready after 15m" in state.message


def test_a_pod_of_stable_that_does_not_end_holds_the_rollout_and_costs_no_second_one():
    state = running(Phase.PROVISIONING, mode="InPlace", surge=0)
    inputs = seen(old=track(3, OLD, existing=4), new=0)
    held = go(state, inputs, after=15 * 60).state
    assert (held.phase, held.reason) == (Phase.HELD, "StablePodsRemain")
    assert go(held, inputs, after=16 * 60).state is held

    assert go(held, seen(old=3, new=0), after=17 * 60).state.phase is Phase.PROVISIONING


def test_a_stable_that_stays_too_small_holds_the_rollout():
    state = running(Phase.PROVISIONING)
    held = go(state, seen(old=track(2, OLD, asked=4)), after=15 * 60).state
    assert (held.phase, held.reason) == (Phase.HELD, "StableNotReady")

    assert go(held, seen(), after=16 * 60).state.phase is Phase.PROVISIONING


def test_a_canary_that_answers_right_gets_its_first_users():
    state = go(ASKING, answered(Outcome.PASSED)).state

    assert (state.phase, state.attempt.weight, state.attempt.verified, state.reason) == (
        Phase.SHIFTING,
        25,
        True,
        "Verified",
    )
    assert [check["check"] for check in state.verification] == ["contract"]
    assert "1 check passed on 1 pod" in state.message


def test_pods_that_were_lost_while_it_was_asked_are_waited_for_again():
    state = go(ASKING, answered(Outcome.PASSED, old=track(2, OLD, asked=4))).state

    assert (state.phase, state.attempt.verified) == (Phase.PROVISIONING, True)


@pytest.mark.parametrize(("check", "reason"), [("contract", "ContractBroken"), ("golden-requests", "GoldenFailed")])
def test_a_canary_that_answers_wrong_never_gets_a_user(check, reason):
    state = go(ASKING, answered(Outcome.FAILED, check)).state

    assert (state.phase, state.reason, state.attempt.rejecting, state.attempt.weight) == (
        Phase.ROLLING_BACK,
        reason,
        True,
        0,
    )
    assert f"{check} says so" in state.message


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.INCONCLUSIVE])
def test_a_canary_that_cannot_be_asked_is_no_pass_and_no_rollback(outcome):
    inputs = answered(outcome)
    state = go(ASKING, inputs, after=60).state
    assert (state.phase, len(state.verification)) == (Phase.VERIFYING, 1)
    assert go(state, inputs, after=120).state is state
    held = go(state, inputs, after=15 * 60).state

    assert (held.phase, held.reason) == (Phase.HELD, "VerificationUnanswered")


def test_an_answer_of_no_pod_or_of_another_attempt_is_no_answer():
    other = running(Phase.VERIFYING, attempts=7)

    assert go(ASKING, answered(Outcome.PASSED, pods=0)).state.phase is Phase.VERIFYING
    assert go(ASKING, answered(Outcome.PASSED, state=other)).state is ASKING


def test_a_canary_that_restarts_during_verification_is_rolled_back():
    state = go(ASKING, answered(Outcome.PASSED, new=track(1, unsteady="it ended"))).state

    assert (state.phase, state.reason) == (Phase.ROLLING_BACK, "CanaryUnsteady")


def test_a_revision_that_is_not_what_it_was_needs_a_person():
    changed = track(1, changed="image is sha256:b, was sha256:a")
    held = go(ASKING, answered(Outcome.PASSED, new=changed)).state
    assert (held.phase, held.reason, held.attempt.resume) == (Phase.HELD, "RollbackUnsafe", Phase.PROVISIONING)

    assert go(held, seen(new=changed), after=600).state is held
    assert "revision 2 has changed since its first start: image is sha256:b, was sha256:a" in held.message
