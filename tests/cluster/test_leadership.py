"""Only one operator writes, whichever dies another takes over, and clocks need not agree."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.cluster.faultproxy import FaultProxy
from tests.cluster.world import eventually
from tritonfleet.adapters.lease import LeaseLost, Timing

QUICK = Timing(duration_seconds=8.0, renew_deadline_seconds=6.0, retry_seconds=0.3)
LONG = Timing(duration_seconds=600.0, renew_deadline_seconds=400.0, retry_seconds=0.3)
"""Nobody waits here until such a lease runs out."""


async def test_of_two_operators_one_works_and_the_other_takes_over_at_once(world, start_operator, kubelet):
    first = start_operator(identity="first", timing=LONG)
    await eventually(lambda: first.leads, "a leader")
    second = start_operator(identity="second", timing=LONG)
    await world.create("one")
    await eventually(lambda: world.is_ready("one"), "Ready")
    assert second.writes == []
    assert not second.leads
    first.stop()
    assert first.error is None
    await eventually(lambda: second.leads, "a new leader, because the old one let go")
    await world.create("two")
    await eventually(lambda: world.is_ready("two"), "Ready")


async def test_a_leader_that_dies_is_replaced_when_its_lease_runs_out(world, start_operator, kubelet):
    first = start_operator(identity="first", timing=QUICK)
    await eventually(lambda: first.leads, "a leader")
    second = start_operator(identity="second", timing=QUICK)
    await asyncio.sleep(1)
    first.kill()
    left = (await world.cluster.get("Lease", world.namespace, "operator"))["spec"]
    assert left["holderIdentity"] == "first"
    await world.create("demo")
    await eventually(lambda: second.leads, "a new leader")
    taken = (await world.cluster.get("Lease", world.namespace, "operator"))["spec"]
    waited = datetime.fromisoformat(taken["acquireTime"]) - datetime.fromisoformat(left["renewTime"])
    assert waited >= timedelta(seconds=QUICK.duration_seconds)
    await eventually(lambda: world.is_ready("demo"), "Ready")


async def test_a_leader_that_lost_its_lease_ends_at_once(world, start_operator):
    operator = start_operator(identity="first", timing=QUICK)
    await eventually(lambda: operator.leads, "a leader")
    await world.patch("Lease", "operator", {"spec": {"holderIdentity": "usurper", "leaseDurationSeconds": 3600}})
    await eventually(lambda: not operator.alive, "its end")
    assert isinstance(operator.error, LeaseLost)
    lease = await world.cluster.get("Lease", world.namespace, "operator")
    assert lease["spec"]["holderIdentity"] == "usurper"


async def test_a_lease_deleted_by_hand_is_made_again(world, start_operator):
    operator = start_operator(identity="first", timing=QUICK)
    await eventually(lambda: operator.leads, "a leader")
    await world.delete("Lease", "operator")
    await eventually(lambda: world.cluster.get("Lease", world.namespace, "operator"), "the lease again")
    assert operator.leads


async def test_operators_whose_clocks_differ_by_hours_agree_on_the_end_state(world, start_operator, kubelet):
    ahead = start_operator(identity="ahead", now=lambda: datetime.now(UTC) + timedelta(hours=5))
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    await eventually(lambda: ahead.synced, "a first sweep")
    versions = await world.versions()
    ahead.stop()
    behind = start_operator(identity="behind", now=lambda: datetime.now(UTC) - timedelta(hours=5))
    await eventually(lambda: behind.synced, "a first sweep")
    await asyncio.sleep(1)
    assert behind.writes == []
    assert await world.versions() == versions
    await world.edit("ModelDeployment", "demo", lambda body: body["spec"].update(replicas=2))
    await eventually(lambda: world.is_ready("demo"), "Ready with two")


@pytest.mark.acceptance
async def test_a_burst_beside_a_slow_api_server_costs_no_lease(control_plane, world, start_operator):
    proxy = FaultProxy(control_plane).start()
    try:
        operator = start_operator(timing=Timing(), kubeconfig=proxy.kubeconfig)
        await eventually(lambda: operator.synced, "a first sweep")
        proxy.delay_seconds = 4.0
        await asyncio.gather(*(world.create(f"demo-{number}") for number in range(150)))

        async def all_have_pods() -> bool:
            assert operator.leads, operator.error
            return len(await world.children("Deployment")) == 150

        await eventually(all_have_pods, "a Deployment for each", within=300, every=1)
    finally:
        proxy.stop()
