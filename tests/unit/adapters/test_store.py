"""The store never goes back in time, and knows whom every object concerns."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.adapters.store import LEVELS_KEPT, Key, ObjectId, Store
from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.world import ChildId

KEY = Key("shop", "demo")


def child(version, *, kind="ConfigMap", name="demo-1", uid="u1", owner="demo", **parts):
    metadata = {
        "namespace": "shop",
        "name": name,
        "uid": uid,
        "resourceVersion": str(version),
        "labels": names.owner_labels(owner) if owner else {},
        "managedFields": [{"manager": "somebody"}],
    }
    return {"kind": kind, "metadata": metadata, **parts}


def test_a_child_concerns_its_owner_and_is_kept_without_its_managed_fields():
    store = Store()
    assert store.put(child(1)) == {KEY}
    assert "managedFields" not in store.children(KEY)[ChildId("ConfigMap", "demo-1")]["metadata"]


def test_what_comes_late_does_not_undo_what_is_newer():
    store = Store()
    store.put(child(10, data={"x": "new"}))
    assert store.put(child(9, data={"x": "old"})) == frozenset()
    assert store.children(KEY)[ChildId("ConfigMap", "demo-1")]["data"] == {"x": "new"}


def test_versions_are_compared_as_numbers():
    store = Store()
    store.put(child(9, data={"x": "old"}))
    assert store.put(child(10, data={"x": "new"})) == {KEY}


def test_a_new_resource_version_without_changes_enqueues_nothing():
    store = Store()
    store.put(child(1, data={"x": "1"}))
    assert store.put(child(2, data={"x": "1"})) == frozenset()
    store.put(child(1, kind="PodDisruptionBudget", status={"disruptionsAllowed": 0}))
    assert store.put(child(2, kind="PodDisruptionBudget", status={"disruptionsAllowed": 1})) == frozenset()


def test_a_child_relabelled_as_anothers_concerns_both():
    store = Store()
    store.put(child(1))
    assert store.put(child(2, owner="thief")) == {KEY, Key("shop", "thief")}
    assert store.children(KEY) == {}


def test_the_deletion_of_a_predecessor_leaves_the_successor():
    store = Store()
    store.put(child(1, uid="old"))
    store.put(child(5, uid="new"))
    assert store.remove(child(4, uid="old")) == frozenset()
    assert len(store.children(KEY)) == 1
    assert store.remove(child(6, uid="new")) == {KEY}
    assert store.children(KEY) == {}


def test_pods_are_listed_separately_from_other_children():
    store = Store()
    store.put(child(1, kind="Pod", name="b"))
    store.put(child(2, kind="Pod", name="a"))
    assert [pod["metadata"]["name"] for pod in store.pods(KEY)] == ["a", "b"]
    assert store.children(KEY) == {}


def test_a_list_shows_what_was_missed_and_what_is_gone_but_not_what_is_newer_than_itself():
    store = Store()
    for name, version in (("kept", 1), ("stale", 2), ("gone", 3), ("newer", 99)):
        store.put(child(version, name=name))
    listed = [child(1, name="kept"), child(7, name="stale"), child(8, name="unseen")]
    missed, gone = store.outdated("ConfigMap", None, listed, as_of=50)
    assert {each.name for each in missed} == {"stale", "unseen"}
    assert gone == [ObjectId("ConfigMap", "shop", "gone")]
    assert store.outdated("ConfigMap", "elsewhere", [], as_of=50)[1] == []


EVENTS = st.lists(st.tuples(st.sampled_from(["demo", "other"]), st.integers(0, 3)), min_size=1, max_size=12)


@given(events=EVENTS, order=st.randoms(use_true_random=False))
def test_the_order_in_which_versions_arrive_does_not_matter(events, order):
    versions = [
        child(number, owner=owner, data={"value": str(value)}) for number, (owner, value) in enumerate(events, start=1)
    ]
    shuffled = versions.copy()
    order.shuffle(shuffled)
    in_order, out_of_order = Store(), Store()
    for store, bodies in ((in_order, versions), (out_of_order, shuffled)):
        for body in bodies:
            store.put(copy.deepcopy(body))
    for owner in ("demo", "other"):
        key = Key("shop", owner)
        assert in_order.children(key) == out_of_order.children(key)


def test_every_change_is_seen_by_a_number_that_never_comes_again():
    store = Store()
    numbers = [store.changes(KEY)]
    store.put(child(1, data={"x": "a"}))
    numbers.append(store.changes(KEY))
    store.put(child(2, data={"x": "b"}))
    numbers.append(store.changes(KEY))
    store.put(child(3, data={"x": "b"}))
    assert store.changes(KEY) == numbers[-1]
    store.remove(child(4))
    assert store.changes(KEY) == 0
    store.put(child(5))
    numbers.append(store.changes(KEY))
    assert len(set(numbers)) == 4
    assert store.changes(Key("shop", "other")) == 0


def scaler(version, kind, target, **status):
    body = child(version, kind="HorizontalPodAutoscaler", name="hpa", uid="u2", owner=None, status=status)
    return body | {"spec": {"scaleTargetRef": {"kind": kind, "name": target}, "maxReplicas": version}}


def test_a_scaler_concerns_the_model_that_it_or_whose_deployment_it_scales():
    store = Store()
    assert store.put(scaler(1, "ModelDeployment", "demo")) == {KEY}
    assert store.put(scaler(2, "Deployment", "demo-0123456789")) == frozenset({KEY})
    (found,) = store.scalers(KEY)
    assert found["spec"] == {"scaleTargetRef": {"kind": "Deployment", "name": "demo-0123456789"}}
    assert store.children(KEY) == {}
    assert store.put(scaler(3, "Deployment", "nginx")) == {KEY}
    assert store.scalers(KEY) == ()


def test_a_scalers_status_updates_enqueue_nothing():
    store = Store()
    store.put(scaler(1, "ModelDeployment", "demo", currentReplicas=1))
    assert store.put(scaler(2, "ModelDeployment", "demo", currentReplicas=2)) == frozenset()


def nested(levels, value):
    for _ in range(levels):
        value = {"a": value}
    return value


def test_what_is_nested_too_deep_to_be_read_is_emptied_there():
    store = Store()
    assert store.put(child(1, kind="ControllerRevision", data=nested(5000, 1))) == {KEY}
    assert store.put(child(1, kind=names.KIND, name="demo", spec=[nested(5000, 1), "kept"])) == {KEY}
    (record,) = store.children(KEY).values()
    assert record["data"] == nested(LEVELS_KEPT - 1, {})
    body = store.body(KEY)
    assert body is not None
    assert body["spec"] == [nested(LEVELS_KEPT - 2, {}), "kept"]


def test_what_is_as_deep_as_can_be_read_is_kept_whole():
    store = Store()
    whole = nested(LEVELS_KEPT - 1, 1)
    store.put(child(1, kind="ControllerRevision", data=whole))
    assert store.children(KEY)[ChildId("ControllerRevision", "demo-1")]["data"] == whole


@pytest.mark.parametrize("value", [{"a": "x" * 70_000}, {"a": [0] * 5000}, {"a": {"b": ["x" * 2000] * 500}}])
@pytest.mark.parametrize("path", [("modelConfig",), ("server", "affinity", "podAffinity")])
def test_an_open_field_that_is_larger_than_allowed_is_not_kept_and_still_invalid(value, path):
    spec: dict[str, Any] = {"model": {"uri": "s3://m/1"}}
    node = spec
    for parent in path[:-1]:
        node = node.setdefault(parent, {})
    node[path[-1]] = value
    store = Store()
    store.put(child(1, kind=names.KIND, name="demo", spec=spec))
    body = store.body(KEY)
    assert body is not None
    assert len(json.dumps(body)) < 80_000
    with pytest.raises(InvalidSpec, match=f"{path[-1]}: .*must not have more than 65,536 characters"):
        ModelDeployment.parse(body)


def test_what_is_as_large_as_allowed_is_kept():
    whole = {"a": ["x" * 1000] * 60, "b": [1] * 4000}
    store = Store()
    store.put(child(1, kind=names.KIND, name="demo", spec={"modelConfig": whole}))
    body = store.body(KEY)
    assert body is not None
    assert body["spec"]["modelConfig"] == whole


def test_kubectls_copy_of_an_object_is_not_kept():
    store = Store()
    body = child(1, kind=names.KIND, name="demo", spec={})
    body["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"}
    store.put(body)
    kept = store.body(KEY)
    assert kept is not None
    assert kept["metadata"]["annotations"] == {"kept": "yes"}
