"""What the operator asks of a canary, asked of a real Triton on loopback."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from benchmarks.fidelity import server
from tritonfleet.adapters import triton
from tritonfleet.api.canary import ContractPolicy
from tritonfleet.errors import Rejected
from tritonfleet.plan.rollout.analysis import Outcome
from tritonfleet.plan.rollout.verification import (
    INTEGERS,
    Contract,
    Exact,
    GoldenRequest,
    JsonPath,
    Port,
    Tensor,
    mismatch,
    read_golden,
)
from tritonfleet.runtime import Connect, verify

HOST = "127.0.0.1"
QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
VALUES = {
    "BOOL": (True, False),
    **INTEGERS,
    "FP16": (0.5, -65504.0),
    "FP32": (0.5, -3.4028234663852886e38),
    "FP64": (0.1, -1e300),
    "BYTES": ("日本", "a\0{}"),
}

ECHO = """
import json
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        self.names = [each["name"] for each in json.loads(args["model_config"])["input"]]

    def execute(self, requests):
        return [pb.InferenceResponse(list(self.echoes(request))) for request in requests]

    def echoes(self, request):
        for name in self.names:
            given = pb.get_input_tensor_by_name(request, name)
            if given is not None:
                yield pb.Tensor(f"{name}_again", given.as_numpy())
"""
TALKER = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for _ in range(int(pb.get_input_tensor_by_name(request, "ANSWERS").as_numpy()[0])):
                text = np.array([b'{"label": "cat"}'], dtype=object)
                sender.send(pb.InferenceResponse([pb.Tensor("text", text)]))
            sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
TALKER_CONFIG = """
backend: "python"
input [{ name: "ANSWERS" data_type: TYPE_INT32 dims: [1] }]
output [{ name: "text" data_type: TYPE_STRING dims: [1] }]
model_transaction_policy { decoupled: true }
"""


def echo_config() -> str:
    tensors = [(name, "STRING" if name == "BYTES" else name) for name in VALUES]
    inputs = [f'{{ name: "{name}" data_type: TYPE_{kind} dims: [-1] optional: true }}' for name, kind in tensors]
    outputs = [f'{{ name: "{name}_again" data_type: TYPE_{kind} dims: [-1] }}' for name, kind in tensors]
    return f'backend: "python"\ninput [{", ".join(inputs)}]\noutput [{", ".join(outputs)}]\n'


@pytest.fixture(scope="module")
def connect(digits_model: Path) -> Iterator[Connect]:
    batched = 'backend: "onnxruntime"\nmax_batch_size: 16\n'
    models = {
        "digits": {"1/model.onnx": digits_model.read_bytes(), "config.pbtxt": batched.encode()},
        "echo": {"1/model.py": ECHO.encode(), "config.pbtxt": echo_config().encode()},
        "talker": {"1/model.py": TALKER.encode(), "config.pbtxt": TALKER_CONFIG.encode()},
    }
    with server.running(models) as address:
        port = int(address.rpartition(":")[2])
        yield lambda host, model: triton.connect(host, model, port)


async def answer(connect: Connect, model: str, request: GoldenRequest) -> str:
    async with connect(HOST, model) as asked:
        return mismatch(request, await asked.infer(request))


async def test_the_quickstart_passes_its_own_golden_requests_and_fits_itself(connect: Connect) -> None:
    manifest = yaml.safe_load((QUICKSTART / "golden.yaml").read_text())
    asked = read_golden(manifest["data"]["golden.json"])

    found = await verify([HOST], HOST, "digits", asked, ContractPolicy.ENFORCE, connect=connect)

    assert found.outcome is Outcome.PASSED, found
    assert [check.message for check in found.checks] == [
        "1/1 pods compatible with stable's clients",
        "3 golden requests answered correctly by 1/1 pods",
    ]


async def test_a_contract_is_what_triton_makes_of_the_model(connect: Connect) -> None:
    async with connect(HOST, "digits") as digits, connect(HOST, "talker") as talker:
        assert await digits.contract() == Contract(
            inputs=(Port("X", "FP32", (-1, 64)),),
            outputs=(Port("label", "INT64", (-1, 1)), Port("probabilities", "FP32", (-1, 10))),
            max_batch_size=16,
        )
        assert (await talker.contract()).decoupled


@pytest.mark.parametrize("datatype", VALUES)
async def test_values_of_every_type_go_through_triton_unchanged(connect: Connect, datatype: str) -> None:
    given = Tensor(datatype, datatype, (2,), VALUES[datatype])
    again = Tensor(f"{datatype}_again", datatype, (2,), VALUES[datatype])

    assert await answer(connect, "echo", GoldenRequest("echo", (given,), (Exact(again),))) == ""


async def test_what_triton_rejects_is_reported_with_its_message(connect: Connect) -> None:
    given = Tensor("FP32", "FP32", (1, 1), (1.0,))
    again = Tensor("FP32_again", "FP32", (1, 1), (1.0,))

    with pytest.raises(Rejected, match=r"^unexpected shape for input 'FP32' for model 'echo'. Expected \[-1\], got"):
        await answer(connect, "echo", GoldenRequest("echo", (given,), (Exact(again),)))


@pytest.mark.parametrize(("answers", "refusal"), [(0, "returned no response"), (1, ""), (2, "more than one response")])
async def test_a_decoupled_model_is_asked_for_its_one_answer(connect: Connect, answers: int, refusal: str) -> None:
    request = GoldenRequest(
        "talk", (Tensor("ANSWERS", "INT32", (1,), (answers,)),), (JsonPath("text", "$.label", "cat"),)
    )
    with pytest.raises(Rejected, match=refusal) if refusal else nullcontext():
        assert await answer(connect, "talker", request) == ""
