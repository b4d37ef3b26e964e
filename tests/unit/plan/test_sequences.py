"""Models that keep state between requests run where no sequence is split."""

import json
from typing import Any

import pytest

from tests.unit.plan.conftest import World
from tritonfleet.api import names
from tritonfleet.plan.world import ChildId

STATEFUL: dict[str, Any] = {"sequence_batching": {"max_sequence_idle_microseconds": 5_000_000}}
HASHED: dict[str, Any] = {
    "gateway": {"parentRefs": [{"name": "public"}], "consistentHash": {"header": "X-Sequence-Id"}}
}
SPREAD: dict[str, dict[str, Any]] = {
    "replicas": {"replicas": 2},
    "autoscaling": {"slo": {"latency": {"target": "100ms"}}, "autoscaling": {"maxReplicas": 4}},
    "rollout.canary.steps": {"rollout": {"strategy": "Canary", "canary": {"steps": [{"weight": 20}]}}},
}
POLICY = ChildId("BackendTrafficPolicy", "m")


def fetched(world: World, revision: str, report: str) -> None:
    """Let the fetch step of one pod of the revision end with this message."""
    ended = {"terminated": {"exitCode": 0, "message": report}}
    world.pods.append(
        {
            "metadata": {
                "name": f"{revision}-1",
                "uid": f"pod-{revision}",
                "creationTimestamp": "2026-01-01T12:00:00Z",
                "labels": names.revision_labels("m", revision),
            },
            "spec": {"containers": [], "nodeName": "n"},
            "status": {"phase": "Running", "initContainerStatuses": [{"name": "fetch", "ready": True, "state": ended}]},
        }
    )


@pytest.mark.parametrize("field", SPREAD)
def test_a_spec_that_would_split_sequences_is_refused_by_the_field_with_a_remedy(world: World, field: str) -> None:
    world.edit(modelConfig=STATEFUL, **SPREAD[field])
    world.settle()

    status, reason, message = world.condition("ConfigValid")
    assert (status, reason) == ("False", "ConfigInvalid")
    assert f"spec.{field}: must be " in message
    assert world.revisions() == []


def test_one_pod_is_enough_for_a_model_that_keeps_state(world: World) -> None:
    world.edit(modelConfig=STATEFUL)
    world.settle()

    assert world.condition("ConfigValid")[0] == "True"
    assert world.replicas() == [1]


@pytest.mark.parametrize("field", ["replicas", "autoscaling"])
def test_a_gateway_that_sends_a_sequence_to_one_pod_allows_more(world: World, field: str) -> None:
    world.with_defaults(gateway_api=True, envoy_policies=True)
    world.edit(modelConfig=STATEFUL, traffic=HASHED, **SPREAD[field])
    world.settle()

    assert world.condition("ConfigValid")[0] == "True"
    assert world.children[POLICY]["spec"] == {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "m"}],
        "loadBalancer": {
            "type": "ConsistentHash",
            "consistentHash": {"type": "Header", "header": {"name": "X-Sequence-Id"}},
        },
    }


def test_a_share_of_the_traffic_is_refused_also_behind_such_a_gateway(world: World) -> None:
    world.with_defaults(gateway_api=True, envoy_policies=True)
    world.edit(modelConfig=STATEFUL, traffic=HASHED, **SPREAD["rollout.canary.steps"])
    world.settle()

    assert "spec.rollout.canary.steps" in world.condition("ConfigValid")[2]


def test_the_policy_goes_with_the_field(world: World) -> None:
    world.with_defaults(gateway_api=True, envoy_policies=True)
    world.edit(traffic=HASHED)
    world.settle()
    assert POLICY in world.children

    world.edit(traffic={"gateway": {"parentRefs": [{"name": "public"}]}})
    world.settle()
    assert POLICY not in world.children


def test_without_envoy_gateway_the_field_is_refused(world: World) -> None:
    world.with_defaults(gateway_api=True)
    world.edit(traffic=HASHED)
    world.settle()

    assert "gatewayApi.envoyPolicies=true" in world.condition("ConfigValid")[2]


def test_state_that_only_the_artifact_tells_of_brings_the_pods_down_to_one(world: World) -> None:
    world.edit(replicas=3)
    world.settle()
    (revision,) = world.revisions()
    world.make_ready(revision)
    fetched(world, revision, '{"digest": "sha256:m", "stateful": true}')
    world.settle()

    assert world.replicas() == [1]
    assert "spec.replicas: must be 1, got 3" in world.condition("ConfigValid")[2]

    world.pods.clear()
    world.settle()
    assert world.replicas() == [1], "it is remembered when the pod is gone"

    world.edit(replicas=1)
    world.settle()
    assert (world.replicas(), world.condition("ConfigValid")[0]) == ([1], "True")


def test_a_stateful_update_of_a_model_with_many_pods_is_refused_and_what_serves_keeps_them(world: World) -> None:
    world.edit(replicas=3)
    world.settle()
    (old,) = world.revisions()
    world.make_ready(old)
    world.settle()
    world.edit(model={"uri": "s3://models/m/2", "backend": "onnxruntime"})
    world.settle()
    new = next(revision for revision in world.revisions() if revision != old)
    fetched(world, new, '{"digest": "sha256:n", "stateful": true}')
    world.settle()

    assert (world.serving(), world.revisions(), world.replicas()) == (old, [old], [3])
    assert "spec.replicas: must be 1, got 3" in world.condition("ConfigValid")[2]


@pytest.mark.parametrize("report", ['{"digest": "sha256:m"}', '{"stateful": "yes"}', "[true]", "not JSON", "null"])
def test_other_reports_change_nothing(world: World, report: str) -> None:
    world.edit(replicas=3)
    world.settle()
    (revision,) = world.revisions()
    world.make_ready(revision)
    fetched(world, revision, report)
    world.settle()

    assert (world.replicas(), world.condition("ConfigValid")[0]) == ([3], "True")


def test_how_the_model_is_batched_is_in_the_status_within_bounds(world: World) -> None:
    world.settle()
    (revision,) = world.revisions()
    world.make_ready(revision)
    fetched(world, revision, '{"digest": "sha256:m", "largestBatch": 32, "concurrentBatches": 99999999999}')
    world.settle()

    (entry,) = world.status["revisions"]
    assert entry["largestBatch"] == 32
    assert "concurrentBatches" not in entry


@pytest.mark.parametrize(("version", "shown"), [("1f0c7a", "1f0c7a"), ("1" * 129, None), (7, None)])
def test_what_a_branch_named_is_in_the_status_within_bounds(world: World, version: Any, shown: str | None) -> None:
    world.settle()
    (revision,) = world.revisions()
    world.make_ready(revision)
    fetched(world, revision, json.dumps({"digest": "sha256:m", "modelVersion": version}))
    world.settle()

    (entry,) = world.status["revisions"]
    assert (entry["modelDigest"], entry.get("modelVersion")) == ("sha256:m", shown)


def test_companions_that_were_replaced_behind_their_names_are_told_from_those_of_the_first_start(world: World) -> None:
    world.settle()
    (revision,) = world.revisions()
    world.make_ready(revision)
    for digest in ("sha256:first", "sha256:second"):
        fetched(world, revision, json.dumps({"digest": "sha256:m", "companionsDigest": digest}))
        world.settle()

    (entry,) = world.status["revisions"]
    assert entry["companionsDigest"] == "sha256:first"
