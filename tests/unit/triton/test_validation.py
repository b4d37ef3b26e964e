"""One line per rule: what is written, and what the person who wrote it is told."""

import pytest

from tritonfleet.errors import InvalidSpec
from tritonfleet.triton import schema
from tritonfleet.triton.validation import problems, refuse_problems

TENSORS = "input { name: 'IN' data_type: TYPE_FP32 dims: 4 } output { name: 'OUT' data_type: TYPE_FP32 dims: 4 }"
SAMPLE = "data_type: TYPE_FP32 dims: 4 zero_data: true"
STEP = (
    "step { model_name: 'a' model_version: -1 input_map { key: 'x' value: 'IN' } output_map { key: 'y' value: '%s' } }"
)
ENSEMBLE = f"{TENSORS} ensemble_scheduling {{ {STEP % 'OUT'} }}"
WITH_A_SECOND_STEP = f"{TENSORS} ensemble_scheduling {{ {STEP % 'OUT'} {STEP % 'lost'} }}"
CONTROL = "spec.model.metrics[0]"
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
        "max_batch_size: 1 input { name: 'IN' data_type: TYPE_FP32 dims: [1] reshape { } }",
        "version_policy { latest { num_versions: 2 } }",
        "version_policy { specific { versions: [1, 3] } }",
        "version_policy { all { } }",
        "max_batch_size: 8 sequence_batching { oldest { preferred_batch_size: 4 } }",
        "max_batch_size: 8 sequence_batching { direct { minimum_slot_utilization: 0.5 } }",
        f"{TENSORS} model_warmup {{ name: 'w' batch_size: 1 inputs {{ key: 'IN' value {{ {SAMPLE} }} }} }}",
        f"platform: 'ensemble' {ENSEMBLE}",
        dynamic(""),
        dynamic("", batch=0),
        "instance_group { count: 0 }",
        f"{TENSORS} output {{ name: 'OUT' data_type: TYPE_INT8 dims: 1 }}",
        "platform: 'whatever' backend: 'mine'",
        f"{TENSORS} model_warmup {{ name: 'skipped' }}",
    ],
)
def test_a_sound_configuration_has_no_problem(text: str) -> None:
    assert said(text) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: -1", "spec.batching.maxBatchSize is -1: must be 0 (no batching) or more"),
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
            dynamic(
                "preserve_ordering: true default_queue_policy { max_queue_size: 1 timeout_action: DELAY"
                " default_timeout_microseconds: 5 }"
            ),
            "spec.batching.dynamic.timeoutAction is Delay: must be Reject when preserveOrdering is true",
        ),
        (
            "max_batch_size: 4 sequence_batching { oldest { preferred_batch_size: 8 } }",
            (
                "spec.batching.sequence.oldest.preferredBatchSizes is 8: "
                "must be from 1 to spec.batching.maxBatchSize (4)"
            ),
        ),
        (
            "sequence_batching { oldest { max_queue_delay_microseconds: 11000000 } }",
            ("spec.batching.sequence.oldest.maxQueueDelay is 11s: must be at most 10s, usually a few ms"),
        ),
        (
            "sequence_batching { direct { minimum_slot_utilization: 1.5 } }",
            "spec.batching.sequence.direct.minimumSlotUtilization is 1.5: must be from 0 to 1",
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
            (
                "spec.model.inputs is twice 'IN': names must differ: Triton counts both, "
                "and no request can bring two inputs of one name"
            ),
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
            "spec.model.inputs[0].reshape is [2, 3]: must have as many elements as dims [4]",
        ),
        (
            "input { name: 'IN' data_type: TYPE_FP32 dims: [-1, 4] reshape { shape: 4 } }",
            (
                "spec.model.inputs[0].reshape is [4]: must have as many elements as dims [-1, 4], with as many -1, "
                "and as many elements before, between and after them"
            ),
        ),
        (
            "input { name: 'IN' data_type: TYPE_FP32 dims: [2, -1] reshape { shape: [-1, 2] } }",
            (
                "spec.model.inputs[0].reshape is [-1, 2]: must have as many elements as dims [2, -1], with as many -1, "
                "and as many elements before, between and after them"
            ),
        ),
        (
            "input { name: 'IN' data_type: TYPE_FP32 dims: 1 reshape { } }",
            (
                "spec.model.inputs[0].reshape is empty: must have an entry when spec.batching.maxBatchSize is 0: "
                "there are no scalars then"
            ),
        ),
        (
            "backend: 'python' input { name: 'IN' data_type: TYPE_FP32 dims: 4 is_shape_tensor: true }",
            "spec.model.inputs[0].isShapeTensor is true: is for the backend tensorrt only: remove it",
        ),
        (
            "input { name: 'IN' data_type: TYPE_FP32 dims: [8, 8] format: FORMAT_NHWC }",
            "spec.model.inputs[0].dims is [8, 8]: must have 3 entries when format is NHWC or NCHW",
        ),
        (
            "name: 'other'",
            "spec.modelConfig.name is 'other': must be left out or equal spec.model.name 'demo'",
        ),
        (
            "platform: 'tensorrt_plan' backend: 'onnxruntime'",
            "spec.model.backend is 'onnxruntime': must be 'tensorrt' for platform 'tensorrt_plan'",
        ),
        (
            "platform: 'onnx'",
            (
                "spec.modelConfig.platform is 'onnx': must be left out (use spec.model.backend) or one of "
                "libtorch, onnxruntime_onnx, pytorch_libtorch, tensorflow_graphdef, tensorflow_savedmodel, "
                "tensorrt_plan, torch_aoti, ensemble"
            ),
        ),
        ("version_policy { latest { num_versions: 0 } }", "spec.model.versionPolicy.latest is 0: must be 1 or more"),
        (
            "version_policy { specific { } }",
            "spec.model.versionPolicy.specific is empty: must list at least one version",
        ),
        (
            "version_policy { specific { versions: -1 } }",
            "spec.model.versionPolicy.specific is -1: must be the name of a version folder, such as 1",
        ),
        (
            "response_cache { enable: true }",
            (
                "spec.modelConfig.response_cache is enabled: caches nothing unless the server has one: "
                "set spec.server.responseCache, such as {local: {size: 64Mi}}"
            ),
        ),
        (
            (
                f"max_batch_size: 4 {TENSORS} model_warmup {{ name: 'w' batch_size: 9"
                f" inputs {{ key: 'IN' value {{ {SAMPLE} }} }} }}"
            ),
            (
                "spec.model.warmup[0].batchSize is 9: must be at most 4: "
                "Triton would wait forever for what does not fit into a batch"
            ),
        ),
        (
            f"{TENSORS} model_warmup {{ batch_size: 1 inputs {{ key: 'IN' value {{ dims: 4 zero_data: true }} }} }}",
            ("spec.model.warmup[0].inputs[IN].dataType is TYPE_INVALID: must be TYPE_FP32, as that of the input"),
        ),
        (
            f"{TENSORS} model_warmup {{ batch_size: 1 inputs {{ key: 'IN' value {{ {SAMPLE[:-16]} }} }} }}",
            ("spec.model.warmup[0].inputs[IN] is without data: must have zero_data, random_data or input_data_file"),
        ),
        (
            f"{TENSORS} model_warmup {{ name: 'w' batch_size: 1 }}",
            "spec.model.warmup[0].inputs is without IN: must give every input of the model",
        ),
        (
            "platform: 'ensemble'",
            "spec.modelConfig.ensemble_scheduling.step is empty: must list the models of the ensemble",
        ),
        (
            f"platform: 'ensemble' backend: 'python' {ENSEMBLE}",
            "spec.modelConfig.backend is 'python': must be left out of an ensemble, whose platform is 'ensemble'",
        ),
        (
            f"backend: 'ensemble' {ENSEMBLE}",
            "spec.modelConfig.backend is 'ensemble': must be left out of an ensemble, whose platform is 'ensemble'",
        ),
        (
            f"platform: 'onnxruntime_onnx' {ENSEMBLE}",
            "spec.modelConfig.platform is 'onnxruntime_onnx': must be 'ensemble' with ensemble_scheduling",
        ),
        (
            f"platform: 'ensemble' instance_group {{ }} {ENSEMBLE}",
            "spec.instances is set: must be left out of an ensemble: it belongs to the member models",
        ),
        (
            f"platform: 'ensemble' optimization {{ }} {ENSEMBLE}",
            "spec.model.optimization is set: must be left out of an ensemble: it belongs to the member models",
        ),
        (
            f"platform: 'ensemble' {ENSEMBLE} input {{ name: 'IN2' data_type: TYPE_FP32 dims: 4 }}",
            "spec.model.inputs[1] is 'IN2': must be used by a step of the ensemble",
        ),
        (
            f"platform: 'ensemble' {ENSEMBLE} output {{ name: 'OUT2' data_type: TYPE_FP32 dims: 4 }}",
            (
                "spec.model.outputs[1] is 'OUT2': "
                "must be made by a step whose inputs come from the ensemble's inputs or from other steps"
            ),
        ),
        (
            f"platform: 'ensemble' {WITH_A_SECOND_STEP}",
            (
                "spec.modelConfig.ensemble_scheduling is with tensor 'lost': "
                "must use it in a step or as an output, or not make it"
            ),
        ),
        (
            f"platform: 'ensemble' {ENSEMBLE.replace('model_version: -1', '')}",
            (
                "spec.modelConfig.ensemble_scheduling.step[0].model_version is not set: "
                "must be -1, which is the latest version"
            ),
        ),
        (
            "metric_tags { key: 'te am' value: 'x' }",
            (
                "spec.model.metricTags is for 'te am': must have keys of letters, digits and '_', "
                "not beginning with '_': the server ends with any other"
            ),
        ),
        (
            "model_metrics { metric_control { histogram_options { buckets: [1, 2] } } }",
            f"{CONTROL}.family is empty: must be the name of a histogram",
        ),
        (
            "model_metrics { metric_control { metric_identifier { family: 'f' } histogram_options { buckets: [2,1] }}}",
            f"{CONTROL}.buckets is [2.0, 1.0]: must be in ascending order",
        ),
        (
            "model_repository_agents { agents { name: 'checksum' } }",
            (
                "spec.modelConfig.model_repository_agents is 'checksum': must be left out: "
                "an agent may replace what was checked; spec.model.digest verifies the model's files"
            ),
        ),
        (
            "instance_group { rate_limiter { resources [ { name: 'R' global: true }, { name: 'R' } ] } }",
            (
                "spec.instances[0].rateLimiter.resources is 'R' with and without global: "
                "must be the same wherever the resource is named"
            ),
        ),
        (
            "backend: 'python' parameters { key: 'FORCE_CPU_ONLY_INPUT_TENSORS' value { string_value: 'maybe' } }",
            "spec.model.parameters.FORCE_CPU_ONLY_INPUT_TENSORS is 'maybe': must be 'yes' or 'no'",
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
        f"spec.server.responseCache is enabled: {remedy}"
    ]


def test_several_problems_become_one_message() -> None:
    config = schema.parse_text("name: 'demo' " + "output { name: 'OUT' dims: 1 } " * 7, "a test")
    with pytest.raises(InvalidSpec) as refusal:
        refuse_problems(problems(config, model_name="demo", gpus=0))
    assert refusal.value.reason == "ConfigInvalid"
    assert str(refusal.value).count("must be a type") == 5
    assert str(refusal.value).endswith("; and 2 more")


def test_no_problem_is_no_refusal() -> None:
    refuse_problems(())
