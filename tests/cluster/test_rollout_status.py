"""What a rollout remembers, on the other side of a real API server."""

import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from devcluster import gobuild
from tritonfleet.api import names
from tritonfleet.api.canary import Canary, CapacityMode
from tritonfleet.api.conditions import Condition, ConditionStatus, ConditionType, Reason, updated_conditions
from tritonfleet.errors import Refused
from tritonfleet.plan.rollout import (
    Attempt,
    Phase,
    Rejection,
    State,
    TransitionRecord,
    restore_state,
    rollout_document,
    rollout_healthy,
)
from tritonfleet.plan.rollout.analysis import CheckResult, Numbers, Outcome, Progress, Why

NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
STABLE, CANARY, OLDER = "1a2b3c4d5e", "0123456789", "00000000aa"
CHECK = CheckResult(
    "error-rate", Outcome.FAILED, Why.WORSE, "canary 5.0% (20/400)", Numbers(0.05, 400, 0.005, 1200, 0.0075, 1e-12)
)
PLAN = Canary.model_validate(
    {"steps": [{"weight": 10, "pause": {}}], "analysis": {"errorRate": {"ratio": 2.0}, "maxErrorRate": 1.5}}
)
ATTEMPT = Attempt(
    canary=CANARY,
    plan=PLAN,
    mode=CapacityMode.SURGE,
    surge=4,
    canary_replicas=2,
    step=1,
    step_entered_at=NOW,
    weight=50,
    applied_weight=10,
    settled_at=NOW,
    measured_share=0.4871,
    verified=True,
    analysis=Progress(windows=3),
    metrics_lost_since=NOW,
    resume=Phase.ANALYZING,
    reverts=(NOW,),
    rejecting=True,
)
FULL = State(
    phase=Phase.HELD,
    entered_at=NOW,
    reason="Inconclusive",
    message="looked 30 times",
    stable=STABLE,
    attempts=3,
    replicas=4,
    attempt=ATTEMPT,
    verification=(CHECK.document(),),
    results=(CHECK.document(),),
    rejected=(Rejection(OLDER, "Worse", "it was worse", NOW),),
    override=OLDER,
    override_of=CANARY,
    consumed=("retry=again-1",),
    history=(TransitionRecord(NOW, Phase.ANALYZING, Phase.HELD, "Inconclusive", "looked 30 times"),),
)


def kubectl(control_plane, *arguments):
    command = [gobuild.KUBERNETES.path("kubectl"), *arguments]
    environment = {**os.environ, "KUBECONFIG": str(control_plane.kubeconfig)}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


async def written(world, name, state, **more):
    """Write a status as the operator does, and return it as the API server gives it back."""
    body = await world.get(name)
    status = {"observedGeneration": 1, "rollout": rollout_document(state, name), **more}
    await world.cluster.apply_status(
        {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"namespace": world.namespace, "name": name, "uid": body["metadata"]["uid"]},
            "status": status,
        }
    )
    found = (await world.get(name))["status"]
    assert found == status, "a difference would be written again and again"
    return found


async def test_a_rollout_comes_back_from_the_api_server_exactly_as_it_was(world):
    await world.create("shop")

    assert restore_state((await written(world, "shop", FULL))["rollout"]) == FULL


async def test_what_is_over_leaves_nothing_behind(world):
    await world.create("shop")
    await written(world, "shop", FULL)
    after = State(phase=Phase.STABLE, entered_at=NOW, stable=CANARY, reason="Promoted", attempts=3)

    assert restore_state((await written(world, "shop", after))["rollout"]) == after


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"weights": {"desired": 101, "applied": 0}}, "should be less than or equal to 100"),
        ({"history": [{"at": "noon", "from": "Stable", "to": "Admitting"}]}, "date-time"),
        ({"enteredAt": None}, "enteredAt"),
    ],
    ids=str,
)
async def test_what_could_never_be_is_refused(world, wrong, says):
    await world.create("shop")
    rollout = {key: value for key, value in {**rollout_document(FULL, "shop"), **wrong}.items() if value is not None}

    with pytest.raises(Refused, match=says):
        await world.patch(names.KIND, "shop", {"status": {"rollout": rollout}}, "/status")


async def test_a_list_shows_the_canary_and_its_share_of_the_traffic(world, control_plane):
    await world.create("shop")
    ready = Condition(ConditionType.READY, ConditionStatus.FALSE, Reason.HELD, "looked 30 times")
    healthy = rollout_healthy(replace(FULL, attempt=replace(ATTEMPT, rejecting=False)))
    conditions = updated_conditions([], [ready, healthy], generation=1, now=NOW)
    await written(world, "shop", FULL, replicas=4, conditions=conditions, revision={"stable": f"shop-{STABLE}"})

    shown = kubectl(control_plane, "get", "mdep", "shop", "-n", world.namespace)

    head, row = (line.split() for line in shown.splitlines())
    assert head == ["NAME", "READY", "REASON", "REPLICAS", "STABLE", "CANARY", "WEIGHT", "P99", "AGE"]
    assert row[:7] == ["shop", "False", "Held", "4", f"shop-{STABLE}", f"shop-{CANARY}", "10"]


@pytest.mark.usefixtures("cluster")
def test_kubectl_explains_what_a_rollout_remembers(control_plane):
    shown = kubectl(control_plane, "explain", "mdep.status.rollout.weights")

    assert "Target weight; written here before it is applied." in shown
