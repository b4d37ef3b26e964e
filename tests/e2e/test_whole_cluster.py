"""What needs the cluster to itself: a pool without a free GPU, and an operator that is restarted."""

from typing import Any

import pytest

pytestmark = pytest.mark.alone
GPU = "nvidia.com/gpu"


def free_gpus(place: Any) -> int:
    """Return the GPUs of the one node here that no pod has."""
    node = place.get("node", "node-0")
    pods = [pod for pod in place.list("pods", everywhere=True) if pod["spec"].get("nodeName") == "node-0"]
    running = [pod for pod in pods if pod["status"]["phase"] in {"Pending", "Running"}]
    limits = [one.get("resources", {}).get("limits", {}) for pod in running for one in pod["spec"]["containers"]]
    return int(node["status"]["allocatable"][GPU]) - sum(int(limit.get(GPU, 0)) for limit in limits)


def unschedulable(pod: dict[str, Any]) -> bool:
    return any(one.get("reason") == "Unschedulable" for one in pod["status"].get("conditions", ()))


def test_a_full_gpu_pool_is_counted_and_left_again_when_gpus_free(place: Any, digits: Any) -> None:
    free = free_gpus(place)
    digits["server"]["gpu"]["count"] = free
    place.apply("first", digits)
    place.wait_ready("first")
    digits["server"]["gpu"]["count"] = 2
    place.apply("second", digits)
    message = place.wait_for_cause("second", "WaitingForGPU", unschedulable)
    assert message == "needs 2 nvidia.com/gpu, 0 free on 1 matching node"
    assert place.condition("second", "CapacityAvailable")["status"] == "False"
    assert place.get("mdep", "second")["status"]["gpu"] == {"requested": 2, "waiting": 2, "shortBy": 2}
    place.kubectl("delete", "mdep", "first")
    place.wait_ready("second")


@pytest.mark.parametrize("restarts", [1, pytest.param(2, marks=pytest.mark.acceptance)])
def test_after_ready_restarts_of_the_operator_change_nothing(place: Any, digits: Any, restarts: int) -> None:
    place.apply("digits", digits)
    place.wait_ready("digits")
    before = place.children()
    for _ in range(restarts):
        system = ["-n", "tritonfleet-system"]
        place.kubectl(*system, "rollout", "restart", "deployment/tritonfleet")
        place.kubectl(*system, "rollout", "status", "deployment/tritonfleet", "--timeout=120s")
    place.patch("digits", {"traffic": {"service": {"annotations": {"seen": "yes"}}}})
    place.wait("the restarted operator works", lambda: "seen" in str(place.get("service", "digits")["metadata"]))
    after = place.children()
    assert {name: after[name] for name in after if name != "Service/digits"} == {
        name: before[name] for name in before if name != "Service/digits"
    }
