"""What admission policies make of the operator's objects is accepted or named, and never a status that stays silent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.cluster.harness import RunningOperator
from tests.cluster.world import World, eventually
from tritonfleet.adapters.cluster import APPLY_PATCH
from tritonfleet.api import names
from tritonfleet.errors import Transient

MIRROR = "mirror.example.com/"
POLICIES = "/apis/admissionregistration.k8s.io/v1"
REWRITE_IMAGES = f"""
object.spec.template.spec.containers.map(c, JSONPatch{{
  op: "replace",
  path: "/spec/template/spec/containers/" + (c.name == "triton" ? "0" : "1") + "/image",
  value: c.image.startsWith("{MIRROR}") ? c.image : "{MIRROR}" + c.image
}})"""
ADD_CONTAINER = """
object.spec.template.spec.containers.exists(c, c.name == "sidecar") ? [] : [JSONPatch{
  op: "add", path: "/spec/template/spec/containers/-",
  value: Object.spec.template.spec.containers{name: "sidecar", image: "s"}
}]"""
CAP_REPLICAS = '[JSONPatch{op: "replace", path: "/spec/replicas", value: 1}]'


@pytest.fixture
async def mutate(world, cluster) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Have every Deployment of the namespace changed on its way in, as Kyverno does; the policy goes with the test."""
    name = world.namespace
    paths = (f"{POLICIES}/mutatingadmissionpolicies", f"{POLICIES}/mutatingadmissionpolicybindings")

    async def begin(expression: str) -> None:
        rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"]}
        spec = {
            "matchConstraints": {
                "resourceRules": [{**rule, "resources": ["deployments"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            },
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        }
        kinds = (("MutatingAdmissionPolicy", spec), ("MutatingAdmissionPolicyBinding", {"policyName": name}))
        for path, (kind, wanted) in zip(paths, kinds, strict=True):
            body = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}}
            await cluster._call("POST", kind, path, body={**body, "spec": wanted})
        await eventually(lambda: _is_in_force(world), "the policy in force")

    yield begin
    for path in paths:
        await cluster._call("DELETE", "Policy", f"{path}/{name}")


async def _is_in_force(world: World) -> bool:
    containers = [{"name": name, "image": "image"} for name in ("triton", "http")]
    template = {"metadata": {"labels": {"probe": "1"}}, "spec": {"containers": containers}}
    probe: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "probe", "namespace": world.namespace},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"probe": "1"}}, "template": template},
    }
    path = f"/apis/apps/v1/namespaces/{world.namespace}/deployments/probe"
    query = {"dryRun": "All", "fieldManager": "probe", "force": "true"}
    answer = await world.cluster._call("PATCH", "Deployment", path, query, probe, APPLY_PATCH)
    assert answer is not None
    changed = answer["spec"]["template"]["spec"]["containers"]
    return answer["spec"]["replicas"] == 1 or len(changed) > 2 or changed[0]["image"] != "image"


async def writes_meanwhile(operator: RunningOperator, world: World) -> int:
    """Have the object reconciled again once nothing is written any more; count the writes of the seconds after it."""

    async def is_at_rest() -> bool:
        before = len(operator.writes)
        await asyncio.sleep(3)
        return len(operator.writes) == before

    await eventually(is_at_rest, "the operator writes nothing")
    written = len(operator.writes)
    operator.enqueue(world.namespace, "demo")
    await asyncio.sleep(3)
    return len(operator.writes) - written


@pytest.mark.parametrize(
    ("expression", "trace"), [(REWRITE_IMAGES, MIRROR), (ADD_CONTAINER, "'sidecar'")], ids=["mirror", "sidecar"]
)
async def test_what_a_policy_makes_of_a_deployment_is_served_and_not_fought_over(
    world, start_operator, kubelet, mutate, expression, trace
):
    await mutate(expression)
    operator = start_operator()
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    (deployment,) = await world.children("Deployment")
    assert trace in str(deployment["spec"]["template"]["spec"]["containers"])
    assert await writes_meanwhile(operator, world) == 0
    assert operator.metric("controller_runtime_reconcile_errors_total") == 0


async def test_a_change_by_hand_is_corrected_where_a_policy_rewrites_images(world, start_operator, kubelet, mutate):
    await mutate(REWRITE_IMAGES)
    start_operator()
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    (deployment,) = await world.children("Deployment")
    name = deployment["metadata"]["name"]

    def change(body):
        body["spec"]["template"]["spec"]["containers"][0]["image"] = "evil.example.com/miner:1"

    await world.edit("Deployment", name, change)

    async def is_back() -> bool:
        (now,) = await world.children("Deployment")
        return bool(now["spec"]["template"] == deployment["spec"]["template"])

    await eventually(is_back, "the image of the mirror")


async def test_a_policy_that_changes_what_cannot_be_changed_is_named_with_object_field_and_value(
    world, start_operator, kubelet, mutate
):
    await mutate(CAP_REPLICAS)
    start_operator()
    await world.create("demo", replicas=2)

    async def told() -> str:
        stalled = await world.condition("demo", "Stalled")
        return stalled["message"] if stalled.get("reason") == "WriteChanged" else ""

    message = await eventually(told, "WriteChanged")
    (deployment,) = await world.children("Deployment")
    values = "spec.replicas is 1 instead of 2 immediately after it was written"
    by = "changed by an admission policy of the cluster"
    assert message.startswith(f"Deployment '{deployment['metadata']['name']}': {values}: {by}")
    assert (await world.condition("demo", "Ready"))["status"] == "False"


async def test_a_reconcile_that_fails_unexpectedly_is_in_the_status_with_its_words(world, start_operator):
    def fail(_observed, _now):
        raise LookupError("no such thing")

    operator = start_operator(decide=fail)
    await world.create("demo")

    async def told() -> bool:
        ready = await world.condition("demo", "Ready")
        return bool(ready.get("reason") == "ReconcileFailed" and "LookupError: no such thing" in ready["message"])

    await eventually(told, "the error in the status")
    assert (await world.get("demo"))["status"]["observedGeneration"] == 1
    assert operator.metric("controller_runtime_reconcile_errors_total", reason="LookupError") >= 1


async def test_an_api_server_that_keeps_refusing_is_in_the_status(world, start_operator):
    def busy(method, kind, _number):
        if method == "PATCH" and kind != names.KIND:
            raise Transient("HTTP 500: failed calling webhook")

    start_operator(before=busy)
    await world.create("demo")

    async def told() -> bool:
        ready = await world.condition("demo", "Ready")
        return bool(ready.get("reason") == "ReconcileFailed" and "failed calling webhook" in ready["message"])

    await eventually(told, "the error in the status")
    assert (await world.condition("demo", "Reconciling"))["status"] == "True"
    assert (await world.condition("demo", "Stalled"))["status"] == "False"
