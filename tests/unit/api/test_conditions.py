from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.api.conditions import (
    MESSAGE_MAX_LENGTH,
    Condition,
    ConditionStatus,
    ConditionType,
    Reason,
    shortened,
    updated_conditions,
)
from tritonfleet.plan.autoscale import ScaleReason
from tritonfleet.plan.rollout import RolloutReason

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
READY = Condition(
    ConditionType.READY, ConditionStatus.TRUE, Reason.READY, "2/2 replicas of revision 1 ready and serving"
)


def of_type(conditions, kind):
    (found,) = (one for one in conditions if one["type"] == kind)
    return found


def test_the_conditions_and_their_order_are_frozen():
    assert list(ConditionType) == [
        "Ready",
        "Available",
        "Reconciling",
        "Stalled",
        "ConfigValid",
        "ModelLoaded",
        "SLOMet",
        "ScalingActive",
        "CapacityAvailable",
        "RolloutHealthy",
        "GatewayReady",
    ]


def test_the_reasons_are_frozen():
    assert sorted(Reason) == [
        "AwaitingApproval",
        "CanaryProgressing",
        "ConfigInvalid",
        "ContainerNotCreated",
        "CrashLooping",
        "ExternalScaler",
        "FetchFailed",
        "ForeignScaler",
        "GatewayNotFound",
        "GatewayPending",
        "GatewayRefused",
        "Held",
        "HostnameConflict",
        "ImagePullFailed",
        "ImageUnsafe",
        "Loaded",
        "Met",
        "MetricsRefused",
        "MetricsStale",
        "Missed",
        "ModelLoadFailed",
        "NameConflict",
        "NoGateway",
        "NoReadyReplicas",
        "NoRollout",
        "NoSLO",
        "NotAutoscaled",
        "NotLoaded",
        "NotObserved",
        "OutOfMemory",
        "Overridden",
        "Paused",
        "Placed",
        "Placing",
        "PodsForbidden",
        "PodsLost",
        "PredecessorRemains",
        "ProgressDeadlineExceeded",
        "Provisioning",
        "QuotaExceeded",
        "Ready",
        "ReconcileFailed",
        "RolledBack",
        "RollingBack",
        "RollingOut",
        "RouteAccepted",
        "Serving",
        "StableLost",
        "Suspended",
        "Unschedulable",
        "Valid",
        "WaitingForCapacity",
        "WaitingForGPU",
        "WriteChanged",
        "WriteRefused",
    ]


def test_few_reasons_belong_to_more_than_one_area_and_mean_the_same_in_each():
    shared = {*Reason} & {*RolloutReason} | {*Reason} & {*ScaleReason} | {*RolloutReason} & {*ScaleReason}

    assert sorted(shared) == [
        "ContainerNotCreated",
        "CrashLooping",
        "FetchFailed",
        "ImagePullFailed",
        "MetricsStale",
        "ModelLoadFailed",
        "OutOfMemory",
        "Overridden",
        "Paused",
        "PodsForbidden",
        "ProgressDeadlineExceeded",
        "RollingOut",
        "StableLost",
        "Suspended",
    ]


def test_every_condition_is_set_from_the_first_look_on():
    found = updated_conditions([], [READY], generation=3, now=NOW)
    assert [one["type"] for one in found] == list(ConditionType)
    assert found[0] == {
        "type": "Ready",
        "status": "True",
        "observedGeneration": 3,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
        "reason": "Ready",
        "message": "2/2 replicas of revision 1 ready and serving",
    }
    assert {(one["status"], one["reason"]) for one in found[1:]} == {("Unknown", "NotObserved")}


def test_the_transition_time_stays_while_the_status_does():
    before = updated_conditions([], [READY], generation=1, now=NOW)
    other = Condition(
        ConditionType.READY, ConditionStatus.TRUE, Reason.READY, "3/3 replicas of revision 2 ready and serving"
    )
    after = of_type(updated_conditions(before, [other], generation=2, now=NOW + timedelta(hours=1)), "Ready")
    assert after["lastTransitionTime"] == "2026-01-02T03:04:05Z"
    assert (after["observedGeneration"], after["message"]) == (2, other.message)


def test_the_transition_time_moves_with_the_status():
    before = updated_conditions([], [READY], generation=1, now=NOW)
    other = Condition(ConditionType.READY, ConditionStatus.FALSE, Reason.ROLLING_OUT, "1/2 replicas ready")
    after = of_type(updated_conditions(before, [other], generation=2, now=NOW + timedelta(hours=1)), "Ready")
    assert after["lastTransitionTime"] == "2026-01-02T04:04:05Z"


def test_a_condition_that_is_not_set_keeps_its_value_and_generation():
    before = updated_conditions([], [READY], generation=1, now=NOW)
    after = updated_conditions(before, [], generation=2, now=NOW + timedelta(hours=1))
    assert after == before


def test_a_condition_of_an_older_release_is_forgotten():
    before = [{"type": "Sunny", "status": "True"}]
    assert len(updated_conditions(before, [READY], generation=1, now=NOW)) == len(ConditionType)


@given(st.text(max_size=3 * MESSAGE_MAX_LENGTH))
def test_a_message_fits_into_the_api_and_keeps_both_ends(message):
    short = shortened(message)
    assert len(short) <= MESSAGE_MAX_LENGTH
    assert short == message or (message.startswith(short[:500]) and message.endswith(short[-500:]))


def test_a_long_message_is_cut_in_the_middle():
    assert shortened("a" * 600 + "b" * 600) == "a" * 509 + " ... " + "b" * 509


def test_a_truth_value_becomes_a_status():
    assert (ConditionStatus.of(True), ConditionStatus.of(False)) == ("True", "False")
