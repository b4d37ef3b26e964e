"""What Triton loads: the artifact's configuration, over it what the spec says, and a limit for every queue."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.errors import InvalidSpec
from tritonfleet.triton import schema
from tritonfleet.triton.config import model_config
from tritonfleet.triton.schema import QUEUE_LIMIT, effective
from tritonfleet.triton.validation import problems

ARTIFACT = """
name: 'demo'
backend: 'python'
max_batch_size: 32
dynamic_batching {
  preferred_batch_size: [8, 16]
  max_queue_delay_microseconds: 500
  preserve_ordering: true
  priority_levels: 1
  default_priority_level: 1
  default_queue_policy { max_queue_size: 64 default_timeout_microseconds: 9000 allow_timeout_override: true }
  priority_queue_policy { key: 1 value { max_queue_size: 16 default_timeout_microseconds: 4000 } }
}
"""


def loaded(artifact: str, **spec: Any) -> Any:
    """Return what is loaded for a spec with these fields over the artifact's configuration."""
    body = {
        "apiVersion": "tritonfleet.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "demo", "namespace": "shop", "uid": "uid-1", "generation": 1},
        "spec": {"model": {"uri": "s3://models/demo"}, **spec},
    }
    overlay = model_config(ModelDeployment.parse(body).spec, "demo")
    return effective(schema.parse_text(artifact, "config.pbtxt"), overlay)


def expected(text: str) -> str:
    return schema.to_text(schema.parse_text(text, "a test"))


def test_a_spec_that_says_nothing_changes_nothing() -> None:
    assert schema.to_text(loaded(ARTIFACT)) == expected(ARTIFACT)


@pytest.mark.parametrize(
    ("dynamic", "was", "becomes"),
    [
        ({}, "", ""),
        ({"maxQueueDelay": "2ms"}, "max_queue_delay_microseconds: 500", "max_queue_delay_microseconds: 2000"),
        ({"maxQueueSize": 7}, "max_queue_size: 64", "max_queue_size: 7"),
        ({"maxQueueSize": 1024}, "max_queue_size: 64", "max_queue_size: 1024"),
        ({"preserveOrdering": False}, "preserve_ordering: true", "preserve_ordering: false"),
        ({"queueTimeout": "1ms"}, "default_timeout_microseconds: 9000", "default_timeout_microseconds: 1000"),
        ({"allowTimeoutOverride": False}, "allow_timeout_override: true", "allow_timeout_override: false"),
        ({"preferredBatchSizes": [4]}, "preferred_batch_size: [8, 16]", "preferred_batch_size: 4"),
        (
            {"priorityLevels": 1, "defaultPriority": 1, "priorityPolicies": [{"level": 1, "queueTimeout": "2ms"}]},
            "default_timeout_microseconds: 4000",
            "default_timeout_microseconds: 2000",
        ),
    ],
)
def test_a_typed_field_overrides_what_it_says_and_nothing_else(dynamic: dict[str, Any], was: str, becomes: str) -> None:
    assert schema.to_text(loaded(ARTIFACT, batching={"dynamic": dynamic})) == expected(ARTIFACT.replace(was, becomes))


def test_the_raw_configuration_has_the_last_word() -> None:
    config = loaded(
        ARTIFACT,
        batching={"maxBatchSize": 16, "dynamic": {"maxQueueDelay": "2ms"}},
        modelConfig={"max_batch_size": 24, "dynamic_batching": {"max_queue_delay_microseconds": 3}},
    )
    assert (config.max_batch_size, config.dynamic_batching.max_queue_delay_microseconds) == (24, 3)


def test_every_queue_without_a_limit_gets_one() -> None:
    dynamic = loaded("dynamic_batching { priority_queue_policy { key: 1 value { } } }").dynamic_batching
    assert dynamic.default_queue_policy.max_queue_size == QUEUE_LIMIT
    assert dynamic.priority_queue_policy[1].max_queue_size == QUEUE_LIMIT


def test_an_artifact_that_asks_for_a_queue_without_a_limit_has_it() -> None:
    artifact = "dynamic_batching { default_queue_policy { max_queue_size: 0 } }"
    assert loaded(artifact, batching={"dynamic": {}}).dynamic_batching.default_queue_policy.max_queue_size == 0


def test_a_dynamic_batcher_finds_the_batch_size_of_the_artifact() -> None:
    config = loaded("backend: 'python' max_batch_size: 32", batching={"dynamic": {"preferredBatchSizes": [32]}})
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (32, True)
    assert problems(config, model_name="demo", gpus=0) == ()


def test_what_only_the_artifact_can_make_right_is_not_refused_before_it_is_seen() -> None:
    overlay = schema.parse_text(
        "name: 'demo' dynamic_batching { preferred_batch_size: 32 priority_levels: 2 }"
        " model_warmup { batch_size: 9 inputs { key: 'IN' value { data_type: TYPE_FP32 dims: 4 zero_data: true } } }"
        " instance_group { profile: '0' } input { name: 'IN' data_type: TYPE_FP32 dims: 1 reshape { } }",
        "the spec",
    )
    overlay.input[0].ClearField("reshape")
    overlay.input[0].dims[:] = [4]
    assert problems(overlay, model_name="demo", gpus=0, partial=True) == ()
    assert len(problems(overlay, model_name="demo", gpus=0)) > 2


@pytest.mark.parametrize("kept", ["sequence_batching { }", "platform: 'ensemble' ensemble_scheduling { }"])
def test_a_scheduler_that_cannot_be_given_up_quietly_is_not_replaced(kept: str) -> None:
    field = kept.split(" ")[-3]
    with pytest.raises(InvalidSpec) as refusal:
        loaded(kept, batching={"dynamic": {"maxQueueDelay": "2ms"}})
    assert str(refusal.value) == (
        f"spec.batching.dynamic would replace the `{field}` of config.pbtxt: a model has one scheduler, remove one"
    )


def test_sequences_may_take_the_place_of_a_dynamic_batcher() -> None:
    assert (
        loaded(ARTIFACT, modelConfig={"sequence_batching": {}}).WhichOneof("scheduling_choice") == "sequence_batching"
    )


@given(st.binary(max_size=20).filter(lambda value: b"\0" not in value))
def test_bytes_that_are_no_utf_8_are_kept(value: bytes) -> None:
    literal = "".join(f"\\{byte:03o}" for byte in value)
    text = f'parameters {{ key: "a" value {{ string_value: "{literal}" }} }} # \xff'.encode("latin-1")
    written = schema.to_text(schema.parse_text(schema.decoded(text), "config.pbtxt"))
    again = schema.to_text(schema.parse_text(schema.decoded(written.encode()), "config.pbtxt"))
    inside = written.partition('string_value: "')[2].rpartition('"')[0]
    assert again == written
    assert inside.encode().decode("unicode_escape", "strict").encode("latin-1") == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('runtime: "\\d"', "1:10 : Invalid escape sequence in string literal"),
        ("max_batch_size: +8", "1:17 : Triton reads no number from '+8'"),
        ("backend: 'python'\nmax_batch_size: 1_000", "2:17 : Triton reads no number from '1_000'"),
        ("max_batch_size: 0b11", "Triton reads no number from '0b11'"),
    ],
)
def test_what_triton_s_parser_cannot_read_is_refused_with_line_and_column(text: str, problem: str) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        schema.parse_text(text, "config.pbtxt")
    assert problem in str(refusal.value)


@pytest.mark.parametrize("text", ["# it's +1\nruntime: '+1 0b1'", 'runtime: "a\\?"', "instance_group { count: - 1 }"])
def test_what_triton_s_parser_reads_is_read(text: str) -> None:
    schema.parse_text(text, "config.pbtxt")
