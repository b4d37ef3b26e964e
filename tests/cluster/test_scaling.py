"""From what pods answer to the replicas of a Deployment, through a real API server.

Nothing runs here: the test stands in for the kubelet and for Triton, on loopback addresses, and its clock runs ten
times as fast.
"""

import asyncio
import itertools
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from tests.cluster.world import eventually
from tritonfleet.plan.objects import PORTS
from tritonfleet.runtime import utc_now
from tritonfleet.triton import metrics

HASTE = 10.0
SPEC = {
    "slo": {"latency": {"percentile": 99, "target": "200ms"}},
    "autoscaling": {"minReplicas": 1, "maxReplicas": 8},
}
SERVICE_US = 20_000
BLIND = {"MetricsStale", "MetricsPartial", "SeriesMissing"}


Fault = Callable[[str, bytes], tuple[int, bytes]]
"""From a pod's address and its page to the status and the page that it answers instead."""


def every_second(address: str, page: bytes) -> tuple[int, bytes]:
    return (500 if int(address.rpartition(".")[2]) % 2 else 200), page


FAULTS: dict[str, Fault] = {
    "errors": lambda _address, page: (500, page),
    "garbage": lambda _address, _page: (200, b"<html>please log in</html>\n"),
    "not a number": lambda _address, page: (200, re.sub(rb" \d+\n", b" NaN\n", page)),
    "nothing of the model": lambda _address, page: (200, page.replace(b"demo", b"other")),
    "cut off": lambda _address, page: (200, page[:-20]),
    "every second pod": every_second,
}


class Clock:
    """Ten times as fast as the real one."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._start = utc_now()
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return self._start + self.ahead + timedelta(seconds=(time.monotonic() - self._began) * HASTE)


class Tritons:
    """The metrics of every pod, as if requests arrived at a certain rate and were spread evenly."""

    def __init__(self) -> None:
        self.rate = 0.0
        self.fault: Fault | None = None
        self.addresses: set[str] = set()
        self._clock = Clock()
        self._counted: dict[str, float] = {}
        self._last = self._clock()

    def reset(self) -> None:
        """Begin every counter at zero again, as no container ever should without saying that it started anew."""
        self._counted.clear()

    def advance(self) -> None:
        now = self._clock()
        seconds, self._last = (now - self._last).total_seconds(), now
        for address in self.addresses:
            share = self.rate * seconds / len(self.addresses)
            self._counted[address] = self._counted.get(address, 0.0) + share

    async def serve(self, reader, writer):
        address = writer.get_extra_info("sockname")[0]
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.advance()
                status, body = 200, self._page(self._counted.get(address, 0.0))
                if self.fault is not None:
                    status, body = self.fault(address, body)
                writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _page(self, count: float) -> bytes:
        values = dict.fromkeys(metrics.COUNTERS, int(count))
        values[metrics.FAILURE] = 0
        values[metrics.REQUEST_US] = values["nv_inference_compute_infer_duration_us"] = int(count * SERVICE_US)
        values[metrics.QUEUE_US] = 0
        return "".join(f'{name}{{model="demo",version="1"}} {value}\n' for name, value in values.items()).encode()


@asynccontextmanager
async def pods_run(world, tritons) -> AsyncIterator[None]:
    """Give every pod an address, answer there, and say that it runs, until the end."""
    # Pods are asked at one port: tests that run beside each other have addresses of their own.
    network = f"127.{10 + os.getpid() // 256 % 240}.{os.getpid() % 256}"
    numbers = itertools.count(1)
    servers: list[asyncio.Server] = []

    async def run() -> None:
        while True:
            listing = await world.cluster.list("Pod", world.namespace)
            for pod in listing.items:
                if not pod["status"].get("podIP"):
                    address = f"{network}.{next(numbers)}"
                    servers.append(await asyncio.start_server(tritons.serve, address, PORTS["metrics"]))
                    await _start(world, pod, address)
            tritons.advance()
            tritons.addresses = {
                pod["status"]["podIP"]
                for pod in listing.items
                if pod["status"].get("podIP") and not pod["metadata"].get("deletionTimestamp")
            }
            await asyncio.sleep(0.1)

    running = asyncio.create_task(run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for server in servers:
            server.close()


async def _start(world, pod, address: str) -> None:
    now = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    container = {
        "name": "triton", "image": "x", "imageID": "x", "ready": True, "restartCount": 0,
        "state": {"running": {"startedAt": now}},
    }  # fmt: skip
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds],
        "containerStatuses": [container],
    }
    await world.patch("Pod", pod["metadata"]["name"], {"status": status}, "/status")


async def replicas(world) -> int:
    (deployment,) = await world.children("Deployment")
    return int(deployment["spec"]["replicas"])


async def scaling(world) -> dict:
    return ((await world.get("demo"))["status"]).get("autoscaling") or {}


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_replicas_follow_what_arrives_and_none_goes_while_pods_cannot_be_read(world, start_operator, clock):
    tritons = Tritons()
    start_operator(now=clock, tick_seconds=0.5)
    async with pods_run(world, tritons):
        await world.create("demo", **SPEC)
        await eventually(lambda: world.is_ready("demo"), "one ready pod")
        tritons.rate = 20.0

        async def learned():
            return (await scaling(world)).get("capacityPerReplica")

        await eventually(learned, "a learned capacity")
        tritons.rate = 200.0

        async def grown():
            return await replicas(world) >= 3

        async def blind():
            return (await scaling(world))["reason"] in BLIND

        await eventually(grown, "more pods")
        for name, fault in FAULTS.items():
            tritons.fault, tritons.rate = fault, 0.0
            await eventually(blind, f"no metrics: {name}")
            before = await replicas(world)
            # Longer than what is stale takes to be so, 45 seconds, and than a peak is remembered, 90.
            for _ in range(30):
                await asyncio.sleep(0.5)
                assert await replicas(world) >= before, name
            assert (await scaling(world))["reason"] in BLIND, name
            tritons.fault, tritons.rate = None, 200.0
            await asyncio.sleep(3)
        tritons.rate = 0.0

        async def shrunk():
            return await replicas(world) < before

        await eventually(shrunk, "fewer pods, now that it is seen that nothing comes")


async def test_neither_a_clock_that_steps_nor_counters_that_begin_again_take_a_pod_away(world, start_operator, clock):
    tritons = Tritons()
    start_operator(now=clock, tick_seconds=0.5)
    async with pods_run(world, tritons):
        await world.create("demo", **SPEC)
        await eventually(lambda: world.is_ready("demo"), "one ready pod")
        tritons.rate = 200.0

        async def grown():
            return await replicas(world) >= 3

        await eventually(grown, "more pods")
        before = await replicas(world)
        for step in (timedelta(minutes=5), timedelta(minutes=-5), None):
            if step is None:
                tritons.reset()
            else:
                clock.ahead += step
            for _ in range(12):
                await asyncio.sleep(0.5)
                assert await replicas(world) >= before, step


async def test_a_new_process_goes_on_with_the_replicas_and_the_capacity_of_the_last(world, start_operator, clock):
    tritons = Tritons()
    first = start_operator(now=clock, tick_seconds=0.5)
    async with pods_run(world, tritons):
        await world.create("demo", **SPEC)
        await eventually(lambda: world.is_ready("demo"), "one ready pod")
        tritons.rate = 200.0

        async def grown():
            return await replicas(world) >= 3 and (await scaling(world)).get("capacityPerReplica")

        await eventually(grown, "more pods")
        first.kill()
        before, capacity = await replicas(world), (await scaling(world))["capacityPerReplica"]
        second = start_operator(now=clock, tick_seconds=0.5, lease="second")
        await eventually(lambda: second.synced, "a second operator")
        counts = set()
        for _ in range(20):
            counts.add(await replicas(world))
            await asyncio.sleep(0.1)
        assert min(counts) >= before
        assert (await scaling(world))["capacityPerReplica"] == pytest.approx(capacity, rel=0.3)
