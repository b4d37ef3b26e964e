"""An operator that is killed after any single write leaves nothing that the next one cannot finish.

Pods are said to be ready by hand here; what is tested is what is written, when, and what comes of it.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from tests.cluster.harness import RunningOperator
from tests.cluster.world import World, difference, eventually
from tritonfleet.api import names

AT_ONCE = 4
SHORT = {"gpu": {"count": 0}, "grpcMaxConnectionAge": "1s", "drainTimeout": "1s"}
"""An old revision lingers for as long as connections to it may last."""


async def _create(world: World) -> None:
    await world.create("demo", server=SHORT)


async def _update(world: World) -> None:
    await world.edit(names.KIND, "demo", lambda body: body["spec"].update(batching={"maxBatchSize": 8}))


async def _delete(world: World) -> None:
    await world.delete(names.KIND, "demo")


async def _settled(world: World) -> bool:
    """Return whether the object is ready and only one revision has pods, or whether all is gone with it."""
    if await world.get("demo") is None:
        return not await world.children()
    return await world.is_ready("demo") and len(await world.children("Deployment")) == 1


async def _create_and_delete(world: World) -> None:
    await _create(world)
    await asyncio.sleep(0.05)
    await _delete(world)


STORIES: dict[str, tuple[list[Callable[[World], Awaitable[None]]], Callable[[World], Awaitable[None]]]] = {
    "create": ([], _create),
    "update": ([_create], _update),
    "delete while it is being created": ([], _create_and_delete),
    "delete": ([_create], _delete),
}


FEWEST_KILLS = {"create": 8, "update": 8, "delete while it is being created": 0, "delete": 0}
"""A deletion is the garbage collector's work: the operator writes nothing, so it can only be killed beside it."""


def killed(always: str, stories: Iterable[str]) -> list[Any]:
    """Return which story is killed after which writes: one after every third always, all after each before a release.

    The same decisions are killed after every write in simulated clusters, by `make test` as well.
    """
    return [
        pytest.param(always, 3, id=f"{always}, every third write"),
        *(pytest.param(each, 1, id=f"{each}, every write", marks=pytest.mark.acceptance) for each in stories),
    ]


@pytest.mark.parametrize(("story", "every"), killed("update", STORIES))
async def test_killed_after_a_write_it_ends_in_the_same_state(control_plane, cluster, story, every):
    writes, wanted = await _play(control_plane, cluster, story, killed_after=None)
    gate = asyncio.Semaphore(AT_ONCE)
    died: list[bool] = []

    async def one(number: int) -> Any:
        async with gate:
            made, outcome = await _play(control_plane, cluster, story, killed_after=number, wanted=wanted)
            died.append(made == number + 1)
            return outcome

    # One more than there were: a kill when all is done changes nothing either.
    numbers = range(0, writes + 1, every)
    outcomes = await asyncio.gather(*(one(number) for number in numbers))
    for number, outcome in zip(numbers, outcomes, strict=True):
        assert outcome == wanted, f"killed after write {number} of {writes}:\n{difference(outcome, wanted)}"
    assert sum(died) >= FEWEST_KILLS[story] // every


async def _play(control_plane, cluster, story: str, *, killed_after: int | None, wanted: Any = None) -> tuple[int, Any]:
    """Play one story in a namespace of its own; return how many writes its last act took, and the end state."""
    before, act = STORIES[story]
    world = World(cluster, f"crash-{uuid.uuid4().hex[:8]}")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": world.namespace}}
    await cluster._call("POST", "Namespace", "/api/v1/namespaces", body=namespace)
    kubelet = asyncio.create_task(world.keep_pods_ready())
    operators: list[RunningOperator] = []
    try:
        for each in before:
            operators.append(_operator(control_plane, world, "before"))
            await each(world)
            await eventually(lambda: _settled(world), "the state before", within=180, every=0.25)
            await asyncio.sleep(0.5)
            operators[-1].stop()
        victim = _operator(control_plane, world, "victim", killed_after=killed_after)
        operators.append(victim)
        await eventually(lambda: victim.leads, "leadership")
        await act(world)
        if killed_after is not None:
            await _wait_for_death(victim, world)
            operators.append(_operator(control_plane, world, "successor"))
            await eventually(lambda: operators[-1].leads, "leadership")
        await eventually(
            lambda: _settled(world), f"the end of '{story}' killed after {killed_after}", within=240, every=0.25
        )
        return len(victim.writes), await world.steady_state(wanted)
    finally:
        for operator in operators:
            operator.kill()
        kubelet.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await kubelet


def _operator(control_plane, world: World, identity: str, killed_after: int | None = None) -> RunningOperator:
    """Start an operator; each has a lease of its own, so that a successor need not wait for a dead one's to expire."""

    def die(_method: str, _kind: str, number: int) -> Awaitable[object] | None:
        if number != killed_after:
            return None
        # The write has taken effect and all before it, but nobody hears the answer, and nothing follows it.
        operator.cluster.dead = True
        return asyncio.Event().wait()

    operator = RunningOperator(
        control_plane.kubeconfig, world.namespace, identity=identity, lease=identity, after=die, serial=True
    )
    return operator.start()


async def _wait_for_death(victim: RunningOperator, world: World) -> None:
    """Wait for the deadly write, or, if the story takes fewer, for its end."""

    async def over() -> bool:
        return victim.cluster.dead or await _settled(world)

    await eventually(over, "the kill", within=180, every=0.25)
    victim.kill()
