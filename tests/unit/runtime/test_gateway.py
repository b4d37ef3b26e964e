"""What Prometheus says of a gateway, and what happens while it says nothing."""

import asyncio
import math
from array import array
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tritonfleet.adapters.prometheus import GatewayTraffic, Past, Series
from tritonfleet.adapters.store import Key
from tritonfleet.errors import Transient
from tritonfleet.plan.autoscale import Policy
from tritonfleet.plan.histogram import Histogram
from tritonfleet.runtime import Gateway, latency_sources

KEY = Key("shop", "demo")
POLICY = Policy(latency_target_seconds=0.05)
LATENCY = Histogram((0.05, 0.1, math.inf), (9.0, 10.0, 10.0))


class Prometheus:
    """Answers as it is told, and counts."""

    def __init__(self, *outcomes) -> None:
        self.outcomes = list(outcomes)
        self.asked = 0
        self.past_asked = 0
        self.closed = False

    async def gateway(self):
        self.asked += 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def arrivals(self, end, days, step_seconds, window_seconds):  # noqa: ARG002
        self.past_asked += 1
        start = (end - timedelta(days=days)).timestamp()
        return Past(start, step_seconds, {Series(*KEY, "m"): array("d", [1.0, math.nan])})

    def close(self):
        self.closed = True


def now():
    return datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def asker_of(prometheus: Any) -> Gateway:
    return Gateway(prometheus, now)


async def run_until(condition, asker):
    running = asyncio.create_task(asker.run())
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.001)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_answers_that_failed_fast_do_not_count_as_within_the_target():
    prometheus = Prometheus({KEY: GatewayTraffic(LATENCY, failed=2.0)})
    asker = asker_of(prometheus)
    await asker.ask()
    reading = asker.reading(KEY, POLICY)
    assert (reading.source, reading.at_seconds) == ("Gateway", now().timestamp())
    assert (reading.requests_per_second, reading.within) == (10, pytest.approx(0.7))
    assert reading.percentile_seconds == pytest.approx(0.05 + 0.05 * 0.9)
    assert reading.failed == pytest.approx(0.2)


async def test_failures_alone_are_read_where_only_availability_is_promised():
    asker = asker_of(Prometheus({KEY: GatewayTraffic(LATENCY, failed=2.0)}))
    await asker.ask()
    reading = asker.reading(KEY, Policy(latency_target_seconds=None, availability=99.9))
    assert (reading.failed, reading.within) == (pytest.approx(0.2), pytest.approx(0.8))


async def test_a_route_without_requests_or_an_slo_without_a_target_has_no_reading():
    prometheus = Prometheus({KEY: GatewayTraffic(Histogram((0.05, math.inf), (0.0, 0.0)), failed=0.0)})
    asker = asker_of(prometheus)
    await asker.ask()
    assert asker.reading(KEY, POLICY) is None
    assert asker.reading(Key("shop", "other"), POLICY) is None
    prometheus.outcomes = [{KEY: GatewayTraffic(LATENCY, failed=0.0)}]
    await asker.ask()
    assert asker.reading(KEY, Policy(latency_target_seconds=None)) is None


async def test_the_past_is_asked_for_until_it_came_and_handed_over_once(monkeypatch):
    monkeypatch.setattr(latency_sources, "QUERY_INTERVAL_SECONDS", 0.01)
    prometheus = Prometheus(Transient("down"), {})
    asker = asker_of(prometheus)
    await run_until(lambda: asker._past is not None, asker)
    history = asker.history(KEY, "m")
    assert (history.step_seconds, history.rates[0]) == (30, 1.0)
    assert asker.history(KEY, "m") is None
    assert asker.history(Key("shop", "other"), "m") is None
    await run_until(lambda: prometheus.asked > 4, asker)
    assert prometheus.closed


async def test_the_past_of_those_without_an_slo_is_not_kept(monkeypatch):
    monkeypatch.setattr(latency_sources, "QUERY_INTERVAL_SECONDS", 0.001)
    monkeypatch.setattr(latency_sources, "PAST_KEPT_SECONDS", 0.001)
    prometheus = Prometheus({})
    asker = asker_of(prometheus)
    await run_until(lambda: prometheus.asked > 3, asker)
    assert (prometheus.past_asked, asker._past) == (1, None)


async def test_the_longer_nothing_comes_the_less_often_it_is_asked(monkeypatch):
    slept = []
    sleep = asyncio.sleep

    async def count(seconds):
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", count)
    prometheus = Prometheus(*[Transient("down")] * 6, {})
    running = asyncio.create_task(asker_of(prometheus).run())
    while len(slept) < 8:
        await sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert slept[:8] == [30, 60, 120, 120, 120, 120, 15, 15]


async def test_nothing_that_prometheus_answers_ends_the_operator(monkeypatch):
    monkeypatch.setattr(latency_sources, "QUERY_INTERVAL_SECONDS", 0.001)
    prometheus = Prometheus(RuntimeError("a bug"))
    await run_until(lambda: prometheus.asked > 3, asker_of(prometheus))
