"""What every phase says in the conditions: the terminal matrix of the API."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.plan.rollout.stage import but
from tritonfleet.api.conditions import ConditionType, Reason
from tritonfleet.api.rollout import Rollout
from tritonfleet.plan.rollout import Phase, RolloutReason, State, progress_conditions, rollout_healthy

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
POLICY = Rollout(progress_deadline="15m")
WORK, PERSON, PODS = ("False", "True", "False"), ("False", "False", "True"), None


def at(phase, reason=RolloutReason.ANALYSIS_RUNNING, **fields):
    state = State(phase, NOW, reason.value, "numbers", stable="a" * 10)
    return but(state, **({"canary": "b" * 10} if state.traits.under_way else {}), **fields)


def said(state, now=NOW):
    """`Ready`, `Reconciling` and `Stalled`, and the one reason they share; None where pods decide."""
    found = tuple(progress_conditions(state, POLICY, now))
    if not found:
        return None, None
    assert [one.type for one in found] == [ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED]
    (reason,) = {one.reason for one in found}
    (message,) = {one.message for one in found}
    assert message.endswith("numbers")
    return tuple(one.status.value for one in found), reason


MATRIX = [
    (at(Phase.INITIALIZING, RolloutReason.STARTING), PODS, None, "True"),
    (at(Phase.STABLE, RolloutReason.PROMOTED), PODS, None, "True"),
    (at(Phase.STABLE, RolloutReason.PAUSED_BY_SPEC), WORK, Reason.PAUSED, "True"),
    (
        at(Phase.STABLE, RolloutReason.SERVES, override="a" * 10, override_of="c" * 10),
        PERSON,
        Reason.OVERRIDDEN,
        "True",
    ),
    (at(Phase.ADMITTING), WORK, Reason.CANARY_PROGRESSING, "True"),
    (at(Phase.PROVISIONING), WORK, Reason.CANARY_PROGRESSING, "True"),
    (at(Phase.WAITING_FOR_CAPACITY, RolloutReason.NO_CAPACITY), WORK, Reason.WAITING_FOR_CAPACITY, "True"),
    (at(Phase.VERIFYING), WORK, Reason.CANARY_PROGRESSING, "True"),
    (at(Phase.SHIFTING), WORK, Reason.CANARY_PROGRESSING, "True"),
    (at(Phase.ANALYZING), WORK, Reason.CANARY_PROGRESSING, "True"),
    (at(Phase.AWAITING_APPROVAL, RolloutReason.PAUSE_BETWEEN_STEPS), WORK, Reason.AWAITING_APPROVAL, "True"),
    (at(Phase.HELD, RolloutReason.PAUSED), WORK, Reason.PAUSED, "True"),
    (at(Phase.HELD, RolloutReason.PAUSED_BY_SPEC), WORK, Reason.PAUSED, "True"),
    (at(Phase.HELD, RolloutReason.SUSPENDED), PODS, None, "False"),
    (at(Phase.HELD, RolloutReason.TOO_FEW_REQUESTS), PERSON, Reason.HELD, "False"),
    (at(Phase.PROMOTING, RolloutReason.ANALYSIS_PASSED), WORK, Reason.CANARY_PROGRESSING, "True"),
    (at(Phase.PROMOTING, RolloutReason.PROMOTED_REVISION_FAILED, rejecting=True), WORK, Reason.ROLLING_BACK, "False"),
    (at(Phase.ROLLING_BACK, RolloutReason.WORSE), WORK, Reason.ROLLING_BACK, "False"),
    (at(Phase.ROLLED_BACK, RolloutReason.WORSE), PERSON, Reason.ROLLED_BACK, "False"),
    (at(Phase.STABLE_LOST, RolloutReason.STABLE_LOST), PERSON, Reason.STABLE_LOST, "False"),
]


def label(case):
    return f"{case.phase}-{case.reason}" if isinstance(case, State) else ""


@pytest.mark.parametrize(("state", "statuses", "reason", "healthy"), MATRIX, ids=label)
def test_every_phase_has_its_place_in_the_terminal_matrix(state, statuses, reason, healthy):
    assert said(state) == (statuses, reason)
    assert rollout_healthy(state).status == healthy


def test_the_matrix_knows_every_phase():
    assert {state.phase for state, *_ in MATRIX} == set(Phase)


def test_an_override_is_reported_with_both_revisions():
    state = at(Phase.STABLE, RolloutReason.SERVES, override="a" * 10, override_of="c" * 10)

    (ready, *_) = progress_conditions(state, POLICY, NOW)

    assert ready.message == "revision aaaaaaaaaa was requested in place of the spec's cccccccccc; numbers"


def test_the_problem_of_unready_canary_pods_is_reported_while_waiting():
    trouble = "the image cannot be pulled: not found"

    told = {
        phase: next(iter(progress_conditions(at(phase), POLICY, NOW, trouble))).message
        for phase in (Phase.PROVISIONING, Phase.ROLLING_BACK)
    }

    assert told == {Phase.PROVISIONING: f"numbers; {trouble}", Phase.ROLLING_BACK: "numbers"}


def test_without_a_machine_a_rollout_is_never_unhealthy():
    assert (rollout_healthy(None).status, rollout_healthy(None).reason) == ("True", Reason.NO_ROLLOUT)


def test_waiting_for_room_is_stalled_once_the_deadline_has_passed():
    waiting = at(Phase.WAITING_FOR_CAPACITY, RolloutReason.NO_CAPACITY)

    assert said(waiting, NOW + timedelta(minutes=14, seconds=59))[0] == WORK
    assert said(waiting, NOW + timedelta(minutes=15)) == (PERSON, Reason.WAITING_FOR_CAPACITY)


def test_the_health_of_a_canary_is_unknown_without_metrics():
    blind = rollout_healthy(at(Phase.ANALYZING, metrics_lost_since=NOW))

    assert (blind.status, blind.reason) == ("Unknown", Reason.METRICS_STALE)
    assert blind.message == "no metrics since 2026-11-21 12:00:00 UTC; numbers"


def test_a_failing_check_is_reported_with_its_message_before_the_rollback():
    result = {
        "check": "error-rate",
        "outcome": "Fail",
        "reason": "Worse",
        "message": "canary 5.0% (20/400), stable 0.50% (6/1,200)",
    }
    failing = at(Phase.ANALYZING, results=(result,))

    healthy = rollout_healthy(failing)

    assert (healthy.status, healthy.reason, healthy.message) == ("False", RolloutReason.WORSE, result["message"])
    assert (
        rollout_healthy(replace(failing, results=({**result, "reason": "ByHand"},))).reason
        is RolloutReason.INCONCLUSIVE
    )


def test_the_results_of_the_last_rollout_say_nothing_of_the_next():
    result = {"check": "error-rate", "outcome": "Fail", "reason": "Worse", "message": "worse"}

    assert rollout_healthy(at(Phase.PROVISIONING, RolloutReason.CAPACITY_READY, results=(result,))).status == "True"


@pytest.mark.parametrize("reason", RolloutReason)
def test_every_reason_of_a_state_is_a_condition_reason(reason):
    assert rollout_healthy(at(Phase.ROLLED_BACK, reason)).reason.value == reason.value
