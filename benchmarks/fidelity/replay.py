"""Requests sent to the real Triton, and what came of them."""

import asyncio
import time
from dataclasses import dataclass

import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from benchmarks.fidelity.models import Served
from benchmarks.fidelity.tally import Counts, counted

REFUSALS = ("timeout expired", "maximum queue size")
LATE_SECONDS = 0.3
"""Triton counts a request a little after it has answered it."""


@dataclass(frozen=True)
class Replay:
    """What clients saw, in order of sending, each an array of shape (requests,)."""

    sent: NDArray[np.float64]
    """Seconds since the start."""
    latency: NDArray[np.float64]
    """Seconds; NaN for requests that were refused."""
    tally: Counts


def arrivals(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Return the times of Poisson arrivals, `rate` a second."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, round(rate * seconds))
    return np.cumsum(gaps)


def replay(address: str, model: Served, times: NDArray[np.float64]) -> Replay:
    """Send requests at their times, whether or not earlier ones have been answered."""
    with InferenceServerClient(address) as client:
        before = counted(client, model.name)
        sent, latency = asyncio.run(_send(address, model, times))
        time.sleep(LATE_SECONDS)
        tally = counted(client, model.name).since(before)
    order = np.argsort(sent, kind="stable")
    return Replay(sent[order], latency[order], tally)


def back_to_back(address: str, model: Served, clients: int, seconds: float) -> NDArray[np.float64]:
    """Let each client ask again as soon as it is answered; return the latencies in seconds."""
    return np.array(asyncio.run(_press(address, model, clients, seconds)))


async def _send(
    address: str, model: Served, times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sent, latency = np.zeros(len(times)), np.full(len(times), np.nan)
    rows = _row(model)
    async with triton.InferenceServerClient(address) as client:
        await client.is_server_ready()  # connects, so that the first request need not
        start = time.perf_counter()

        async def ask(number: int) -> None:
            sent[number] = time.perf_counter() - start
            try:
                await client.infer(model.name, [rows])
            except InferenceServerException as error:
                if not any(words in str(error) for words in REFUSALS):
                    raise
            else:
                latency[number] = time.perf_counter() - start - sent[number]

        async with asyncio.TaskGroup() as asked:
            for number, at in enumerate(times):
                await asyncio.sleep(max(0.0, at - (time.perf_counter() - start)))
                asked.create_task(ask(number))
    return sent, latency


async def _press(address: str, model: Served, clients: int, seconds: float) -> list[float]:
    rows, latency = _row(model), list[float]()
    async with triton.InferenceServerClient(address) as client, asyncio.TaskGroup() as asking:
        until = time.perf_counter() + seconds

        async def ask() -> None:
            while (begun := time.perf_counter()) < until:
                await client.infer(model.name, [rows])
                latency.append(time.perf_counter() - begun)

        for _ in range(clients):
            asking.create_task(ask())
    return latency


def _row(model: Served) -> InferInput:
    row = InferInput("X", [1, model.width], "FP32")
    row.set_data_from_numpy(np.ones((1, model.width), np.float32))
    return row
