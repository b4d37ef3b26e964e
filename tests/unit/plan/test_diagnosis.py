"""What holds a revision up is said in the user's words, with the numbers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.plan.pods import count_pods, diagnose, gpu_need, wakes_at
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


def test_the_gpu_is_what_the_spec_says_and_not_the_first_device_by_the_alphabet() -> None:
    lacking = "0/3 nodes are available: 3 Insufficient nvidia.com/mig-1g.10gb."
    waiting = unschedulable(lacking)
    limits = {"mellanox.com/rdma": "1", "nvidia.com/mig-1g.10gb": "2", "zeta.example.com/fpga": "3k"}
    waiting["spec"]["containers"][0]["resources"]["limits"] = limits
    found = KnownRevision.of("abc", 1, None, None, (waiting,), "nvidia.com/mig-1g.10gb")
    need = gpu_need(found)
    assert need is not None
    assert (need.resource, need.total) == ("nvidia.com/mig-1g.10gb", 2)
    finding = diagnose(found, None, NOW)
    assert finding is not None
    assert finding.message.startswith("needs 2 nvidia.com/mig-1g.10gb: ")


@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(0, 8), max_size=4), st.booleans())
def test_no_message_says_that_a_pod_waits_for_gpus_that_are_free_without_another_cause(
    per_pod: int, pods: int, free: list[int], insufficient: bool
) -> None:
    scheduler = "0/4 nodes: 4 Insufficient nvidia.com/gpu" if insufficient else "0/4 nodes: 4 Insufficient cpu"
    pool = GpuPool("nvidia.com/gpu", len(free), sum(free), max(free, default=0))
    waiting = [unschedulable(scheduler, gpus=per_pod) for _ in range(pods)]
    finding = diagnose(revision(*waiting), pool, NOW)
    assert finding is not None
    enough = pool.free >= per_pod * pods and pool.largest_free_on_one_node >= per_pod
    assert (scheduler in finding.message) is (enough or finding.reason == "Unschedulable")
    if finding.reason == "WaitingForGPU" and pool.free >= per_pod * pods and not enough:
        assert "per node where a pod needs" in finding.message


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
    need = gpu_need(revision(unschedulable("", gpus=2), unschedulable("", gpus=2), pod()))
    assert need is not None
    assert (need.resource, need.per_pod, need.waiting_pods, need.total) == ("nvidia.com/gpu", 2, 2, 4)
    assert gpu_need(revision(pod())) is None


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
    ("message", "reason", "stalled"),
    [
        ("pods is forbidden: exceeded quota: gpus", "QuotaExceeded", False),
        ("violates PodSecurity", "PodsForbidden", True),
        ("error looking up service account shop/models", "PodsForbidden", True),
        ("Internal error occurred: failed calling webhook", "PodsForbidden", False),
    ],
)
def test_pods_that_may_not_be_created_stall_a_model_where_waiting_does_not_help(
    message: str, reason: str, stalled: bool
) -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "message": message, "lastTransitionTime": LONG_AGO}
    found = revision(deployment={"metadata": {}, "status": {"conditions": [failure]}})
    moment = NOW - timedelta(seconds=1)
    early, late = diagnose(found, None, moment), diagnose(found, None, NOW)
    assert early is not None
    assert late is not None
    assert (late.reason, late.message, late.stalled) == (reason, message, stalled)
    assert not early.stalled
    assert wakes_at(found, moment) == NOW


REJECTIONS = {
    "Evicted": "The node was low on resource: memory.",
    "OutOfcpu": "Node didn't have enough resource: cpu",
    "UnexpectedAdmissionError": "Allocate failed due to no healthy devices present",
    "NodeShutdown": "Pod was terminated in response to imminent node shutdown.",
    "NodeAffinity": "Predicate NodeAffinity failed",
}


def dead(reason: str, **metadata: Any) -> dict[str, Any]:
    gone = pod(main=ended("", exit_code=137, restarts=3, reason="OOMKilled"), **metadata)
    gone["spec"]["nodeName"] = "n1"
    gone["status"] |= {"phase": "Failed", "reason": reason, "message": REJECTIONS[reason]}
    return gone


def sized(ready: int, *pods: dict[str, Any], wanted: int = 1) -> KnownRevision:
    status = {"readyReplicas": ready, "updatedReplicas": ready, "observedGeneration": 1}
    return revision(*pods, deployment={"metadata": {"generation": 1}, "spec": {"replicas": wanted}, "status": status})


@pytest.mark.parametrize("reason", REJECTIONS)
def test_a_pod_that_its_node_ended_says_nothing_about_the_model_and_is_told(reason: str) -> None:
    assert diagnose(sized(1, dead(reason), pod()), None, NOW) is None
    finding = diagnose(sized(0, dead(reason), pod()), None, NOW)
    assert finding is not None
    assert (finding.reason, finding.stalled) == ("PodsLost", False)
    assert finding.message == (
        f"1 pod evicted or rejected, the last one 'p' on node 'n1': {reason}: {REJECTIONS[reason]}; "
        "a replacement is being started"
    )


def test_what_is_wrong_with_the_replacement_comes_before_the_pod_that_was_lost() -> None:
    crashing = pod(main=ended("boom", restarts=1))
    finding = diagnose(sized(0, dead("Evicted"), crashing), None, NOW)
    assert finding is not None
    assert finding.reason == "CrashLooping"


def test_a_node_that_rejects_pod_after_pod_costs_no_status_write_for_each() -> None:
    lost = [dead("OutOfcpu") for _ in range(30)]
    assert len({diagnose(sized(0, *lost[:count]), None, NOW) for count in range(10, 30)}) == 1


def test_only_pods_that_were_up_and_stay_speak_against_their_revision() -> None:
    def replaced(*pods: dict[str, Any]) -> bool:
        return count_pods(sized(0, *pods), {}, None, NOW, NOW).replaced

    def unready(started: str, unready: str, **container: Any) -> dict[str, Any]:
        found = pod(main={"ready": False, "state": {"running": {"startedAt": started}}, **container})
        found["metadata"]["creationTimestamp"] = LONG_AGO
        found["status"]["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": unready}]
        return found

    early, late = "2026-01-01T12:00:01Z", "2026-01-01T12:00:20Z"
    rebooted = {"terminated": {"exitCode": 255, "reason": "Unknown", "finishedAt": early}}
    assert replaced()
    assert replaced(dead("Evicted"), unready(late, early))
    assert replaced(unready(late, early, lastState=rebooted, restartCount=1))
    assert replaced(unready(late, late), pod(deletionTimestamp=late))
    assert not replaced(dead("Evicted"), unready(early, late))
    assert not replaced(unready(late, early, lastState={"terminated": {"exitCode": 1, "finishedAt": early}}))


def test_a_pod_that_a_queue_holds_back_names_the_gate() -> None:
    waiting = pod()
    waiting["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]

    finding = diagnose(revision(waiting), None, NOW)

    assert finding is not None
    assert (finding.reason, finding.stalled) == ("Unschedulable", False)
    assert "held by 1 scheduling gate (kueue.x-k8s.io/admission), until" in finding.message


@pytest.mark.parametrize("kind", ["containerStatuses", "initContainerStatuses"])
def test_the_proxy_of_a_mesh_in_the_pod_is_not_taken_for_a_part_of_the_model(kind: str) -> None:
    """A sidecar is a container, or an init container that goes on running."""
    meshed = pod(main={"ready": True, "restartCount": 0, "state": {"running": {"startedAt": LONG_AGO}}})
    sidecar = {"name": "istio-proxy", "image": "proxy:1", "ready": True, "state": {"running": {"startedAt": LONG_AGO}}}
    meshed["status"][kind] = [sidecar, *meshed["status"][kind]]

    assert diagnose(revision(meshed), None, NOW) is None


def test_a_quota_that_demands_limits_names_the_fields_that_set_them() -> None:
    words = 'pods "m" is forbidden: failed quota: team: must specify limits.cpu for: fetch,http'
    failure = {"type": "ReplicaFailure", "status": "True", "message": words, "lastTransitionTime": LONG_AGO}

    finding = diagnose(revision(deployment={"metadata": {}, "status": {"conditions": [failure]}}), None, NOW)

    assert finding is not None
    assert (finding.reason, finding.stalled) == ("PodsForbidden", True)
    assert finding.message.endswith("`server.resources`, `server.fetchResources` and `server.proxyResources`")
