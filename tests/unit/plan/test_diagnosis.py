"""What holds a revision up is said in the user's words, with the numbers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tritonfleet.plan.pods import diagnose, gpu_need, wakes_at
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.world import GpuPool

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
LONG_AGO = "2026-01-01T12:00:00Z"


def revision(*pods: dict[str, Any], deployment: dict[str, Any] | None = None) -> KnownRevision:
    return KnownRevision.of("abc", 1, record=None, deployment=deployment, pods=pods)


def pod(
    *, main: dict[str, Any] | None = None, fetch: dict[str, Any] | None = None, gpus: int = 1, **metadata: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", **metadata},
        "spec": {
            "containers": [{"name": "triton", "resources": {"limits": {"nvidia.com/gpu": str(gpus), "cpu": "1"}}}]
        },
        "status": {
            "initContainerStatuses": [{"name": "fetch", "image": "operator:1", **fetch}] if fetch else [],
            "containerStatuses": [{"name": "triton", "image": "triton:1", **main}] if main else [],
        },
    }


def unschedulable(message: str, *, gpus: int = 1, since: str = LONG_AGO) -> dict[str, Any]:
    waiting = pod(gpus=gpus)
    waiting["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": since,
        }
    ]
    return waiting


def ended(message: str, *, exit_code: int = 1, restarts: int = 0, reason: str = "Error") -> dict[str, Any]:
    return {
        "ready": False,
        "restartCount": restarts,
        "state": {"terminated": {"exitCode": exit_code, "reason": reason, "message": message}},
    }


def test_a_pod_that_is_only_starting_has_nothing_wrong_with_it() -> None:
    creating = pod(main={"ready": False, "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}})
    assert diagnose(revision(creating), None, NOW) is None
    assert diagnose(revision(), None, NOW) is None


def test_waiting_for_a_gpu_counts_what_is_needed_and_what_is_free() -> None:
    lacking = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    pool = GpuPool("nvidia.com/gpu", matching_nodes=3, free=1, largest_free_on_one_node=1)
    finding = diagnose(revision(unschedulable(lacking, gpus=2)), pool, NOW)
    assert finding is not None
    assert (finding.reason, finding.message, finding.stalled) == (
        "WaitingForGPU",
        "needs 2 nvidia.com/gpu, 1 free on 3 matching nodes",
        False,
    )


def test_free_gpus_that_are_scattered_over_nodes_are_reported_as_such() -> None:
    pool = GpuPool("nvidia.com/gpu", matching_nodes=3, free=6, largest_free_on_one_node=2)
    finding = diagnose(revision(unschedulable("0/3 nodes are available.", gpus=4)), pool, NOW)
    assert finding is not None
    assert finding.message == (
        "needs 4 nvidia.com/gpu, 6 free on 3 matching nodes, at most 2 per node where a pod needs 4"
    )


def test_without_a_count_of_gpus_the_scheduler_is_quoted() -> None:
    finding = diagnose(revision(unschedulable("1 Insufficient nvidia.com/gpu")), None, NOW)
    assert finding is not None
    assert finding.message == "needs 1 nvidia.com/gpu: 1 Insufficient nvidia.com/gpu"


def test_a_node_short_of_something_else_is_not_called_a_lack_of_gpus() -> None:
    pool = GpuPool("nvidia.com/gpu", matching_nodes=1, free=8, largest_free_on_one_node=8)
    finding = diagnose(revision(unschedulable("1 Insufficient memory")), pool, NOW)
    assert finding is not None
    assert (finding.reason, finding.message) == ("Unschedulable", "pod cannot be scheduled: 1 Insufficient memory")


def test_the_scheduler_has_a_moment_before_a_pod_counts_as_waiting() -> None:
    fresh = revision(unschedulable("1 Insufficient nvidia.com/gpu", since="2026-01-01T12:00:29Z"))
    assert diagnose(fresh, None, NOW) is None
    assert wakes_at(fresh, NOW) == NOW + timedelta(seconds=1)


def test_the_gpus_of_all_waiting_pods_are_added_up() -> None:
    need = gpu_need((unschedulable("", gpus=2), unschedulable("", gpus=2), pod()))
    assert need is not None
    assert (need.resource, need.per_pod, need.waiting_pods, need.total) == ("nvidia.com/gpu", 2, 2, 4)
    assert gpu_need((pod(),)) is None


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"])
def test_an_image_that_cannot_be_pulled_is_named(reason: str) -> None:
    waiting = {"ready": False, "restartCount": 0, "state": {"waiting": {"reason": reason, "message": "not found"}}}
    finding = diagnose(revision(pod(main=waiting)), None, NOW)
    assert finding is not None
    assert (finding.reason, finding.message) == ("ImagePullFailed", "cannot pull image 'triton:1': not found")


def test_a_missing_secret_is_what_the_kubelet_says_it_is() -> None:
    waiting = {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "s" not found'}}}
    finding = diagnose(revision(pod(fetch=waiting)), None, NOW)
    assert finding is not None
    assert (finding.reason, finding.message) == (
        "ContainerNotCreated",
        "cannot start container 'fetch': secret \"s\" not found",
    )


def test_a_failed_fetch_speaks_for_itself() -> None:
    finding = diagnose(revision(pod(fetch=ended("FetchFailed: no such bucket 'm'"))), None, NOW)
    assert finding is not None
    assert (finding.reason, finding.message, finding.stalled) == ("FetchFailed", "no such bucket 'm'", False)


def test_what_failed_twice_needs_a_person() -> None:
    finding = diagnose(revision(pod(fetch=ended("FetchFailed: gone", restarts=1))), None, NOW)
    assert finding is not None
    assert finding.stalled


def test_a_fetch_that_ended_well_is_no_failure() -> None:
    done = {"ready": True, "state": {"terminated": {"exitCode": 0, "message": "{}"}}}
    assert diagnose(revision(pod(fetch=done)), None, NOW) is None


def test_a_container_that_starts_again_still_tells_why_it_ended() -> None:
    again = {
        "ready": False,
        "restartCount": 2,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    }
    finding = diagnose(revision(pod(main=again)), None, NOW)
    assert finding is not None
    assert (finding.reason, finding.stalled) == ("OutOfMemory", True)


def test_a_crash_without_a_known_cause_reports_the_exit_code_and_the_last_line() -> None:
    finding = diagnose(revision(pod(main=ended("one\nlast words", exit_code=3))), None, NOW)
    assert finding is not None
    assert (finding.reason, finding.message) == (
        "CrashLooping",
        "container 'triton' exited with code 3 (1 failure): last words",
    )


def test_a_pod_on_its_way_out_is_not_looked_at() -> None:
    leaving = pod(main=ended("bye"), deletionTimestamp=LONG_AGO)
    assert diagnose(revision(leaving), None, NOW) is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [("pods is forbidden: exceeded quota: gpus", "QuotaExceeded"), ("violates PodSecurity", "PodsForbidden")],
)
def test_pods_that_may_not_be_created_are_explained_by_the_deployment(message: str, reason: str) -> None:
    deployment = {
        "metadata": {},
        "status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]},
    }
    finding = diagnose(revision(deployment=deployment), None, NOW)
    assert finding is not None
    assert (finding.reason, finding.message) == (reason, message)


def test_a_pod_that_a_queue_holds_back_names_the_gate() -> None:
    waiting = pod()
    waiting["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]

    finding = diagnose(revision(waiting), None, NOW)

    assert finding is not None
    assert (finding.reason, finding.stalled) == ("Unschedulable", False)
    assert "held by 1 scheduling gate (kueue.x-k8s.io/admission)" in finding.message


@pytest.mark.parametrize("kind", ["containerStatuses", "initContainerStatuses"])
def test_the_proxy_of_a_mesh_in_the_pod_is_not_taken_for_a_part_of_the_model(kind: str) -> None:
    """A sidecar is a container, or an init container that goes on running."""
    meshed = pod(main={"ready": True, "restartCount": 0, "state": {"running": {"startedAt": LONG_AGO}}})
    sidecar = {"name": "istio-proxy", "image": "proxy:1", "ready": True, "state": {"running": {"startedAt": LONG_AGO}}}
    meshed["status"][kind] = [sidecar, *meshed["status"][kind]]

    assert diagnose(revision(meshed), None, NOW) is None
