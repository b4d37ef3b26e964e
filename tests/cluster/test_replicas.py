"""Who owns the number of pods on a real API server: the law, `replicas`, or a real HorizontalPodAutoscaler."""

import asyncio
from dataclasses import replace

import pytest

from tests.cluster.externalmetrics import METRIC, ExternalMetrics, register, served, unregister
from tests.cluster.faultproxy import Fault, FaultProxy
from tests.cluster.world import eventually
from tritonfleet.api import names
from tritonfleet.errors import Refused, Transient
from tritonfleet.plan.autoscale import Attainment, Memory, ScaleReason, Verdict
from tritonfleet.plan.reconcile import reconcile

SCALED = {"slo": {"latency": {"target": "50ms"}}, "autoscaling": {"minReplicas": 2, "maxReplicas": 10}}
UNKNOWN = Attainment(
    met=None,
    reason=ScaleReason.NO_TRAFFIC,
    percentile_seconds=None,
    source="Estimated",
    within=None,
    throughput=None,
    window_seconds=300.0,
    burn_1h=None,
    burn_6h=None,
)


class Oracle:
    """Stands for the law of scaling: says what the test wants, from the moment on at which it wants it."""

    def __init__(self, replicas: int | None = None) -> None:
        self.replicas = replicas

    def decide(self, observed, now):
        return reconcile(replace(observed, scaling=self.verdict()), now)

    def verdict(self) -> Verdict | None:
        if self.replicas is None:
            return None
        return Verdict(
            replicas=self.replicas,
            wanted=self.replicas,
            reason=ScaleReason.DEMAND,
            explain=lambda: f"the test wants {self.replicas}",
            fresh=True,
            rate=100.0,
            capacity_per_replica=30.0,
            forecast=None,
            ready_seconds=60.0,
            metrics_age_seconds=2.0,
            attainment=UNKNOWN,
            memory=Memory(),
        )


async def replicas(world) -> list[int]:
    return [each["spec"]["replicas"] for each in await world.children("Deployment")]


async def scaling(world, name="demo"):
    body = await world.get(name)
    return (body.get("status") or {}).get("autoscaling") or {}


async def wants(world, operator, oracle, count):
    """Have the law want another number, and wait until it runs and is told."""
    oracle.replicas = count
    operator.enqueue(world.namespace, "demo")

    async def arrived() -> bool:
        return await replicas(world) == [count] and (await scaling(world)).get("desiredReplicas") == count

    await eventually(arrived, f"{count} replicas")


@pytest.fixture
def oracle() -> Oracle:
    return Oracle(2)


@pytest.fixture
def scaled(start_operator, oracle):
    return start_operator(decide=oracle.decide)


async def test_replicas_follow_the_autoscaler_and_every_change_is_recorded(world, scaled, oracle, kubelet):
    await world.create("demo", **SCALED)
    await eventually(lambda: world.is_ready("demo"), "Ready")
    for count in (5, 3):
        await wants(world, scaled, oracle, count)
    history = (await scaling(world))["history"]
    assert [(entry["from"], entry["to"], entry["reason"]) for entry in history] == [(5, 3, "Demand"), (2, 5, "Demand")]
    expected = ["from 2 to 5 (Demand): the test wants 5", "from 5 to 3 (Demand): the test wants 3"]

    async def told() -> bool:
        events = await world.cluster.list("Event", world.namespace)
        return sorted(each["message"] for each in events.items if each["reason"].startswith("Scaled")) == expected

    # Events are written after the status.
    await eventually(told, "an event for each change")
    await eventually(lambda: world.is_ready("demo"), "Ready with three")


async def test_a_steady_verdict_writes_nothing(world, scaled, oracle, kubelet):
    await world.create("demo", **SCALED)
    await wants(world, scaled, oracle, 3)
    await eventually(lambda: world.is_ready("demo"), "Ready")
    await asyncio.sleep(1)
    writes = len(scaled.writes)
    for _ in range(5):
        scaled.enqueue(world.namespace, "demo")
        await asyncio.sleep(0.1)
    assert scaled.writes[writes:] == []


async def test_replicas_changed_by_hand_are_put_back(world, scaled, oracle, kubelet):
    await world.create("demo", **SCALED)
    await wants(world, scaled, oracle, 3)
    (deployment,) = await world.children("Deployment")
    for count in (0, 9):
        await world.patch("Deployment", deployment["metadata"]["name"], {"spec": {"replicas": count}})
        await eventually(lambda: _is(world, 3), "three again")


async def _is(world, count) -> bool:
    return await replicas(world) == [count]


async def test_replicas_in_the_spec_are_rejected_while_the_autoscaler_decides(world, scaled, oracle):
    await world.create("demo", **SCALED)
    with pytest.raises(Refused, match="must be absent when `autoscaling` decides"):
        await world.patch(names.KIND, "demo", {"spec": {"replicas": 7}}, "/scale")


async def test_an_operator_killed_between_scaling_and_telling_loses_no_pod(world, start_operator, kubelet):
    oracle, armed = Oracle(2), asyncio.Event()

    def dies(_method: str, kind: str, _number: int) -> None:
        if armed.is_set() and kind == names.KIND:
            raise Transient("killed before it could tell")

    first = start_operator(identity="first", decide=oracle.decide, before=dies)
    await world.create("demo", **SCALED)
    await wants(world, first, oracle, 2)
    armed.set()
    oracle.replicas = 6
    first.enqueue(world.namespace, "demo")
    await eventually(lambda: _is(world, 6), "six replicas")
    first.kill()
    assert (await scaling(world))["desiredReplicas"] == 2
    heir = Oracle(None)
    second = start_operator(identity="second", lease="second", decide=heir.decide)
    await eventually(lambda: second.synced, "the second operator's first sweep")
    second.enqueue(world.namespace, "demo")
    await asyncio.sleep(1)
    assert await replicas(world) == [6]
    await wants(world, second, heir, 6)
    assert [(entry["from"], entry["to"]) for entry in (await scaling(world))["history"]] == [(2, 6)]


@pytest.mark.parametrize("fault", [Fault.CONFLICT, Fault.LOST_AFTER], ids=lambda fault: fault.name.lower())
async def test_each_write_failing_once_scales_once(world, start_operator, control_plane, kubelet, fault):
    oracle, proxy = Oracle(2), FaultProxy(control_plane).start()
    try:
        operator = start_operator(kubeconfig=proxy.kubeconfig, decide=oracle.decide)
        await world.create("demo", **SCALED)
        await wants(world, operator, oracle, 2)
        struck = proxy.fail_each_write_once(fault)
        await wants(world, operator, oracle, 6)
        assert {path.rsplit("/", 2)[-2] for _, path in struck} >= {"deployments", "demo"}
        assert [(entry["from"], entry["to"]) for entry in (await scaling(world))["history"]] == [(2, 6)]
    finally:
        proxy.stop()


def horizontal(world, target, **spec):
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}
    if target == "demo":
        reference = {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": target}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": world.namespace, "name": "rival"},
        "spec": {"scaleTargetRef": reference, "minReplicas": 4, "maxReplicas": 8, **spec},
    }


async def test_a_rival_on_our_deployment_is_reported_and_gone_without_trace(world, scaled, oracle, kubelet):
    await world.create("demo", **SCALED)
    await wants(world, scaled, oracle, 2)
    (deployment,) = await world.children("Deployment")
    await world.cluster.create(horizontal(world, deployment["metadata"]["name"]))

    async def reported() -> str:
        active = await world.condition("demo", "ScalingActive")
        return active["message"] if active.get("reason") == "ForeignScaler" else ""

    message = await eventually(reported, "ForeignScaler")
    assert "HorizontalPodAutoscaler 'rival' scales Deployment" in message
    assert message.endswith("delete it")
    await world.delete("HorizontalPodAutoscaler", "rival")

    async def over() -> bool:
        active = await world.condition("demo", "ScalingActive")
        return active.get("reason") == "Demand" and await replicas(world) == [2]

    await eventually(over, "the law alone")
    events = await world.cluster.list("Event", world.namespace)
    warnings = [each for each in events.items if each["reason"] == "ForeignScaler"]
    assert [each["type"] for each in warnings] == ["Warning"]


async def test_a_rival_on_the_model_itself_changes_nothing(world, scaled, oracle, kubelet):
    await world.create("demo", **SCALED)
    await wants(world, scaled, oracle, 2)
    await world.cluster.create(horizontal(world, "demo"))

    async def reported() -> bool:
        return (await world.condition("demo", "ScalingActive")).get("reason") == "ForeignScaler"

    await eventually(reported, "ForeignScaler")
    await asyncio.sleep(3)
    assert "replicas" not in (await world.get("demo"))["spec"]
    assert await replicas(world) == [2]


async def test_a_real_horizontal_pod_autoscaler_scales_a_model_by_a_metric(world, operator, kubelet, tmp_path):
    metrics = ExternalMetrics()
    await world.create("demo", replicas=2, autoscaling={"mode": "External"})
    await eventually(lambda: world.is_ready("demo"), "Ready")
    source = {"metric": {"name": METRIC}, "target": {"type": "AverageValue", "averageValue": "10"}}
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    with served(metrics, tmp_path) as port:
        await register(world, port)
        try:
            metrics.value = 60
            rival = horizontal(
                world, "demo", minReplicas=1, metrics=[{"type": "External", "external": source}], behavior=behavior
            )
            await world.cluster.create(rival)
            await eventually(lambda: _is(world, 6), "six replicas for a queue of 60")
            await eventually(lambda: world.is_ready("demo"), "Ready with six")
            metrics.value = 30
            await eventually(lambda: _is(world, 3), "three replicas for a queue of 30")
            await eventually(lambda: world.is_ready("demo"), "Ready with three")
            active = await world.condition("demo", "ScalingActive")
            assert (active["status"], active["reason"]) == ("Unknown", "ExternalScaler")
            assert active["message"] == "HorizontalPodAutoscaler 'rival' writes `replicas`"
            await _stays(world, 3, seconds=5)
        finally:
            await unregister(world)


async def _stays(world, count, *, seconds) -> None:
    versions = {(await world.get("demo"))["metadata"]["generation"]}
    for _ in range(seconds * 5):
        assert await replicas(world) == [count]
        versions.add((await world.get("demo"))["metadata"]["generation"])
        await asyncio.sleep(0.2)
    assert len(versions) == 1
