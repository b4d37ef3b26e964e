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
from tests.cluster.world import eventually
from tests.ports import free_port
from tritonfleet.adapters.prometheus import Access, Prometheus, Series
from tritonfleet.errors import Transient
from tritonfleet.plan.rollout import confine, count_gateway
from tritonfleet.runtime import utc_now

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
        lines += self._backends(seconds)
        model = 'model="demo",version="1"'
        lines.append(f"nv_inference_request_success{{{model}}} {RATE * seconds:.0f}")
        lines += [
            f'nv_inference_request_failure{{{model},reason="{reason}"}} {FAILED * seconds / 2:.0f}'
            for reason in ("REJECTED", "OTHER")
        ]
        return "\n".join(lines) + "\n"

    def _backends(self, seconds: float) -> Iterator[str]:
        """Two revisions behind another route: nine tenths and one tenth of the requests."""
        for backend, share in enumerate((0.9, 0.1)):
            cluster = f'envoy_cluster_name="httproute/shop/canary/rule/1/backend/{backend}"'
            count = share * RATE * seconds
            yield f'envoy_cluster_upstream_rq_time_bucket{{{cluster},le="100"}} {count / 2:.0f}'
            yield f'envoy_cluster_upstream_rq_time_bucket{{{cluster},le="+Inf"}} {count:.0f}'
            yield f'envoy_cluster_upstream_rq_xx{{envoy_response_code_class="4",{cluster}}} {count:.0f}'
            yield f"envoy_cluster_grpc_ModelInfer_13{{{cluster}}} {count:.0f}"


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
    # Whoever is scraped can write like a gateway: all but the first job forge its series.
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{exporter.port}"], "labels": labels}]}
        for job, labels in {
            "gateways": {"namespace": "gateways"},
            "models": {"namespace": "shop", "modeldeployment": "demo"},
            "model pods by all their labels": {"namespace": "gateways", "tritonfleet_dev_modeldeployment": "demo"},
            "a tenant": {"namespace": "evil"},
        }.items()
    ]
    config = tmp_path / "prometheus.yaml"
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "500ms"}, "scrape_configs": jobs}))
    address = f"127.0.0.1:{free_port()}"
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
            opener.open(f"{server}/-/ready", timeout=10).close()
        except OSError:
            return False
        return True

    await eventually(lambda: asyncio.to_thread(is_ready), "a ready Prometheus")
    access = Access(server, gateway_labels={"namespace": "gateways"})
    found = Prometheus(access, lambda *_: None, window_seconds=10)
    yield found
    found.close()


async def traffic_of(client, *, within: float = 90.0):
    async def seen():
        found = (await client.gateway()).get(("shop", "demo"))
        return found if found is not None and abs(found.latency.total - RATE) < 0.1 * RATE else None

    return await eventually(seen, "the rate of both rules together", within=within, every=0.5)


async def test_buckets_of_all_rules_make_one_percentile_and_failures_are_known(client):
    async def known():
        traffic = await traffic_of(client)
        found = (traffic.latency.percentile(50), traffic.latency.percentile(95), traffic.latency.within(0.050))
        # Counters are whole numbers: a window in which a busy machine missed scrapes is off by some percent.
        return traffic if found == pytest.approx((0.010, 0.075, 0.9 * RATE), rel=0.1) else None

    traffic = await eventually(known, "the percentiles of both rules together", every=0.5)
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

    await eventually(silent, "no reading at all", every=0.5)


async def test_the_past_counts_successes_and_failures_of_every_reason(client):
    step_seconds = 10

    async def known():
        past = await client.arrivals(utc_now(), 1, step_seconds, 60.0)
        rates = past.rates.get(Series("shop", "demo", "demo"), [])
        return [rate for rate in rates if not math.isnan(rate) and rate > (RATE + FAILED) * 0.8]

    assert await eventually(known, "what arrived lately", every=1) == pytest.approx([22], rel=0.2)


async def history_of(client):
    async def seen():
        return await client.values("nv_inference_request_success offset 2s", utc_now())

    await eventually(seen, "two seconds of the model's series", every=0.5)


async def test_raw_counters_at_two_moments_give_the_requests_in_between(client):
    route = ("shop", "canary")

    async def seen():
        return (await client.gateway_counters([route], utc_now())).get(route)

    await eventually(seen, "series of the backends", every=0.5)
    start = utc_now()
    await asyncio.sleep(4)
    end = utc_now()
    before, after = [(await client.gateway_counters([route], at))[route] for at in (start, end)]
    names = {f"httproute/shop/canary/rule/1/backend/{place}": str(place) for place in (0, 1)}
    found = count_gateway(before, after, names)
    seconds = (end - start).total_seconds()
    for place, share in (("0", 0.9), ("1", 0.1)):
        (timed,) = found[place].timed.values()
        # Two scrapes, half a second apart, lie at either end; counts are rounded.
        assert timed.timed == pytest.approx(share * RATE * seconds, abs=share * RATE + 2)
        assert timed.within[0.1] == pytest.approx(timed.timed / 2, abs=2)
        assert found[place].failed == found[place].refused == timed.timed


async def test_a_users_query_is_confined_in_the_eyes_of_a_real_prometheus(client):
    await history_of(client)
    assert await client.values(confine("nv_inference_request_success", "shop", "demo"), utc_now()) == ()
    queries = {
        "nv_inference_request_success": 1,
        'sum by (reason) ({__name__=~"nv_.+_failure"} offset 1s)': 2,
        'nv_inference_request_failure{reason=~"REJ.*|x\\\\.y|\\"z\\""}': 1,
        "scalar(nv_inference_request_success) * 2": 1,
        "topk(scalar(vector(1)), nv_inference_request_failure)": 1,
        'max_over_time((rate(nv_inference_request_success[5s]) > 0)[5s:1s]) or up{namespace="other"}': 1,
    }
    for query, series in queries.items():
        confined = confine(query, "shop", "r1")
        assert [value for value in await client.values(confined, utc_now()) if not math.isnan(value)] == []
        opened = confined.replace('revision="r1"', 'revision=""')
        assert len(await client.values(opened, utc_now())) == series, opened


async def test_what_a_real_prometheus_refuses_is_an_error_and_no_value(client):
    await history_of(client)
    with pytest.raises(Transient, match="400"):
        await client.values("up{", utc_now())
    with pytest.raises(Transient, match="range"):
        await client.values("up[1m]", utc_now())
    (nothing,) = await client.values("0 / vector(0)", utc_now())
    assert math.isnan(nothing)
