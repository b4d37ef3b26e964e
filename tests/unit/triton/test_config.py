"""What Triton is told for what the spec says."""

from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from tritonfleet.api.crd import root_schema
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.errors import InvalidSpec
from tritonfleet.triton import schema
from tritonfleet.triton.config import TYPED, model_config, of_companion, render


def rendered(**spec: Any) -> str:
    body = {
        "apiVersion": "tritonfleet.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "demo", "namespace": "shop", "uid": "uid-1", "generation": 1},
        "spec": {"model": {"uri": "s3://models/demo"}, **spec},
    }
    return render(ModelDeployment.parse(body).spec, "demo")


def model(**fields: Any) -> dict[str, Any]:
    return {"uri": "s3://models/demo", **fields}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ""),
        ({"model": model(backend="onnxruntime")}, "backend: 'onnxruntime'"),
        ({"model": model(backend="ensemble")}, "platform: 'ensemble'"),
        ({"model": model(versionPolicy={"latest": 2})}, "version_policy { latest { num_versions: 2 } }"),
        ({"model": model(versionPolicy={"specific": [1, 3]})}, "version_policy { specific { versions: [1, 3] } }"),
        ({"model": model(versionPolicy={"all": True})}, "version_policy { all { } }"),
        (
            {
                "model": model(
                    inputs=[
                        {
                            "name": "IN",
                            "dataType": "FP16",
                            "dims": [3, -1, 8],
                            "format": "NCHW",
                            "reshape": [1, 3, -1, 8],
                            "optional": True,
                            "raggedBatch": True,
                        }
                    ]
                )
            },
            (
                "input { name: 'IN' data_type: TYPE_FP16 format: FORMAT_NCHW dims: [3, -1, 8]"
                " reshape { shape: [1, 3, -1, 8] } optional: true allow_ragged_batch: true }"
            ),
        ),
        (
            {"model": model(inputs=[{"name": "IN", "dataType": "BF16", "dims": [1], "reshape": []}])},
            "input { name: 'IN' data_type: TYPE_BF16 dims: 1 reshape { } }",
        ),
        (
            {"model": model(outputs=[{"name": "OUT", "dataType": "STRING", "dims": [1], "labelFile": "l.txt"}])},
            "output { name: 'OUT' data_type: TYPE_STRING dims: 1 label_filename: 'l.txt' }",
        ),
        (
            {"model": model(parameters={"b": "2", "a": "1"})},
            "parameters { key: 'a' value { string_value: '1' } } parameters { key: 'b' value { string_value: '2' } }",
        ),
        ({"model": model(decoupled=True)}, "model_transaction_policy { decoupled: true }"),
        ({"batching": {"maxBatchSize": 0}}, "max_batch_size: 0"),
        (
            {"batching": {"maxBatchSize": 8, "dynamic": {}}},
            "max_batch_size: 8 dynamic_batching { }",
        ),
        (
            {
                "batching": {
                    "maxBatchSize": 8,
                    "dynamic": {
                        "maxQueueDelay": "2ms",
                        "preferredBatchSizes": [4, 8],
                        "preserveOrdering": True,
                        "maxQueueSize": 7,
                        "queueTimeout": "1s",
                        "timeoutAction": "Reject",
                        "allowTimeoutOverride": True,
                    },
                }
            },
            (
                "max_batch_size: 8 dynamic_batching { preferred_batch_size: [4, 8] max_queue_delay_microseconds: 2000"
                " preserve_ordering: true default_queue_policy { timeout_action: REJECT"
                " default_timeout_microseconds: 1000000 allow_timeout_override: true max_queue_size: 7 } }"
            ),
        ),
        (
            {
                "batching": {
                    "maxBatchSize": 8,
                    "dynamic": {
                        "priorityLevels": 2,
                        "defaultPriority": 2,
                        "priorityPolicies": [
                            {"level": 1, "maxQueueSize": 9, "timeoutAction": "Delay", "queueTimeout": "5ms"}
                        ],
                    },
                }
            },
            (
                "max_batch_size: 8 dynamic_batching { priority_levels: 2 default_priority_level: 2"
                " priority_queue_policy { key: 1 value { timeout_action: DELAY default_timeout_microseconds: 5000"
                " max_queue_size: 9 } } }"
            ),
        ),
        (
            {"instances": [{"kind": "GPU", "count": 2, "gpus": [0, 1], "profile": ["1"]}, {"passive": True}]},
            (
                "instance_group { kind: KIND_GPU count: 2 gpus: [0, 1] profile: '1' }"
                " instance_group { kind: KIND_AUTO count: 1 passive: true }"
            ),
        ),
        (
            {"modelConfig": {"maxBatchSize": 4, "optimization": {"eager_batching": True}}},
            "max_batch_size: 4 optimization { eager_batching: true }",
        ),
        (
            {"batching": {"maxBatchSize": 8}, "modelConfig": {"max_batch_size": 16}},
            "max_batch_size: 16",
        ),
    ],
)
def test_each_field_becomes_triton_s_own(spec: dict[str, Any], expected: str) -> None:
    assert rendered(**spec) == schema.to_text(schema.parse_text(f"name: 'demo' {expected}", "a test"))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"dynamic_batch": {}},
            (
                'spec.modelConfig is not a Triton model configuration: Message type "inference.ModelConfig" has no '
                'field named "dynamic_batch" at "ModelConfig".; write it as the fields of config.pbtxt in JSON form'
            ),
        ),
        (
            {"input": [{"data_type": "TYPE_FLOAT"}]},
            "spec.modelConfig is not a Triton model configuration: Failed to parse input field: ",
        ),
        ({"max_batch_size": "many"}, "spec.modelConfig is not a Triton model configuration: Failed to parse max_batch"),
    ],
)
def test_a_raw_configuration_that_cannot_be_read_is_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        rendered(modelConfig=raw)
    assert str(refusal.value).startswith(message)
    assert refusal.value.reason == "ConfigInvalid"


def test_two_schedulers_are_refused() -> None:
    with pytest.raises(InvalidSpec) as refusal:
        rendered(batching={"maxBatchSize": 8, "dynamic": {}}, modelConfig={"sequence_batching": {}})
    assert str(refusal.value) == (
        "spec.batching.dynamic and spec.modelConfig.sequence_batching are both set: "
        "a model has one scheduler, remove one of them"
    )


def test_a_raw_configuration_may_refine_the_scheduler_of_the_spec() -> None:
    text = rendered(
        batching={"maxBatchSize": 8, "dynamic": {"maxQueueDelay": "2ms"}},
        modelConfig={"dynamic_batching": {"preserve_ordering": True}},
    )
    dynamic = schema.parse_text(text, "a test").dynamic_batching
    assert (dynamic.max_queue_delay_microseconds, dynamic.preserve_ordering) == (2000, True)


NAMES = st.text("abcXYZ_09", min_size=1, max_size=6)
TENSORS = st.lists(
    st.fixed_dictionaries(
        {
            "name": NAMES,
            "dataType": st.sampled_from(["FP32", "INT64", "STRING", "BOOL"]),
            "dims": st.lists(st.sampled_from([-1, 1, 3, 224]), min_size=1, max_size=3),
        }
    ),
    max_size=3,
    unique_by=lambda tensor: tensor["name"],
)
SPECS = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries(
            {"uri": st.just("s3://models/demo")},
            optional={
                "inputs": TENSORS,
                "outputs": TENSORS,
                "parameters": st.dictionaries(NAMES, st.text(max_size=8), max_size=4),
            },
        )
    },
    optional={
        "batching": st.fixed_dictionaries(
            {"maxBatchSize": st.integers(1, 64)},
            optional={
                "dynamic": st.fixed_dictionaries(
                    {},
                    optional={
                        "maxQueueDelay": st.integers(0, 999).map("{}us".format),
                        "maxQueueSize": st.integers(1, 99),
                        "preserveOrdering": st.booleans(),
                    },
                )
            },
        ),
        "instances": st.lists(st.fixed_dictionaries({"count": st.integers(1, 4)}), max_size=3),
        "modelConfig": st.fixed_dictionaries(
            {}, optional={"metric_tags": st.dictionaries(NAMES, NAMES, max_size=3), "runtime": NAMES}
        ),
    },
)


def backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(item) for item in value] if isinstance(value, list) else value


@given(SPECS)
def test_every_rendered_configuration_is_read_by_triton_s_own_schema(spec: dict[str, Any]) -> None:
    config = text_format.Parse(rendered(**spec), model_config_pb2.ModelConfig())
    assert config.name == "demo"


@given(SPECS)
def test_reading_and_writing_a_rendered_configuration_changes_no_byte(spec: dict[str, Any]) -> None:
    text = rendered(**spec)
    assert schema.to_text(schema.parse_text(text, "a test")) == text


@given(SPECS)
def test_equal_specs_give_equal_bytes_in_any_order_of_their_keys(spec: dict[str, Any]) -> None:
    assert rendered(**spec) == rendered(**backwards(spec))


def test_the_model_s_name_is_the_one_that_is_given() -> None:
    body = {
        "apiVersion": "tritonfleet.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "demo", "namespace": "shop", "uid": "uid-1", "generation": 1},
        "spec": {"model": model(name="other")},
    }
    assert model_config(ModelDeployment.parse(body).spec, "other").name == "other"


def test_a_message_about_a_companion_names_only_fields_that_companions_have() -> None:
    companion = root_schema()["properties"]["spec"]["properties"]["companions"]["items"]
    fields = {field for field in TYPED.values() if not field.startswith("spec.server")}
    for field in (*fields, "spec.instances[2].rateLimiter", "spec.batching.dynamic.priorityPolicies[1]"):
        told = of_companion(f"{field} is 1: must fit {field} (2)", 3)
        path = told.partition(" ")[0].removeprefix("spec.companions[3].")
        assert told.count("spec.companions[3].") == 2
        node, rest = companion, path.replace("[2]", "").split(".")
        while rest and rest[0] != "modelConfig":
            node = node.get("items", node)["properties"][rest.pop(0)]
        assert not rest or rest[1] in schema.empty().DESCRIPTOR.fields_by_name
    assert of_companion("spec.server.gpu.count is 1", 3) == "spec.server.gpu.count is 1"
