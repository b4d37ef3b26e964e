"""A list is read in pages of limited length, however large its objects are."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from tritonfleet.adapters import cluster as adapter
from tritonfleet.adapters.cluster import PAGE_SIZE, Cluster


class Server:
    """An API server with ConfigMaps of some sizes, in bytes."""

    def __init__(self, sizes):
        self.sizes = sizes
        self.asked: list[int] = []

    async def answer(self, request):
        query = {name: value[0] for name, value in parse_qs(urlsplit(str(request.url)).query).items()}
        start, limit = int(query.get("continue", 0)), int(query["limit"])
        self.asked.append(limit)
        end = min(start + limit, len(self.sizes))
        items = [{"metadata": {"name": str(n)}, "data": {"x": "x" * self.sizes[n]}} for n in range(start, end)]
        metadata = {"resourceVersion": "7", "continue": str(end) if end < len(self.sizes) else ""}
        return web.Response(text=json.dumps({"kind": "ConfigMapList", "metadata": metadata, "items": items}))


@pytest.fixture
async def serving():
    runners, clusters = [], []

    async def serve(*sizes):
        server = Server(sizes)
        application = web.Application()
        application.router.add_get("/{path:.*}", server.answer)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        configuration = Configuration()
        configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
        clusters.append(Cluster(configuration))
        return server, clusters[-1]

    yield serve
    for each in clusters:
        await each.close()
    for runner in runners:
        await runner.cleanup()


async def names_of(cluster):
    return [item["metadata"]["name"] async for item in cluster.each("ConfigMap")]


async def test_small_objects_come_in_pages_of_the_usual_size(serving):
    server, cluster = await serving(*[10] * 1200)
    assert await names_of(cluster) == [str(n) for n in range(1200)]
    assert server.asked == [PAGE_SIZE] * 3


async def test_few_pages_of_objects_of_one_size_are_read_in_vain(serving, monkeypatch):
    monkeypatch.setattr(adapter, "PAGE_BYTES", 100_000)
    server, cluster = await serving(*[1000] * 3000)
    assert await names_of(cluster) == [str(n) for n in range(3000)]
    too_long = [asked for asked in server.asked if asked >= 100]
    assert len(too_long) <= len(server.asked) / 5


@pytest.mark.parametrize("sizes", [[1_000_000] * 40, [10] * 600 + [1_500_000] * 20 + [10] * 30, [3_000_000] * 5])
async def test_large_objects_come_in_smaller_pages_and_none_is_lost(serving, monkeypatch, sizes):
    monkeypatch.setattr(adapter, "PAGE_BYTES", 2_000_000)
    decoded = []

    def decode(payload):
        decoded.append(len(payload))
        return json.loads(payload)

    monkeypatch.setattr(adapter, "decode", decode)
    _, cluster = await serving(*sizes)
    assert await names_of(cluster) == [str(n) for n in range(len(sizes))]
    assert max(decoded) < max(2_000_000, max(sizes) + 1000)
    listing = await cluster.list("ConfigMap")
    assert listing is not None
    assert len(listing.items) == len(sizes)
    assert {item["kind"] for item in listing.items} == {"ConfigMap"}
