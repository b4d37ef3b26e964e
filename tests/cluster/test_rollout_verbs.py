"""One rollout after another, decided from a terminal: every request is accepted, recorded, and accepted once."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.world import World, eventually
from tritonfleet.api import names
from tritonfleet.cli import main

CANARY = {
    "steps": [{"weight": 50}],
    "verification": {"contract": "Off"},
    "analysis": {"warmup": "0s", "interval": "5s", "bakeTime": "0s"},
}


@pytest.fixture
def types(control_plane, world, capsys) -> Callable:
    """Type a command, which must succeed unless told otherwise, and return what it says."""

    async def run(action: str, *arguments: str, status: int = 0) -> str:
        where = ("--kubeconfig", str(control_plane.kubeconfig), "-n", world.namespace)
        ended = await asyncio.to_thread(main, ["rollout", action, "shop", *arguments, *where])
        printed = capsys.readouterr()
        assert ended == status, printed.out + printed.err
        return printed.out + printed.err

    return run


async def in_phase(world: World, *phases: str) -> dict[str, Any]:
    """Wait until the rollout is in one of some phases and return what it says."""

    async def found() -> dict[str, Any] | None:
        rollout = ((await world.get("shop") or {}).get("status") or {}).get("rollout") or {}
        return rollout if rollout.get("phase") in phases else None

    return await eventually(found, f"phase {' or '.join(phases)}")


async def events(world: World, reason: str) -> list[str]:
    listing = await world.cluster.list("Event", world.namespace)
    assert listing is not None
    return [event.get("note") or event.get("message") for event in listing.items if event["reason"] == reason]


async def test_a_person_decides_about_a_rollout_from_a_terminal(world, start_operator, kubelet, types) -> None:
    start_operator(tick_seconds=0.3)
    await world.create("shop", replicas=2, rollout={"canary": CANARY})
    await in_phase(world, "Stable")
    await world.edit(names.KIND, "shop", lambda body: body["spec"].update(batching={"maxBatchSize": 8}))
    first = (await in_phase(world, "Analyzing"))["canary"]

    assert "stays at 50%" in await types("pause")
    assert "paused by admin" in (await in_phase(world, "Held"))["message"]
    await types("resume")
    await in_phase(world, "Analyzing", "Shifting", "Provisioning")
    assert "is rejected until a retry" in await types("abort")
    assert "RolledBack" in await types("status", "--wait", status=3)
    assert f"{first}  Rejected, Aborted" in await types("history")

    assert "starts again from its first step" in await types("retry")
    assert (await in_phase(world, "Analyzing"))["canary"] == first
    assert "gets 100%" in await types("promote")
    assert f"{first} (2) is serving" in await types("status", "--wait")

    assert "takes over within seconds" in await types("undo")
    assert "(1) is serving in place of the spec's" in await types("status", "--wait")
    spec = (await world.get("shop"))["spec"]
    assert spec["batching"] == {"maxBatchSize": 8}
    assert "rollback" not in spec
    for reason, words in (("Paused", "Pause of"), ("Aborted", "Abort of"), ("Overridden", "Rollback to")):
        said = [event for event in await events(world, reason) if words in event]
        assert len(said) == 1
        assert " by admin at 20" in said[0]
