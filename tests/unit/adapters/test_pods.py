"""Pods are asked for their metrics; none of them can hold up, mislead or exhaust the operator."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tritonfleet.adapters import pods
from tritonfleet.adapters.pods import LARGEST_PAGE_BYTES, SLICE_BYTES, Answer, PodScraper, Target, target_of
from tritonfleet.api import names
from tritonfleet.triton import metrics

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
PAGE = "".join(f'{name}{{model="demo",version="1"}} 5\n' for name in metrics.COUNTERS).encode()
TARGET = Target("uid-1", 1000.0, "abc", "127.0.0.1", "demo")


def ok(page: bytes = PAGE, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(page)}\r\n{headers}\r\n".encode() + page


class Pod:
    """A server on its own loopback address that answers every request with the same bytes, or worse."""

    def __init__(self, answer: bytes | None, *, reset: bool = False, close: bool = False) -> None:
        self.answer, self.reset, self.close = answer, reset, close
        self.requests: list[bytes] = []
        self.connections = 0

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests.append(head)
                if self.reset:
                    writer.transport.abort()
                    return
                if self.answer is None:
                    await asyncio.Event().wait()
                writer.write(self.answer)
                await writer.drain()
                if self.close:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def fleet(*pods, concurrency=8):
    """Yield a scraper, one target a pod, and what the scraper reported."""
    servers, port = [], 0
    reported: list[str] = []
    for number, pod in enumerate(pods, start=1):
        server = await asyncio.start_server(pod.serve, f"127.0.0.{number}", port)
        port = server.sockets[0].getsockname()[1]
        servers.append(server)
    scraper = PodScraper(
        lambda: NOW, lambda outcome, _: reported.append(outcome), concurrency=concurrency, port=port or 9
    )
    targets = [replace(TARGET, uid=f"uid-{n}", address=f"127.0.0.{n}") for n in range(1, len(pods) + 1)]
    try:
        yield scraper, targets, reported
    finally:
        await scraper.close()
        for server in servers:
            server.close()


async def outcome_of(pod) -> tuple[str, Answer | None]:
    async with fleet(pod) as (scraper, targets, reported):
        await scraper.scrape(targets, 5)
        return reported[0], scraper.answer("uid-1")


async def test_a_page_becomes_a_sample_that_knows_its_container():
    outcome, answer = await outcome_of(Pod(ok()))
    assert outcome == "Read"
    sample = answer.sample
    assert (sample.uid, sample.started_seconds, sample.revision) == ("uid-1", 1000.0, "abc")
    assert sample.at_seconds == NOW.timestamp()
    assert (sample.counters.success, sample.counters.compute_us, sample.counters.pending) == (5, 15, 0)


async def test_a_server_without_the_model_is_recorded_without_counters():
    outcome, answer = await outcome_of(Pod(ok(PAGE.replace(b"demo", b"other"))))
    assert outcome == "ModelMissing"
    assert answer.sample.counters is None


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (Pod(ok(status="500 Internal Server Error")), "Status"),
        (Pod(ok(status="302 Found", headers="Location: http://127.0.0.1:1/metrics\r\n")), "Status"),
        (Pod(ok(b"what is this\n")), "Garbage"),
        (Pod(ok(PAGE.replace(b" 5", b" NaN"))), "Impossible"),
        (Pod(ok(PAGE[:-1])), "Truncated"),
        (Pod(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + PAGE, close=True), "Disconnected"),
        (Pod(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", close=True), "Disconnected"),
        (Pod(b"", reset=True), "Disconnected"),
        (Pod(ok(b"#" * (LARGEST_PAGE_BYTES + 1))), "TooLarge"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_believed_is_no_sample_and_has_a_reason(pod, reason):
    outcome, answer = await outcome_of(pod)
    assert (outcome, answer) == (reason, None)


async def test_a_page_beyond_the_limits_says_why_until_the_next_that_is_not():
    pod = Pod(ok(b"#" * (LARGEST_PAGE_BYTES + 1)))
    async with fleet(pod) as (scraper, targets, _):
        await scraper.scrape(targets, 5)
        assert scraper.refusal("uid-1") == f"metrics of the pod at 127.0.0.1 are not read: more than {262144:,} bytes"
        # While it is scraped again, apart from the others, it is still so.
        pod.answer = None
        await scraper.scrape(targets, 5)
        assert scraper._doubtful is not None
        for _ in range(5):
            await asyncio.sleep(0)
        assert scraper.refusal("uid-1")
        await scraper._doubtful
        assert scraper.refusal("uid-1") == ""
        pod.answer = ok()
        await scraper.scrape(targets, 5)
        await scraper._doubtful
        assert (scraper.refusal("uid-1"), scraper.answer("uid-1") is not None) == ("", True)


async def test_between_two_large_pages_the_event_loop_has_a_turn(monkeypatch):
    turns, read = 0, []

    def turn():
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(turn)

    def model_metrics(page, model):
        read.append(turns)
        return metrics.model_metrics(page, model)

    monkeypatch.setattr(pods, "model_metrics", model_metrics)
    large = PAGE + b"#" * 200_000 + b"\n"
    async with fleet(*(Pod(ok(large)) for _ in range(8))) as (scraper, targets, reported):
        turn()
        await scraper.scrape(targets, 30)
        assert reported == ["Read"] * 8
        assert len(set(read)) == 8


async def test_small_pages_that_arrive_at_once_share_turns_of_the_event_loop_within_a_limit():
    size, turns = SLICE_BYTES // 4, Counter[int]()
    slices, turn, order = pods._Slices(), 0, list[int]()

    async def read(number):
        await slices.wait(size)
        turns[turn] += 1
        order.append(number)

    tasks = [asyncio.create_task(read(number)) for number in range(40)]
    tasks[20].cancel()
    while not all(task.done() for task in tasks):
        turn += 1
        await asyncio.sleep(0)
    assert order == [number for number in range(40) if number != 20]
    assert max(turns.values()) <= 8
    assert len(turns) >= 5
    # What has waited leaves no debt.
    await asyncio.sleep(0)
    await asyncio.wait_for(slices.wait(10 * SLICE_BYTES), 10)


async def test_a_pod_where_nothing_listens_is_unreachable():
    async with fleet() as (scraper, _, reported):
        await scraper.scrape([TARGET], 5)
        assert reported == ["Unreachable"]


async def test_a_redirect_is_not_followed():
    elsewhere = Pod(ok())
    async with fleet(elsewhere) as (scraper, _, _):
        location = f"Location: http://127.0.0.1:{scraper._port}/metrics\r\n"
        redirecting = Pod(ok(status="302 Found", headers=location))
        server = await asyncio.start_server(redirecting.serve, "127.0.0.2", scraper._port)
        await scraper.scrape([replace(TARGET, address="127.0.0.2")], 5)
        server.close()
    assert len(redirecting.requests) == 1
    assert elsewhere.requests == []


async def test_connections_are_kept_and_compressed_or_proxied_answers_are_not_asked_for(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.9:1")
    pod = Pod(ok())
    async with fleet(pod) as (scraper, targets, _):
        for _ in range(3):
            await scraper.scrape(targets, 5)
    assert (pod.connections, len(pod.requests)) == (1, 3)
    assert b"GET /metrics HTTP/1.1" in pod.requests[0]
    assert b"Accept-Encoding: identity" in pod.requests[0]


async def test_a_pod_that_hangs_costs_one_wait_and_the_others_are_never_late_again():
    async with fleet(Pod(None), *(Pod(ok()) for _ in range(20))) as (scraper, targets, reported):
        await scraper.scrape(targets, 3)
        assert Counter(reported) == {"Read": 20, "Timeout": 1}
        async with asyncio.timeout(60):
            await scraper.scrape(targets, 600)
        assert Counter(reported) == {"Read": 40, "Timeout": 1}


async def test_a_pod_that_recovers_is_scraped_again():
    pod = Pod(ok(status="500 Oops"))
    async with fleet(pod) as (scraper, targets, reported):
        await scraper.scrape(targets, 3)
        pod.answer = ok()
        await scraper.scrape(targets, 3)
        await scraper._doubtful
        await scraper.scrape(targets, 3)
    assert reported == ["Status", "Read", "Read"]


async def test_a_sample_has_the_golden_requests_answered_before_it_until_the_pod_is_gone():
    async with fleet(Pod(ok()), Pod(ok())) as (scraper, targets, _):
        probed = scraper._probed
        probed |= {"127.0.0.1": 3, "127.0.0.9": 8}
        await scraper.scrape(targets, 3)
        assert [scraper.answer(target.uid).sample.counters.probes for target in targets] == [3, 0]
        scraper.keep(targets)
        assert probed == {"127.0.0.1": 3}
        scraper.keep(targets[1:])
        assert probed == {}


async def test_a_failure_keeps_the_last_answer_and_a_pod_that_is_gone_takes_it_along():
    pod = Pod(ok())
    async with fleet(pod) as (scraper, targets, _):
        await scraper.scrape(targets, 3)
        pod.answer = ok(status="500 Oops")
        await scraper.scrape(targets, 3)
        assert scraper.answer("uid-1") is not None
        scraper.keep([])
        assert scraper.answer("uid-1") is None


async def test_to_ask_some_pods_forgets_nothing_of_the_others():
    async with fleet(Pod(ok()), Pod(ok(status="500 Oops"))) as (scraper, targets, reported):
        await scraper.scrape(targets, 3)
        await scraper.scrape(targets[1:], 3)
        await scraper._doubtful
        assert scraper.answer("uid-1") is not None
        await scraper.scrape(targets[:1], 3)
        await scraper.scrape(targets, 3)
        await scraper._doubtful
    assert Counter(reported) == {"Read": 3, "Status": 3}


async def test_patience_ends_a_scrape_and_no_more_questions_are_open_than_allowed():
    pods = [Pod(None) for _ in range(6)]
    async with fleet(*pods, concurrency=2) as (scraper, targets, reported):
        async with asyncio.timeout(60):
            await scraper.scrape(targets, 1)
        assert sum(pod.connections for pod in pods) == 2
        assert reported == []


def pod_manifest(**status):
    running = {"name": "triton", "state": {"running": {"startedAt": "2026-05-01T11:00:00Z"}}}
    return {
        "metadata": {"uid": "u", "labels": {names.REVISION_LABEL: "abc"}},
        "status": {
            "podIP": "10.0.0.7",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-05-01T11:01:00Z"}],
            "containerStatuses": [{"name": "proxy", "state": {}}, running],
            **status,
        },
    }


def test_a_ready_pod_is_asked_at_its_own_address():
    assert target_of(pod_manifest(), "demo") == Target("u", 1777633200.0, "abc", "10.0.0.7", "demo", 1777633260.0)
    assert target_of(pod_manifest(podIP="fd00::7"), "demo").address == "fd00::7"


@pytest.mark.parametrize(
    "status",
    [
        {"podIP": "metadata.internal"},
        {"podIP": "10.0.0.7/../x"},
        {"podIP": ""},
        {"conditions": [{"type": "Ready", "status": "False"}]},
        {"containerStatuses": []},
        {"containerStatuses": [{"name": "triton", "state": {"waiting": {}}}]},
    ],
)
def test_a_pod_without_an_address_or_a_running_triton_is_not_asked(status):
    assert target_of(pod_manifest(**status), "demo") is None


def test_a_pod_that_is_being_deleted_is_not_asked():
    pod = pod_manifest()
    pod["metadata"]["deletionTimestamp"] = "2026-05-01T11:30:00Z"
    assert target_of(pod, "demo") is None


async def test_an_unexpected_page_affects_only_its_own_pod(monkeypatch):
    def stumble(page, model):
        if b"odd" in page:
            raise KeyError("odd")
        return metrics.model_metrics(page, model)

    monkeypatch.setattr(pods, "model_metrics", stumble)
    async with fleet(Pod(ok(b"# odd\n")), Pod(ok())) as (scraper, targets, reported):
        await scraper.scrape(targets, 5)
        assert sorted(reported) == ["Read", "Unexpected"]
        assert scraper.answer("uid-2") is not None
