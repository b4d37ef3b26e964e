"""Writes leave room: for the renewal of the lease, and for an API server that slows down."""

import asyncio
import json

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from tritonfleet.adapters.cluster import CONNECTIONS, FEWEST_WRITES, Cluster, WriteLimit
from tritonfleet.errors import Transient


class Api:
    """An API server that keeps every write but those of leases waiting until told."""

    cluster: Cluster

    def __init__(self):
        self.free = asyncio.Event()
        self.in_flight = self.most_in_flight = 0
        self.status = 200

    async def answer(self, request):
        if "/leases/" not in request.path and request.method != "GET":
            self.in_flight += 1
            self.most_in_flight = max(self.in_flight, self.most_in_flight)
            await self.free.wait()
            self.in_flight -= 1
        return web.Response(status=self.status, text=json.dumps({"metadata": {}, "items": []}))


@pytest.fixture
async def api():
    server = Api()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    configuration.connection_pool_maxsize = CONNECTIONS
    server.cluster = Cluster(configuration)
    yield server
    server.free.set()
    await server.cluster.close()
    await runner.cleanup()


def config_map(name):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": name}}


LEASE = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"namespace": "shop", "name": "operator"}}


async def test_a_renewal_of_the_lease_waits_for_no_write_of_ours(api):
    writes = [asyncio.create_task(api.cluster.apply(config_map(str(n)))) for n in range(3 * CONNECTIONS)]
    while api.in_flight < CONNECTIONS:  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.01)
    async with asyncio.timeout(60):
        for _ in range(3):
            await api.cluster.replace(LEASE)
    assert not any(write.done() for write in writes)
    api.free.set()
    await asyncio.gather(*writes)
    assert api.most_in_flight <= CONNECTIONS


async def test_fewer_writes_are_in_flight_after_the_api_server_was_overloaded(api):
    api.free.set()
    api.status = 429
    for _ in range(10):
        with pytest.raises(Transient):
            await api.cluster.apply(config_map("x"))
    api.status = 200
    api.free.clear()
    api.most_in_flight = 0
    writes = [asyncio.create_task(api.cluster.apply(config_map(str(n)))) for n in range(CONNECTIONS)]
    while api.in_flight < FEWEST_WRITES:  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert api.most_in_flight == FEWEST_WRITES
    api.free.set()
    await asyncio.gather(*writes)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def write(limit, clock, seconds, *, overloaded=False):
    started = clock.now
    clock.now += seconds
    limit.answered(started, overloaded=overloaded)


def test_the_limit_falls_by_half_when_answers_slow_down_and_rises_by_one_for_as_many_prompt_ones():
    clock = Clock()
    limit = WriteLimit(clock)
    write(limit, clock, 0.01)
    write(limit, clock, 2.0)
    assert limit.limit == CONNECTIONS / 2
    for _ in range(CONNECTIONS // 2):
        write(limit, clock, 0.01)
    assert limit.limit == pytest.approx(CONNECTIONS / 2 + 1, abs=0.1)
    for _ in range(20):
        write(limit, clock, 5.0)
    assert limit.limit == FEWEST_WRITES


def test_answers_that_were_in_flight_when_it_fell_do_not_lower_it_again():
    clock = Clock()
    limit = WriteLimit(clock)
    write(limit, clock, 0.01)
    started = clock.now
    clock.now += 5.0
    for _ in range(30):
        limit.answered(started, overloaded=False)
    assert limit.limit == CONNECTIONS / 2


def test_an_api_server_that_always_takes_two_seconds_keeps_all_writes_in_flight():
    clock = Clock()
    limit = WriteLimit(clock)
    for _ in range(50):
        write(limit, clock, 2.0)
    assert limit.limit == CONNECTIONS


async def test_turns_come_in_the_order_of_arrival_and_a_canceled_one_is_passed_on():
    limit = WriteLimit(Clock(), most=1)
    order = []

    async def work(name):
        async with limit:
            order.append(name)
            await asyncio.sleep(0)

    first, second, third = (asyncio.create_task(work(name)) for name in "abc")
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert order == ["a", "c"]
    async with asyncio.timeout(60):
        await work("d")
