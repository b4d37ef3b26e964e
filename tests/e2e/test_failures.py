"""What goes wrong in a real pod is named in the condition, in words a person can act on, soon after it is known."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from devcluster.release import TRITON_IMAGE

KNOWN_WITHIN_SECONDS = 30
"""What a pod says is told in a moment, on a machine however busy; the operator's next sweep would be minutes away."""
GIVE_UP_SECONDS = 300
GPU = "nvidia.com/gpu"

ECHO = """
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        {initialize}

    def execute(self, requests):
        inputs = [pb.get_input_tensor_by_name(request, "IN").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("OUT", array)]) for array in inputs]
"""
TENSORS = {
    "inputs": [{"name": "IN", "dataType": "FP32", "dims": [4]}],
    "outputs": [{"name": "OUT", "dataType": "FP32", "dims": [4]}],
}


def python_model(place: Any, initialize: str = "pass") -> dict[str, Any]:
    uri = place.upload("echo", {"1/model.py": ECHO.format(initialize=initialize).encode()})
    return {
        "model": {"uri": uri, "backend": "python", "credentialsSecretName": "model-store", **TENSORS},
        "server": {"gpu": {"count": 1}},
    }


def said_in_time(place: Any, name: str, reason: str, knows: Callable[[dict[str, Any]], bool]) -> str:
    """Wait until `Ready` gives the reason; return its message once it came soon enough after a pod showed the cause."""
    start, known = time.monotonic(), None
    while place.condition(name, "Ready")["reason"] != reason:
        if known is None and any(knows(pod) for pod in place.list("pods")):
            known = time.monotonic()
        waited = time.monotonic() - (known or start)
        limit = GIVE_UP_SECONDS if known is None else KNOWN_WITHIN_SECONDS
        assert waited < limit, f"not {reason} but {place.condition(name, 'Ready')}"
        time.sleep(0.2)
    assert place.condition(name, "Ready")["status"] == "False"
    return str(place.condition(name, "Ready")["message"])


def container_ended(name: str) -> Callable[[dict[str, Any]], bool]:
    def knows(pod: dict[str, Any]) -> bool:
        status = pod["status"]
        containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
        states = [one.get(key, {}) for one in containers if one["name"] == name for key in ("state", "lastState")]
        return any(state.get("terminated", {}).get("exitCode", 0) != 0 for state in states)

    return knows


def container_waits(*reasons: str) -> Callable[[dict[str, Any]], bool]:
    def knows(pod: dict[str, Any]) -> bool:
        status = pod["status"]
        containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
        return any(one.get("state", {}).get("waiting", {}).get("reason") in reasons for one in containers)

    return knows


def unschedulable(pod: dict[str, Any]) -> bool:
    return any(one.get("reason") == "Unschedulable" for one in pod["status"].get("conditions", ()))


def test_a_python_model_serves_in_the_local_image(place: Any) -> None:
    place.apply("echo", python_model(place))
    place.wait_ready("echo")
    containers = place.list("pods")[0]["spec"]["containers"]
    assert {one["name"]: one["image"] for one in containers}["triton"] == TRITON_IMAGE


def test_a_model_whose_code_raises_is_quoted_with_its_line(place: Any) -> None:
    place.apply("echo", python_model(place, "raise RuntimeError('weights are for another architecture')"))
    message = said_in_time(place, "echo", "ModelLoadFailed", container_ended("triton"))
    assert "RuntimeError: weights are for another architecture" in message
    assert re.search(r"model\.py, line \d+", message)
    assert place.condition("echo", "ModelLoaded")["status"] == "False"
    place.wait("a second failure needs a person", lambda: place.condition("echo", "Stalled")["status"] == "True")


def test_a_missing_model_file_is_reported(place: Any) -> None:
    spec = python_model(place)
    spec["model"]["uri"] = place.upload("empty", {"1/readme.txt": b"no model here"})
    place.apply("echo", spec)
    message = said_in_time(place, "echo", "FetchFailed", container_ended("fetch"))
    assert "there is no 1/model.py, which the python backend loads" in message


@pytest.mark.acceptance
def test_a_type_that_contradicts_the_model_is_named(place: Any, digits: Any) -> None:
    digits["model"]["inputs"] = [{"name": "X", "dataType": "INT64", "dims": [64]}]
    place.apply("digits", digits)
    message = said_in_time(place, "digits", "ModelLoadFailed", container_ended("triton"))
    assert "INT64" in message
    assert "'X'" in message


def test_a_bucket_that_does_not_exist_fails_the_fetch(place: Any, digits: Any) -> None:
    digits["model"]["uri"] = "s3://nobody-made-this-bucket/model"
    place.apply("digits", digits)
    message = said_in_time(place, "digits", "FetchFailed", container_ended("fetch"))
    assert "nobody-made-this-bucket" in message


@pytest.mark.acceptance
def test_other_bytes_than_the_digest_promises_are_refused(place: Any, digits: Any) -> None:
    digits["model"]["digest"] = f"sha256:{'0' * 64}"
    place.apply("digits", digits)
    message = said_in_time(place, "digits", "FetchFailed", container_ended("fetch"))
    assert "0" * 64 in message


def test_a_missing_secret_is_named(place: Any, digits: Any) -> None:
    digits["model"]["credentialsSecretName"] = "not-there"
    place.apply("digits", digits)
    message = said_in_time(place, "digits", "ContainerNotCreated", container_waits("CreateContainerConfigError"))
    assert '"not-there" not found' in message


def test_a_missing_image_is_named(place: Any, digits: Any) -> None:
    digits["server"]["image"] = {"repository": "registry.invalid/tritonserver", "tag": "26.11-py3"}
    place.apply("digits", digits)
    message = said_in_time(place, "digits", "ImagePullFailed", container_waits("ErrImagePull", "ImagePullBackOff"))
    assert "registry.invalid/tritonserver:26.11-py3" in message


def free_gpus(place: Any) -> int:
    """Return the GPUs of the one node here that no pod has."""
    node = place.get("node", "node-0")
    pods = [pod for pod in place.list("pods", everywhere=True) if pod["spec"].get("nodeName") == "node-0"]
    running = [pod for pod in pods if pod["status"]["phase"] in {"Pending", "Running"}]
    limits = [one.get("resources", {}).get("limits", {}) for pod in running for one in pod["spec"]["containers"]]
    return int(node["status"]["allocatable"][GPU]) - sum(int(limit.get(GPU, 0)) for limit in limits)


def test_a_full_gpu_pool_is_counted_and_left_again_when_gpus_free(place: Any, digits: Any) -> None:
    free = free_gpus(place)
    digits["server"]["gpu"]["count"] = free
    place.apply("first", digits)
    place.wait_ready("first")
    digits["server"]["gpu"]["count"] = 2
    place.apply("second", digits)
    message = said_in_time(place, "second", "WaitingForGPU", unschedulable)
    assert message == "needs 2 nvidia.com/gpu, 0 free on 1 matching node"
    assert place.condition("second", "CapacityAvailable")["status"] == "False"
    assert place.get("mdep", "second")["status"]["gpu"] == {"requested": 2, "waiting": 2, "shortBy": 2}
    place.kubectl("delete", "mdep", "first")
    place.wait_ready("second")


def test_a_bad_update_leaves_the_old_revision_serving(place: Any, digits: Any) -> None:
    place.apply("digits", digits)
    place.wait_ready("digits")
    place.patch("digits", {"model": {"uri": "s3://nobody-made-this-bucket/model"}})
    said_in_time(place, "digits", "FetchFailed", container_ended("fetch"))
    assert place.condition("digits", "Available")["status"] == "True"
    generation = place.patch("digits", {"model": {"uri": digits["model"]["uri"]}})
    place.wait_ready("digits", generation)
