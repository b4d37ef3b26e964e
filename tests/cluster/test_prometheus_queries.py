"""The queries mean to a real Prometheus what they are meant to mean."""

import asyncio
import math
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest
import yaml

from devcluster import gobuild
from devcluster.progress import Progress
from tests.cluster.controlplane import _free_port
from tests.cluster.world import eventually
from tritonfleet.adapters.prometheus import Access, Prometheus, Series
from tritonfleet.runtime.worker import utc_now

BOUNDS_MS = (1, 10, 50, 100)
SHARES = (0.0, 0.5, 0.9, 1.0)
RATE = 20.0
FAILED = 2.0


class Exporter:
    """An Envoy and a Triton in one page, as each writes its own."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lost = 0.0
        self.alive = True
        self.port = 0

    def restart(self) -> None:
        """Begin every counter at zero again."""
        self._lost = time.monotonic() - self._began

    async def serve(self, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = self._page(time.monotonic() - self._began - self._lost).encode()
        status = "200 OK" if self.alive else "503 Gone"
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        writer.close()

    def _page(self, seconds: float) -> str:
        lines = ["# TYPE envoy_cluster_upstream_rq_time histogram"]
        for rule in (0, 1):
            route = f'envoy_cluster_name="httproute/shop/demo/rule/{rule}"'
            counts = [share * RATE / 2 * seconds for share in (*SHARES, 1.0)]
            lines += [
                f'envoy_cluster_upstream_rq_time_bucket{{{route},le="{bound}"}} {count:.0f}'
                for bound, count in zip((*BOUNDS_MS, "+Inf"), counts, strict=True)
            ]
            for code, rate in ((2, RATE), (5, FAILED)):
                labels = f'envoy_response_code_class="{code}",{route}'
                lines.append(f"envoy_cluster_upstream_rq_xx{{{labels}}} {rate / 2 * seconds:.0f}")
        model = 'model="demo",version="1"'
        lines.append(f"nv_inference_request_success{{{model}}} {RATE * seconds:.0f}")
        lines += [
            f'nv_inference_request_failure{{{model},reason="{reason}"}} {FAILED * seconds / 2:.0f}'
            for reason in ("REJECTED", "OTHER")
        ]
        return "\n".join(lines) + "\n"


@pytest.fixture
async def exporter():
    found = Exporter()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()


@pytest.fixture
def server(tmp_path, exporter) -> Iterator[str]:
    gobuild.build(gobuild.PROMETHEUS, Progress())
    labels = {"namespace": "shop", "modeldeployment": "demo"}
    job = {"job_name": "all", "static_configs": [{"targets": [f"127.0.0.1:{exporter.port}"], "labels": labels}]}
    config = tmp_path / "prometheus.yaml"
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "500ms"}, "scrape_configs": [job]}))
    address = f"127.0.0.1:{_free_port()}"
    command = [
        str(gobuild.PROMETHEUS.path("prometheus")),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with subprocess.Popen(command) as process:
        try:
            yield f"http://{address}"
        finally:
            process.terminate()


@pytest.fixture
async def client(server):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def is_ready() -> bool:
        try:
            opener.open(f"{server}/-/ready", timeout=1).close()
        except OSError:
            return False
        return True

    await eventually(lambda: asyncio.to_thread(is_ready), "a ready Prometheus")
    found = Prometheus(Access(server), lambda *_: None, window_seconds=10)
    yield found
    found.close()


async def traffic_of(client, *, within: float = 30.0):
    async def seen():
        found = (await client.gateway()).get(("shop", "demo"))
        return found if found is not None and abs(found.latency.total - RATE) < 0.1 * RATE else None

    return await eventually(seen, "the rate of both rules together", within=within, every=0.5)


async def test_buckets_of_all_rules_make_one_percentile_and_failures_are_known(client):
    traffic = await traffic_of(client)
    assert traffic.latency.percentile(50) == pytest.approx(0.010, rel=0.1)
    assert traffic.latency.percentile(95) == pytest.approx(0.075, rel=0.1)
    assert traffic.latency.within(0.050) == pytest.approx(0.9 * RATE, rel=0.1)
    assert traffic.failed == pytest.approx(FAILED, rel=0.3)


async def test_a_restart_of_the_gateway_is_no_burst_and_its_silence_is_no_zero(client, exporter):
    await traffic_of(client)
    exporter.restart()
    highest = 0.0
    for _ in range(8):
        await asyncio.sleep(0.5)
        highest = max(highest, (await client.gateway())["shop", "demo"].latency.total)
    assert highest < 1.5 * RATE
    exporter.alive = False

    async def silent():
        return ("shop", "demo") not in await client.gateway()

    await eventually(silent, "no reading at all", within=30, every=0.5)


async def test_the_past_counts_successes_and_failures_of_every_reason(client):
    step_seconds = 10

    async def known():
        past = await client.arrivals(utc_now(), 1, step_seconds)
        rates = past.rates.get(Series("shop", "demo", "demo"), [])
        return [rate for rate in rates if not math.isnan(rate) and rate > (RATE + FAILED) * 0.8]

    assert await eventually(known, "what arrived lately", within=60, every=1) == pytest.approx([22], rel=0.2)
