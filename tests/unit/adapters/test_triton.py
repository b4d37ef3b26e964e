"""A real gRPC server of the KServe v2 protocol answers, well or badly."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Callable

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import triton_to_np_dtype

from tritonfleet.adapters import triton
from tritonfleet.errors import Rejected, Transient
from tritonfleet.plan.rollout.verification import DATATYPES, INTEGERS, Contract, Exact, GoldenRequest, Port, Tensor

FP32_X = Tensor("X", "FP32", (1, 2), (1.5, -2.0))


class Model(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Gives back its inputs unless a test says otherwise."""

    def __init__(self) -> None:
        self.asked: list[pb.ModelInferRequest] = []
        self.answer: Callable[[pb.ModelInferRequest], pb.ModelInferResponse] = echo
        self.status: tuple[grpc.StatusCode, str] | None = None
        self.delay_seconds = 0.0
        self.pieces: list[Callable[[pb.ModelInferRequest], pb.ModelStreamInferResponse]] = []
        self.config = pb.ModelConfigResponse()
        self.metadata = pb.ModelMetadataResponse(name="digits")

    async def ModelInfer(self, request, context):  # noqa: N802
        self.asked.append(request)
        await self._obstruct(context)
        return self.answer(request)

    async def ModelStreamInfer(self, requests, _context):  # noqa: N802
        async for request in requests:
            self.asked.append(request)
            for piece in self.pieces:
                await asyncio.sleep(self.delay_seconds)
                yield piece(request)

    async def ModelMetadata(self, _request, context):  # noqa: N802
        await self._obstruct(context)
        return self.metadata

    async def ModelConfig(self, _request, _context):  # noqa: N802
        return self.config

    async def _obstruct(self, context) -> None:
        await asyncio.sleep(self.delay_seconds)
        if self.status is not None:
            await context.abort(*self.status)


def echo(request: pb.ModelInferRequest) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(model_name=request.model_name, raw_output_contents=request.raw_input_contents)
    for given in request.inputs:
        response.outputs.add(name=given.name, datatype=given.datatype, shape=given.shape)
    return response


def saying(datatype: str, shape: list[int], raw: bytes) -> Callable[[pb.ModelInferRequest], pb.ModelInferResponse]:
    def answer(_: pb.ModelInferRequest) -> pb.ModelInferResponse:
        response = pb.ModelInferResponse(raw_output_contents=[raw])
        response.outputs.add(name="X", datatype=datatype, shape=shape)
        return response

    return answer


def asking(*inputs: Tensor) -> GoldenRequest:
    return GoldenRequest("one", inputs, tuple(Exact(tensor) for tensor in inputs))


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
async def port(model: Model) -> AsyncIterator[int]:
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(model, server)
    number = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield number
    await server.stop(None)


async def infer(port: int, request: GoldenRequest) -> dict[str, Tensor]:
    async with triton.connect("127.0.0.1", "digits", port) as server:
        return dict(await server.infer(request))


async def contract(port: int) -> Contract:
    async with triton.connect("127.0.0.1", "digits", port) as server:
        return await server.contract()


async def test_a_contract_is_read_from_metadata_and_configuration(port: int, model: Model) -> None:
    model.metadata.inputs.add(name="X", datatype="FP32", shape=[-1, 64])
    model.metadata.inputs.add(name="mask", datatype="BOOL", shape=[-1, 64])
    model.metadata.outputs.add(name="label", datatype="INT64", shape=[-1])
    model.config.config.max_batch_size = 16
    model.config.config.input.add(name="X")
    model.config.config.input.add(name="mask", optional=True)
    model.config.config.model_transaction_policy.decoupled = True

    assert await contract(port) == Contract(
        inputs=(Port("X", "FP32", (-1, 64)), Port("mask", "BOOL", (-1, 64), optional=True)),
        outputs=(Port("label", "INT64", (-1,)),),
        max_batch_size=16,
        decoupled=True,
    )


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("X", "BOOL", (3,), (True, False, True)),
        *(Tensor("X", datatype, (2,), bounds) for datatype, bounds in INTEGERS.items()),
        Tensor("X", "FP16", (2, 1), (0.5, -65504.0)),
        Tensor("X", "BF16", (1, 2), (1.0078125, -3.3895313892515355e38)),
        Tensor("X", "FP32", (2,), (0.10000000149011612, -1e-45)),
        Tensor("X", "FP64", (1,), (0.1,)),
        Tensor("X", "BYTES", (2, 2), ("", "a\0", "日本", "{}")),
        Tensor("X", "INT32", (), (7,)),
    ],
    ids=lambda tensor: tensor.datatype,
)
async def test_values_of_every_type_arrive_and_come_back_as_they_were(port: int, tensor: Tensor) -> None:
    if tensor.datatype == "FP32":
        tensor = Tensor("X", "FP32", (2,), tuple(float(np.float32(value)) for value in tensor.data))

    assert await infer(port, asking(tensor)) == {"X": tensor}


async def test_only_the_outputs_that_are_looked_at_are_asked_for(port: int, model: Model) -> None:
    await infer(port, GoldenRequest("one", (FP32_X, Tensor("Y", "BOOL", (1,), (True,))), (Exact(FP32_X),)))

    assert [output.name for output in model.asked[0].outputs] == ["X"]
    assert [given.name for given in model.asked[0].inputs] == ["X", "Y"]
    assert model.asked[0].model_name == "digits"


async def test_bytes_that_are_no_text_equal_no_text(port: int, model: Model) -> None:
    model.answer = saying("BYTES", [1], struct.pack("<I", 2) + b"\xff!")

    found = await infer(port, asking(FP32_X))

    assert found["X"].data == ("\udcff!",)


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND], ids=str
)
async def test_an_error_of_the_model_is_reported_verbatim(port: int, model: Model, code: grpc.StatusCode) -> None:
    model.status = (code, "[request id: <id_unknown>] unexpected shape\nfor input 'X'")

    with pytest.raises(Rejected, match=r"^unexpected shape for input 'X'$"):
        await infer(port, asking(FP32_X))


async def test_a_long_error_is_cut(port: int, model: Model) -> None:
    model.status = (grpc.StatusCode.INTERNAL, "x" * 5000)

    with pytest.raises(Rejected) as refused:
        await infer(port, asking(FP32_X))

    assert len(str(refused.value)) == triton.TEXT_MAX


async def test_what_a_model_says_cannot_move_a_terminal(port: int, model: Model) -> None:
    model.metadata.inputs.add(name="\x1b[2J", datatype="FP32", shape=[1])

    assert [each.name for each in (await contract(port)).inputs] == ["\N{REPLACEMENT CHARACTER}[2J"]


async def test_a_full_queue_is_no_answer(port: int, model: Model) -> None:
    model.status = (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")

    with pytest.raises(Transient, match="UNAVAILABLE: Exceeds maximum queue size"):
        await infer(port, asking(FP32_X))


async def test_a_model_that_hangs_is_given_up(port: int, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "INFER_SECONDS", 0.05)
    monkeypatch.setattr(triton, "CONTRACT_SECONDS", 0.05)
    model.delay_seconds = 30

    with pytest.raises(Transient, match="DEADLINE_EXCEEDED"):
        await infer(port, asking(FP32_X))
    with pytest.raises(Transient, match="DEADLINE_EXCEEDED"):
        await contract(port)


async def test_a_pod_that_does_not_listen_is_unreachable() -> None:
    with pytest.raises(Transient, match="UNAVAILABLE"):
        await infer(1, asking(FP32_X))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (saying("FP32", [1, 2], b"\0" * 7), "unreadable"),
        (saying("FP32", [1, 3], b"\0" * 8), "unreadable"),
        (saying("BYTES", [1], struct.pack("<I", 1000) + b"short"), "unreadable"),
        (saying("BYTES", [1], b"\1\0"), "unreadable"),
        (saying("FP8", [8], b"\0" * 8), "unknown type 'FP8'"),
        (saying("INT8", [triton.VALUES_MAX + 1], b"\0" * (triton.VALUES_MAX + 1)), "524,289 values"),
        (saying("INT8", [5 << 20], b"\0" * (5 << 20)), "larger than max"),
        (
            lambda _: pb.ModelInferResponse(outputs=[{"name": "X", "datatype": "INT8", "shape": [1]}]),
            "unreadable response",
        ),
    ],
    ids=["cut", "too few", "beyond its end", "cut length", "unknown type", "many values", "huge", "no content"],
)
async def test_an_answer_that_cannot_be_right_is_refused(port: int, model: Model, answer, problem: str) -> None:
    model.answer = answer

    with pytest.raises(Rejected, match=problem):
        await infer(port, asking(FP32_X))


async def test_an_output_that_did_not_come_is_simply_not_there(port: int, model: Model) -> None:
    model.answer = lambda _: pb.ModelInferResponse()

    assert await infer(port, asking(FP32_X)) == {}


def decoupled(model: Model, *pieces) -> None:
    model.status = (grpc.StatusCode.UNIMPLEMENTED, "ModelInfer RPC doesn't support models with decoupled transaction")
    model.pieces = list(pieces)


def piece(request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
    return pb.ModelStreamInferResponse(infer_response=echo(request))


def end(_: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
    return pb.ModelStreamInferResponse(infer_response=pb.ModelInferResponse())


def failure(_: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
    return pb.ModelStreamInferResponse(error_message="out of memory")


async def test_the_one_answer_of_a_decoupled_model_is_taken(port: int, model: Model) -> None:
    decoupled(model, piece, end)

    assert await infer(port, asking(FP32_X)) == {"X": FP32_X}


@pytest.mark.parametrize(
    ("pieces", "problem"),
    [
        ([], "returned no response"),
        ([piece, piece], "more than one response"),
        ([failure], "^out of memory$"),
    ],
    ids=["none", "two", "an error"],
)
async def test_a_decoupled_model_with_any_other_number_of_answers_is_refused(
    port: int, model: Model, pieces, problem: str
) -> None:
    decoupled(model, *pieces)

    with pytest.raises(Rejected, match=problem):
        await infer(port, asking(FP32_X))


async def test_a_decoupled_model_that_never_ends_is_given_up(
    port: int, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton, "INFER_SECONDS", 0.05)
    decoupled(model, *[end] * 100)
    model.delay_seconds = 0.01

    with pytest.raises(Transient, match="DEADLINE_EXCEEDED"):
        await infer(port, asking(FP32_X))


async def test_a_proxy_of_the_environment_is_passed_by(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)

    assert await infer(port, asking(FP32_X)) == {"X": FP32_X}


@pytest.mark.parametrize("address", ["localhost", "unix:/run/x.sock", "10.0.0.1:80", "dns:///example.com", ""])
async def test_nothing_but_an_address_is_connected_to(address: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        async with triton.connect(address, "digits"):
            pass


def test_every_type_is_one_that_the_client_can_send() -> None:
    assert None not in {triton_to_np_dtype(datatype) for datatype in DATATYPES}
