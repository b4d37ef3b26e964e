"""An object has drifted where a field we set is missing or different, and nowhere else."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.plan.writes import covers, payload_changed

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
    ("kind", "changed"), [("ConfigMap", True), ("ControllerRevision", True), ("Deployment", False)]
)
def test_only_immutable_kinds_must_be_replaced_when_their_data_changes(kind: str, changed: bool) -> None:
    assert payload_changed({"kind": kind, "data": {"a": "1"}}, {"kind": kind, "data": {"a": "2"}}) is changed
    assert not payload_changed({"kind": kind, "data": {"a": "1"}}, {"kind": kind, "data": {"a": "1"}})
