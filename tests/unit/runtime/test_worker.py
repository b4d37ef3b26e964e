"""What a worker writes first when it is not alone."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tritonfleet.adapters.store import Key
from tritonfleet.api import names
from tritonfleet.plan.world import Apply, Defaults, Observed, Plan
from tritonfleet.runtime import Telemetry, WorkQueue
from tritonfleet.runtime.controller import Worker

KINDS = ("ControllerRevision", "ConfigMap", "Deployment", "Service", "PodDisruptionBudget")
FOR_PODS = {"ControllerRevision", "ConfigMap", "Deployment"}


class Town:
    """A world in which what is written exists from then on; it stands in for observer and executor alike."""

    def __init__(self):
        self.history = []
        self.existing = {}
        self.statuses: asyncio.Queue[Key] = asyncio.Queue()

    async def observe(self, key, _failure=None):
        body = {"kind": names.KIND, "metadata": {"name": key.name, "generation": 1}}
        children: Any = {kind: {} for kind in self.existing.get(key, ())}
        return Observed(body, children, (), Defaults("triton", allow_unsafe_image=False, fetch_image="fetch"))

    async def apply(self, key, applies, guard=None):  # noqa: ARG002
        for each in applies:
            await asyncio.sleep(0)
            self.existing.setdefault(key, set()).add(each.target.kind)
            self.history.append((key.name, each.target.kind))

    async def write_status(self, key, _body, _status, *, guarded=False):  # noqa: ARG002
        self.history.append((key.name, "status"))
        self.statuses.put_nowait(key)
        return True

    async def post(self, _body, _events, _now):
        return


def decide(observed, _now):
    missing = [kind for kind in KINDS if kind not in observed.children]
    manifests = [{"kind": kind, "metadata": {"name": "child"}} for kind in missing]
    applies = tuple(Apply(each, "Missing", "it does not exist", exists=False) for each in manifests)
    return Plan(status={"conditions": []}, applies=applies)


async def history_of(*keys, workers):
    town: Any = Town()
    queue: WorkQueue[Key] = WorkQueue()
    worker = Worker(
        queue, town, town, Telemetry(), decide, resync_seconds=300.0, now=lambda: datetime(2026, 1, 1, tzinfo=UTC)
    )
    for name in keys:
        queue.add(Key("default", name))
    tasks = [asyncio.create_task(worker.run()) for _ in range(workers)]
    async with asyncio.timeout(60):
        for _ in keys:
            await town.statuses.get()
    queue.close()
    await asyncio.gather(*tasks)
    return town.history


async def test_what_pods_need_is_written_for_every_key_before_the_rest_of_any():
    history = await history_of("a", "b", "c", workers=3)
    for_pods = [place for place, (_, what) in enumerate(history) if what in FOR_PODS]
    rest = [place for place, (_, what) in enumerate(history) if what not in FOR_PODS]
    assert max(for_pods) < min(rest)


@pytest.mark.parametrize("workers", [1, 3])
async def test_every_child_is_written_once_and_then_the_status_of_every_key(workers):
    history = await history_of("a", "b", "c", workers=workers)
    assert sorted(history) == sorted((name, what) for name in "abc" for what in (*KINDS, "status"))


async def test_a_key_alone_is_finished_without_going_back_in_line():
    assert [what for _, what in await history_of("a", workers=3)] == [*KINDS, "status"]


class Diary(WorkQueue[Key]):
    """Notes when keys are to be looked at again."""

    def __init__(self):
        super().__init__()
        self.waits: asyncio.Queue[float] = asyncio.Queue()

    def add(self, key, after=0.0):
        self.waits.put_nowait(after)
        super().add(key, after)


@pytest.mark.parametrize(
    ("due", "resync", "lowest", "highest"),
    [
        (None, 3600.0, 2880.0, 3600.0),
        (None, 10.0, 8.0, 10.0),
        (5.0, 3600.0, 5.0, 5.0),
        (500.0, 3600.0, 500.0, 500.0),
        (500.0, 10.0, 8.0, 10.0),
    ],
)
async def test_an_object_is_looked_at_again_when_something_is_due_or_at_the_resync(due, resync, lowest, highest):
    town: Any = Town()
    queue = Diary()

    def rest(_observed, _now):
        return Plan(status={"conditions": []}, requeue_after_seconds=due)

    worker = Worker(queue, town, town, Telemetry(), rest, resync_seconds=resync)
    queue.add(Key("default", "a"))
    task = asyncio.create_task(worker.run())
    async with asyncio.timeout(60):
        assert await queue.waits.get() == 0.0
        wait = await queue.waits.get()
    queue.close()
    await task
    assert lowest <= wait <= highest
