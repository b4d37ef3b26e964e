"""A rollout goes on where it was, whichever write its operator is killed after and whatever the API server refuses.

Pods are said to be ready by hand here, and what is seen of them is given; what is tested is what is written and when.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.faultproxy import Fault, FaultProxy
from tests.cluster.harness import RunningOperator
from tests.cluster.onlooker import sees
from tests.cluster.test_crashes import killed
from tests.cluster.world import World, difference, eventually
from tritonfleet.api import names

AT_ONCE = 6
FEWEST_WRITES = 15
ANALYSIS = {"interval": "5s", "warmup": "0s", "windows": 1, "failureThreshold": 1, "minRequests": 100, "bakeTime": "0s"}
SERVER = {"gpu": {"count": 0}, "grpcMaxConnectionAge": "1s", "drainTimeout": "1s"}
ROLLOUT = {"canary": {"steps": [{"weight": 50}], "analysis": ANALYSIS}, "stableRetention": "0s"}
STORIES = {"promotion": True, "rollback": False}
"""Whether the canary is good."""


@dataclass(frozen=True)
class End:
    """What a story came to."""

    writes: int
    state: Any
    """Of every object."""
    passages: list[str]
    """The phases that the rollout went through."""


_UNDISTURBED: dict[str, End] = {}
"""What each story comes to when nothing goes wrong."""


@pytest.fixture
def proxy(control_plane):
    proxy = FaultProxy(control_plane).start()
    yield proxy
    proxy.stop()


@pytest.mark.parametrize(("story", "every"), killed("promotion", STORIES))
async def test_killed_after_a_write_a_rollout_ends_in_the_same_state(control_plane, cluster, story, every):
    wanted = await _undisturbed(control_plane, cluster, story)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> End:
        async with gate:
            return await _play(control_plane, cluster, story, killed_after=number, wanted=wanted)

    # One more than there were: a kill when all is done changes nothing either.
    numbers = range(0, wanted.writes + 1, every)
    ends = await asyncio.gather(*(one(number) for number in numbers))
    assert wanted.writes >= FEWEST_WRITES
    for number, end in zip(numbers, ends, strict=True):
        assert end.state == wanted.state, f"killed after write {number}:\n{difference(end.state, wanted.state)}"
        assert end.passages == wanted.passages, f"killed after write {number}"


@pytest.mark.parametrize(
    ("story", "fault"),
    [
        pytest.param(
            story,
            fault,
            id=f"{story}-{fault.name.lower()}",
            marks=() if (story, fault) == ("promotion", Fault.LOST_AFTER) else pytest.mark.acceptance,
        )
        for story in STORIES
        for fault in (Fault.CONFLICT, Fault.TOO_MANY_REQUESTS, Fault.SERVER_ERROR, Fault.LOST_AFTER)
    ],
)
async def test_each_write_of_a_rollout_failing_once_ends_in_the_same_state(control_plane, cluster, proxy, story, fault):
    wanted = await _undisturbed(control_plane, cluster, story)
    struck = proxy.fail_each_write_once(fault)
    end = await _play(control_plane, cluster, story, kubeconfig=proxy.kubeconfig, wanted=wanted)
    assert len(struck) >= FEWEST_WRITES / 2
    assert end.state == wanted.state, difference(end.state, wanted.state)
    assert end.passages == wanted.passages


@pytest.mark.parametrize("story", ["promotion", pytest.param("rollback", marks=pytest.mark.acceptance)])
async def test_two_operators_at_once_end_where_one_does(control_plane, cluster, story):
    wanted = await _undisturbed(control_plane, cluster, story)
    end = await _play(control_plane, cluster, story, operators=2, wanted=wanted)
    assert end.state == wanted.state, difference(end.state, wanted.state)
    assert end.passages == wanted.passages


async def _undisturbed(control_plane, cluster, story: str) -> End:
    if story not in _UNDISTURBED:
        _UNDISTURBED[story] = await _play(control_plane, cluster, story)
    return _UNDISTURBED[story]


async def _play(
    control_plane,
    cluster,
    story: str,
    *,
    killed_after: int | None = None,
    kubeconfig=None,
    operators: int = 1,
    wanted: End | None = None,
) -> End:
    """Play one story in a namespace of its own: one revision serves, then another is rolled out."""
    world = World(cluster, f"rollout-{uuid.uuid4().hex[:8]}")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": world.namespace}}
    await cluster._call("POST", "Namespace", "/api/v1/namespaces", body=namespace)
    kubelet = asyncio.create_task(world.keep_pods_ready())
    running: list[RunningOperator] = []

    def start(identity: str, killed_after: int | None = None) -> RunningOperator:
        running.append(_operator(kubeconfig or control_plane.kubeconfig, world, identity, story, killed_after))
        return running[-1]

    try:
        await world.create("demo", server=SERVER, replicas=2, rollout=ROLLOUT)
        start("first")
        await eventually(lambda: world.is_ready("demo"), "the revision before", within=180, every=0.5)
        await eventually(lambda: _phase(world, "Stable"), "a rollout at rest", every=0.5)
        for number in range(1, operators):
            other = start(f"other-{number}")
            await eventually(lambda other=other: other.synced, "a first sweep")
        if killed_after is not None:
            running[0].stop()
            victim = start("victim", killed_after)
            await eventually(lambda: victim.leads, "leadership")
        before = sum(len(operator.writes) for operator in running)
        await world.edit(names.KIND, "demo", lambda body: body["spec"].update(batching={"maxBatchSize": 8}))
        if killed_after is not None:
            await _wait_for_death(victim, world, story)
            start("successor")
        await eventually(
            lambda: _over(world, story), f"the end of {story}, killed after {killed_after}", within=300, every=0.5
        )
        state = await world.steady_state(wanted and wanted.state, view=_without_birth)
        history = (await _status(world))["rollout"]["history"]
        passages = [f"{one['from']} -> {one['to']}" for one in reversed(history) if one["from"] != "Initializing"]
        return End(sum(len(operator.writes) for operator in running) - before, state, passages)
    finally:
        for operator in running:
            operator.kill()
        kubelet.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await kubelet
        await world.delete(names.KIND, "demo")


def _without_birth(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out how the first revision came to serve: that is before the story, and may be quicker than its record."""
    rollout = body.get("status", {}).get("rollout", {})
    if "history" in rollout:
        rollout["history"] = [one for one in rollout["history"] if one["from"] != "Initializing"]
    return body


def _operator(kubeconfig, world: World, identity: str, story: str, killed_after: int | None) -> RunningOperator:
    def die(_method: str, _kind: str, number: int) -> Awaitable[object] | None:
        if number != killed_after:
            return None
        operator.cluster.dead = True
        return asyncio.Event().wait()

    operator = RunningOperator(
        kubeconfig,
        world.namespace,
        identity=identity,
        lease=identity,
        after=die,
        serial=True,
        decide=sees(good=STORIES[story]),
        tick_seconds=1.0,
    )
    return operator.start()


async def _wait_for_death(victim: RunningOperator, world: World, story: str) -> None:
    """Wait for the deadly write, or, if the story took fewer this time, for its end."""

    async def over() -> bool:
        return victim.cluster.dead or await _over(world, story)

    await eventually(over, "the kill", within=300, every=0.5)
    victim.kill()


async def _phase(world: World, *phases: str) -> bool:
    return (await _status(world)).get("rollout", {}).get("phase") in phases


async def _status(world: World) -> dict[str, Any]:
    return dict((await world.get("demo") or {}).get("status", {}))


async def _over(world: World, story: str) -> bool:
    """Return whether the rollout of the second revision has come to its end, and only one revision has pods."""
    rollout = (await _status(world)).get("rollout", {})
    taken = any(entry["to"] == "Admitting" for entry in rollout.get("history", ()))
    ended = rollout.get("phase") == ("Stable" if STORIES[story] else "RolledBack")
    return taken and ended and len(await world.children("Deployment")) == 1
