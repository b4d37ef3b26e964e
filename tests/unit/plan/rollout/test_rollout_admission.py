"""Where the canary's pods come from, and what follows when there is no room."""

import pytest

from tests.unit.plan.rollout.stage import (
    CRASHING,
    NEW,
    NO_GPU,
    OLD,
    THIRD,
    but,
    evidence,
    go,
    gpus,
    plan,
    running,
    seen,
    track,
)
from tritonfleet.plan.rollout import Phase
from tritonfleet.plan.rollout.analysis import PodCounts, RevisionCounts, Window

FRESH = {"mode": None, "surge": 0, "canary_replicas": 0, "verified": False}


def admitting(mode="Auto", **more):
    capacity = {"mode": mode, **more.pop("capacity", {})}
    return running(Phase.ADMITTING, **FRESH, plan=plan(25, capacity=capacity), **more)


def with_gpus(free, **more):
    return seen(new=0, gpus_per_pod=1, headroom=gpus(free), **more)


@pytest.mark.parametrize(
    ("mode", "free", "found"),
    [
        ("Auto", 8, ("Surge", 4)),
        ("Auto", 2, ("Surge", 2)),
        ("Auto", 0, ("InPlace", 0)),
        ("Surge", 1, ("Surge", 1)),
        ("InPlace", 8, ("InPlace", 0)),
        ("Recreate", 8, ("Recreate", 0)),
    ],
)
def test_the_mode_follows_from_the_free_gpus(mode, free, found):
    state = go(admitting(mode), with_gpus(free), after=60).state

    assert (state.phase, (state.attempt.mode, state.attempt.surge)) == (Phase.PROVISIONING, found)
    assert state.attempt.canary_replicas == (4 if mode == "Recreate" else 1)


def test_a_recreate_compares_no_contract_for_it_leaves_no_pod_of_stable_to_ask():
    state = go(admitting("Recreate"), with_gpus(8), after=60).state

    assert state.attempt.plan.verification.contract == "Off"
    assert state.message.endswith("; contract not compared, as no stable pod is left")
    assert go(admitting("InPlace"), with_gpus(8)).state.attempt.plan.verification.contract == "Enforce"


def test_a_recreate_measures_stable_for_a_window_before_it_stops_it():
    state = go(admitting("Recreate"), with_gpus(8)).state
    assert (state.phase, state.reason) == (Phase.ADMITTING, "MeasuringStable")
    alone = Window(state.entered_at.timestamp() + 10, stable=RevisionCounts({"old": PodCounts(600, 3)}))
    found = go(state, with_gpus(8, evidence=evidence(state, window=alone)), after=10).state

    assert (found.phase, found.attempt.analysis.error_rate.evidence.by_pod.events) == (Phase.PROVISIONING, 3)
    assert go(state, with_gpus(8, old=track(0, OLD)), after=1).state.phase is Phase.PROVISIONING


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("Surge", "; a pod takes about 90s to become ready"),
        ("InPlace", "; a pod takes about 90s to become ready, 360s for 4 in sequence"),
    ],
)
def test_the_expected_duration_is_estimated_from_measured_start_ups(mode, said):
    inputs = with_gpus(8, old=track(4, OLD, ready_seconds=90.0))

    assert go(admitting(mode), inputs).state.message.endswith(said)


def test_no_more_pods_are_added_than_the_spec_allows():
    assert go(admitting("Surge", capacity={"maxSurge": 2}), with_gpus(8)).state.attempt.surge == 2


def test_pods_without_gpus_are_always_added():
    assert go(admitting(), seen(new=0)).state.attempt.surge == 4


def test_free_gpus_that_are_scattered_are_no_room():
    inputs = seen(new=0, gpus_per_pod=2, headroom=gpus(4, on_one=1))

    assert go(admitting(), inputs).state.attempt.mode == "InPlace"


@pytest.mark.parametrize("mode", ["Auto", "Surge", "InPlace"])
def test_one_replica_without_a_free_gpu_waits_and_says_for_how_many(mode):
    state = go(admitting(mode, replicas=1), with_gpus(0, replicas=1)).state

    assert (state.phase, state.reason) == (Phase.WAITING_FOR_CAPACITY, "NoCapacity")
    assert "needs 1 nvidia.com/gpu, 0 free GPUs on 4 matching nodes" in state.message


def test_a_rollout_waits_for_the_gpu_count_for_a_limited_time():
    inputs = seen(new=0, gpus_per_pod=1)
    state = go(admitting(), inputs).state
    assert (state.phase, state.reason) == (Phase.ADMITTING, "CountingGPUs")
    assert go(state, inputs, after=5).state is state

    assert go(state, inputs, after=30).state.phase is Phase.PROVISIONING


@pytest.mark.parametrize(
    "leftover",
    [{"third": 1}, {"new": track(0, existing=1, asked=0)}, {"old": track(4, OLD, existing=5)}],
    ids=["another revision", "an earlier attempt", "stable"],
)
def test_what_pods_hold_that_are_ending_is_not_free_yet(leftover):
    state = go(admitting(), seen(**{"new": 0, **leftover})).state
    assert (state.phase, state.reason) == (Phase.ADMITTING, "PodsEnding")

    assert go(state, seen(new=0), after=10).state.phase is Phase.PROVISIONING


def waiting(**capacity):
    chosen = plan(25, capacity={"mode": "Surge", **capacity})
    return running(Phase.WAITING_FOR_CAPACITY, **FRESH, plan=chosen, message="needs 1 GPU")


def test_room_that_appears_is_taken():
    state = waiting()
    assert go(state, with_gpus(0)).state is state
    found = go(state, with_gpus(3)).state

    assert (found.phase, found.reason, found.attempt.surge) == (Phase.PROVISIONING, "CapacityFound", 3)


@pytest.mark.parametrize(
    ("on_timeout", "phase"),
    [("Hold", Phase.HELD), ("InPlace", Phase.PROVISIONING), ("Fail", Phase.ROLLING_BACK)],
)
def test_after_the_timeout_the_spec_decides(on_timeout, phase):
    state = waiting(onTimeout=on_timeout, waitTimeout="1m")
    assert go(state, with_gpus(0), after=59).state is state
    found = go(state, with_gpus(0), after=60).state

    assert (found.phase, "1m" in found.message) == (phase, True)
    if on_timeout == "InPlace":
        assert (found.attempt.mode, found.attempt.surge) == ("InPlace", 0)
    if on_timeout == "Fail":
        assert found.attempt.rejecting


def test_one_replica_cannot_make_room_in_place():
    state = but(waiting(onTimeout="InPlace"), replicas=1)

    assert go(state, with_gpus(0, replicas=1), after=3600).state.phase is Phase.HELD


def test_a_hold_for_room_ends_with_room():
    held = {"weight": 0, "applied_weight": 0, "resume": Phase.WAITING_FOR_CAPACITY, "plan": waiting().attempt.plan}
    state = running(Phase.HELD, **{**FRESH, **held}, reason="NoCapacity", message="no room")
    assert go(state, with_gpus(0)).state is state
    assert go(state, seen(new=0, gpus_per_pod=1)).state is state

    assert go(state, with_gpus(1)).state.phase is Phase.WAITING_FOR_CAPACITY


def test_a_pod_that_the_scheduler_passes_over_waits_for_room_beside_an_untouched_stable():
    pending = track(0, existing=1, asked=1, finding=NO_GPU)
    state = go(running(Phase.PROVISIONING), seen(new=pending), after=10).state
    assert (state.phase, state.reason) == (Phase.WAITING_FOR_CAPACITY, "NoCapacity")
    assert go(state, seen(new=pending), after=20).state is state

    assert go(state, seen(new=track(0, asked=1)), after=30).state.phase is Phase.PROVISIONING


def test_a_pod_that_got_its_node_and_crashes_is_not_waited_for():
    state = running(Phase.WAITING_FOR_CAPACITY)
    found = go(state, seen(new=track(0, asked=1, finding=CRASHING))).state

    assert (found.phase, found.reason) == (Phase.ROLLING_BACK, "CrashLooping")


def test_a_third_revision_ends_the_wait():
    found = go(waiting(), with_gpus(0, target=THIRD, third=0)).state

    assert (found.phase, found.reason, found.attempt.rejecting) == (Phase.ROLLING_BACK, "Superseded", False)
    assert found.canary == NEW
