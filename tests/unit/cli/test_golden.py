"""`tritonfleet golden` against a gRPC server of the KServe v2 protocol."""

import json
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from tests.unit.cli.conftest import Said

X = {"name": "X", "datatype": "FP32", "shape": [1, 2], "data": [1, 0.5]}
QUESTION = {"name": "one and a half", "inputs": [X]}
SUM = {"name": "SUM", "datatype": "FP32", "shape": [1], "data": [1.5]}
LABEL = '{"label": "größer"}'
TEXT = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [LABEL]}
Golden = Callable[..., Said]


class Model(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Adds up X, and says in a text that the sum is greater."""

    def ModelInfer(self, request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:  # noqa: N802
        if request.inputs[0].name != "X":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "unexpected inference input")
        text = LABEL.encode()
        total = sum(struct.unpack("<2f", request.raw_input_contents[0]))
        response = pb.ModelInferResponse(
            raw_output_contents=[struct.pack("<f", total), struct.pack("<I", len(text)) + text]
        )
        response.outputs.add(name="SUM", datatype="FP32", shape=[1])
        response.outputs.add(name="text", datatype="BYTES", shape=[1])
        return response


@pytest.fixture
def server() -> Iterator[str]:
    running = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Model(), running)
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    yield f"127.0.0.1:{port}"
    running.stop(None)


@pytest.fixture
def golden(tritonfleet: Callable[..., Said], server: str, tmp_path: Path) -> Golden:
    """Runs an action on a golden file, given as what is in it or as text."""

    def run(action: str, content: Any, *options: object) -> Said:
        path = tmp_path / "golden"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return tritonfleet("golden", action, "adder", "-f", path, "--server", server, *options)

    return run


def test_answers_are_checked_one_by_one(golden: Golden) -> None:
    wrong = {"name": "two", "inputs": [X], "outputs": [SUM | {"data": [2]}]}
    foreign = {"name": "another input", "inputs": [X | {"name": "Y"}], "outputs": [SUM]}

    said = golden("check", [QUESTION | {"outputs": [SUM, TEXT]}, wrong, foreign])

    assert said.out.splitlines() == [
        "ok    one and a half",
        "FAIL  two: output 'SUM'[0]: expected 2, got 1.5 (at most 0.0201 apart; 1/1 values differ)",
        "FAIL  another input: request failed: unexpected inference input",
    ]
    assert (said.status, said.err) == (1, "")


def test_a_file_whose_answers_are_all_right_is_a_success(golden: Golden) -> None:
    assert golden("check", [QUESTION | {"outputs": [SUM]}]).status == 0


def test_answers_that_are_recorded_are_right_from_then_on(golden: Golden) -> None:
    said = golden("record", [QUESTION])

    assert (said.status, said.err) == (0, "")
    assert json.loads(said.out) == [QUESTION | {"outputs": [SUM, TEXT]}]
    assert golden("check", said.out).out == "ok    one and a half\n"


def test_numbers_are_recorded_as_short_as_their_type_allows(golden: Golden) -> None:
    said = golden("record", [{"name": "a tenth", "inputs": [X | {"data": [0.1, 0]}], "outputs": [{"name": "SUM"}]}])

    assert json.loads(said.out)[0]["outputs"][0]["data"] == [0.100000001]
    assert golden("check", said.out.replace("}\n    ]\n", ', "compare": "exact"}\n    ]\n')).status == 0


def test_how_an_output_is_compared_is_kept(golden: Golden) -> None:
    label = {"name": "text", "compare": {"jsonPath": {"path": "$.label", "equals": "größer"}}}
    near = {"name": "SUM", "compare": {"tolerance": {"abs": 0.5}}}

    said = golden("record", [QUESTION | {"outputs": [near, label]}])

    assert json.loads(said.out)[0]["outputs"] == [{**SUM, **near}, label]
    assert golden("check", said.out).status == 0


def test_the_config_map_will_do_as_well(golden: Golden) -> None:
    manifest = {"kind": "ConfigMap", "data": {"sums.json": json.dumps([QUESTION | {"outputs": [SUM]}])}}

    assert golden("check", yaml.safe_dump(manifest), "--key", "sums.json").out == "ok    one and a half\n"


@pytest.mark.parametrize(
    ("action", "content", "message"),
    [
        ("check", [QUESTION], "golden[0].outputs: is missing"),
        ("record", [{"name": "empty", "inputs": []}], "golden[0] ('empty').inputs: must be a list of 1 to 64 entries"),
        ("record", [QUESTION | {"outputs": [{"name": "Z"}]}], "the model returned no output 'Z', only SUM, text"),
        ("check", "{]", "neither JSON nor a manifest"),
        ("check", "kind: ConfigMap", "must be a JSON list, or a ConfigMap with the key 'golden.json'"),
    ],
)
def test_invalid_input_is_reported_in_one_line(golden: Golden, action: str, content: Any, message: str) -> None:
    said = golden(action, content)

    assert said.status == 2
    assert said.out == ""
    assert said.err.startswith(f"tritonfleet golden {action}: ")
    assert message in said.err
    assert said.err.count("\n") == 1


def test_a_request_that_is_refused_is_not_recorded(golden: Golden) -> None:
    said = golden("record", [{"name": "another input", "inputs": [X | {"name": "Y"}]}])

    assert said.status == 1
    assert said.err == "tritonfleet golden record: request 'another input' failed: unexpected inference input\n"


@pytest.mark.parametrize(
    ("server", "status", "message"),
    [
        ("127.0.0.1:1", 1, "UNAVAILABLE: "),
        ("nobody", 2, "--server: must be HOST:PORT, such as 127.0.0.1:8001, not 'nobody'"),
        ("no.such.host.invalid:8001", 2, "--server: 'no.such.host.invalid' not found"),
    ],
)
def test_a_server_that_cannot_be_asked_is_named(golden: Golden, server: str, status: int, message: str) -> None:
    said = golden("check", [QUESTION | {"outputs": [SUM]}], "--server", server)

    assert said.status == status
    assert message in said.err
