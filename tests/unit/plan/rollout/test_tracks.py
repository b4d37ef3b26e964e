"""One revision's pods, counted."""

from datetime import UTC, datetime, timedelta

from tritonfleet.plan.pods import count_pods
from tritonfleet.plan.revisions import KnownRevision

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds):
    return (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def pod(name, *, ready=True, created=-300, since=-200, ending=False, container=None, phase="Running"):
    metadata = {"name": name, "creationTimestamp": at(created)}
    if ending:
        metadata["deletionTimestamp"] = at(0)
    conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": at(since)}]
    containers = [{"name": "triton", "started": True, "ready": ready, **(container or {})}]
    status = {"phase": phase, "conditions": conditions, "containerStatuses": containers}
    return {"metadata": metadata, "status": status, "spec": {"containers": []}}


def track(*pods, asked=2):
    deployment = {"metadata": {"generation": 1}, "spec": {"replicas": asked}, "status": {}}
    return count_pods(
        KnownRevision.of("a" * 10, 1, None, deployment, pods), {}, None, NOW - timedelta(seconds=250), NOW
    )


def test_a_terminating_pod_holds_its_place_and_does_not_serve():
    found = track(pod("a"), pod("b", ending=True), pod("c", ready=False, since=-1))

    assert (found.existing, found.ready, found.asked) == (3, 1, 2)


def test_a_pod_that_has_ended_holds_nothing():
    assert track(pod("a", ready=False, phase="Failed")).existing == 0


def test_the_time_to_ready_is_that_of_the_pod_in_the_middle():
    found = track(pod("a", since=-290), pod("b", since=-200), pod("c", since=-1), pod("d", ready=False, since=-1))

    assert found.ready_seconds == 100
    assert track(pod("a", ready=False, since=-1)).ready_seconds is None


def test_a_pod_that_was_ready_may_be_missing_for_a_minute():
    assert track(pod("a", ready=False, since=-59)).unsteady == ""
    assert track(pod("a", ready=False, since=-60)).unsteady == "pod 'a' has not been ready for 60s"


def ended(seconds, code=139, reason="Error"):
    return {"lastState": {"terminated": {"exitCode": code, "reason": reason, "finishedAt": at(seconds)}}}


def test_a_restart_since_the_canary_is_trusted_speaks_against_it_and_one_before_does_not():
    assert "terminated (OOMKilled)" in track(pod("a", container=ended(-100, 137, "OOMKilled"))).unsteady
    assert track(pod("a", container=ended(-260))).unsteady == ""
    assert track(pod("a", container=ended(-100, 0, "Completed"))).unsteady == ""
