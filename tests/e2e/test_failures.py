"""What goes wrong in a real pod is named in the condition, in words a person can act on, soon after it is known."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from devcluster.release import TRITON_IMAGE

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


def test_a_python_model_serves_in_the_local_image(place: Any) -> None:
    place.apply("echo", python_model(place))
    place.wait_ready("echo")
    containers = place.list("pods")[0]["spec"]["containers"]
    assert {one["name"]: one["image"] for one in containers}["triton"] == TRITON_IMAGE


def test_a_model_whose_code_raises_is_quoted_with_its_line(place: Any) -> None:
    place.apply("echo", python_model(place, "raise RuntimeError('weights are for another architecture')"))
    message = place.wait_for_cause("echo", "ModelLoadFailed", container_ended("triton"))
    assert "RuntimeError: weights are for another architecture" in message
    assert re.search(r"model\.py, line \d+", message)
    assert place.condition("echo", "ModelLoaded")["status"] == "False"
    place.wait("a second failure needs a person", lambda: place.condition("echo", "Stalled")["status"] == "True")


def test_a_missing_model_file_is_reported(place: Any) -> None:
    spec = python_model(place)
    spec["model"]["uri"] = place.upload("empty", {"1/readme.txt": b"no model here"})
    place.apply("echo", spec)
    message = place.wait_for_cause("echo", "FetchFailed", container_ended("fetch"))
    assert "there is no 1/model.py, which the python backend loads" in message


@pytest.mark.acceptance
def test_a_type_that_contradicts_the_model_is_named(place: Any, digits: Any) -> None:
    digits["model"]["inputs"] = [{"name": "X", "dataType": "INT64", "dims": [64]}]
    place.apply("digits", digits)
    message = place.wait_for_cause("digits", "ModelLoadFailed", container_ended("triton"))
    assert "INT64" in message
    assert "'X'" in message


def test_a_bucket_that_does_not_exist_fails_the_fetch(place: Any, digits: Any) -> None:
    digits["model"]["uri"] = "s3://nobody-made-this-bucket/model"
    place.apply("digits", digits)
    message = place.wait_for_cause("digits", "FetchFailed", container_ended("fetch"))
    assert "nobody-made-this-bucket" in message


@pytest.mark.acceptance
def test_other_bytes_than_the_digest_promises_are_refused(place: Any, digits: Any) -> None:
    digits["model"]["digest"] = f"sha256:{'0' * 64}"
    place.apply("digits", digits)
    message = place.wait_for_cause("digits", "FetchFailed", container_ended("fetch"))
    assert "0" * 64 in message


def test_a_missing_secret_is_named(place: Any, digits: Any) -> None:
    digits["model"]["credentialsSecretName"] = "not-there"
    place.apply("digits", digits)
    message = place.wait_for_cause("digits", "ContainerNotCreated", container_waits("CreateContainerConfigError"))
    assert '"not-there" not found' in message


def test_a_missing_image_is_named(place: Any, digits: Any) -> None:
    digits["server"]["image"] = {"repository": "registry.invalid/tritonserver", "tag": "26.11-py3"}
    place.apply("digits", digits)
    message = place.wait_for_cause("digits", "ImagePullFailed", container_waits("ErrImagePull", "ImagePullBackOff"))
    assert "registry.invalid/tritonserver:26.11-py3" in message


def test_a_bad_update_leaves_the_old_revision_serving(place: Any, digits: Any) -> None:
    place.apply("digits", digits)
    place.wait_ready("digits")
    place.patch("digits", {"model": {"uri": "s3://nobody-made-this-bucket/model"}})
    place.wait_for_cause("digits", "FetchFailed", container_ended("fetch"))
    assert place.condition("digits", "Available")["status"] == "True"
    generation = place.patch("digits", {"model": {"uri": digits["model"]["uri"]}})
    place.wait_ready("digits", generation)
