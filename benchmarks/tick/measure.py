"""Ticks of the real autoscaler over loopback HTTP, and what each part of them costs this process."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.tick.fleet import Fleet
from benchmarks.tick.traffic import REPLICAS, page
from tritonfleet.adapters import pods
from tritonfleet.adapters.pods import PodScraper
from tritonfleet.adapters.prometheus import Access, Prometheus
from tritonfleet.adapters.store import Key
from tritonfleet.runtime import Autoscaler, Gateway, Telemetry, WorkQueue
from tritonfleet.triton.metrics import ModelMetrics, model_metrics

INTERVAL_SECONDS = 5.0
GATEWAY_TICKS = 3
"""Prometheus is asked every 15 s, which is every third tick."""


@dataclass(slots=True)
class Tick:
    """Seconds that one tick took: of this process's processor, and on the clock."""

    parse: float = 0.0
    decide: float = 0.0
    cpu: float = 0.0
    wall: float = 0.0
    read: int = 0
    """Pages that were read."""


@dataclass(slots=True)
class Run:
    """What was measured of one fleet."""

    size: int
    ticks: list[Tick] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    queries: int = 0
    decisions: dict[str, int] = field(default_factory=dict)
    """Of the last tick, by reason."""
    peer_seconds: float = 0.0
    """Processor seconds in which prometheus-client's own parser reads every pod's page once."""


def measure(size: int, ticks: int) -> Run:
    """Tick so often over a fleet of `size` ModelDeployments."""
    run = Run(size)
    with _serving(size * REPLICAS) as (port, prometheus_port):
        asyncio.run(_tick(run, ticks, port, prometheus_port))
    run.peer_seconds = _peer(size * REPLICAS)
    return run


async def _tick(run: Run, ticks: int, port: int, prometheus_port: int) -> None:
    fleet = Fleet(run.size)
    telemetry = Telemetry()

    def queried(*_: object) -> None:
        run.queries += 1

    def scraped(outcome: str, seconds: float) -> None:
        run.outcomes[outcome] = run.outcomes.get(outcome, 0) + 1
        telemetry.scaling.scraped(outcome, seconds)

    access = Access(f"http://127.0.0.1:{prometheus_port}", gateway_labels={"namespace": "gateways"})
    gateway = Gateway(Prometheus(access, queried), _now)
    scraper = PodScraper(_now, scraped, port=port)
    autoscaler = Measured(
        fleet.store, WorkQueue[Key](), fleet.observer, scraper, gateway, telemetry.scaling, fleet.verdicts,
        interval_seconds=INTERVAL_SECONDS, now=_now,
    )  # fmt: skip
    async with _parsing_timed(autoscaler):
        for number in range(ticks):
            started = time.monotonic()
            begun = time.process_time()
            autoscaler.spent = Tick()
            if number % GATEWAY_TICKS == 0:
                await gateway.ask()
            await autoscaler.tick()
            autoscaler.spent.cpu = time.process_time() - begun
            autoscaler.spent.wall = time.monotonic() - started
            run.ticks.append(autoscaler.spent)
            await asyncio.sleep(max(0.0, started + INTERVAL_SECONDS - time.monotonic()))
    await scraper.close()
    for verdict in telemetry.scaling.verdicts.values():
        run.decisions[verdict.reason.value] = run.decisions.get(verdict.reason.value, 0) + 1


class Measured(Autoscaler):
    """The autoscaler, with a clock around every decision: gathering samples, deciding, and whether it is news."""

    spent = Tick()

    def _decide(self, key: Key) -> None:
        begun = time.thread_time()
        super()._decide(key)
        self.spent.decide += time.thread_time() - begun


@asynccontextmanager
async def _parsing_timed(autoscaler: Measured) -> AsyncIterator[None]:
    """Put a clock around the reading of every page."""

    def timed(text: bytes, model: str) -> ModelMetrics | None:
        begun = time.thread_time()
        found = model_metrics(text, model)
        autoscaler.spent.parse += time.thread_time() - begun
        autoscaler.spent.read += found is not None
        return found

    _swap(timed)
    try:
        yield
    finally:
        _swap(model_metrics)


def _swap(reader: Callable[[bytes, str], ModelMetrics | None]) -> None:
    vars(pods)["model_metrics"] = reader


@contextmanager
def _serving(count: int) -> Iterator[tuple[int, int]]:
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.tick.server", str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with server:
        if server.stdout is None or server.stdin is None:
            raise RuntimeError("the server has no pipes")
        port, prometheus_port = map(int, server.stdout.readline().split())
        try:
            yield port, prometheus_port
        finally:
            server.stdin.close()


def _peer(count: int) -> float:
    texts = [page(pod, 3600.0).decode() for pod in range(count)]
    begun = time.process_time()
    for text in texts:
        for _ in text_string_to_metric_families(text):
            pass
    return time.process_time() - begun


def _now() -> datetime:
    return datetime.now(UTC)
