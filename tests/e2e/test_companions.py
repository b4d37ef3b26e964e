"""Several models in one real Triton: an ensemble of three, and a model whose code calls two others."""

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.e2e.test_failures import container_ended
from tritonfleet.triton.metrics import INFERENCES, SUCCESS, model_metrics

Body = dict[str, Any]
MEMBER = """
import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        {initialize}

    def execute(self, requests):
        inputs = [pb.get_input_tensor_by_name(request, "IN").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("OUT", np.float32({formula}))]) for x in inputs]
"""
CALLER = """
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(pb.get_input_tensor_by_name(request, "IN")) for request in requests]

    def answer(self, tensor):
        for name in ("double", "increment"):
            request = pb.InferenceRequest(
                model_name=name, requested_output_names=["OUT"], inputs=[pb.Tensor("IN", tensor.as_numpy())]
            )
            response = request.exec()
            if response.has_error():
                return pb.InferenceResponse(error=pb.TritonError(response.error().message()))
            tensor = pb.get_output_tensor_by_name(response, "OUT")
        return pb.InferenceResponse([pb.Tensor("OUT", tensor.as_numpy())])
"""
TENSORS = (
    'input { name: "IN" data_type: TYPE_FP32 dims: 2 } output { name: "OUT" data_type: TYPE_FP32 dims: 2 }'
    " instance_group { kind: KIND_CPU }"
)
PYTHON = f'backend: "python" max_batch_size: 8 dynamic_batching {{ }} {TENSORS}'.encode()
FORMULAS = {"double": "2 * x", "increment": "x + 1", "square": "x * x"}


def step(name: str, given: str, made: str) -> str:
    maps = f'input_map {{ key: "IN" value: "{given}" }} output_map {{ key: "OUT" value: "{made}" }}'
    return f'step {{ model_name: "{name}" model_version: -1 {maps} }}'


ENSEMBLE = (
    'platform: "ensemble" max_batch_size: 8 input { name: "X" data_type: TYPE_FP32 dims: 2 }'
    ' output { name: "Y" data_type: TYPE_FP32 dims: 2 } ensemble_scheduling {'
    f"{step('double', 'X', 'a')} {step('increment', 'a', 'b')} {step('square', 'b', 'Y')} }}"
).encode()


def members(*names: str, **initialize: str) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name in names:
        code = MEMBER.format(initialize=initialize.get(name, "pass"), formula=FORMULAS[name])
        files |= {f"{name}/1/model.py": code.encode(), f"{name}/config.pbtxt": PYTHON}
    return files


def chain(place: Any, files: dict[str, bytes], *companions: str, **more: Any) -> Body:
    return {
        "model": {"uri": place.upload("models", files), "credentialsSecretName": "model-store"},
        "companions": [{"name": name} for name in companions],
        "server": {"gpu": {"count": 1}},
        **more,
    }


def infer(place: Any, name: str, given: str, values: list[float]) -> list[float]:
    tensor = {"name": given, "datatype": "FP32", "shape": [1, len(values)], "data": values}
    address = f"http://{place.address(name)}:8000/v2/models/{name}/infer"
    with urlopen(Request(address, json.dumps({"inputs": [tensor]}).encode()), timeout=30) as answer:
        return list(json.load(answer)["outputs"][0]["data"])


def test_an_ensemble_of_three_from_one_folder_answers_and_its_metrics_are_read(place: Any) -> None:
    files = {"pipeline/config.pbtxt": ENSEMBLE} | members("double", "increment", "square")
    place.apply("pipeline", chain(place, files, *FORMULAS))
    body = place.wait_ready("pipeline", timeout_seconds=180)

    assert infer(place, "pipeline", "X", [1, 2]) == [9, 25]
    assert body["status"]["revisions"][0]["companionsDigest"].startswith("sha256:")
    (pod,) = place.list("pods")
    with urlopen(f"http://{pod['status']['podIP']}:8000/tritonfleet/ready", timeout=10) as answer:
        assert answer.status == 200
    with urlopen(f"http://{pod['status']['podIP']}:8002/metrics", timeout=10) as answer:
        page = answer.read()
    for name in ("pipeline", *FORMULAS):
        found = model_metrics(page, name)
        assert found is not None
        assert found.totals[SUCCESS] == found.totals[INFERENCES] == 1


def test_a_member_that_cannot_be_loaded_is_named_and_so_is_one_that_is_missing(place: Any) -> None:
    files = {"pipeline/config.pbtxt": ENSEMBLE}
    files |= members("double", "increment", "square", square="raise RuntimeError('no table of squares')")
    place.apply("pipeline", chain(place, files, "double", "increment"))
    message = place.wait_for_cause("pipeline", "FetchFailed", container_ended("fetch"))
    assert "step[2].model_name is 'square': must be a model of the same server" in message

    place.patch("pipeline", {"companions": [{"name": name} for name in FORMULAS]})
    message = place.wait_for_cause("pipeline", "ModelLoadFailed", container_ended("triton"))
    assert message.startswith("model 'square': ") or "model 'square': RuntimeError: no table of squares" in message


def test_code_that_calls_two_companions_answers_and_a_canary_that_lost_one_is_found_by_a_golden_request(
    place: Any,
) -> None:
    files = {"caller/1/model.py": CALLER.encode(), "caller/config.pbtxt": PYTHON} | members("double", "increment")
    tensor = {"datatype": "FP32", "shape": [1, 2]}
    golden = {
        "name": "two numbers",
        "inputs": [{"name": "IN", **tensor, "data": [1, 2]}],
        "outputs": [{"name": "OUT", **tensor, "data": [3, 5]}],
    }
    place.kubectl("create", "configmap", "caller-golden", f"--from-literal=golden.json={json.dumps([golden])}")
    canary = {"steps": [{"weight": 50}], "verification": {"golden": {"configMapName": "caller-golden"}}}
    place.apply("caller", chain(place, files, "double", "increment", rollout={"canary": canary}))
    place.wait_ready("caller", timeout_seconds=180)
    assert infer(place, "caller", "IN", [1, 2]) == [3, 5]

    place.patch("caller", {"companions": [{"name": "double"}]})
    message = str(place.wait_reason("caller", "RolledBack", timeout_seconds=240)["message"])
    rollout = place.get("mdep", "caller")["status"]["rollout"]
    assert "increment" in message + json.dumps(rollout)
    try:
        assert infer(place, "caller", "IN", [1, 2]) == [3, 5]
    except HTTPError as error:
        raise AssertionError(f"a user got the canary's answer: {error.read()!r}") from error
