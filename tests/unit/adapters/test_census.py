"""GPUs are counted where a pod may run, by the scheduler's rules, and not more often than needed."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.adapters.census import GatewayCensus, GpuCensus, admits, count_pool, countable, take_census
from tritonfleet.api.quantities import quantity
from tritonfleet.plan.world import Gateway, GpuPool

GPU = "nvidia.com/gpu"


def node(name, gpus=0, *, labels=None, taints=(), unschedulable=False):
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints), "unschedulable": unschedulable},
        "status": {"allocatable": {GPU: str(gpus), "cpu": "8"}},
    }


def pod(gpus=1, *, on=None, phase="Running", init=0, **spec):
    def container(amount):
        return {"resources": {"limits": {GPU: str(amount), "cpu": "2"} if amount else {"cpu": "2"}}}

    bound = {"nodeName": on} if on else {}
    return {
        "spec": {"containers": [container(gpus)], "initContainers": [container(init)], **bound, **spec},
        "status": {"phase": phase},
    }


def test_free_is_allocatable_less_what_pods_that_have_not_ended_ask_for():
    census = take_census(
        [node("a", 4), node("b", 2), node("cpu-only")],
        [pod(3, on="a"), pod(1, on="a", phase="Succeeded"), pod(2, on="b"), pod(2), pod(0, on="b")],
    )
    assert count_pool(census, pod(2), GPU) == GpuPool(GPU, matching_nodes=2, free=1, largest_free_on_one_node=1)


def test_an_init_container_counts_where_it_asks_for_more():
    census = take_census([node("a", 4)], [pod(1, on="a", init=3)])
    assert count_pool(census, pod(), GPU).free == 1


def test_without_a_matching_node_the_pool_is_empty():
    pool = count_pool(take_census([node("a", 4)], []), pod(nodeSelector={"gpu": "h100"}), GPU)
    assert pool == GpuPool(GPU, matching_nodes=0, free=0, largest_free_on_one_node=0)


@given(st.integers(0, 9_000), st.sampled_from(["", "k", "M", "Ki", "Mi", "e3", "E2"]))
def test_every_notation_of_kubernetes_is_counted(number, suffix):
    written = f"{number}{suffix}"
    machine = {"metadata": {"name": "n"}, "spec": {}, "status": {"allocatable": {GPU: written}}}
    assert count_pool(take_census([machine], []), pod(), GPU).free == int(quantity(written))
    assert count_pool(take_census([machine], [pod(written, on="n")]), pod(), GPU).free == 0


@pytest.mark.parametrize("odd", ["many", "-1", ""])
def test_an_amount_that_cannot_be_read_costs_nobody_a_count(odd):
    machine = {"metadata": {"name": "n"}, "spec": {}, "status": {"allocatable": {GPU: odd}}}
    assert count_pool(take_census([machine, node("a", 4)], [pod(odd, on="a")]), pod(), GPU).free == 4


def affinity(*expressions, fields=()):
    term = {"matchExpressions": list(expressions), "matchFields": list(fields)}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
LABELS = {"product": "H100", "memory": "80"}


@pytest.mark.parametrize(
    ("spec", "taints", "admitted"),
    [
        ({}, [], True),
        ({"nodeSelector": {"product": "H100"}}, [], True),
        ({"nodeSelector": {"product": "A100"}}, [], False),
        ({"affinity": affinity({"key": "product", "operator": "In", "values": ["A100", "H100"]})}, [], True),
        ({"affinity": affinity({"key": "product", "operator": "NotIn", "values": ["H100"]})}, [], False),
        ({"affinity": affinity({"key": "other", "operator": "Exists"})}, [], False),
        ({"affinity": affinity({"key": "other", "operator": "DoesNotExist"})}, [], True),
        ({"affinity": affinity({"key": "memory", "operator": "Gt", "values": ["40"]})}, [], True),
        ({"affinity": affinity({"key": "memory", "operator": "Lt", "values": ["40"]})}, [], False),
        ({"affinity": affinity({"key": "product", "operator": "Gt", "values": ["40"]})}, [], False),
        ({"affinity": affinity({"key": "product", "operator": "OfTomorrow"})}, [], False),
        ({"affinity": affinity()}, [], False),
        (
            {"affinity": affinity(fields=[{"key": "metadata.name", "operator": "In", "values": ["n"]}])},
            [],
            True,
        ),
        ({}, [TAINT], False),
        ({}, [TAINT | {"effect": "PreferNoSchedule"}], True),
        ({"tolerations": [{"operator": "Exists"}]}, [TAINT], True),
        ({"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]}, [TAINT], True),
        ({"tolerations": [{"key": "gpu", "value": "yes"}]}, [TAINT], True),
        ({"tolerations": [{"key": "gpu", "value": "no"}]}, [TAINT], False),
        ({"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}]}, [TAINT], False),
    ],
)
def test_a_node_is_admitted_as_the_scheduler_would(spec, taints, admitted):
    assert admits(node("n", 1, labels=LABELS, taints=taints), pod(**spec)) is admitted


def test_a_cordoned_node_is_not_counted():
    assert not admits(node("n", 1, unschedulable=True), pod())


async def test_everybody_who_asks_within_seconds_gets_the_same_count():
    listed, clock = [], [0.0]

    async def list_all(kind):
        listed.append(kind)
        await asyncio.sleep(0)
        return [node("a", 4)] if kind == "Node" else []

    census = GpuCensus(list_all, clock=lambda: clock[0])
    pools = await asyncio.gather(*(census.pool_for(pod(), GPU) for _ in range(50)))
    assert {pool.free for pool in pools} == {4}
    assert listed == ["Node", "Pod"]
    clock[0] = 5.1
    await census.pool_for(pod(), GPU)
    assert len(listed) == 4


async def test_where_nodes_may_not_be_listed_there_is_no_count():
    async def list_all(_kind):
        return None

    assert await GpuCensus(list_all).pool_for(pod(), GPU) is None


def test_what_is_kept_of_a_pod_counts_as_much_as_the_whole_pod():
    whole = {
        "kind": "Pod",
        "metadata": {"name": "p", "annotations": {"large": "x" * 10_000}},
        "spec": {
            "nodeName": "n-1",
            "containers": [{"name": "a", "env": [{"name": "X"}], "resources": {"limits": {"nvidia.com/gpu": "2"}}}, {}],
            "initContainers": [{"resources": {"limits": {"nvidia.com/gpu": "3"}}}],
        },
        "status": {"phase": "Running", "conditions": [{}]},
    }
    for pod in (whole, whole | {"status": {"phase": "Failed"}}, {"kind": "Pod", "metadata": {}, "spec": {}}):
        assert take_census([], [countable(pod)]) == take_census([], [pod])
    assert len(str(countable(whole))) < 300


async def test_gateways_and_the_routes_that_take_all_requests_are_listed_once_for_all_who_ask():
    listed = []
    metadata = {"namespace": "edge", "name": "public"}
    listener = {"name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": {}}
    gateway = {"metadata": metadata, "spec": {"listeners": [listener]}, "status": {"addresses": [{"value": "a"}]}}
    whole = {"metadata": {"namespace": "shop", "name": "whole"}, "spec": {"parentRefs": [{"name": "public"}]}}
    match = {"path": {"type": "PathPrefix", "value": "/part"}}
    part = {"metadata": {"namespace": "shop", "name": "part"}, "spec": {"rules": [{"matches": [match]}]}}

    async def list_all(kind):
        listed.append(kind)
        return [gateway] if kind == "Gateway" else [whole, part]

    census = GatewayCensus(list_all, clock=lambda: 0.0)
    first, second = await asyncio.gather(census.view(), census.view())
    assert first is second
    assert listed == ["Gateway", "HTTPRoute"]
    wanted = {"name": "http", "protocol": "HTTP", "port": 80, "hostname": None}
    assert first.gateways == {("edge", "public"): Gateway((wanted,), ("a",))}
    assert [route.name for route in first.routes] == ["whole"]


async def test_where_gateways_may_not_be_listed_nothing_is_said_of_them():
    async def list_all(_kind):
        return None

    view = await GatewayCensus(list_all).view()
    assert (view.gateways, view.routes) == (None, ())
