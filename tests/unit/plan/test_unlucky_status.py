"""What the status says when something happened that nobody asked for."""

from typing import Any

import pytest

from tests.unit.plan.verdicts import SLO, says
from tritonfleet.api import names
from tritonfleet.plan.world import ChildId


def test_an_evicted_pod_beside_ready_ones_is_mentioned_by_a_model_that_is_ready(world: Any) -> None:
    world.settle()
    (revision,) = world.revisions()
    world.make_ready(revision)
    world.pods.append(
        {
            "kind": "Pod",
            "metadata": {"name": "m-gone", "labels": {names.REVISION_LABEL: revision}},
            "spec": {"containers": [], "nodeName": "n1"},
            "status": {
                "phase": "Failed",
                "reason": "Evicted",
                "message": "The node was low on resource: memory.",
                "containerStatuses": [{"name": "triton", "state": {"terminated": {"exitCode": 137}}}],
            },
        }
    )
    world.settle()
    ready, _, message = world.condition("Ready")
    assert ready == "True"
    assert message == (
        "1/1 replicas of revision 1 ready and serving; 1 pod evicted or rejected, the last one 'm-gone' on node 'n1': "
        "Evicted: The node was low on resource: memory."
    )
    assert world.condition("Stalled")[0] == "False"


def status_of_deployment(world: Any) -> dict[str, Any]:
    (revision,) = world.revisions()
    return world.children[ChildId("Deployment", names.revision_name("m", revision))]


def test_a_restart_that_costs_no_capacity_leaves_a_model_ready_and_available(world: Any) -> None:
    world.edit(replicas=2)
    world.settle()
    world.make_ready(world.revisions()[0])
    world.settle()
    deployment = status_of_deployment(world)
    deployment["metadata"]["generation"] += 1
    template = deployment["spec"]["template"]
    template["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "2026-01-01T13:00:00Z"
    for updated, ready in ((0, 2), (1, 2), (1, 3), (2, 2)):
        deployment["status"] |= {"replicas": 3, "updatedReplicas": updated, "readyReplicas": ready}
        world.settle()
        assert world.condition("Ready")[0] == "True"
        assert world.condition("Available")[2] == f"{ready} replicas of revision 1 serving"
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]


SCALED = {"slo": SLO, "autoscaling": {"maxReplicas": 20}}


@pytest.mark.parametrize("slo", [True, False])
def test_the_replicas_stay_when_autoscaling_is_removed_until_replicas_is_set(world: Any, slo: bool) -> None:
    world.edit(**SCALED)
    world.scaling = says(10)
    world.settle()
    assert world.replicas() == [10]
    world.spec.pop("autoscaling")
    if not slo:
        world.spec.pop("slo")
    world.edit()
    world.settle()
    world.scaling = None
    world.edit(suspend=True)
    world.settle()
    assert world.replicas() == [0]
    world.edit(suspend=False)
    world.settle()
    assert world.replicas() == [10]
    assert "keeping 10 replicas until `replicas` is set" in world.condition("ScalingActive")[2]
    world.edit(replicas=3)
    world.settle()
    assert world.replicas() == [3]
    world.spec.pop("replicas")
    world.edit()
    world.settle()
    assert world.replicas() == [1]


def fetching(name: str, revision: str, since: str) -> dict[str, Any]:
    running = {"name": "fetch", "image": "f", "ready": False, "state": {"running": {"startedAt": since}}}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "labels": {names.REVISION_LABEL: revision}},
        "spec": {"containers": []},
        "status": {"initContainerStatuses": [running]},
    }


def test_the_status_says_how_many_pods_are_fetching_the_model_and_since_when(world: Any) -> None:
    world.settle()
    (revision,) = world.revisions()
    world.pods.append(fetching("m-1", revision, "2026-01-01T12:00:09Z"))
    world.pods.append(fetching("m-2", revision, "2026-01-01T12:00:07Z"))
    world.pods.append(fetching("m-3", "another", "2026-01-01T11:00:00Z"))
    world.settle()
    said = "0/1 replicas ready; 2 pods fetching the model, since 2026-01-01T12:00:07Z"
    assert world.condition("Ready") == ("False", "Provisioning", said)
    world.pods.clear()
    world.settle()
    assert world.condition("Ready") == ("False", "Provisioning", "0/1 replicas ready")
    assert [event.partition(":")[0] for event in world.events] == ["Normal Provisioning"]


def test_a_first_failure_is_a_warning_and_progress_is_not(world: Any) -> None:
    world.settle()
    (revision,) = world.revisions()
    ended = {"exitCode": 1, "message": "FetchFailed: no such bucket 'm'"}
    world.pods.append(
        {
            "kind": "Pod",
            "metadata": {"name": "m-1", "labels": {names.REVISION_LABEL: revision}},
            "spec": {"containers": []},
            "status": {"initContainerStatuses": [{"name": "fetch", "image": "f", "state": {"terminated": ended}}]},
        }
    )
    world.settle()
    world.pods.clear()
    world.make_ready(revision)
    world.settle()
    assert [event.partition(":")[0] for event in world.events] == [
        "Normal Provisioning",
        "Warning FetchFailed",
        "Normal Ready",
    ]
