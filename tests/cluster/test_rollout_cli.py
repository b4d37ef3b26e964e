"""`tritonfleet rollout` against a real API server, as people with the rights that they have."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.cluster.world import World
from tests.unit.cli.rollouts import CANARY, PLAN, STABLE, body, under_way
from tritonfleet.api import names
from tritonfleet.api.rollout import Rollout
from tritonfleet.cli import main
from tritonfleet.errors import Conflict
from tritonfleet.plan.rollout import Phase, State, Verb, requests_of
from tritonfleet.plan.world import Manifest

MODELS = {"apiGroups": ["tritonfleet.dev"], "resources": ["modeldeployments"]}
SEES = {**MODELS, "verbs": ["get"]}
DECIDES = {**MODELS, "verbs": ["get", "patch"]}
PLUGIN = Path(sys.executable).with_name("kubectl-tritonfleet")


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    status: int
    out: str
    err: str


class Person:
    """Somebody at a terminal."""

    def __init__(self, kubeconfig: Path, namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._cluster = ("--kubeconfig", str(kubeconfig), "-n", namespace)
        self._capsys = capsys

    async def types(self, action: str, *arguments: str) -> Said:
        status = await asyncio.to_thread(main, ["rollout", action, "shop", *arguments, *self._cluster])
        printed = self._capsys.readouterr()
        return Said(status, printed.out, printed.err)


@pytest.fixture
def admin(control_plane, world, capsys) -> Person:
    return Person(control_plane.kubeconfig, world.namespace, capsys)


@pytest.fixture
def person(control_plane, world, capsys, tmp_path) -> Callable[..., Awaitable[Person]]:
    """Make somebody who has some rights in the namespace, and no others."""

    async def make(*rules: Manifest) -> Person:
        folder = f"/api/v1/namespaces/{world.namespace}/serviceaccounts"
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{world.namespace}"
        call = world.cluster._call
        await call("POST", "ServiceAccount", folder, body={"metadata": {"name": "ann"}})
        token = await call("POST", "TokenRequest", f"{folder}/ann/token", body={"spec": {"expirationSeconds": 3600}})
        await call("POST", "Role", f"{rbac}/roles", body={"metadata": {"name": "ann"}, "rules": list(rules)})
        subject = {"kind": "ServiceAccount", "name": "ann", "namespace": world.namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ann"}
        binding = {"metadata": {"name": "ann"}, "subjects": [subject], "roleRef": role}
        await call("POST", "RoleBinding", f"{rbac}/rolebindings", body=binding)
        config = yaml.safe_load(control_plane.kubeconfig.read_text())
        config["users"][0]["user"]["token"] = token["status"]["token"]
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return Person(path, world.namespace, capsys)

    return make


async def rolled(world: World, state: State) -> Manifest:
    """Create the model with a rollout in its status."""
    await world.create("shop", rollout={"canary": PLAN})
    await world.patch(names.KIND, "shop", {"status": body(state)["status"] | {"observedGeneration": 1}}, "/status")
    return await shop(world)


async def shop(world: World) -> Manifest:
    found = await world.get("shop")
    assert found is not None
    return found


async def requests(world: World) -> list[tuple[Verb, str, int | None, str]]:
    """Read what the operator would read."""
    found = await shop(world)
    asked = requests_of(found, Rollout())
    assert not [request.problem for request in asked if request.problem]
    return [(request.verb, request.revision, request.step, request.by) for request in asked]


@pytest.mark.parametrize(
    ("phase", "action", "asked"),
    [
        (Phase.ANALYZING, "pause", (Verb.PAUSE, CANARY, None, "admin")),
        (Phase.HELD, "resume", (Verb.RESUME, CANARY, None, "admin")),
        (Phase.AWAITING_APPROVAL, "approve", (Verb.APPROVE, CANARY, 2, "admin")),
        (Phase.ANALYZING, "promote", (Verb.PROMOTE, CANARY, None, "admin")),
        (Phase.ANALYZING, "abort", (Verb.ABORT, CANARY, None, "admin")),
        (Phase.PROMOTING, "undo", (Verb.ROLLBACK_TO, STABLE, None, "admin")),
    ],
)
async def test_each_request_is_one_annotation_and_no_change_of_the_spec(world, admin, phase, action, asked) -> None:
    before = await rolled(world, under_way(phase))

    said = await admin.types(action)

    after = await shop(world)
    assert said.status == 0, said.err
    assert said.out.startswith(f"{world.namespace}/shop: {action} requested: ")
    assert await requests(world) == [asked]
    assert len(after["metadata"]["annotations"]) == 1
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert {entry["manager"] for entry in after["metadata"]["managedFields"]} >= {"kubectl-tritonfleet"}


async def test_what_makes_no_sense_now_writes_nothing(world, admin) -> None:
    await rolled(world, under_way(Phase.ANALYZING))

    said = await admin.types("approve")

    assert (said.status, said.out) == (1, "")
    assert said.err == (
        f"tritonfleet rollout approve: {world.namespace}/shop: no step is waiting for approval, "
        "the rollout is Analyzing\n"
    )
    assert "annotations" not in (await shop(world))["metadata"]


async def test_a_request_is_checked_again_after_a_conflict(world, admin, monkeypatch) -> None:
    await rolled(world, under_way(Phase.AWAITING_APPROVAL))
    annotate = type(world.cluster).annotate

    async def overtaken(self, manifest, annotations):
        monkeypatch.setattr(type(world.cluster), "annotate", annotate)
        there = World(self, world.namespace)
        await there.patch(names.KIND, "shop", {"status": body(under_way(Phase.PROMOTING))["status"]}, "/status")
        with pytest.raises(Conflict):
            await annotate(self, manifest, annotations)
        raise Conflict("overtaken")

    monkeypatch.setattr(type(world.cluster), "annotate", overtaken)
    said = await admin.types("approve")

    assert said.status == 1
    assert "the rollout is Promoting" in said.err
    assert await requests(world) == []


async def test_the_right_to_patch_is_all_that_a_request_needs(world, person) -> None:
    await rolled(world, under_way(Phase.ANALYZING))
    ann = await person(DECIDES)

    said = await ann.types("abort")

    assert said.status == 0, said.err
    assert await requests(world) == [(Verb.ABORT, CANARY, None, f"system:serviceaccount:{world.namespace}:ann")]


async def test_read_only_users_see_everything_but_pods_and_cannot_write(world, person) -> None:
    await rolled(world, under_way(Phase.ANALYZING))
    ann = await person(SEES)

    refused, status = await ann.types("pause"), await ann.types("status")
    compared = await ann.types("diff")

    assert refused.status == compared.status == 1
    assert refused.err.startswith("tritonfleet rollout pause: cannot patch ModelDeployment 'shop': ")
    assert compared.err.startswith("tritonfleet rollout diff: cannot list ControllerRevisions in namespace")
    assert status.status == 0
    assert status.out.startswith(f"{world.namespace}/shop: Analyzing, step 2 of 3")
    assert "no permission to list pods in this namespace" in status.out


async def test_status_and_history_are_the_same_as_plain_data(world, admin) -> None:
    await rolled(world, under_way(Phase.ANALYZING))

    as_json, as_yaml = await admin.types("status", "-o", "json"), await admin.types("status", "-o", "yaml")
    history = await admin.types("history", "-o", "json")

    assert json.loads(as_json.out) == yaml.safe_load(as_yaml.out)
    assert json.loads(as_json.out)["rollout"]["phase"] == "Analyzing"
    assert [entry["number"] for entry in json.loads(history.out)] == [7, 6, 5]


async def test_two_recorded_revisions_are_compared_and_waiting_ends_when_one_serves(
    world, admin, operator, kubelet
) -> None:
    await world.create("shop", batching={"maxBatchSize": 8})
    first = await admin.types("status", "--wait", "--timeout", "1m", "--interval", "200ms")
    await world.edit(names.KIND, "shop", lambda found: found["spec"].update(batching={"maxBatchSize": 16}))

    second = await admin.types("status", "--wait", "--timeout", "1m", "--interval", "200ms")
    compared = await admin.types("diff", "1", "2")

    assert first.status == second.status == 0, first.err + second.err
    assert second.out.splitlines()[-1].endswith("(2) is serving")
    assert "-max_batch_size: 8\n+max_batch_size: 16\n" in compared.out
    assert (await admin.types("diff", "2", "9")).err.strip().endswith("revision '9' not found; available: 1, 2")


async def test_a_wait_that_is_too_short_has_its_own_exit_status(world, admin) -> None:
    await rolled(world, under_way(Phase.HELD))

    said = await admin.types("status", "--wait", "--timeout", "1s", "--interval", "200ms")

    assert said.status == 4
    assert said.err.endswith("timed out waiting for manual action\n")


async def test_a_watched_rollout_is_drawn_until_it_is_interrupted(world, admin, control_plane) -> None:
    await rolled(world, under_way(Phase.ANALYZING))
    command = ("rollout", "status", "shop", "--watch", "--interval", "200ms")
    where = ("--kubeconfig", str(control_plane.kubeconfig), "-n", world.namespace)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(PLUGIN, *command, *where, stdout=pipe, stderr=pipe)
    try:
        drawn = [await asyncio.wait_for(process.stdout.readuntil(b"applied   "), 120) for _ in range(3)]
    finally:
        process.terminate()
        await process.wait()

    assert all(b"Analyzing, step 2 of 3" in look for look in drawn)
