"""Whatever the API server lets through the open fields becomes a plan or a condition, never an exception."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tritonfleet.adapters.store import Key, Store
from tritonfleet.api import names
from tritonfleet.api.conditions import Reason
from tritonfleet.plan.reconcile import reconcile
from tritonfleet.plan.world import Defaults, Observed

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
DEFAULTS = Defaults(
    triton_image="nvcr.io/nvidia/tritonserver:26.11-py3", allow_unsafe_image=False, fetch_image="operator:1"
)
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
FIELDS = st.sampled_from(
    [
        *("max_batch_size", "maxBatchSize", "instance_group", "input", "output", "dims", "parameters", "model_warmup"),
        *("dynamic_batching", "sequence_batching", "optimization", "cuda", "graph_spec", "ensemble_scheduling", "step"),
        *(REQUIRED, "labelSelector", "matchExpressions", "values", "topologyKey", "weight", "name", "count", "kind"),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["KIND_GPU", "TYPE_FP32"]),
)
KEYS = st.one_of(FIELDS, st.text(max_size=8))
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4))
)
WIDE = st.sampled_from([100, 4000, 5000]).map(range).map(list)
OBJECTS = st.dictionaries(KEYS, st.one_of(VALUES, WIDE), max_size=5)


@st.composite
def deep(draw):
    """An object as deep as the API server takes one, in which objects and lists take turns."""
    value, lists = draw(SCALARS), draw(st.sampled_from([2, 3, 100]))
    for number in range(draw(st.sampled_from([5, 10, 60, 64, 300, 1500, 9000]))):
        value = [value] if number % lists == 1 else {"a": value}
    return {"a": value}


OPEN = st.one_of(OBJECTS, OBJECTS, OBJECTS, deep())


def _decided(raw, affinity, anti_affinity, memory, attempt):
    """Take an object the way that a watch does, and decide about it."""
    body = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"namespace": "shop", "name": "m", "uid": "u-1", "generation": 1, "resourceVersion": "1"},
        "spec": {
            "model": {"uri": "s3://models/m/1", "backend": "onnxruntime"},
            "modelConfig": raw,
            "server": {"affinity": {"podAffinity": affinity, "podAntiAffinity": anti_affinity}},
        },
        "status": {"autoscaling": {"memory": memory}, "rollout": {"phase": "Analyzing", "plan": attempt}},
    }
    store = Store()
    store.put(body)
    seen = store.body(Key("shop", "m"))
    assert seen is not None
    return reconcile(Observed(seen, {}, (), DEFAULTS), NOW)


@pytest.mark.parametrize("examples", [200, pytest.param(20_000, marks=pytest.mark.acceptance)])
def test_no_open_field_raises_anything(examples):
    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(OPEN, OPEN, OPEN, OPEN, OPEN)
    def check(raw, affinity, anti_affinity, memory, attempt):
        plan = _decided(raw, affinity, anti_affinity, memory, attempt)
        json.dumps([apply.manifest for apply in plan.applies])
        json.dumps(plan.status)
        conditions = {each["type"]: each for each in plan.status["conditions"]}
        valid = conditions["ConfigValid"]
        assert bool(plan.applies) == (valid["status"] == "True"), valid
        assert conditions["Ready"]["message"]

    check()


@pytest.mark.parametrize("levels", [20, 300, 1500, 9000])
@pytest.mark.parametrize("field", ["modelConfig", "podAffinity"])
def test_what_is_nested_too_deep_is_a_condition(field, levels):
    value: object = 1
    for _ in range(levels + 1):
        value = {"a": value}
    raw, affinity = (value, {}) if field == "modelConfig" else ({}, value)
    plan = _decided(raw, affinity, {}, {}, {})
    (valid,) = [each for each in plan.status["conditions"] if each["type"] == "ConfigValid"]
    assert (valid["status"], valid["reason"]) == ("False", Reason.CONFIG_INVALID)
    assert f"{field}: must not be nested more than" in valid["message"]
