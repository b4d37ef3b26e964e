"""A process that ends in good order leaves what it has learned to the next one."""

import asyncio
from dataclasses import replace
from typing import Any

from tests.unit.plan.verdicts import VERDICT
from tritonfleet.adapters.store import Key, Store
from tritonfleet.api import names
from tritonfleet.errors import Transient
from tritonfleet.plan.autoscale import Memory
from tritonfleet.runtime import app
from tritonfleet.runtime.app import save_checkpoints

LEARNED = replace(VERDICT, memory=Memory(clock=1_800_000_000.0))


class Scribe:
    """An executor that keeps the statuses it is given."""

    def __init__(self, failing=(), slow_seconds=0.0):
        self.written = {}
        self._failing = failing
        self._slow_seconds = slow_seconds

    async def write_status(self, key, _body, status, *, guarded):
        assert guarded
        await asyncio.sleep(self._slow_seconds)
        if key.name in self._failing:
            raise Transient("HTTP 500")
        self.written[key.name] = status


async def leave(scribe: Any, store: Store, *keys: Key) -> None:
    await save_checkpoints(scribe, store, dict.fromkeys(keys, LEARNED))


def town(*names_of, status=None):
    store = Store()
    for version, name in enumerate(names_of, 1):
        metadata = {"namespace": "shop", "name": name, "uid": name, "generation": 1, "resourceVersion": str(version)}
        store.put({"kind": names.KIND, "metadata": metadata, "spec": {}, "status": status or {}})
    return store


def written_before(**more):
    return {"replicas": 3, "autoscaling": {"at": "2026-01-01T00:00:00Z", "desiredReplicas": 3, **more}}


async def test_the_memory_is_written_and_everything_else_is_kept():
    scribe = Scribe()
    await leave(scribe, town("demo", status=written_before()), Key("shop", "demo"))
    assert scribe.written["demo"] == written_before(memory=LEARNED.memory.document())


async def test_what_is_written_already_or_was_never_shown_is_left_alone():
    scribe, key = Scribe(), Key("shop", "demo")
    known = written_before(memory=LEARNED.memory.document())
    for store in (town("demo", status=known), town("demo"), town()):
        await leave(scribe, store, key)
    assert scribe.written == {}


async def test_one_failure_costs_only_its_own_memory():
    scribe = Scribe(failing=("bad",))
    store = town("bad", "good", status=written_before())
    await leave(scribe, store, Key("shop", "bad"), Key("shop", "good"))
    assert set(scribe.written) == {"good"}


async def test_an_api_server_that_hangs_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr(app, "CHECKPOINT_SECONDS", 0.05)
    scribe = Scribe(slow_seconds=3600)
    await asyncio.wait_for(leave(scribe, town("demo", status=written_before()), Key("shop", "demo")), 60)
    assert scribe.written == {}
