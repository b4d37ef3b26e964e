"""What the law is shown is never the fleet of yesterday, nor of another ModelDeployment."""

import asyncio

import pytest

from tests.unit.runtime.fleet import KEY, OTHER, SPEC, fleet
from tritonfleet.runtime import Observer, autoscaler

NOWHERE = {"name": "x", "timeZone": "Mars/Base", "from": "13:00", "to": "14:00", "minReplicas": 6}
UNREADABLE = {
    "a duration that is none": {**SPEC, "slo": {"latency": {"target": "soon"}}},
    "a time zone that does not exist": {**SPEC, "autoscaling": {"maxReplicas": 3, "schedules": [NOWHERE]}},
}


@pytest.mark.parametrize("spec", UNREADABLE.values(), ids=UNREADABLE)
async def test_pods_that_come_while_the_spec_cannot_be_read_are_seen_under_the_old_one(monkeypatch, spec):
    async with fleet(monkeypatch) as world:
        world.deploy(KEY, pods=1)
        await world.tick()
        world.deploy(KEY, pods=1, spec=spec)
        await world.tick()
        policy, _, observation, _ = world.law.shown[-1]
        assert (len(observation.pods), len(observation.samples), policy.max_replicas) == (2, 2, 9)


async def test_a_namesake_is_no_heir(monkeypatch):
    async with fleet(monkeypatch) as world:
        world.law.replicas = 8
        body = world.deploy(KEY)
        await world.tick()
        world.store.remove(body)
        world.version += 1
        world.store.put({**body, "metadata": {**body["metadata"], "uid": "new", "resourceVersion": str(world.version)}})
        # A reconcile may look before the next tick does.
        assert world.verdicts == {}
        await world.tick()
        assert world.law.shown[-1][2].replicas == 0
        assert set(world.by_uid) == {"new"}


async def test_waiting_for_a_gpu_count_does_not_delay_others(monkeypatch):
    observe = Observer.observe

    async def hang(observer, key):
        if key == OTHER:
            await asyncio.sleep(60)
        return await observe(observer, key)

    monkeypatch.setattr(Observer, "observe", hang)
    monkeypatch.setattr(autoscaler, "REFRESH_LIMIT_SECONDS", 5.0)
    async with fleet(monkeypatch) as world:
        world.deploy(OTHER, pods=1)
        for number in (1, 2):
            world.deploy(KEY, pods=1)
            # On a busy machine one tick's limit may be too short for anybody.
            for _ in range(10):
                await world.tick()
                if len(world.law.shown[-1][2].samples) == number:
                    break
            assert len(world.law.shown[-1][2].samples) == number
