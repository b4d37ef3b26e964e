"""Prometheus is asked for the whole fleet at once, and whatever it does instead of answering stays its own affair."""

import asyncio
import base64
import json
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest

from tritonfleet.adapters import prometheus
from tritonfleet.adapters.prometheus import Access, Prometheus, Series
from tritonfleet.errors import Transient

GATEWAY = {"namespace": "gateways"}
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


class Server:
    """Answers every request with the rows it was given, and remembers what was asked."""

    def __init__(self) -> None:
        self.rows: list = []
        self.status = 200
        self.body: bytes | None = None
        self.free = threading.Event()
        self.free.set()
        self.asked: list[tuple[str, dict, dict]] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append((parts.path, query, dict(handler.headers)))
        self.free.wait(600)
        rows = {"status": "success", "data": {"result": self.rows}}
        body = self.body if self.body is not None else json.dumps(rows).encode()
        handler.send_response(self.status)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Location", "/elsewhere")
        handler.end_headers()
        handler.wfile.write(body)


@contextmanager
def serving() -> Iterator[tuple[Server, str]]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *_):
            """Stay silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        server.free.set()
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.fixture
def server():
    with serving() as found:
        yield found


@pytest.fixture
def client(server):
    found = Prometheus(Access(server[1], gateway_labels=GATEWAY), lambda *_: None)
    yield found
    found.close()


def bucket(route, bound, rate):
    return {"metric": {"envoy_cluster_name": route, "le": bound}, "value": [1.0, rate]}


def failures(route, rate):
    return {"metric": {"envoy_cluster_name": route, "envoy_response_code_class": "5"}, "value": [1.0, rate]}


async def test_all_rules_of_a_route_are_added_up_in_seconds_and_failures_are_kept_apart(server, client):
    server[0].rows = [
        bucket("httproute/shop/demo/rule/0", "50", "8"),
        bucket("httproute/shop/demo/rule/0", "+Inf", "10"),
        bucket("httproute/shop/demo/rule/1/backend/0", "50", "1"),
        bucket("httproute/shop/demo/rule/1/backend/0", "+Inf", "2"),
        failures("httproute/shop/demo/rule/0", "0.5"),
        bucket("httproute/shop/other/rule/0", "+Inf", "3"),
    ]
    traffic = await client.gateway()
    demo = traffic["shop", "demo"]
    assert demo.latency.bounds_seconds == (0.05, math.inf)
    assert demo.latency.counts == (9, 12)
    assert demo.failed == 0.5
    assert traffic["shop", "other"].failed == 0


async def test_a_row_that_cannot_be_costs_its_own_route_alone(server, client):
    server[0].rows = [
        bucket("httproute/shop/demo/rule/0", "+Inf", "NaN"),
        bucket("service/shop/demo/80/tcp", "+Inf", "7"),
        bucket("httproute/odd", "+Inf", "7"),
        bucket("httproute/shop/fine/rule/0", "+Inf", "1"),
    ]
    assert set(await client.gateway()) == {("shop", "fine")}


async def test_only_series_of_the_gateway_itself_are_asked_for(server):
    labels = {"namespace": "gateways", "job": 'a "quoted" one'}
    client = Prometheus(Access(server[1], gateway_labels=labels), lambda *_: None)
    try:
        await client.gateway()
        await client.gateway_counters([("shop", "demo")], NOW)
    finally:
        client.close()
    for _, query, _ in server[0].asked:
        selectors = re.findall(r"\{.*?\}", query["query"])
        assert selectors
        for selector in selectors:
            assert 'namespace="gateways",job="a \\"quoted\\" one"' in selector
            assert 'modeldeployment="",tritonfleet_dev_modeldeployment=""' in selector


async def test_without_labels_of_the_gateway_no_counters_of_any_are_believed(server):
    server[0].rows = [bucket("httproute/shop/demo/rule/0/backend/0", "+Inf", "1")]
    client = Prometheus(Access(server[1]), lambda *_: None)
    try:
        assert await client.gateway() == {}
        assert await client.gateway_counters([("shop", "demo")], NOW) == {}
    finally:
        client.close()
    assert server[0].asked == []


MALFORMED = [
    bucket("httproute/shop/evil/rule/0/backend/0", "boom", "1"),
    bucket("httproute/shop/evil/rule/0/backend/0", "NaN", "1"),
    bucket("httproute/shop/evil/rule/0/backend/0", "-1", "1"),
    bucket("httproute/shop/evil/rule/0/backend/0", "+Inf", "many"),
    failures("httproute/shop/evil/rule/0/backend/0", None),
    {"metric": {"envoy_cluster_name": "httproute/shop/evil/rule/0/backend/0"}},
    {"value": [1.0, "1"]},
    {"metric": [], "value": [1.0, "1"]},
]


async def test_a_malformed_series_is_skipped_and_counted_and_hides_no_other(server):
    skipped = []
    client = Prometheus(
        Access(server[1], gateway_labels=GATEWAY), lambda *_: None, lambda *found: skipped.append(found)
    )
    fine = bucket("httproute/shop/fine/rule/0/backend/0", "+Inf", "1")
    try:
        for row in MALFORMED:
            server[0].rows = [row, fine]
            assert set(await client.gateway()) == {("shop", "fine")}
            edges = await client.gateway_counters([("shop", "fine"), ("shop", "evil")], NOW)
            assert set(edges) == {("shop", "fine")}
        server[0].rows = [
            {"metric": {"namespace": "shop", "modeldeployment": "evil"}, "values": [[NOW.timestamp(), "many"]]},
            {"metric": {"namespace": "shop", "modeldeployment": "fine"}, "values": [[NOW.timestamp(), "1"]]},
        ]
        assert [series.modeldeployment for series in (await client.arrivals(NOW, 1, 900, 900)).rates] == ["fine"]
    finally:
        client.close()
    assert skipped == [("gateway", 1), ("canary", 1)] * len(MALFORMED) + [("history", 1)] * 12


@pytest.mark.parametrize("routes", [1, 300])
async def test_the_number_of_queries_does_not_grow_with_the_fleet(server, client, routes):
    server[0].rows = [bucket(f"httproute/shop/m{n}/rule/0", "+Inf", "1") for n in range(routes)]
    assert len(await client.gateway()) == routes
    server[0].rows = [
        {
            "metric": {"namespace": "shop", "modeldeployment": f"m{n}", "model": f"m{n}"},
            "values": [[NOW.timestamp(), "1"]],
        }
        for n in range(routes)
    ]
    assert len((await client.arrivals(NOW, 3, 900, 900)).rates) == routes
    assert [path for path, _, _ in server[0].asked] == ["/api/v1/query"] + ["/api/v1/query_range"] * 36


async def test_the_past_lies_on_a_grid_with_gaps(server, client):
    start = NOW.timestamp() - 86400
    labels = {"namespace": "shop", "modeldeployment": "demo", "model": "m"}
    server[0].rows = [{"metric": labels, "values": [[start + 900, "1.5"], [start + 2700, "NaN"], [start + 3600, "4"]]}]
    past = await client.arrivals(NOW, 1, 900, 900)
    rates = past.rates[Series("shop", "demo", "m")]
    assert (past.start_seconds, past.step_seconds, len(rates)) == (start, 900, 96)
    assert (rates[0], rates[3]) == (1.5, 4)
    assert math.isnan(rates[1])
    assert math.isnan(rates[2])
    queries = [asked for _, asked, _ in server[0].asked]
    assert (float(queries[0]["start"]), float(queries[-1]["end"])) == (start + 900, NOW.timestamp())
    for one, following in pairwise(queries):
        assert float(following["start"]) == float(one["end"]) + 900


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"oops"),
        (302, b""),
        (200, b"<html>"),
        (200, b"{}"),
        (401, b""),
    ],
)
async def test_any_failed_query_is_a_transient_error(server, client, status, body):
    server[0].status, server[0].body = status, body
    with pytest.raises(Transient, match="Prometheus at http"):
        await client.gateway()
    assert {path for path, _, _ in server[0].asked} == {"/api/v1/query"}


async def test_where_nothing_listens_it_is_an_error_that_may_pass():
    client = Prometheus(Access("http://127.0.0.1:9", gateway_labels=GATEWAY), lambda *_: None)
    with pytest.raises(Transient):
        await client.gateway()
    client.close()


async def test_the_token_is_read_for_every_query(server, tmp_path):
    token = tmp_path / "token"
    client = Prometheus(Access(server[1], token_file=str(token), gateway_labels=GATEWAY), lambda *_: None)
    with pytest.raises(Transient, match="token"):
        await client.gateway()
    for word in ("one", "two"):
        token.write_text(f"{word}\n")
        await client.gateway()
    client.close()
    assert [headers["Authorization"] for _, _, headers in server[0].asked] == ["Bearer one", "Bearer two"]


async def test_a_password_is_read_for_every_query_and_headers_name_the_tenant(server, tmp_path):
    password = tmp_path / "password"
    access = Access(
        server[1],
        gateway_labels=GATEWAY,
        username="füet",
        password_file=str(password),
        headers={"X-Scope-OrgID": "platform", "THANOS-TENANT": "a"},
    )
    client = Prometheus(access, lambda *_: None)
    for word in ("one", "zwölf"):
        password.write_text(f"{word}\n")
        await client.gateway()
    client.close()
    asked = [headers for _, _, headers in server[0].asked]
    sent = [base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode() for headers in asked]
    assert sent == ["füet:one", "füet:zwölf"]
    assert [(headers["X-Scope-OrgID"], headers["THANOS-TENANT"]) for headers in asked] == [("platform", "a")] * 2


async def test_neither_proxies_nor_passwords_of_the_environment_are_used(server, client, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    await client.gateway()
    assert "Authorization" not in server[0].asked[0][2]


async def test_a_hanging_prometheus_blocks_two_threads_and_nothing_else(server, client, monkeypatch):
    monkeypatch.setattr(prometheus, "LIMIT_SECONDS", 0.2)
    server[0].free.clear()
    # It answers nobody until it is set free: whoever waited for it would wait beyond this.
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*(client.gateway() for _ in range(4)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Transient] * 4
    assert sum("earlier queries" in str(outcome) for outcome in outcomes) == 2
    server[0].free.set()
    monkeypatch.setattr(prometheus, "LIMIT_SECONDS", 60)
    async with asyncio.timeout(60):
        while True:
            try:
                assert await client.gateway() == {}
            except Transient as error:
                assert "earlier queries" in str(error)  # noqa: PT017 - until the threads have heard their answers
                await asyncio.sleep(0.01)
            else:
                break


async def test_every_query_is_reported_with_its_outcome(server):
    reported = []
    client = Prometheus(Access(server[1], gateway_labels=GATEWAY), lambda *report: reported.append(report[:2]))
    await client.gateway()
    server[0].body = b""
    with pytest.raises(Transient):
        await client.gateway()
    client.close()
    assert reported == [("gateway", "success"), ("gateway", "error")]


def raw(backend, bound, count, *, pod="envoy-1", route="demo"):
    cluster = f"httproute/shop/{route}/rule/1/backend/{backend}"
    labels = {
        "__name__": "envoy_cluster_upstream_rq_time_bucket",
        "envoy_cluster_name": cluster,
        "le": bound,
        "pod": pod,
    }
    return {"metric": labels, "value": [1.0, count]}


async def test_raw_counters_of_many_routes_are_one_query_at_one_moment(server, client):
    server[0].rows = [raw(0, "+Inf", "7"), raw(1, "+Inf", "3"), raw(0, "+Inf", "5", route="other")]
    found = await client.gateway_counters([("shop", "demo"), ("shop", "quiet")], NOW)
    assert set(found) == {("shop", "demo")}
    assert sorted(found["shop", "demo"].values()) == [3, 7]
    ((path, asked, _),) = server[0].asked
    assert (path, float(asked["time"])) == ("/api/v1/query", NOW.timestamp())
    assert "httproute/(shop/demo|shop/quiet)/rule/.+/backend/.+" in asked["query"]
    assert "rate(" not in asked["query"]
    assert "increase(" not in asked["query"]


async def test_of_very_many_routes_all_are_asked_for(server, client):
    server[0].rows = [raw(0, "+Inf", "7"), raw(0, "+Inf", "5", route="other")]
    found = await client.gateway_counters([("shop", f"m{n}") for n in range(60)] + [("shop", "demo")], NOW)
    assert set(found) == {("shop", "demo")}
    assert len(server[0].asked[0][1]["query"]) < 300


async def test_a_counter_that_cannot_be_is_left_out(server, client):
    server[0].rows = [raw(0, "+Inf", "NaN"), raw(1, "+Inf", "-3"), raw(1, "5", "2"), {"metric": {}, "value": [1, "1"]}]
    found = await client.gateway_counters([("shop", "demo")], NOW)
    assert list(found["shop", "demo"].values()) == [2]


@pytest.mark.parametrize(
    ("result", "values"),
    [
        ([], ()),
        ([{"metric": {}, "value": [1.0, "2.5"]}], (2.5,)),
        ([{"metric": {"a": "b"}, "value": [1.0, "2"]}, {"metric": {}, "value": [1.0, "-3"]}], (2, -3)),
        ([1.0, "4"], (4,)),
        ([{"metric": {}, "value": [1.0, "+Inf"]}], (math.inf,)),
        ([{"metric": {}, "value": [1.0, "-Inf"]}], (-math.inf,)),
    ],
)
async def test_a_query_of_a_user_gives_one_value_for_each_series(server, client, result, values):
    server[0].rows = result
    assert await client.values("up", NOW) == values
    _, asked, _ = server[0].asked[0]
    assert (asked["query"], float(asked["time"]), asked["timeout"]) == ("up", NOW.timestamp(), "5s")


async def test_no_number_stays_no_number(server, client):
    server[0].rows = [{"metric": {}, "value": [1.0, "NaN"]}]
    (value,) = await client.values("up", NOW)
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "2"]]}]}}'),
        (200, b'{"data": {"resultType": "string", "result": [1, "text"]}}'),
        (200, b'{"data": {"result": [{"metric": {}, "value": [1, "x"]}]}}'),
        (200, b"<html>"),
        (400, b'{"status": "error", "errorType": "bad_data"}'),
        (422, b'{"status": "error", "errorType": "execution"}'),
        (429, b"slow down"),
        (500, b"oops"),
        (503, b"query timed out"),
    ],
)
async def test_an_invalid_result_of_a_custom_query_is_an_error(server, client, status, body):
    server[0].status, server[0].body = status, body
    with pytest.raises(Transient, match="Prometheus at http"):
        await client.values("up", NOW)


async def test_a_users_query_that_takes_too_long_is_given_up(server, client, monkeypatch):
    monkeypatch.setattr(prometheus, "LIMIT_SECONDS", 0.2)
    server[0].free.clear()
    with pytest.raises(Transient, match="did not answer"):
        await client.values("up", NOW)
