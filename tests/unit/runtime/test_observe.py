"""What a decision may look at is gathered once, and GPUs are counted only for those who look for one."""

from tests.unit.runtime.canaries import CANARY, KEY, canaries
from tests.unit.runtime.fleet import DEFAULTS, nobody_asks
from tritonfleet.adapters.census import GpuCensus
from tritonfleet.api import names
from tritonfleet.plan.rollout import Phase
from tritonfleet.plan.rollout.analysis import Evidence
from tritonfleet.plan.world import GpuPool
from tritonfleet.runtime import Observer


def node(name, gpus, **labels):
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {"allocatable": {"nvidia.com/gpu": gpus}},
    }


def bound(name, gpus):
    requests = {"nvidia.com/gpu": gpus}
    containers = [{"name": "triton", "resources": {"requests": requests, "limits": requests}}]
    return {"metadata": {"name": f"on-{name}"}, "spec": {"nodeName": name, "containers": containers}}


async def test_while_a_rollout_needs_capacity_the_free_gpus_of_its_nodes_are_counted():
    lists = {"Node": [node("a", "4", pool="x"), node("b", "2", pool="y")], "Pod": [bound("a", "3")]}
    listed = []

    async def list_all(kind):
        listed.append(kind)
        return lists[kind]

    async with canaries() as world:
        world.be(Phase.WAITING_FOR_CAPACITY, weight=0, spec={"server": {"gpu": {"count": 1}}})
        observer = Observer(world.store, GpuCensus(list_all), DEFAULTS)
        for _ in range(3):
            observed = await observer.observe(KEY)
        assert observed.headroom == GpuPool("nvidia.com/gpu", matching_nodes=2, free=3, largest_free_on_one_node=2)
        assert listed == ["Node", "Pod"]


async def test_the_free_gpus_are_those_that_the_spec_names():
    free = {"mellanox.com/rdma": "9", "nvidia.com/gpu": "2"}
    lists = {"Node": [{**node("a", "0"), "status": {"allocatable": free}}], "Pod": []}

    async def list_all(kind):
        return lists[kind]

    async with canaries() as world:
        resources = {"limits": {"mellanox.com/rdma": "1"}}
        world.be(Phase.WAITING_FOR_CAPACITY, weight=0, spec={"server": {"gpu": {"count": 1}, "resources": resources}})
        observed = await Observer(world.store, GpuCensus(list_all), DEFAULTS).observe(KEY)
        assert observed.headroom == GpuPool("nvidia.com/gpu", 1, 2, 2)


async def test_what_happens_while_gpus_are_counted_is_seen():
    async with canaries() as world:
        spec = {"server": {"gpu": {"count": 1}}}
        world.be(Phase.WAITING_FOR_CAPACITY, weight=0, spec=spec)

        async def list_all(kind):
            world.be(Phase.PROVISIONING, weight=0, spec=spec, attempt=2)
            return [node("a", "1")] if kind == "Node" else []

        observed = await Observer(world.store, GpuCensus(list_all), DEFAULTS).observe(KEY)
        assert (observed.body["status"]["rollout"]["attempt"], observed.headroom.free) == (2, 1)


async def test_what_is_deleted_while_gpus_are_counted_is_not_decided_on():
    async with canaries() as world:
        body = world.be(Phase.WAITING_FOR_CAPACITY, weight=0, spec={"server": {"gpu": {"count": 1}}})

        async def list_all(_kind):
            world.store.remove(body)
            return []

        assert await Observer(world.store, GpuCensus(list_all), DEFAULTS).observe(KEY) is None


async def test_gpus_are_not_counted_for_a_rollout_that_has_its_pods():
    async with canaries() as world:
        world.be(Phase.ANALYZING)
        observed = await Observer(world.store, GpuCensus(nobody_asks), DEFAULTS).observe(KEY)
        assert observed.headroom is None


async def test_evidence_is_that_of_this_very_object():
    async with canaries() as world:
        world.be(Phase.ANALYZING)
        known = {f"{names.KIND}-{KEY.name}": Evidence(CANARY, 1, 0), "another": Evidence(CANARY, 9, 0)}
        observer = Observer(world.store, GpuCensus(nobody_asks), DEFAULTS, evidence_on=known.get)
        assert (await observer.observe(KEY)).evidence.attempt == 1
