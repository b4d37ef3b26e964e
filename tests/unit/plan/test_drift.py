"""An object has drifted where a field we set is missing or different, and nowhere else."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.plan.world import Accepted, ChildId, Defaults, Observed
from tritonfleet.plan.writes import (
    admission_changes,
    applies_to,
    covers,
    digest,
    payload_changed,
    refused_changes,
    surplus,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_an_object_covers_itself(value: Any) -> None:
    assert covers(value, deepcopy(value))


@given(st.dictionaries(st.sampled_from("abcd"), JSON), st.dictionaries(st.sampled_from("wxyz"), JSON))
def test_fields_that_others_added_are_no_drift(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert covers(ours, {**theirs, **ours})


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(), min_size=1), st.data())
def test_any_changed_or_missing_field_is_drift(ours: dict[str, int], data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(sorted(ours)))
    missing = {key: value for key, value in ours.items() if key != field}
    assert not covers(ours, {**ours, field: ours[field] + 1})
    assert not covers(ours, missing)


@pytest.mark.parametrize("key", ["name", "mountPath", "containerPort"])
def test_an_item_that_others_added_to_a_keyed_list_is_no_drift(key: str) -> None:
    ours = [{key: "a", "value": 1}, {key: "b", "value": 2}]
    assert covers(ours, [{key: "injected"}, *reversed(ours)])
    assert not covers(ours, ours[:1])
    assert not covers(ours, [ours[0], {key: "b", "value": 3}])


def test_a_list_of_plain_values_is_compared_whole() -> None:
    assert not covers({"args": ["--a"]}, {"args": ["--a", "--b"]})
    assert not covers({"args": ["--a", "--b"]}, {"args": ["--b", "--a"]})
    assert not covers({"args": ["--a"]}, {"args": "--a"})


def test_an_empty_list_is_the_same_as_none() -> None:
    assert covers({"args": []}, {})
    assert not covers({"args": ["--a"]}, {})


def test_a_label_added_to_a_selector_is_drift() -> None:
    assert not covers({"spec": {"selector": {"a": "1"}}}, {"spec": {"selector": {"a": "1", "b": "2"}}})


@pytest.mark.parametrize(
    "narrowed",
    [
        {"podSelector": {"matchLabels": {"a": "1", "b": "2"}}, "ingress": [{"ports": [{"port": 8000}]}]},
        {"podSelector": {"matchLabels": {"a": "1"}}, "ingress": [{"ports": [{"port": 8000}, {"port": 22}]}]},
        {"podSelector": {"matchLabels": {"a": "1"}}, "ingress": [{"ports": [{"port": 8000}], "from": [{}]}]},
    ],
    ids=["label", "port", "peer"],
)
def test_whatever_is_added_to_a_network_policy_is_drift(narrowed: dict[str, Any]) -> None:
    spec = {"podSelector": {"matchLabels": {"a": "1"}}, "ingress": [{"ports": [{"port": 8000}]}]}
    assert covers({"spec": spec}, {"spec": spec | {"policyTypes": ["Ingress"]}})
    assert not covers({"spec": spec}, {"spec": narrowed})


def test_a_deployment_that_somebody_paused_goes_on() -> None:
    seen = deployment()
    seen["spec"]["paused"] = True
    assert surplus(deployment(), seen) == {"spec": {"paused": None}}


@pytest.mark.parametrize(
    ("kind", "changed"), [("ConfigMap", True), ("ControllerRevision", True), ("Deployment", False)]
)
def test_only_immutable_kinds_must_be_replaced_when_their_data_changes(kind: str, changed: bool) -> None:
    assert payload_changed({"kind": kind, "data": {"a": "1"}}, {"kind": kind, "data": {"a": "2"}}) is changed
    assert not payload_changed({"kind": kind, "data": {"a": "1"}}, {"kind": kind, "data": {"a": "1"}})


def deployment(image: str = "tritonserver:1", replicas: int = 2, **pod: Any) -> dict[str, Any]:
    containers = [{"name": "triton", "image": image, "args": ["--a"]}, {"name": "http", "image": "proxy:1"}]
    template = {"metadata": {"labels": {"a": "1"}}, "spec": {"containers": containers, **pod}}
    return {
        "kind": "Deployment",
        "metadata": {"name": "m-1", "labels": {"b": "2"}},
        "spec": {"replicas": replicas, "template": template},
    }


def drifted(sent: dict[str, Any], seen: dict[str, Any], accepted: Accepted | None) -> bool:
    defaults = Defaults(triton_image="t", allow_unsafe_image=False, fetch_image="f")
    target = ChildId("Deployment", "m-1")
    known = {target: accepted} if accepted is not None else {}
    return bool(list(applies_to([sent], Observed({}, {target: seen}, (), defaults, accepted=known))))


def test_what_admission_made_of_a_manifest_is_no_drift_while_the_same_manifest_would_be_sent() -> None:
    sent, mirrored = deployment(), deployment(image="mirror/tritonserver:1")
    accepted = Accepted(digest(sent), admission_changes(sent, mirrored))
    assert drifted(sent, mirrored, None)
    assert not drifted(sent, mirrored, accepted)
    assert not drifted(sent, sent, accepted)
    assert drifted(sent, deployment(image="evil:1"), accepted)
    assert drifted(sent, deployment(image="mirror/tritonserver:1", replicas=3), accepted)
    assert drifted(deployment(image="tritonserver:2"), mirrored, accepted)


@given(st.dictionaries(st.sampled_from("abcd"), JSON), st.dictionaries(st.sampled_from("abcd"), JSON))
def test_two_values_differ_exactly_where_one_does_not_cover_the_other(
    ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    changes = admission_changes(ours, theirs)
    assert bool(changes) is not covers(ours, theirs)
    assert len({str(change.path) for change in changes}) == len(changes)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("spec.replicas", lambda body: body["spec"].update(replicas=1)),
        ("metadata.labels.b", lambda body: body["metadata"].update(labels={})),
        ("spec.template.metadata.labels.a", lambda body: body["spec"]["template"]["metadata"].update(labels={})),
        ("spec.template.spec.containers[http]", lambda body: body["spec"]["template"]["spec"]["containers"].pop()),
        (
            "spec.template.spec.containers[triton].args",
            lambda body: body["spec"]["template"]["spec"]["containers"][0].update(args=[]),
        ),
    ],
    ids=["replicas", "label", "pod label", "container", "args"],
)
def test_a_change_that_no_model_can_be_served_with_is_named_with_its_writer(field: str, change: Any) -> None:
    sent, answer = deployment(), deployment()
    change(answer)
    failure = refused_changes(sent, answer, admission_changes(sent, answer))
    assert failure is not None
    assert failure.message.startswith(f"Deployment 'm-1': {field} is ")
    assert "by an admission policy of the cluster" in failure.message


def test_another_field_manager_of_a_changed_field_is_named() -> None:
    sent, answer = deployment(), deployment(replicas=1)
    owner = {"manager": "capper", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    other = {"manager": "bystander", "fieldsV1": {"f:spec": {"f:paused": {}}}}
    answer["metadata"]["managedFields"] = [owner, other]
    failure = refused_changes(sent, answer, admission_changes(sent, answer))
    assert failure is not None
    assert "changed by 'capper'" in failure.message
    assert "bystander" not in failure.message


@pytest.mark.parametrize("answer", [deployment(image="mirror/t:1"), deployment(hostNetwork=True)])
def test_a_change_that_the_model_can_be_served_with_is_no_failure(answer: dict[str, Any]) -> None:
    sent = deployment()
    assert refused_changes(sent, answer, admission_changes(sent, answer)) is None


def added(body: dict[str, Any], **pod: Any) -> dict[str, Any]:
    body["spec"]["template"]["spec"].update(pod)
    return body


def with_triton(**fields: Any) -> dict[str, Any]:
    body = deployment()
    body["spec"]["template"]["spec"]["containers"][0].update(fields)
    return body


def with_miner() -> dict[str, Any]:
    body = deployment()
    body["spec"]["template"]["spec"]["containers"].append({"name": "miner", "image": "miner:1"})
    return body


TRITON_ONLY = {"name": "triton"}
ADDED = {
    "hostNetwork": (added(deployment(), hostNetwork=True), {"hostNetwork": None}),
    "hostPID": (added(deployment(), hostPID=True), {"hostPID": None}),
    "service account": (
        added(deployment(), serviceAccountName="root", serviceAccount="root"),
        {"serviceAccount": None, "serviceAccountName": None},
    ),
    "container": (with_miner(), {"containers": [{"name": "miner", "$patch": "delete"}]}),
    "init container": (
        added(deployment(), initContainers=[{"name": "x"}]),
        {"initContainers": [{"name": "x", "$patch": "delete"}]},
    ),
    "volume": (
        added(deployment(), volumes=[{"name": "host", "hostPath": {"path": "/"}}]),
        {"volumes": [{"name": "host", "$patch": "delete"}]},
    ),
    "variable": (
        with_triton(env=[{"name": "LD_PRELOAD", "value": "/x.so"}]),
        {"containers": [{**TRITON_ONLY, "env": [{"name": "LD_PRELOAD", "$patch": "delete"}]}]},
    ),
    "privileged": (
        with_triton(securityContext={"privileged": True}),
        {"containers": [{**TRITON_ONLY, "securityContext": {"privileged": None}}]},
    ),
}


@pytest.mark.parametrize("what", ADDED)
def test_what_is_added_where_nothing_may_be_is_drift_and_is_removed_alone(what: str) -> None:
    seen, patch = ADDED[what]
    sent = deployment()
    assert covers(sent, seen)
    assert surplus(sent, seen) == {"spec": {"template": {"spec": patch}}}
    assert drifted(sent, seen, None)
    assert not drifted(sent, seen, Accepted(digest(sent), (), surplus(sent, seen)))
    assert drifted(sent, seen, Accepted(digest(sent), (), {"spec": {}}))


@pytest.mark.parametrize(
    "seen",
    [
        added(deployment(), restartPolicy="Always", dnsPolicy="ClusterFirst", securityContext={}),
        with_triton(terminationMessagePath="/dev/termination-log", imagePullPolicy="Always"),
        added(deployment(), hostNetwork=False),
    ],
    ids=["pod", "container", "false"],
)
def test_what_the_api_server_fills_in_is_no_surplus(seen: dict[str, Any]) -> None:
    assert surplus(deployment(), seen) == {}


def test_a_service_account_of_the_spec_is_not_removed_under_its_other_name() -> None:
    sent = added(deployment(), serviceAccountName="models")
    assert surplus(sent, added(deployment(), serviceAccountName="models", serviceAccount="models")) == {}
