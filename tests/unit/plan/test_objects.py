"""The set of objects: which there are, whose they are, and how a revision is kept."""

import copy
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.workloads import PodMonitor, Workloads
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.objects import build_revision, revision_children, revision_from, shared_children
from tritonfleet.plan.world import Defaults, Manifest

DEFAULTS = Defaults(triton_image="triton:26.11-py3", allow_unsafe_image=False, fetch_image="op:1")


def parsed(**spec: Any) -> ModelDeployment:
    return ModelDeployment.parse(
        {
            "apiVersion": "tritonfleet.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {
                "name": "demo",
                "namespace": "shop",
                "uid": "uid-1",
                "generation": 1,
                "labels": {"team": "shop"},
                "annotations": {"note": "x"},
            },
            "spec": {"model": {"uri": "s3://models/demo"}, **spec},
        }
    )


def all_children(deployment: ModelDeployment, defaults: Defaults = DEFAULTS) -> tuple[Manifest, ...]:
    revision = build_revision(deployment, defaults)
    return (
        *revision_children(deployment, revision, 3, 2),
        *shared_children(deployment, {revision.hash: 100}, defaults),
    )


def kinds(children: tuple[Manifest, ...]) -> list[str]:
    return [child["kind"] for child in children]


def test_there_are_six_children_by_default_and_the_record_is_written_first() -> None:
    assert kinds(all_children(parsed())) == [
        "ControllerRevision",
        "ConfigMap",
        "Service",
        "Deployment",
        "Service",
        "PodDisruptionBudget",
    ]


@pytest.mark.parametrize(
    ("defaults", "kind"),
    [
        (dataclasses.replace(DEFAULTS, workloads=Workloads(network_policy=True)), "NetworkPolicy"),
        (dataclasses.replace(DEFAULTS, workloads=Workloads(pod_monitor=PodMonitor(enabled=True))), "PodMonitor"),
    ],
)
def test_a_setting_of_the_operator_adds_a_child(defaults: Defaults, kind: str) -> None:
    assert kinds(all_children(parsed(), defaults))[6:] == [kind]


def test_every_child_is_ours_and_goes_with_its_owner() -> None:
    for child in all_children(parsed()):
        metadata = child["metadata"]
        assert metadata["namespace"] == "shop"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "tritonfleet"
        assert metadata["labels"]["tritonfleet.dev/modeldeployment"] == "demo"
        assert metadata["ownerReferences"] == [
            {
                "apiVersion": "tritonfleet.dev/v1alpha1",
                "kind": "ModelDeployment",
                "name": "demo",
                "uid": "uid-1",
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ]


def test_no_child_inherits_labels_or_annotations_of_the_owner() -> None:
    for child in all_children(parsed()):
        assert "team" not in child["metadata"]["labels"]
        assert "note" not in child["metadata"].get("annotations", {})


def test_objects_of_a_revision_share_its_name_and_number() -> None:
    deployment = parsed()
    revision = build_revision(deployment, DEFAULTS)
    children = revision_children(deployment, revision, 3, 2)
    assert {child["metadata"]["name"] for child in children} == {f"demo-{revision.hash}"} == {revision.name}
    record, _, _, workload = children
    assert record["revision"] == 3
    assert workload["metadata"]["annotations"] == {"tritonfleet.dev/revision-number": "3"}
    assert workload["spec"]["replicas"] == 2


def test_the_front_service_selects_the_given_revision() -> None:
    front, _ = shared_children(parsed(), {"0123456789": 100}, DEFAULTS)
    assert front["metadata"]["name"] == "demo"
    assert front["spec"]["selector"]["tritonfleet.dev/revision"] == "0123456789"


def test_revisions_that_share_the_traffic_are_all_behind_the_front_service() -> None:
    front, _ = shared_children(parsed(), {"0123456789": 90, "abcdef0123": 10}, DEFAULTS)
    assert front["spec"]["selector"] == {"tritonfleet.dev/modeldeployment": "demo"}


@pytest.mark.parametrize("split", [{"0123456789": 100, "abcdef0123": 0}, {"abcdef0123": 0, "0123456789": 100}])
def test_a_revision_without_a_share_is_neither_behind_the_front_service_nor_keeps_nodes_from_draining(
    split: dict[str, int],
) -> None:
    front, budget = shared_children(parsed(), split, DEFAULTS)
    assert front["spec"]["selector"]["tritonfleet.dev/revision"] == "0123456789"
    assert budget["spec"]["selector"] == {
        "matchLabels": {"tritonfleet.dev/modeldeployment": "demo"},
        "matchExpressions": [{"key": "tritonfleet.dev/revision", "operator": "NotIn", "values": ["abcdef0123"]}],
    }


def test_pods_of_revisions_that_share_the_traffic_leave_one_at_a_time() -> None:
    _, budget = shared_children(parsed(), {"0123456789": 90, "abcdef0123": 10}, DEFAULTS)
    assert budget["spec"]["selector"] == {"matchLabels": {"tritonfleet.dev/modeldeployment": "demo"}}


def test_a_route_is_written_where_the_spec_names_a_gateway_and_the_operator_may() -> None:
    routed = parsed(traffic={"gateway": {"parentRefs": [{"name": "public"}]}})
    may = dataclasses.replace(DEFAULTS, gateway_api=True)
    split = {"0123456789": 100}
    assert kinds(shared_children(routed, split, may)) == ["Service", "PodDisruptionBudget", "HTTPRoute"]
    assert kinds(shared_children(routed, split, DEFAULTS)) == ["Service", "PodDisruptionBudget"]
    assert kinds(shared_children(parsed(), split, may)) == ["Service", "PodDisruptionBudget"]


def test_a_gateway_learns_that_grpc_is_http_2() -> None:
    for service in (child for child in all_children(parsed()) if child["kind"] == "Service"):
        ports = {port["name"]: port for port in service["spec"]["ports"]}
        assert ports["grpc"]["appProtocol"] == "kubernetes.io/h2c"
        assert "appProtocol" not in ports["http"]


def test_a_revision_survives_being_written_and_read() -> None:
    deployment = parsed(batching={"maxBatchSize": 4, "dynamic": {}})
    revision = build_revision(deployment, DEFAULTS)
    record, *_ = revision_children(deployment, revision, 1, 1)
    assert revision_from(json.loads(json.dumps(record))) == revision


def test_a_newer_operator_keeps_the_pods_of_a_revision_as_they_were() -> None:
    deployment = parsed()
    record, *_ = revision_children(deployment, build_revision(deployment, DEFAULTS), 1, 1)
    newer = Defaults(triton_image="triton:27.01", allow_unsafe_image=False, fetch_image="op:2")
    assert build_revision(deployment, newer).template != revision_from(record).template
    assert revision_from(record).template == build_revision(deployment, DEFAULTS).template


def test_a_record_of_another_format_is_refused() -> None:
    deployment = parsed()
    record, *_ = revision_children(deployment, build_revision(deployment, DEFAULTS), 1, 1)
    with pytest.raises(InvalidSpec, match="has format 2, but this operator reads format 1: upgrade the operator"):
        revision_from({**record, "data": {**record["data"], "format": 2}})


def test_building_children_changes_nothing_that_was_given() -> None:
    deployment = parsed()
    revision = build_revision(deployment, DEFAULTS)
    before = copy.deepcopy(revision)
    revision_children(deployment, revision, 1, 1)
    assert revision == before


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "replicas": st.integers(0, 9),
            "batching": st.just({"maxBatchSize": 4, "dynamic": {"maxQueueDelay": "2ms"}}),
            "server": st.fixed_dictionaries(
                {},
                optional={
                    "gpu": st.fixed_dictionaries({"count": st.integers(0, 4)}),
                    "nodeSelector": st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz")),
                    "sharedMemory": st.sampled_from(["1Gi", "1024Mi", "2G"]),
                },
            ),
        },
    )
)
def test_the_same_spec_gives_the_same_bytes(spec: dict[str, Any]) -> None:
    assert json.dumps(all_children(parsed(**spec))) == json.dumps(all_children(parsed(**copy.deepcopy(spec))))
