"""What the operator makes of a ModelDeployment, and that it keeps it so."""

import asyncio

import pytest

from tests.cluster.world import SOON_SECONDS, eventually
from tritonfleet.api import names
from tritonfleet.api.workloads import Workloads

OWN_KINDS = ["ConfigMap", "ControllerRevision", "Deployment", "PodDisruptionBudget", "Service", "Service"]


async def test_a_model_deployment_gets_its_six_children(world, operator, kubelet):
    body = await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    children = await world.children()
    assert [child["kind"] for child in children] == OWN_KINDS
    for child in children:
        metadata = child["metadata"]
        assert metadata["labels"].items() >= names.owner_labels("demo").items()
        assert metadata["ownerReferences"] == [names.owner_reference(body["metadata"])]
        assert "finalizers" not in metadata


async def test_from_create_to_ready_takes_at_most_four_requests_beside_the_children(world, operator, kubelet):
    await eventually(lambda: operator.synced, "a first sweep")
    before = _requests(operator)
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    await asyncio.sleep(1)
    assert _requests(operator) - before <= len(OWN_KINDS) + 4


def _requests(operator) -> float:
    return operator.metric("rest_client_requests_total") - operator.metric("rest_client_requests_total", kind="Lease")


async def test_every_child_deleted_by_hand_is_back_long_before_a_sweep(world, operator, kubelet):
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    for child in await world.children():
        kind, name, uid = child["kind"], child["metadata"]["name"], child["metadata"]["uid"]
        await world.delete(kind, name)

        async def is_back(kind=kind, name=name, uid=uid) -> bool:
            found = await world.cluster.get(kind, world.namespace, name)
            return found is not None and found["metadata"]["uid"] != uid

        await eventually(is_back, f"{kind} {name} again", within=SOON_SECONDS)
    await eventually(lambda: world.is_ready("demo"), "Ready again")


def _pod(body):
    return body["spec"]["template"]["spec"]


ADDITIONS = {
    "hostNetwork": ("Deployment", lambda body: _pod(body).update(hostNetwork=True)),
    "container": ("Deployment", lambda body: _pod(body)["containers"].append({"name": "miner", "image": "miner:1"})),
    "variable": (
        "Deployment",
        lambda body: _pod(body)["containers"][0]["env"].append({"name": "LD_PRELOAD", "value": "/tmp/x.so"}),
    ),
    "service account": ("Deployment", lambda body: _pod(body).update(serviceAccountName="root")),
    "pause": ("Deployment", lambda body: body["spec"].update(paused=True)),
    "external IP": ("Service", lambda body: body["spec"].update(externalIPs=["192.0.2.7"])),
}


@pytest.mark.parametrize("addition", ADDITIONS)
async def test_what_is_added_by_hand_beside_the_model_is_removed(world, operator, kubelet, addition):
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    kind, change = ADDITIONS[addition]
    name = (await world.children(kind))[-1]["metadata"]["name"] if kind == "Deployment" else "demo"
    before = (await world.cluster.get(kind, world.namespace, name))["spec"]
    await world.edit(kind, name, change)

    async def is_back() -> bool:
        return bool((await world.cluster.get(kind, world.namespace, name))["spec"] == before)

    await eventually(is_back, "the object as it was", within=SOON_SECONDS)
    await asyncio.sleep(1)
    assert operator.metric("controller_runtime_reconcile_errors_total") == 0


async def test_a_network_policy_is_written_once_and_what_is_added_to_it_is_removed(world, start_operator, kubelet):
    operator = start_operator(workloads=Workloads(network_policy=True))
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    before = (await world.cluster.get("NetworkPolicy", world.namespace, "demo"))["spec"]
    written = len(operator.writes)
    operator.enqueue(world.namespace, "demo")
    await asyncio.sleep(1)
    assert len(operator.writes) == written
    await world.edit("NetworkPolicy", "demo", lambda body: body["spec"]["ingress"][0]["ports"].append({"port": 22}))

    async def is_back() -> bool:
        return bool((await world.cluster.get("NetworkPolicy", world.namespace, "demo"))["spec"] == before)

    await eventually(is_back, "the policy as it was", within=SOON_SECONDS)


EDITS = {
    "replicas": ("Deployment", lambda body: body["spec"].update(replicas=3)),
    "image": (
        "Deployment",
        lambda body: body["spec"]["template"]["spec"]["containers"][0].update(image="example.com/other"),
    ),
    "selector of a Service": ("Service", lambda body: body["spec"].update(selector={"app": "elsewhere"})),
    "port": ("Service", lambda body: body["spec"]["ports"][0].update(targetPort=9999)),
    "budget": ("PodDisruptionBudget", lambda body: body["spec"].update(maxUnavailable=5)),
    "owner": ("Deployment", lambda body: body["metadata"].pop("ownerReferences")),
    "owner label": ("ConfigMap", lambda body: body["metadata"]["labels"].update({names.OWNER_LABEL: "somebody"})),
    "managed-by label": ("Service", lambda body: body["metadata"]["labels"].pop(names.MANAGED_BY_LABEL)),
}


@pytest.mark.parametrize("edit", EDITS)
async def test_a_child_edited_by_hand_is_put_right_long_before_a_sweep(world, operator, kubelet, edit):
    kind, change = EDITS[edit]
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    await eventually(lambda: operator.synced, "a first sweep")
    wanted = await world.end_state()
    child = (await world.children(kind))[0]
    await world.edit(kind, child["metadata"]["name"], change)
    await eventually(lambda: _matches(world, wanted), "the child as it was", within=SOON_SECONDS)


async def test_labels_taken_from_a_revision_are_put_back(world, operator, kubelet):
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    await eventually(lambda: operator.synced, "a first sweep")
    wanted = await world.end_state()
    revision = (await world.children("ControllerRevision"))[0]["metadata"]["name"]
    await world.patch("ControllerRevision", revision, {"metadata": {"labels": None}})
    await eventually(lambda: _matches(world, wanted), "the revision as it was", within=SOON_SECONDS)


async def _matches(world, wanted) -> bool:
    return _intent(await world.end_state()) == _intent(wanted)


def _intent(state) -> list:
    """Leave aside generations, which every edit raises, and what the controllers report of their progress."""
    return [
        {part: value for part, value in body.items() if part not in ("status", "metadata")}
        | {"labels": body["metadata"].get("labels"), "owners": body["metadata"].get("ownerReferences")}
        for body in state
    ]


async def test_resyncs_and_restarts_write_nothing(world, start_operator, kubelet):
    first = start_operator(identity="first")
    await world.create("demo", replicas=2)
    await world.create("other")
    for name in ("demo", "other"):
        await eventually(lambda name=name: world.is_ready(name), "Ready")
    await eventually(lambda: first.synced, "a first sweep")
    await asyncio.sleep(1)
    versions, writes = await world.versions(), len(first.writes)
    reconciles = first.metric("controller_runtime_reconcile_total")
    for _ in range(3):
        for name in ("demo", "other"):
            first.enqueue(world.namespace, name)
        first.sweep()
    await eventually(
        lambda: first.metric("controller_runtime_reconcile_total") >= reconciles + 6, "six more reconciles"
    )
    assert len(first.writes) == writes
    first.stop()
    for number in range(2):
        again = start_operator(identity=f"again-{number}")
        await eventually(lambda again=again: again.synced, "the store checked")
        await eventually(lambda again=again: again.metric("controller_runtime_reconcile_total") >= 2, "both looked at")
        again.stop()
        assert again.writes == []
    assert await world.versions() == versions


async def test_an_idle_operator_writes_its_lease_and_nothing_else(world, operator, kubelet):
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    await eventually(lambda: operator.synced, "a first sweep")
    await asyncio.sleep(1)
    requests, writes = _requests(operator), len(operator.writes)
    await asyncio.sleep(5)
    assert (_requests(operator), len(operator.writes)) == (requests, writes)


async def test_deleting_a_model_deployment_takes_everything_with_it(world, operator, kubelet):
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    await world.delete(names.KIND, "demo")

    async def all_gone() -> bool:
        pods = await world.cluster.list("Pod", world.namespace)
        return not await world.children() and not pods.items

    await eventually(all_gone, "no child left")


async def test_a_namesake_of_a_deleted_model_deployment_gets_children_of_its_own(world, operator, kubelet):
    old = await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    await world.delete(names.KIND, "demo")
    new = await world.create("demo")

    async def all_new() -> bool:
        children = await world.children()
        owners = {child["metadata"]["ownerReferences"][0]["uid"] for child in children}
        return len(children) == len(OWN_KINDS) and owners == {new["metadata"]["uid"]}

    await eventually(all_new, "children of the new one only")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    assert old["metadata"]["uid"] != new["metadata"]["uid"]


async def test_without_the_operator_everything_can_still_be_deleted(world, start_operator, kubelet):
    operator = start_operator()
    await world.create("demo")
    await eventually(lambda: world.is_ready("demo"), "Ready")
    operator.kill()
    await world.delete(names.KIND, "demo")
    assert await world.get("demo") is None
    await eventually(lambda: _empty(world), "no child left")


async def _empty(world) -> bool:
    return not await world.children()


FOREIGN: dict[str, dict[str, object]] = {
    "Service": {"spec": {"ports": [{"name": "mine", "port": 1234}]}},
    "PodDisruptionBudget": {"spec": {"selector": {"matchLabels": {"app": "mine"}}}},
}


@pytest.mark.parametrize("kind", FOREIGN)
async def test_a_foreign_object_of_a_childs_name_is_left_alone_until_it_is_gone(world, operator, kubelet, kind):
    api_version = {"Service": "v1", "PodDisruptionBudget": "policy/v1"}[kind]
    foreign = await world.cluster.create(
        {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"namespace": world.namespace, "name": "demo"},
            **FOREIGN[kind],
        }
    )
    await world.create("demo")

    async def is_reported() -> bool:
        ready = await world.condition("demo", "Ready")
        return ready.get("reason") == "NameConflict" and f"{kind} 'demo'" in ready["message"]

    await eventually(is_reported, "the conflict in the status")
    await asyncio.sleep(2)
    untouched = await world.cluster.get(kind, world.namespace, "demo")
    assert untouched["spec"] == foreign["spec"]
    assert untouched["metadata"].get("labels") == foreign["metadata"].get("labels")
    assert "ownerReferences" not in untouched["metadata"]
    await world.delete(kind, "demo")
    await eventually(lambda: world.is_ready("demo"), "Ready once the name is free", within=60)
