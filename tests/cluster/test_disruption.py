"""The PodDisruptionBudget while two revisions have pods, as the real disruption controller counts it."""

from tests.cluster.world import eventually
from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.plan.objects import build_revision, revision_children, shared_children
from tritonfleet.settings import from_environment

DEFAULTS = from_environment({}).defaults


async def test_a_canary_that_does_not_start_keeps_no_node_from_draining_until_it_has_a_share(world):
    body = await world.create("demo")
    stable = ModelDeployment.parse(body)
    canary = ModelDeployment.parse(
        {**body, "spec": {**body["spec"], "model": {"uri": "s3://models/newer", "backend": "onnxruntime"}}}
    )
    hashes = []
    for number, deployment in enumerate((stable, canary), start=1):
        revision = build_revision(deployment, DEFAULTS)
        hashes.append(revision.hash)
        for child in revision_children(deployment, revision, number, 2):
            await world.cluster.apply(child)
    await eventually(lambda: _pods(world, count=4), "the pods of both")
    for pod in await _pods(world, count=4):
        if pod["metadata"]["labels"][names.REVISION_LABEL] == hashes[0]:
            await world._say_ready(pod)

    await _divide(world, stable, {hashes[0]: 100, hashes[1]: 0})
    await eventually(lambda: _budget(world, expected=2, allowed=1), "one pod of stable may go")

    await _divide(world, stable, {hashes[0]: 90, hashes[1]: 10})
    await eventually(lambda: _budget(world, expected=4, allowed=0), "none may, while pods that share are away")


async def _divide(world, deployment, split):
    for child in shared_children(deployment, split, DEFAULTS):
        await world.cluster.apply(child)


async def _pods(world, count):
    listing = await world.cluster.list("Pod", world.namespace)
    return listing.items if len(listing.items) == count else []


async def _budget(world, expected, allowed):
    budget = await world.cluster.get("PodDisruptionBudget", world.namespace, "demo")
    status = budget.get("status", {})
    seen = (status.get("observedGeneration"), status.get("expectedPods"), status.get("disruptionsAllowed"))
    return seen == (budget["metadata"]["generation"], expected, allowed)
