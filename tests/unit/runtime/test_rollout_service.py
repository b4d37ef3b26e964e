"""What Triton needs for the requests of a window: without waiting, on one GPU product, and by pods that are warm."""

from datetime import timedelta

import pytest

from tests.unit.runtime.canaries import CANARY, STABLE, START, canaries
from tests.unit.runtime.test_rollouts import started


async def test_what_triton_needs_is_told_apart_from_waiting_and_by_the_size_of_batches():
    async with canaries() as world:
        *_, stable, canary = await started(world)
        await world.until(10)
        await world.until(30, lambda: (canary.serve(40, queue=0.03, batch=4), stable.serve(60)))
        total = [sum(each[index] for each in map(as_numbers, world.window.service)) for index in range(6)]

        assert total == pytest.approx([160, 160 * 0.04, 240, 240 * 0.01, 160 * 0.03, 0])
        assert {each.canary_batch for each in world.window.service if each.canary} == {4}


def as_numbers(interval):
    named = ("canary", "canary_seconds", "stable", "stable_seconds", "canary_queue_seconds", "stable_queue_seconds")
    return [getattr(interval, name) for name in named]


async def test_pods_on_other_gpus_are_not_compared():
    async with canaries() as world:
        world.gpus = {"n1": "L4", "n2": "H100", "n3": "H100"}
        await started(world)
        for name, node in (("s1", "n2"), ("s2", "n1"), ("c1", "n1")):
            world.pod(name, CANARY if name == "c1" else STABLE, node=node)
        served = {pod.name: pod for pod in world.pods.values()}
        await world.until(30, lambda: [pod.serve(10) for pod in served.values()])

        assert set(world.window.canary.products.values()) == {"L4"}
        assert sum(each.stable for each in world.window.service) == sum(each.canary for each in world.window.service)


async def test_a_pod_is_cold_until_its_time_and_its_requests_are_over():
    async with canaries() as world:
        *_, canary = await started(world)
        plan = {"analysis": {"interval": "20s", "warmup": "10s", "podWarmup": "40s"}}
        world.be(plan=plan)
        canary.serve(400)
        cold = []
        while world.now < START + timedelta(seconds=95):
            await world.tick()
            if world.looked:
                cold.append((world.window.end_seconds - START.timestamp(), bool(world.window.canary.cold)))

        assert dict(cold) == {30: True, 50: True, 70: False, 90: False}
