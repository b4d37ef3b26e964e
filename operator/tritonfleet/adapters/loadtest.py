"""Load on one Triton server over HTTP, and what its clients saw.

`TrialServer.replay()` sends requests at Poisson arrivals, whether or not earlier ones were answered. A latency counts
from the moment at which its request was due, so that a slow server, or a late sender, cannot hide the waits that it
causes (coordinated omission). `press()` has clients that never pause, and `batches()` reads Triton's own statistics of
how long batches took. `make_trial()` makes of them a trial of one setting, which `sim/tuning.py` has chosen, and
`Reloaded` a server that takes any setting, if it runs with `--model-control-mode=explicit`. `encode()` and `made_up()`
make the requests, once, before anything is measured. `cli/tune.py` uses all of it.
"""

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, prod
from typing import Any, Final

import aiohttp
import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import triton_to_np_dtype

from tritonfleet.adapters import read_body
from tritonfleet.api.modeldeployment import ModelDeploymentSpec
from tritonfleet.api.quantities import duration_us
from tritonfleet.errors import Rejected, Transient, printable
from tritonfleet.plan.rollout.verification import Port, Tensor
from tritonfleet.sim import NextTrial, Setting, Slo, Trial, verdict

ANSWER_SECONDS: Final = 60.0
LOAD_SECONDS: Final = 600.0
"""Limit for loading a model."""
LARGEST_ANSWER_BYTES: Final = 64 << 20
MOST_WAITING: Final = 4096
"""Requests in flight at which a server is taken to be overloaded for good."""
DRAIN_SECONDS: Final = 20.0
"""How long requests in flight are waited for when a trial has ended."""
WATCH_SECONDS: Final = 0.1
ALONE_SECONDS, PRESS_SECONDS = 1.5, 0.8
"""How long clients that never pause ask: one for each instance, and for each of the larger numbers."""
LATE_STATISTICS_SECONDS: Final = 0.3
"""Triton counts a request a little after it has answered it."""
SHORTEST_TRIAL_SECONDS, LONGEST_TRIAL_SECONDS = 4.0, 30.0
REQUESTS_OF_TRIAL: Final = 3000
"""A trial that is not sure after so many goes by what is likely."""
_HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_WORDS_MAX: Final = 600


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """An inference request as it is sent; outputs come back in binary form as well."""

    body: bytes
    headers: Mapping[str, str]


def encode(inputs: Sequence[Tensor]) -> EncodedRequest:
    """Return a request in the binary form of the inference protocol, as Triton's clients send it."""
    parts = [_bytes_of(tensor) for tensor in inputs]
    described = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "parameters": {"binary_data_size": len(part)},
        }
        for tensor, part in zip(inputs, parts, strict=True)
    ]
    header = json.dumps({"inputs": described, "parameters": {"binary_data_output": True}}).encode()
    return EncodedRequest(
        header + b"".join(parts), {_HEADER_LENGTH: str(len(header)), "Content-Type": "application/octet-stream"}
    )


def _bytes_of(tensor: Tensor) -> bytes:
    if tensor.datatype == "BYTES":
        words = [str(value).encode("utf-8", "surrogateescape") for value in tensor.data]
        return b"".join(struct.pack("<I", len(word)) + word for word in words)
    if tensor.datatype == "BF16":
        bits = np.asarray(tensor.data, np.float32).view(np.uint32)
        return bytes((bits >> 16).astype("<u2").tobytes())
    return bytes(np.asarray(tensor.data, triton_to_np_dtype(tensor.datatype)).tobytes())


def made_up(ports: Sequence[Port], *, batched: bool, shapes: Mapping[str, Sequence[int]]) -> tuple[Tensor, ...]:
    """Return inputs of one row by the model's metadata: random floats, ones, and short words.

    Raises Rejected for an input of variable size that `shapes` does not give.
    """
    random = np.random.default_rng(0)
    tensors = []
    for port in ports:
        if port.optional:
            continue
        own = tuple(port.shape[1:] if batched else port.shape)
        given = tuple(shapes.get(port.name, own))
        if any(size < 1 for size in given) or len(given) != len(own):
            raise Rejected(
                f"input '{port.name}' has the shape {list(own)}: give it with --shape {port.name}:SIZE,..., or give"
                " requests with --requests"
            )
        count = prod(given)
        values: Any = [1] * count
        if port.datatype == "BYTES":
            values = ["text"] * count
        elif port.datatype in {"FP16", "BF16", "FP32", "FP64"}:
            values = random.random(count).tolist()
        elif port.datatype == "BOOL":
            values = [True] * count
        tensors.append(Tensor(port.name, port.datatype, (1, *given) if batched else given, tuple(values)))
    return tuple(tensors)


@dataclass
class OpenLoopRun:
    """What came of requests that were sent at their times, each array of shape (requests,)."""

    due: NDArray[np.float64]
    """When each request was to be sent, seconds since the start."""
    latency: NDArray[np.float64]
    """Seconds since it was due; NaN while it is not answered, infinite if it failed."""
    lag: NDArray[np.float64]
    """Seconds by which it was sent late; NaN if it was not."""
    now: float = 0.0
    """Seconds since the start."""
    failed: int = 0
    words: str = ""
    """What Triton said of the first request that failed."""
    waiting: int = 0

    def _decided(self, target: float) -> float:
        """Return the time before which every request that was due is answered, or late already."""
        waiting = np.isnan(self.latency) & (self.due > self.now - target)
        return min(self.now, float(self.due[np.argmax(waiting)])) if waiting.any() else self.now

    def blocks(self, target: float, block: float, *, first: float = 0.0) -> list[tuple[int, int]]:
        """Return requests, and late ones, of each stretch of `block` seconds after `first` that is decided."""
        decided = int((self._decided(target) - first) / block)
        edges = np.searchsorted(self.due, first + block * np.arange(max(0, decided) + 1))
        late = ~(self.latency <= target)
        return [(int(b - a), int(np.count_nonzero(late[a:b]))) for a, b in pairwise(edges)]

    def answered(self, target: float, *, first: float = 0.0) -> NDArray[np.float64]:
        """Return the latencies of requests that are decided, infinite for those that are late and not answered."""
        part = slice(*np.searchsorted(self.due, [first, max(first, self._decided(target))]))
        return np.nan_to_num(self.latency[part], nan=inf)


@dataclass
class TrialServer:
    """One model of one Triton server, for trials."""

    session: aiohttp.ClientSession
    url: str
    model: str
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def ready(self) -> bool:
        """Return whether the model is ready; False as well while nothing answers."""
        try:
            async with self.session.get(f"{self.url}/v2/models/{self.model}/ready") as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def config(self) -> dict[str, Any]:
        """Return the configuration of the model as it is loaded."""
        return await self._ask("GET", f"models/{self.model}/config")

    async def inputs(self) -> tuple[Port, ...]:
        """Return the inputs of the model; with batching the first dimension is the batch."""
        metadata, config = await self._ask("GET", f"models/{self.model}"), await self.config()
        optional = {each["name"] for each in config.get("input", ()) if each.get("optional")}
        return tuple(
            Port(each["name"], each["datatype"], tuple(map(int, each["shape"])), optional=each["name"] in optional)
            for each in metadata.get("inputs", ())
        )

    async def load(self, config: Mapping[str, Any] | None = None) -> None:
        """Load the model with this configuration, or its own; raises Rejected with Triton's words."""
        body = {"parameters": {"config": json.dumps(config)}} if config is not None else {}
        await self._ask("POST", f"repository/models/{self.model}/load", body, LOAD_SECONDS)

    async def batches(self) -> dict[int, tuple[int, float]]:
        """Return executions and their seconds by batch size, since the model was loaded."""
        answer = await self._ask("GET", f"models/{self.model}/stats")
        found: dict[int, tuple[int, float]] = {}
        for version in answer.get("model_stats", ()):
            for each in version.get("batch_stats", ()):
                parts = [each[f"compute_{part}"] for part in ("input", "infer", "output")]
                executions, seconds = found.get(int(each["batch_size"]), (0, 0.0))
                spent = sum(int(part["ns"]) for part in parts) / 1e9
                found[int(each["batch_size"])] = executions + int(parts[1]["count"]), seconds + spent
        return found

    async def replay(
        self,
        requests: Sequence[EncodedRequest],
        rate: float,
        seconds: float,
        *,
        seed: int,
        enough: Callable[[OpenLoopRun], bool],
    ) -> OpenLoopRun:
        """Send Poisson arrivals until `enough` says so, or for `seconds`."""
        gaps = np.random.default_rng(seed).exponential(1 / rate, max(1, round(rate * seconds)))
        due = np.cumsum(gaps)
        run = OpenLoopRun(due, np.full(len(due), np.nan), np.full(len(due), np.nan))
        clock = asyncio.get_running_loop().time
        start = clock() + 0.01
        sender = asyncio.create_task(self._send(run, requests, start))
        try:
            while not sender.done() or run.waiting:
                await asyncio.sleep(WATCH_SECONDS)
                run.now = clock() - start
                if run.waiting > MOST_WAITING or enough(run):
                    break
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            await self._drain()
        return run

    async def _send(self, run: OpenLoopRun, requests: Sequence[EncodedRequest], start: float) -> None:
        clock = asyncio.get_running_loop().time
        for number, due in enumerate(run.due):
            # Also where it is late already: answers must get their turn.
            await asyncio.sleep(max(0.0, start + due - clock()))
            run.lag[number] = clock() - start - due
            run.waiting += 1
            task = asyncio.create_task(self._one(run, requests[number % len(requests)], number, start + due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, run: OpenLoopRun, request: EncodedRequest, number: int, due: float) -> None:
        try:
            words = await self._infer(request)
            run.latency[number] = inf if words else asyncio.get_running_loop().time() - due
            if words:
                run.failed += 1
                run.words = run.words or words
        finally:
            run.waiting -= 1

    async def _infer(self, request: EncodedRequest) -> str:
        """Send one request; return what is wrong with the answer."""
        address = f"{self.url}/v2/models/{self.model}/infer"
        try:
            async with self.session.post(address, data=request.body, headers=request.headers) as response:
                body = await response.read()
                return "" if response.status == 200 else _words(body, response.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    async def _drain(self) -> None:
        """Wait for what is in flight, so that the next trial begins with an empty queue."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def press(self, requests: Sequence[EncodedRequest], clients: int, seconds: float) -> list[float]:
        """Let each client ask again as soon as it is answered; return the latencies. Raises Rejected for a failure."""
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        took: list[float] = []

        async def client(number: int) -> None:
            while (began := clock()) < end or not took:
                words = await self._infer(requests[number % len(requests)])
                if words:
                    raise Rejected(words)
                took.append(clock() - began)

        outcomes = await asyncio.gather(*(client(number) for number in range(clients)), return_exceptions=True)
        for each in outcomes:
            if isinstance(each, BaseException):
                raise each
        return took

    async def _ask(self, method: str, path: str, body: Any = None, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self.session.request(method, f"{self.url}/v2/{path}", json=body, timeout=timeout) as response:
                answer = await read_body(response, LARGEST_ANSWER_BYTES)
                if response.status != 200 or answer is None:
                    raise Rejected(_words(answer or b"", response.status))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(f"Triton at {self.url} does not answer: {type(error).__name__} {error}".strip()) from error
        try:
            found: dict[str, Any] = json.loads(answer or b"{}")
        except ValueError as error:
            raise Rejected(f"the answer of {self.url} is not JSON") from error
        return found


def _words(body: bytes, status: int) -> str:
    """Return Triton's own words about a refusal, on one line."""
    try:
        said = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        said = body[:_WORDS_MAX].decode(errors="replace") or f"HTTP status {status}"
    return printable(" ".join(said.split()))[:_WORDS_MAX]


@asynccontextmanager
async def trial_server(url: str, model: str) -> AsyncIterator[TrialServer]:
    """Open connections to a server's HTTP address, such as `http://127.0.0.1:8000`."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:
        yield TrialServer(session, url.rstrip("/"), model)


async def make_trial(
    server: TrialServer, requests: Sequence[EncodedRequest], wanted: NextTrial, slo: Slo, *, seed: int
) -> Trial:
    """Make a trial on a server that has the setting; raises Rejected, with Triton's words, if no request succeeds."""
    if wanted.rate == 0:
        return await _press(server, requests, wanted.setting)
    target, percentile, rate = slo.latency_seconds, slo.percentile, wanted.rate
    first, block = max(0.5, 2 * target), max(0.25, target, 25 / rate)
    seconds = first + target + min(LONGEST_TRIAL_SECONDS, max(SHORTEST_TRIAL_SECONDS, REQUESTS_OF_TRIAL / rate))

    def settled(run: OpenLoopRun) -> bool | None:
        return verdict(run.blocks(target, block, first=first), percentile)

    began = time.monotonic()
    run = await server.replay(requests, rate, seconds, seed=seed, enough=lambda run: settled(run) is not None)
    answered = run.answered(target, first=first)
    if run.failed and not np.count_nonzero(np.isfinite(run.latency)):
        raise Rejected(run.words)
    sure, late = settled(run), int(np.count_nonzero(answered > target))
    likely = len(answered) > 0 and late <= (1 - percentile / 100) * len(answered)
    shown = [run.now, run.now]
    if len(answered):
        # The infinite latency of a request that was not answered is no number of JSON.
        shown = [min(run.now, float(each)) for each in np.percentile(answered, [50, percentile], method="higher")]
    return Trial(
        wanted.setting,
        rate,
        within=likely if sure is None else sure,
        sure=sure is not None,
        requests=len(answered),
        late=late,
        median_seconds=shown[0],
        percentile_seconds=shown[1],
        took_seconds=time.monotonic() - began,
        send_lag_seconds=float(np.nanpercentile(run.lag, 99)) if np.isfinite(run.lag).any() else 0.0,
    )


async def _press(server: TrialServer, requests: Sequence[EncodedRequest], setting: Setting) -> Trial:
    """Learn how long batches take: with a client for each instance, twice as many, and so on until batches are full."""
    began, copies, largest = time.monotonic(), setting.instances, setting.max_batch_size
    await server.press(requests, copies, ALONE_SECONDS / 3)
    await asyncio.sleep(LATE_STATISTICS_SECONDS)
    before = await server.batches()
    alone = np.asarray(await server.press(requests, copies, ALONE_SECONDS))
    clients = copies
    while clients < 2 * copies * largest and largest > 1:
        clients *= 2
        await server.press(requests, clients, PRESS_SECONDS)
    await asyncio.sleep(LATE_STATISTICS_SECONDS)
    risen = []
    for size, (executions, spent) in sorted((await server.batches()).items()):
        earlier = before.get(size, (0, 0.0))
        if executions > earlier[0]:
            risen.append((size, executions - earlier[0], spent - earlier[1]))
    low, high = np.quantile(np.log(alone), [0.1587, 0.8413])
    return Trial(
        setting,
        0.0,
        requests=len(alone),
        took_seconds=time.monotonic() - began,
        batches=tuple(risen),
        lone_seconds=float(np.mean(alone)),
        sigma=float(high - low) / 2,
    )


def setting_in(config: Mapping[str, Any]) -> Setting:
    """Return the setting of a configuration, as Triton shows it."""
    dynamic = config.get("dynamic_batching")
    size = max(1, int(config.get("max_batch_size", 0))) if dynamic is not None else 1
    delay = int((dynamic or {}).get("max_queue_delay_microseconds", 0))
    return Setting(_parallel(config) * int(_group(config).get("count", 1)), delay if size > 1 else 0, size)


def _group(config: Mapping[str, Any]) -> dict[str, Any]:
    return dict((config.get("instance_group") or [{}])[0])


def _parallel(config: Mapping[str, Any]) -> int:
    """Return the instances that a count of 1 makes: one for each GPU."""
    return max(1, len(_group(config).get("gpus") or ()))


@dataclass
class Reloaded:
    """A server that loads the model again for each setting."""

    server: TrialServer
    base: Mapping[str, Any]
    loaded: Setting | None = None

    @property
    def current(self) -> Setting:
        """The setting as it is."""
        return setting_in(self.base)

    @property
    def tunes_batches(self) -> bool:
        """Whether the model has a dimension for batches."""
        return int(self.base.get("max_batch_size", 0)) > 0

    @property
    def tunes_instances(self) -> bool:
        """Whether there is one count of instances."""
        return len(self.base.get("instance_group") or [{}]) == 1

    @property
    def parallel(self) -> int:
        """Instances that a count of 1 makes."""
        return _parallel(self.base)

    async def at(self, setting: Setting) -> TrialServer:
        """Load a setting unless it is loaded; raises Rejected with Triton's words."""
        if setting != self.loaded:
            self.loaded = None
            await self.server.load(self.configured(setting))
            self.loaded = setting
        return self.server

    def configured(self, setting: Setting) -> dict[str, Any]:
        """Return the configuration with a setting."""
        config = dict(self.base)
        if self.tunes_batches:
            config["max_batch_size"] = setting.max_batch_size
            dynamic = dict(config.pop("dynamic_batching", None) or {})
            # Sizes that Triton, or a former setting, preferred may be above the largest one.
            dynamic.pop("preferred_batch_size", None)
            if setting.max_batch_size > 1:
                config["dynamic_batching"] = {**dynamic, "max_queue_delay_microseconds": setting.queue_delay_us}
        if self.tunes_instances:
            count = max(1, setting.instances // self.parallel)
            config["instance_group"] = [{**_group(config), "count": count}]
        # Requests that are the same each time would be answered from the cache.
        config.pop("response_cache", None)
        return config


def _said(config: Mapping[str, Any], spec: ModelDeploymentSpec) -> dict[str, Any]:
    """Return a server's configuration with what the manifest says of batching and instances."""
    found = dict(config)
    if spec.batching is not None and found.get("max_batch_size"):
        found["max_batch_size"] = spec.batching.max_batch_size or found["max_batch_size"]
        if spec.batching.dynamic is not None:
            delay = duration_us(spec.batching.dynamic.max_queue_delay or "0s")
            known = found.get("dynamic_batching") or {}
            found["dynamic_batching"] = {**known, "max_queue_delay_microseconds": delay}
    groups = found.get("instance_group") or [{}]
    if len(spec.instances) == 1 and len(groups) == 1:
        found["instance_group"] = [{**groups[0], "count": spec.instances[0].count}]
    return found


@asynccontextmanager
async def reloaded(server: TrialServer, spec: ModelDeploymentSpec) -> AsyncIterator[Reloaded]:
    """Have a server try settings, beginning with the spec's; it gets its own configuration back at the end."""
    if not await server.ready():
        await server.load()
    original = await server.config()
    try:
        yield Reloaded(server, _said(original, spec))
    finally:
        await server.load(original)
