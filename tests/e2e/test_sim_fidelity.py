"""The simulator against the real Triton: the same arrivals, and what each says of latencies and batches."""

import asyncio
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tritonclient.grpc import InferInput
from tritonclient.utils import InferenceServerException

from tests.e2e.triton_here import SERVER_PRIORITY, Tally, TritonHere, between, take_priority
from tritonfleet.sim.arrivals import TimestampTrace
from tritonfleet.sim.fixed import Fixed
from tritonfleet.sim.plant import Plant
from tritonfleet.sim.result import Run
from tritonfleet.sim.run import simulate
from tritonfleet.sim.server import ServerModel
from tritonfleet.sim.slo import Slo

MAX_BATCH = 8
WIDTH = 1024
LAYERS = 400
"""Of the ONNX model: some 20 ms for one row."""
SECONDS = 12.0
CLOSE = 0.10
REFUSALS = ("timeout expired", "maximum queue size")
ALONE = Plant(min_replicas=1, max_replicas=1)

SLEEPER = b"""
import time
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        until = time.perf_counter() + 0.020 + 0.002 * len(requests)
        answers = [pb.InferenceResponse([pb.Tensor("Y", pb.get_input_tensor_by_name(each, "X").as_numpy())])
                   for each in requests]
        time.sleep(max(0.0, until - time.perf_counter()))
        return answers
"""

BATCHING = {
    "plain": "",
    "delayed": "max_queue_delay_microseconds: 10000",
    "preferring": "preferred_batch_size: [3, 6]",
    "impatient": "default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 60000 }",
    "bounded": "default_queue_policy { max_queue_size: 6 }",
}
AS_MODELLED: dict[str, dict[str, Any]] = {
    "plain": {},
    "delayed": {"max_queue_delay_seconds": 0.010},
    "preferring": {"preferred_batch_sizes": (3, 6)},
    "impatient": {"queue_timeout_seconds": 0.060},
    "bounded": {"max_queue_size": 6},
}


@dataclass(frozen=True)
class Replay:
    """What clients saw; NaN for requests that failed."""

    sent: NDArray[np.float64]
    latency: NDArray[np.float64]
    tally: Tally


def onnx_model() -> bytes:
    """Return a chain of square matrices: the work per row is the same, and large beside the overhead."""
    random = np.random.default_rng(0)
    weights = (random.standard_normal((WIDTH, WIDTH)) / math.sqrt(WIDTH)).astype(np.float32)
    constant = helper.make_tensor("W", TensorProto.FLOAT, weights.shape, weights.ravel())
    names = ["X", *(f"h{layer}" for layer in range(1, LAYERS)), "Y"]
    nodes = [helper.make_node("MatMul", [names[i], "W"], [names[i + 1]]) for i in range(LAYERS)]
    shape: list[str | int | None] = ["N", WIDTH]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("X", "Y"))
    model = helper.make_model(
        helper.make_graph(nodes, "chain", [x], [y], [constant]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 9
    return bytes(model.SerializeToString())


def config(backend: str, batching: str, dims: str) -> bytes:
    return f"""
        backend: "{backend}"
        max_batch_size: {MAX_BATCH}
        input [{{ name: "X" data_type: TYPE_FP32 dims: [{dims}] }}]
        output [{{ name: "Y" data_type: TYPE_FP32 dims: [{dims}] }}]
        instance_group [{{ kind: KIND_CPU count: 1 }}]
        dynamic_batching {{ {batching} }}
        parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}
    """.encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[TritonHere]:
    models = {
        name: {"config.pbtxt": config("python", batching, "1"), "1/model.py": SLEEPER}
        for name, batching in BATCHING.items()
    }
    models["onnx"] = {"config.pbtxt": config("onnxruntime", "", str(WIDTH)), "1/model.onnx": onnx_model()}
    made = TritonHere(tmp_path_factory.mktemp("triton"), models)
    made.start()
    yield made
    made.stop()


def replay(server: TritonHere, model: str, times: NDArray[np.float64], shape: tuple[int, ...] = (1, 1)) -> Replay:
    """Send requests at their times, whether or not earlier ones have been answered."""
    before = server.tally(model)
    sent, latency = asyncio.run(_send(f"127.0.0.1:{server.grpc}", model, times, shape))
    time.sleep(0.3)  # Triton counts a request a little after it has answered it
    order = np.argsort(sent, kind="stable")
    return Replay(sent[order], latency[order], between(before, server.tally(model)))


async def _send(
    address: str, model: str, times: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sent, latency = np.zeros(len(times)), np.full(len(times), np.nan)
    rows = InferInput("X", list(shape), "FP32")
    rows.set_data_from_numpy(np.ones(shape, np.float32))
    async with triton.InferenceServerClient(address) as client:
        start = time.perf_counter() + 0.2

        async def ask(number: int) -> None:
            sent[number] = time.perf_counter() - start
            try:
                await client.infer(model, [rows])
            except InferenceServerException as error:
                if not any(words in str(error) for words in REFUSALS):
                    raise
            else:
                latency[number] = time.perf_counter() - start - sent[number]

        asked = []
        for number, at in enumerate(times):
            await asyncio.sleep(max(0.0, at - (time.perf_counter() - start)))
            asked.append(asyncio.create_task(ask(number)))
        await asyncio.gather(*asked)
    return np.maximum(sent, 0.0), latency


def calibrate(server: TritonHere, model: str, shape: tuple[int, ...] = (1, 1)) -> ServerModel:
    """Learn alpha, beta, overhead and noise at a light load: single requests, and groups with short pauses between."""
    groups = np.repeat(np.arange(80) * 0.15, [1, 3, 6, 12] * 20)
    replay(server, model, groups[:60], shape)
    seen = replay(server, model, groups, shape)
    sizes = np.array(list(seen.tally.batches))
    counts, seconds = np.array(list(seen.tally.batches.values())).T
    weights = np.sqrt(counts)
    terms = np.stack([weights, weights * sizes], axis=1)
    alpha, beta = np.linalg.lstsq(terms, weights * seconds / counts, rcond=None)[0]
    single = replay(server, model, np.linspace(0.0, 10.0, 50), shape)
    overhead = float(np.median(single.latency)) - single.tally.seconds / single.tally.requests
    return ServerModel(
        alpha_seconds=float(alpha),
        beta_seconds=float(beta),
        max_batch_size=MAX_BATCH,
        overhead_seconds=max(0.0, overhead),
        noise=float(np.std(np.log(single.latency))),
    )


@pytest.fixture(scope="module")
def sleeper(server) -> ServerModel:
    take_priority(SERVER_PRIORITY + 1)
    return calibrate(server, "plain")


@pytest.fixture(scope="module")
def network(server) -> ServerModel:
    take_priority(SERVER_PRIORITY + 1)
    return calibrate(server, "onnx", (1, WIDTH))


def arrivals(rate: float, seed: int) -> NDArray[np.float64]:
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * SECONDS))
    return np.cumsum(gaps)


def simulated(real: Replay, model: ServerModel) -> Run:
    return simulate(TimestampTrace("replayed", real.sent), Fixed(1), model, ALONE, slo=Slo(1.0), record=True)


def assert_alike(real: Replay, run: Run) -> None:
    for share in (0.5, 0.99):
        expected = float(np.nanquantile(real.latency, share))
        assert np.nanquantile(run.sample.latency_seconds, share) == pytest.approx(expected, rel=CLOSE), share
    answered = int(np.sum(~np.isnan(run.sample.latency_seconds)))
    assert answered / run.executions == pytest.approx(real.tally.mean_batch, rel=CLOSE)
    assert run.rejected / run.requests == pytest.approx(np.isnan(real.latency).mean(), abs=0.02)


@pytest.mark.parametrize("load", [0.3, 0.6])
@pytest.mark.parametrize("name", BATCHING)
def test_a_model_that_sleeps_fares_as_simulated(server, sleeper, name, load):
    model = replace(sleeper, **AS_MODELLED[name])
    capacity = MAX_BATCH / model.execution_seconds(MAX_BATCH)
    real = replay(server, name, arrivals(load * capacity, seed=1))

    assert_alike(real, simulated(real, model))


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_an_onnx_model_fares_as_simulated(server, network, load):
    capacity = MAX_BATCH / network.execution_seconds(MAX_BATCH)
    real = replay(server, "onnx", arrivals(load * capacity, seed=2), (1, WIDTH))

    assert_alike(real, simulated(real, network))
