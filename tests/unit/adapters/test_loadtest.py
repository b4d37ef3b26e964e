"""Load on a server that these tests script: what is sent, what counts, and Triton's words."""

import asyncio
import json
import math
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from aiohttp import web

from tritonfleet.adapters import loadtest
from tritonfleet.adapters.loadtest import (
    OpenLoopRun,
    Reloaded,
    TrialServer,
    encode,
    made_up,
    make_trial,
    setting_in,
    trial_server,
)
from tritonfleet.errors import Rejected
from tritonfleet.plan.rollout.verification import Port, Tensor
from tritonfleet.sim import NextTrial, Setting, Slo

CONFIG = {
    "name": "m",
    "max_batch_size": 8,
    "dynamic_batching": {"preferred_batch_size": [8], "max_queue_delay_microseconds": "2000", "priority_levels": 2},
    "instance_group": [{"kind": "KIND_GPU", "count": 2, "gpus": [0, 1]}],
    "response_cache": {"enable": True},
}
REQUEST = encode((Tensor("X", "FP32", (1, 2), (1.0, 2.0)),))
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(infer: Answer, load: Answer | None = None) -> AsyncIterator[TrialServer]:
    async def config(_: web.Request) -> web.Response:
        return web.json_response(CONFIG)

    app = web.Application()
    app.router.add_post("/v2/models/m/infer", infer)
    app.router.add_get("/v2/models/m/config", config)
    if load is not None:
        app.router.add_post("/v2/repository/models/m/load", load)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with trial_server(f"http://127.0.0.1:{port}/", "m") as server:
            yield server
    finally:
        await runner.cleanup()


async def well(_: web.Request) -> web.Response:
    return web.Response(body=b"{}")


def test_a_request_is_sent_in_the_binary_form_of_the_protocol() -> None:
    request = encode((Tensor("X", "INT64", (1, 2), (3, -4)), Tensor("words", "BYTES", (1, 1), ("hé",))))

    length = int(request.headers["Inference-Header-Content-Length"])
    header = json.loads(request.body[:length])
    sizes = [each["parameters"]["binary_data_size"] for each in header["inputs"]]
    assert sizes == [16, 4 + 3]
    assert request.body[length:] == struct.pack("<qq", 3, -4) + struct.pack("<I", 3) + "hé".encode()


def test_bf16_is_the_upper_half_of_a_float() -> None:
    assert encode((Tensor("X", "BF16", (1,), (1.0,)),)).body.endswith(struct.pack("<H", 0x3F80))


def test_inputs_are_made_of_the_models_shapes_or_of_those_that_are_given() -> None:
    ports = [Port("X", "FP32", (-1, 3)), Port("ids", "INT64", (-1, -1)), Port("y", "FP32", (-1, 1), optional=True)]

    made = made_up(ports, batched=True, shapes={"ids": (5,)})

    assert [(each.name, each.shape) for each in made] == [("X", (1, 3)), ("ids", (1, 5))]
    with pytest.raises(Rejected, match="give it with --shape ids:SIZE"):
        made_up(ports, batched=True, shapes={})


async def test_a_stall_counts_against_every_request_that_it_delays() -> None:
    lock, asked = asyncio.Lock(), 0

    async def stalls_once(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        async with lock:
            await asyncio.sleep(0.4 if asked == 1 else 0)
        return web.Response(body=b"{}")

    async with serving(stalls_once) as server:
        run = await server.replay([REQUEST], 100, 1.0, seed=0, enough=lambda _: False)

    first = run.due < run.due[0] + 0.2
    assert first.sum() > 5
    # Those that were due 0.2 s later still had as much to wait for.
    assert run.latency[first].min() >= 0.19
    assert np.isfinite(run.latency).all()


async def test_what_is_not_answered_within_the_target_is_late_before_it_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loadtest, "DRAIN_SECONDS", 0.1)

    async def never(_: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    async with serving(never) as server:
        run = await server.replay([REQUEST], 200, 5.0, seed=0, enough=lambda run: len(run.blocks(0.05, 0.1)) >= 3)

    assert all(requests == late > 0 for requests, late in run.blocks(0.05, 0.1))


async def test_a_model_that_answers_no_request_is_told_with_tritons_words() -> None:
    async def fails(_: web.Request) -> web.Response:
        return web.json_response({"error": "[StatusCode.INTERNAL] out of\nmemory"}, status=500)

    async with serving(fails) as server:
        with pytest.raises(Rejected, match=r"INTERNAL\] out of memory"):
            await make_trial(server, [REQUEST], NextTrial(Setting(1, 0, 1), 50.0, ""), Slo(0.05), seed=0)


async def test_a_trial_ends_as_soon_as_its_outcome_is_sure() -> None:
    async with serving(well) as server:
        trial = await make_trial(server, [REQUEST], NextTrial(Setting(1, 0, 1), 50.0, ""), Slo(0.5, 50.0), seed=0)

    # How fast this machine is does not matter, only that it is clear.
    assert trial.sure
    assert trial.within == (trial.percentile_seconds <= 0.5)
    assert trial.requests < 3000


def test_requests_are_decided_in_the_order_in_which_they_were_due() -> None:
    due, nan = np.arange(0.0, 10.0), math.nan
    run = OpenLoopRun(due, np.array([0.1, 9.0, nan, 0.1, 0.1, 0.1, 0.1, nan, 0.1, nan]), np.zeros(10), now=8.5)

    # The third was due more than five seconds ago, the eighth may still be in time.
    assert run.blocks(5.0, 1.0) == [(1, 0), (1, 1), (1, 1), (1, 0), (1, 0), (1, 0), (1, 0)]
    assert run.answered(5.0, first=2.0).tolist() == [math.inf, 0.1, 0.1, 0.1, 0.1]


async def test_a_refused_load_is_told_with_tritons_words() -> None:
    async def refuses(_: web.Request) -> web.Response:
        return web.json_response({"error": "failed to load 'm', no profile for batch 64"}, status=400)

    async with serving(well, refuses) as server:
        bench = Reloaded(server, CONFIG)
        with pytest.raises(Rejected, match="no profile for batch 64"):
            await bench.at(Setting(2, 0, 64))


async def test_a_setting_replaces_what_is_tuned_and_nothing_else() -> None:
    async with trial_server("http://127.0.0.1:1", "m") as server:
        bench = Reloaded(server, CONFIG)

        assert bench.current == Setting(4, 2000, 8)
        assert (bench.parallel, bench.tunes_batches, bench.tunes_instances) == (2, True, True)
        config = bench.configured(Setting(8, 500, 16))
        assert config["dynamic_batching"] == {"max_queue_delay_microseconds": 500, "priority_levels": 2}
        assert config["instance_group"] == [{"kind": "KIND_GPU", "count": 4, "gpus": [0, 1]}]
        assert (config["max_batch_size"], "response_cache" in config) == (16, False)
        assert setting_in(config) == Setting(8, 500, 16)
        assert "dynamic_batching" not in bench.configured(Setting(4, 0, 1))
