"""One bad object is reported, delays no other, and recovers once it is mended."""

import asyncio

from tests.cluster.world import eventually
from tritonfleet.api import names
from tritonfleet.plan.reconcile import reconcile

BROKEN = {"modelConfig": {"max_batch_size": "many"}}


async def test_a_bad_object_is_reported_and_recovers_once_it_is_mended(world, operator, kubelet):
    await world.create("bad", **BROKEN)

    async def is_reported() -> bool:
        valid, stalled = [await world.condition("bad", each) for each in ("ConfigValid", "Stalled")]
        return valid.get("status") == "False" and stalled.get("status") == "True"

    await eventually(is_reported, "ConfigValid=False and Stalled=True")
    await asyncio.sleep(1)
    writes = len(operator.writes)
    await asyncio.sleep(2)
    assert len(operator.writes) == writes
    await world.edit(names.KIND, "bad", lambda body: body["spec"].pop("modelConfig"))
    await eventually(lambda: world.is_ready("bad"), "Ready after it was mended")


async def test_a_decision_that_raises_does_not_delay_others(world, start_operator, kubelet):
    def fragile(observed, now):
        if observed.body["metadata"]["name"].startswith("cursed"):
            raise ZeroDivisionError
        return reconcile(observed, now)

    operator = start_operator(decide=fragile)
    await eventually(lambda: operator.synced, "a first sweep")
    for number in range(40):
        await world.create(f"cursed-{number}")
    await world.create("fine")
    await eventually(lambda: world.is_ready("fine"), "Ready")
    assert operator.metric("controller_runtime_reconcile_errors_total", reason="ZeroDivisionError") >= 40
    assert operator.alive


async def test_hanging_writes_do_not_delay_others(world, start_operator, kubelet):
    stuck = asyncio.Event

    def hang(method: str, kind: str, number: int):
        return stuck().wait() if kind == "ControllerRevision" and number < 20 else None

    operator = start_operator(before=hang)
    await eventually(lambda: operator.synced, "a first sweep")
    await world.create("slow")
    await eventually(lambda: operator.writes, "the write that hangs")
    await asyncio.sleep(0.5)
    operator.cluster.before = None
    await world.create("fine")
    await eventually(lambda: world.is_ready("fine"), "Ready")
    assert not await world.is_ready("slow")


async def test_a_refused_write_is_reported_in_the_api_servers_words_and_retried(world, operator, kubelet):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "nothing", "namespace": world.namespace},
        "spec": {"hard": {"services": "0"}},
    }
    quotas = f"/api/v1/namespaces/{world.namespace}/resourcequotas"
    created = await world.cluster._call("POST", "ResourceQuota", quotas, body=quota)
    assert created is not None
    # No controller fills in the status here, and the admission plugin hears of the quota by a watch.
    status = {"status": {"hard": {"services": "0"}, "used": {"services": "0"}}}
    content = "application/merge-patch+json"
    await world.cluster._call("PATCH", "ResourceQuota", f"{quotas}/nothing/status", body=status, content_type=content)
    await asyncio.sleep(1)
    await world.create("demo")

    async def is_reported() -> str:
        ready = await world.condition("demo", "Ready")
        return ready["reason"] if "exceeded quota" in ready.get("message", "") else ""

    assert await eventually(is_reported, "the refusal in the status") == "QuotaExceeded"
    await world.cluster._call("DELETE", "ResourceQuota", f"{quotas}/nothing")
    await eventually(lambda: world.is_ready("demo"), "Ready once there is room", within=90)


async def test_an_affinity_that_pods_do_not_have_is_reported(world, operator):
    await world.create("demo", server={"gpu": {"count": 0}, "affinity": {"podAffinity": {"preferred": []}}})

    async def is_reported() -> bool:
        ready = await world.condition("demo", "Ready")
        return ready.get("reason") == "WriteRefused" and "podAffinity.preferred: field not declared" in ready["message"]

    await eventually(is_reported, "the refusal in the status")
