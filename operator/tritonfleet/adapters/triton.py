"""The gRPC client of one pod's Triton: model metadata and inference."""

import ipaddress
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import numpy as np
from grpc.aio import AioRpcError
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from tritonfleet.api.quantities import counted
from tritonfleet.errors import Rejected, Transient
from tritonfleet.plan.objects import PORTS
from tritonfleet.plan.rollout.verification import DATATYPES, Answer, Contract, GoldenRequest, Port, Tensor

CONTRACT_SECONDS: Final = 5.0
INFER_SECONDS: Final = 30.0
LARGEST_ANSWER_BYTES: Final = 4 << 20
LARGEST_REQUEST_BYTES: Final = 8 << 20
"""More than a golden file of 1 MiB can expect."""
VALUES_MAX: Final = 1 << 19
"""Limit of values in one response: each becomes a Python object."""
TEXT_MAX: Final = 160
_PREFIX: Final = "StatusCode."
_PASSING: Final = (f"{_PREFIX}CANCELLED", f"{_PREFIX}DEADLINE_EXCEEDED", f"{_PREFIX}UNAVAILABLE")
_DECOUPLED: Final = f"{_PREFIX}UNIMPLEMENTED"
"""Triton's error for a unary request to a decoupled model."""
_NO_ID: Final = "[request id: <id_unknown>] "
"""Triton's prefix of errors of requests without an id."""
_IDENTITY: Final = 1

_CHANNEL: Final = [
    ("grpc.compression_enabled_algorithms_bitset", _IDENTITY),  # a pod can make us read no more bytes than it sends
    ("grpc.enable_http_proxy", 0),  # the environment's proxy is for the outside world
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", LARGEST_ANSWER_BYTES),
    ("grpc.max_send_message_length", LARGEST_REQUEST_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # an address may be another pod's by now
]


class PodServer:
    """One model of one pod. Every method raises Transient without a timely response, Rejected for an error."""

    def __init__(self, client: InferenceServerClient, model: str) -> None:
        self._client = client
        self._model = model

    async def contract(self) -> Contract:
        """Return the model's metadata and configuration."""
        with _mapped():
            metadata = await self._client.get_model_metadata(self._model, client_timeout=CONTRACT_SECONDS)
            answer = await self._client.get_model_config(self._model, client_timeout=CONTRACT_SECONDS)
        optional = {each.name for each in answer.config.input if each.optional}
        return Contract(
            inputs=tuple(_port(each, optional=each.name in optional) for each in metadata.inputs),
            outputs=tuple(_port(each) for each in metadata.outputs),
            max_batch_size=answer.config.max_batch_size,
            decoupled=answer.config.model_transaction_policy.decoupled,
        )

    async def infer(self, request: GoldenRequest) -> Answer:
        """Return the named outputs that were received; of a decoupled model, its single response."""
        question = {
            "model_name": self._model,
            "inputs": [_input(tensor) for tensor in request.inputs],
            "outputs": [InferRequestedOutput(name) for name in request.outputs],
        }
        with _mapped():
            try:
                return _answer(await self._client.infer(**question, client_timeout=INFER_SECONDS))
            except InferenceServerException as error:
                if error.status() != _DECOUPLED:
                    raise
            return await self._streamed(question)

    async def _streamed(self, question: dict[str, Any]) -> Answer:
        found: Answer = {}
        answers = self._client.stream_infer(_once(question), stream_timeout=INFER_SECONDS)
        try:
            async for result, error in answers:
                if error is not None:
                    raise error
                answer = _answer(result)
                if answer and found:
                    raise Rejected("the model returned more than one response; only one can be compared")
                found = found or answer
        finally:
            answers.cancel()
        if not found:
            raise Rejected("the model returned no response")
        return found


@asynccontextmanager
async def connect(address: str, model: str, port: int = PORTS["grpc"]) -> AsyncIterator[PodServer]:
    """Open a connection to a pod by IP address; raises ValueError if it is invalid."""
    parsed = ipaddress.ip_address(address)
    host = f"[{parsed}]" if parsed.version == 6 else str(parsed)
    async with InferenceServerClient(f"ipv{parsed.version}:{host}:{port}", channel_args=_CHANNEL) as client:
        yield PodServer(client, model)


@contextmanager
def _mapped() -> Iterator[None]:
    """Convert the client's errors, and gRPC errors that it passes through in streams."""
    try:
        yield
    except InferenceServerException as error:
        raise _ours(error.status(), error.message()) from error
    except AioRpcError as error:
        raise _ours(str(error.code()), error.details()) from error


def _ours(status: str | None, message: str | None) -> Rejected | Transient:
    text = _printable((message or "no reason given").removeprefix(_NO_ID))
    return Transient(f"{status.removeprefix(_PREFIX)}: {text}") if status in _PASSING else Rejected(text)


def _printable(text: str) -> str:
    """Replace unprintable characters: the text goes into the status and to terminals."""
    one_line = " ".join(text[:TEXT_MAX].split())
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in one_line)


def _port(tensor: Any, *, optional: bool = False) -> Port:
    return Port(_printable(tensor.name), tensor.datatype, tuple(tensor.shape), optional=optional)


async def _once(question: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield question


def _input(tensor: Tensor) -> InferInput:
    kind = triton_to_np_dtype(tensor.datatype)
    data: list[Any] = [str(value).encode() for value in tensor.data] if tensor.datatype == "BYTES" else [*tensor.data]
    values = np.empty(len(data), dtype=kind)
    values[:] = data
    given = InferInput(tensor.name, list(tensor.shape), tensor.datatype)
    given.set_data_from_numpy(values.reshape(tensor.shape))
    return given


def _answer(result: InferResult) -> Answer:
    """Return a response as plain values; raises Rejected if it is inconsistent."""
    outputs = result.get_response().outputs
    try:
        found = {each.name: _output(result, each) for each in outputs}
    except (ValueError, struct.error) as error:
        raise Rejected(_printable(f"unreadable response: {error}")) from error
    return found


def _output(result: InferResult, output: Any) -> Tensor:
    if output.datatype not in DATATYPES:
        raise ValueError(f"output '{output.name}' has the unknown type '{output.datatype}'")
    values = result.as_numpy(output.name)
    if values.size > VALUES_MAX:
        raise ValueError(
            f"output '{output.name}' has {counted(values.size, 'value')}; at most {VALUES_MAX:,} can be compared"
        )
    return Tensor(output.name, output.datatype, tuple(output.shape), tuple(_plain(values, output.datatype)))


def _plain(values: np.ndarray, datatype: str) -> list[Any]:
    """Decode; invalid UTF-8 becomes lone surrogates, which equal no text of a golden file."""
    if datatype == "BYTES":
        return [value.decode("utf-8", "surrogateescape") for value in values.reshape(-1)]
    if datatype == "BF16":
        values = values.astype(np.float32)
    return list(values.reshape(-1).tolist())
