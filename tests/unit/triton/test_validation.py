"""One line per rule: what is written, and what the person who wrote it is told."""

import pytest

from tritonfleet.errors import InvalidSpec
from tritonfleet.triton import schema
from tritonfleet.triton.validation import problems, refuse_problems

TENSORS = "input { name: 'IN' data_type: TYPE_FP32 dims: 4 } output { name: 'OUT' data_type: TYPE_FP32 dims: 4 }"
BOUNDED = "default_queue_policy { max_queue_size: 64 }"


def said(text: str, *, gpus: int = 1, server_has_cache: bool = False) -> list[str]:
    config = schema.parse_text(text, "a test")
    if not config.HasField("name"):
        config.name = "demo"
    return [
        str(problem) for problem in problems(config, model_name="demo", gpus=gpus, server_has_cache=server_has_cache)
    ]


def dynamic(policy: str, batch: int = 8) -> str:
    return f"max_batch_size: {batch} {TENSORS} dynamic_batching {{ {policy} }}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        TENSORS,
        f"backend: 'python' max_batch_size: 8 {TENSORS} instance_group {{ kind: KIND_CPU count: 2 }}",
        dynamic(BOUNDED + " preferred_batch_size: [4, 8] max_queue_delay_microseconds: 2000"),
        dynamic(
            "priority_levels: 2 default_priority_level: 2"
            " default_queue_policy { max_queue_size: 64 timeout_action: DELAY"
            " default_timeout_microseconds: 100 allow_timeout_override: true }"
            " priority_queue_policy { key: 1 value { max_queue_size: 8 } }"
        ),
        "platform: 'onnxruntime_onnx' backend: 'onnxruntime'",
        "backend: 'tensorrt' instance_group { profile: '1' }",
        "platform: 'tensorrt_plan' instance_group { profile: '1' }",
        "instance_group { kind: KIND_GPU gpus: 0 count: 2 } instance_group { passive: true }",
        "input { name: 'IN' data_type: TYPE_FP32 dims: [-1, 4] reshape { shape: [-1, 2, 2] } }",
        "input { name: 'IN' data_type: TYPE_FP32 dims: [3, 8, 8] format: FORMAT_NCHW }",
        "input { name: 'IN' data_type: TYPE_FP32 dims: [1] reshape { } }",
        "version_policy { latest { num_versions: 2 } }",
        "version_policy { specific { versions: [1, 3] } }",
        "version_policy { all { } }",
        "max_batch_size: 8 sequence_batching { oldest { preferred_batch_size: 4 } }",
        "max_batch_size: 8 sequence_batching { direct { minimum_slot_utilization: 0.5 } }",
        f"{TENSORS} model_warmup {{ name: 'w' batch_size: 1 inputs {{ key: 'IN' value {{ zero_data: true }} }} }}",
        (
            f"platform: 'ensemble' {TENSORS} ensemble_scheduling {{ step {{ model_name: 'a'"
            " input_map { key: 'x' value: 'IN' } output_map { key: 'y' value: 'OUT' } } }"
        ),
    ],
)
def test_a_sound_configuration_has_no_problem(text: str) -> None:
    assert said(text) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: -1", "spec.batching.maxBatchSize is -1: must be 0 (no batching) or more"),
        (
            dynamic(BOUNDED, batch=0),
            "spec.batching.dynamic is set: has no effect unless spec.batching.maxBatchSize is 1 or more",
        ),
        (
            dynamic(BOUNDED + " preferred_batch_size: 16"),
            "spec.batching.dynamic.preferredBatchSizes is 16: must be from 1 to spec.batching.maxBatchSize (8)",
        ),
        (
            dynamic(BOUNDED + " preferred_batch_size: 0"),
            "spec.batching.dynamic.preferredBatchSizes is 0: must be from 1 to spec.batching.maxBatchSize (8)",
        ),
        (
            dynamic(BOUNDED + " max_queue_delay_microseconds: 100000000"),
            "spec.batching.dynamic.maxQueueDelay is 100s: must be at most 10s, usually a few ms",
        ),
        (
            dynamic(BOUNDED + " default_priority_level: 1"),
            "spec.batching.dynamic.defaultPriority is 1: has no effect without priorityLevels",
        ),
        (
            dynamic(BOUNDED + " priority_queue_policy { key: 1 value { max_queue_size: 1 } }"),
            "spec.batching.dynamic.priorityPolicies is set: has no effect without priorityLevels",
        ),
        (
            dynamic(BOUNDED + " priority_levels: 2 default_priority_level: 3"),
            "spec.batching.dynamic.defaultPriority is 3: must be from 1 to priorityLevels (2)",
        ),
        (
            dynamic(BOUNDED + " priority_levels: 2"),
            "spec.batching.dynamic.defaultPriority is 0: must be from 1 to priorityLevels (2)",
        ),
        (
            dynamic(
                BOUNDED + " priority_levels: 2 default_priority_level: 1"
                " priority_queue_policy { key: 5 value { max_queue_size: 1 } }"
            ),
            "spec.batching.dynamic.priorityPolicies is for level 5: must be from 1 to priorityLevels (2)",
        ),
        (
            dynamic(BOUNDED + " priority_levels: 2 default_priority_level: 1 preserve_ordering: true"),
            "spec.batching.dynamic.priorityLevels is 2: must be 1 when preserveOrdering is true",
        ),
        (
            dynamic(""),
            (
                "spec.batching.dynamic.maxQueueSize is 0: means an unlimited queue, "
                "which grows until memory runs out under overload: set 1 or more"
            ),
        ),
        (
            dynamic(
                BOUNDED + " priority_levels: 1 default_priority_level: 1 priority_queue_policy { key: 1 value { } }"
            ),
            (
                "spec.batching.dynamic.priorityPolicies[1].maxQueueSize is 0: means an unlimited queue, "
                "which grows until memory runs out under overload: set 1 or more"
            ),
        ),
        (
            dynamic("default_queue_policy { max_queue_size: 1 timeout_action: DELAY }"),
            "spec.batching.dynamic.timeoutAction is Delay: has no effect without queueTimeout",
        ),
        (
            dynamic(
                "preserve_ordering: true default_queue_policy { max_queue_size: 1 timeout_action: DELAY"
                " default_timeout_microseconds: 5 }"
            ),
            "spec.batching.dynamic.timeoutAction is Delay: must be Reject when preserveOrdering is true",
        ),
        (
            dynamic("default_queue_policy { max_queue_size: 1 allow_timeout_override: true }"),
            (
                "spec.batching.dynamic.allowTimeoutOverride is true: has no effect without queueTimeout: "
                "a request can only shorten it"
            ),
        ),
        (
            "max_batch_size: 4 sequence_batching { oldest { preferred_batch_size: 8 } }",
            (
                "spec.modelConfig.sequence_batching.oldest.preferred_batch_size is 8: "
                "must be from 1 to spec.batching.maxBatchSize (4)"
            ),
        ),
        (
            "sequence_batching { oldest { max_queue_delay_microseconds: 11000000 } }",
            (
                "spec.modelConfig.sequence_batching.oldest.max_queue_delay_microseconds is 11s: "
                "must be at most 10s, usually a few ms"
            ),
        ),
        (
            "sequence_batching { direct { minimum_slot_utilization: 1.5 } }",
            "spec.modelConfig.sequence_batching.direct.minimum_slot_utilization is 1.5: must be from 0 to 1",
        ),
        (
            "instance_group { count: 0 }",
            "spec.instances[0].count is 0: must be 1 or more; Triton would quietly run 1",
        ),
        (
            "instance_group { } instance_group { count: -3 }",
            "spec.instances[1].count is -3: must be 1 or more; Triton would quietly run 1",
        ),
        (
            "instance_group { kind: KIND_CPU gpus: [0, 1] }",
            "spec.instances[0].gpus is 0, 1: must be empty when kind is CPU",
        ),
        (
            "instance_group { kind: KIND_MODEL gpus: 0 }",
            "spec.instances[0].gpus is 0: must be empty when kind is Model",
        ),
        (
            "instance_group { gpus: 7 }",
            (
                "spec.instances[0].gpus is 7: must be below spec.server.gpu.count (1): "
                "GPUs are numbered from 0 in the container"
            ),
        ),
        (
            "backend: 'onnxruntime' instance_group { profile: '1' }",
            "spec.instances[0].profile is 1: has an effect with backend tensorrt only: remove it",
        ),
        (
            "instance_group { passive: true }",
            "spec.instances is passive throughout: at least one must not be passive, or nothing executes",
        ),
        (
            f"{TENSORS} input {{ name: 'IN' data_type: TYPE_INT8 dims: 1 }}",
            "spec.model.inputs is twice 'IN': names must differ; Triton would quietly use one of them",
        ),
        (
            f"{TENSORS} output {{ name: 'OUT' data_type: TYPE_INT8 dims: 1 }}",
            "spec.model.outputs is twice 'OUT': names must differ; Triton would quietly use one of them",
        ),
        (
            "input { data_type: TYPE_FP32 dims: 4 }",
            "spec.model.inputs[0].name is empty: must be the name the model knows the tensor by",
        ),
        (
            "output { name: 'OUT' dims: 4 }",
            "spec.model.outputs[0].dataType is not set: must be a type such as FP32, INT64 or STRING",
        ),
        (
            "input { name: 'IN' data_type: TYPE_FP32 }",
            "spec.model.inputs[0].dims is empty: must have at least one entry",
        ),
        (
            "input { name: 'IN' data_type: TYPE_FP32 dims: [4, 0] }",
            "spec.model.inputs[0].dims is [4, 0]: must be 1 or more, or -1 for any size",
        ),
        (
            "output { name: 'OUT' data_type: TYPE_FP32 dims: [-2] }",
            "spec.model.outputs[0].dims is [-2]: must be 1 or more, or -1 for any size",
        ),
        (
            "input { name: 'IN' data_type: TYPE_FP32 dims: 4 reshape { shape: [2, 3] } }",
            "spec.model.inputs[0].reshape is [2, 3]: must have as many elements as dims [4], with as many -1",
        ),
        (
            "input { name: 'IN' data_type: TYPE_FP32 dims: [-1, 4] reshape { shape: 4 } }",
            "spec.model.inputs[0].reshape is [4]: must have as many elements as dims [-1, 4], with as many -1",
        ),
        (
            "input { name: 'IN' data_type: TYPE_FP32 dims: [8, 8] format: FORMAT_NHWC }",
            "spec.model.inputs[0].dims is [8, 8]: must have 3 entries when format is NHWC or NCHW",
        ),
        (
            "input { name: 'IN' data_type: TYPE_FP32 dims: 4 allow_ragged_batch: true }",
            "spec.model.inputs[0].raggedBatch is true: needs spec.batching.maxBatchSize of 1 or more",
        ),
        (
            "name: 'other'",
            "spec.modelConfig.name is 'other': must be left out or equal spec.model.name 'demo'",
        ),
        (
            "platform: 'tensorrt_plan' backend: 'python'",
            "spec.model.backend is 'python': must be 'tensorrt' for platform 'tensorrt_plan'",
        ),
        (
            "platform: 'onnx'",
            (
                "spec.modelConfig.platform is 'onnx': must be left out (use spec.model.backend) or one of "
                "onnxruntime_onnx, pytorch_libtorch, tensorflow_graphdef, tensorflow_savedmodel, tensorrt_plan, "
                "torch_aoti, ensemble"
            ),
        ),
        ("version_policy { latest { num_versions: 0 } }", "spec.model.versionPolicy.latest is 0: must be 1 or more"),
        (
            "version_policy { specific { } }",
            "spec.model.versionPolicy.specific is empty: must list at least one version",
        ),
        (
            "version_policy { specific { versions: 0 } }",
            "spec.model.versionPolicy.specific is 0: must be 1 or more, the name of a version folder",
        ),
        (
            "response_cache { enable: true }",
            (
                "spec.modelConfig.response_cache is enabled: caches nothing unless spec.server.args has "
                "--cache-config, such as local,size=1048576"
            ),
        ),
        (
            (
                f"max_batch_size: 4 {TENSORS} model_warmup {{ name: 'w' batch_size: 9"
                " inputs { key: 'IN' value { zero_data: true } } }"
            ),
            "spec.modelConfig.model_warmup[0].batch_size is 9: must be from 1 to 4",
        ),
        (
            f"{TENSORS} model_warmup {{ name: 'w' batch_size: 1 }}",
            "spec.modelConfig.model_warmup[0].inputs is without IN: must give every input of the model",
        ),
        (
            "platform: 'ensemble'",
            "spec.modelConfig.ensemble_scheduling.step is empty: must list the models of the ensemble",
        ),
        (
            "backend: 'python' ensemble_scheduling { step { model_name: 'a' } }",
            "spec.model.backend is 'python': must be 'ensemble' with ensemble_scheduling",
        ),
        (
            "platform: 'ensemble' instance_group { } ensemble_scheduling { step { model_name: 'a' } }",
            "spec.instances is set: must be left out of an ensemble: it belongs to the member models",
        ),
        (
            "platform: 'ensemble' optimization { } ensemble_scheduling { step { model_name: 'a' } }",
            "spec.modelConfig.optimization is set: must be left out of an ensemble: it belongs to the member models",
        ),
        (
            (
                "platform: 'ensemble' input { name: 'IN' data_type: TYPE_FP32 dims: 4 }"
                " ensemble_scheduling { step { model_name: 'a' } }"
            ),
            "spec.model.inputs is 'IN': must be used by a step of the ensemble",
        ),
        (
            (
                "platform: 'ensemble' output { name: 'OUT' data_type: TYPE_FP32 dims: 4 }"
                " ensemble_scheduling { step { model_name: 'a' } }"
            ),
            "spec.model.outputs is 'OUT': must be made by a step of the ensemble",
        ),
        (
            (
                "platform: 'ensemble' ensemble_scheduling {"
                " step { model_name: 'a' input_map { key: 'x' value: 'lost' } } }"
            ),
            "spec.modelConfig.ensemble_scheduling.step is reading 'lost': must be an input or made by another step",
        ),
    ],
)
def test_a_broken_rule_names_field_value_and_remedy(text: str, message: str) -> None:
    assert said(text) == [message]


def test_a_gpu_instance_needs_a_gpu() -> None:
    assert said("instance_group { kind: KIND_GPU }", gpus=0) == [
        "spec.instances[0].kind is GPU: needs spec.server.gpu.count of 1 or more, or kind CPU"
    ]


def test_a_cache_is_no_problem_when_the_server_has_one() -> None:
    assert said("response_cache { enable: true }", server_has_cache=True) == []


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("model_transaction_policy { decoupled: true }", "must be off when spec.model.decoupled is true"),
        ("sequence_batching { }", "must be off with sequence batching"),
    ],
)
def test_a_cache_cannot_serve_every_kind_of_model(text: str, remedy: str) -> None:
    assert said(f"response_cache {{ enable: true }} {text}", server_has_cache=True) == [
        f"spec.modelConfig.response_cache is enabled: {remedy}"
    ]


def test_several_problems_become_one_message() -> None:
    config = schema.parse_text("name: 'demo' " + "instance_group { count: -1 } " * 7, "a test")
    with pytest.raises(InvalidSpec) as refusal:
        refuse_problems(problems(config, model_name="demo", gpus=0))
    assert refusal.value.reason == "ConfigInvalid"
    assert str(refusal.value).count("must be 1 or more") == 5
    assert str(refusal.value).endswith("; and 2 more")


def test_no_problem_is_no_refusal() -> None:
    refuse_problems(())
