"""Validate a model configuration before a GPU is allocated: whether Triton loads it and applies all of it.

`problems()` checks the rules that Triton enforces at load time, and settings that it silently ignores: first of the
model as a whole, then of its tensors, batching and instances. Each `Problem` names a field of the ModelDeployment and
the remedy. `plan/objects` and `cli/simulate` reject a spec that has any.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from tritonfleet.errors import InvalidSpec
from tritonfleet.triton.schema import ModelConfig

_SHOWN = 5
"""Problems quoted in one message; conditions are short."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A field of the ModelDeployment, its value, and the remedy."""

    field: str
    value: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field} is {self.value}: {self.remedy}"


def problems(config: ModelConfig, *, model_name: str, gpus: int, server_has_cache: bool = False) -> tuple[Problem, ...]:
    """Return every broken rule; `gpus` is the number of GPUs the container sees."""
    return (
        *model_problems(config, model_name, server_has_cache=server_has_cache),
        *tensor_problems(config),
        *batching_problems(config),
        *instance_problems(config, gpus),
    )


def refuse_problems(found: tuple[Problem, ...]) -> None:
    """Raise InvalidSpec (ConfigInvalid) that names the broken rules, if there are any."""
    if not found:
        return
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise InvalidSpec("; ".join(str(problem) for problem in found[:_SHOWN]) + more)


_BACKEND_OF_PLATFORM: Final = {
    "tensorrt_plan": "tensorrt",
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "torch_aoti": "pytorch",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
}
"""Backends that are missing here have no platform name."""

_ENSEMBLE: Final = "ensemble"


def model_problems(config: ModelConfig, model_name: str, *, server_has_cache: bool) -> Iterator[Problem]:
    """Check what concerns the model as a whole; `model_name` is the folder that Triton loads."""
    if config.name != model_name:
        yield Problem(
            "spec.modelConfig.name",
            f"'{config.name}'",
            f"must be left out or equal spec.model.name '{model_name}'",
        )
    yield from _backend_problems(config)
    yield from _version_problems(config)
    yield from _cache_problems(config, server_has_cache=server_has_cache)
    yield from _warmup_problems(config)
    if _ENSEMBLE in {config.platform, config.backend} or config.HasField("ensemble_scheduling"):
        yield from _ensemble_problems(config)


def _backend_problems(config: ModelConfig) -> Iterator[Problem]:
    platform, backend = config.platform, config.backend
    if not platform or platform == _ENSEMBLE:
        return
    expected = _BACKEND_OF_PLATFORM.get(platform)
    if expected is None:
        yield Problem(
            "spec.modelConfig.platform",
            f"'{platform}'",
            f"must be left out (use spec.model.backend) or one of {', '.join(sorted(_BACKEND_OF_PLATFORM))}, ensemble",
        )
    elif backend and backend != expected:
        yield Problem("spec.model.backend", f"'{backend}'", f"must be '{expected}' for platform '{platform}'")


def _version_problems(config: ModelConfig) -> Iterator[Problem]:
    policy, field = config.version_policy, "spec.model.versionPolicy"
    if policy.HasField("latest") and policy.latest.HasField("num_versions") and policy.latest.num_versions < 1:
        yield Problem(f"{field}.latest", "0", "must be 1 or more")
    if policy.HasField("specific"):
        if not policy.specific.versions:
            yield Problem(f"{field}.specific", "empty", "must list at least one version")
        for version in policy.specific.versions:
            if version < 1:
                yield Problem(f"{field}.specific", str(version), "must be 1 or more, the name of a version folder")


def _cache_problems(config: ModelConfig, *, server_has_cache: bool) -> Iterator[Problem]:
    if not config.response_cache.enable:
        return
    field = "spec.modelConfig.response_cache"
    if not server_has_cache:
        yield Problem(
            field,
            "enabled",
            "caches nothing unless spec.server.args has --cache-config, such as local,size=1048576",
        )
    if config.model_transaction_policy.decoupled:
        yield Problem(field, "enabled", "must be off when spec.model.decoupled is true")
    if config.HasField("sequence_batching"):
        yield Problem(field, "enabled", "must be off with sequence batching")


def _warmup_problems(config: ModelConfig) -> Iterator[Problem]:
    largest = max(config.max_batch_size, 1)
    needed = {tensor.name for tensor in config.input if not tensor.optional}
    for index, sample in enumerate(config.model_warmup):
        field = f"spec.modelConfig.model_warmup[{index}]"
        if not 1 <= sample.batch_size <= largest:
            yield Problem(f"{field}.batch_size", str(sample.batch_size), f"must be from 1 to {largest}")
        missing = sorted(needed - set(sample.inputs))
        if missing:
            yield Problem(f"{field}.inputs", f"without {', '.join(missing)}", "must give every input of the model")


def _ensemble_problems(config: ModelConfig) -> Iterator[Problem]:
    field = "spec.modelConfig.ensemble_scheduling"
    if config.backend and config.backend != _ENSEMBLE:
        yield Problem("spec.model.backend", f"'{config.backend}'", "must be 'ensemble' with ensemble_scheduling")
    if not config.ensemble_scheduling.step:
        yield Problem(f"{field}.step", "empty", "must list the models of the ensemble")
        return
    for part, given in (
        ("spec.instances", config.instance_group),
        ("spec.modelConfig.optimization", config.HasField("optimization")),
        ("spec.modelConfig.model_warmup", config.model_warmup),
    ):
        if given:
            yield Problem(part, "set", "must be left out of an ensemble: it belongs to the member models")
    used = {tensor for step in config.ensemble_scheduling.step for tensor in step.input_map.values()}
    made = {tensor for step in config.ensemble_scheduling.step for tensor in step.output_map.values()}
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    for tensor in sorted(inputs - used):
        yield Problem("spec.model.inputs", f"'{tensor}'", "must be used by a step of the ensemble")
    for tensor in sorted(outputs - made):
        yield Problem("spec.model.outputs", f"'{tensor}'", "must be made by a step of the ensemble")
    for tensor in sorted(used - made - inputs):
        yield Problem(f"{field}.step", f"reading '{tensor}'", "must be an input or made by another step")


_IMAGE_RANK: Final = 3
_FORMAT_NONE: Final = 0


def tensor_problems(config: ModelConfig) -> Iterator[Problem]:
    """Check names, data types and shapes of inputs and outputs."""
    for field, tensors in (("spec.model.inputs", config.input), ("spec.model.outputs", config.output)):
        counted = Counter(tensor.name for tensor in tensors)
        for name in sorted(name for name, count in counted.items() if count > 1):
            yield Problem(field, f"twice '{name}'", "names must differ; Triton would quietly use one of them")
        for index, tensor in enumerate(tensors):
            yield from _tensor_problems(f"{field}[{index}]", tensor)
    for index, tensor in enumerate(config.input):
        if tensor.format != _FORMAT_NONE and len(tensor.dims) != _IMAGE_RANK:
            yield Problem(
                f"spec.model.inputs[{index}].dims",
                _shape(tensor.dims),
                "must have 3 entries when format is NHWC or NCHW",
            )
        if tensor.allow_ragged_batch and config.max_batch_size == 0:
            yield Problem(
                f"spec.model.inputs[{index}].raggedBatch",
                "true",
                "needs spec.batching.maxBatchSize of 1 or more",
            )


def _tensor_problems(field: str, tensor: ModelConfig) -> Iterator[Problem]:
    if not tensor.name:
        yield Problem(f"{field}.name", "empty", "must be the name the model knows the tensor by")
    if tensor.data_type == 0:
        yield Problem(f"{field}.dataType", "not set", "must be a type such as FP32, INT64 or STRING")
    if not tensor.dims:
        yield Problem(f"{field}.dims", "empty", "must have at least one entry")
    for shape, part in ((tensor.dims, "dims"), (tensor.reshape.shape, "reshape")):
        if any(size == 0 or size < -1 for size in shape):
            yield Problem(f"{field}.{part}", _shape(shape), "must be 1 or more, or -1 for any size")
    if tensor.HasField("reshape") and not _same_size(tensor.dims, tensor.reshape.shape):
        yield Problem(
            f"{field}.reshape",
            _shape(tensor.reshape.shape),
            f"must have as many elements as dims {_shape(tensor.dims)}, with as many -1",
        )


def _same_size(one: Sequence[int], other: Sequence[int]) -> bool:
    fixed = [prod(size for size in shape if size != -1) for shape in (one, other)]
    variable = [list(shape).count(-1) for shape in (one, other)]
    return fixed[0] == fixed[1] and variable[0] == variable[1]


def _shape(dims: Sequence[int]) -> str:
    return f"[{', '.join(map(str, dims))}]"


LONGEST_DELAY_US: Final = 10_000_000
"""Triton accepts any delay and then holds every request that long."""

_MAX_BATCH_SIZE: Final = "spec.batching.maxBatchSize"
_DYNAMIC: Final = "spec.batching.dynamic"
_DELAY: Final = 1
"""Value of `ModelQueuePolicy.TimeoutAction.DELAY`."""


def batching_problems(config: ModelConfig) -> Iterator[Problem]:
    """Check batch sizes and the scheduler of a configuration."""
    if config.max_batch_size < 0:
        yield Problem(_MAX_BATCH_SIZE, str(config.max_batch_size), "must be 0 (no batching) or more")
    if config.HasField("dynamic_batching"):
        yield from _dynamic_problems(config)
    if config.HasField("sequence_batching"):
        yield from _sequence_problems(config)


def _dynamic_problems(config: ModelConfig) -> Iterator[Problem]:
    dynamic = config.dynamic_batching
    if config.max_batch_size == 0:
        yield Problem(_DYNAMIC, "set", f"has no effect unless {_MAX_BATCH_SIZE} is 1 or more")
    elif config.max_batch_size > 0:
        yield from _preferred_size_problems(
            dynamic.preferred_batch_size, config.max_batch_size, f"{_DYNAMIC}.preferredBatchSizes"
        )
    yield from _delay_problems(dynamic.max_queue_delay_microseconds, f"{_DYNAMIC}.maxQueueDelay")
    yield from _priority_problems(dynamic)
    policies = [(_DYNAMIC, dynamic.default_queue_policy)]
    policies += [
        (f"{_DYNAMIC}.priorityPolicies[{level}]", dynamic.priority_queue_policy[level])
        for level in sorted(dynamic.priority_queue_policy)
    ]
    for field, policy in policies:
        yield from _policy_problems(field, policy, preserves_order=dynamic.preserve_ordering)


def _preferred_size_problems(sizes: list[int], largest: int, field: str) -> Iterator[Problem]:
    for size in sizes:
        if not 1 <= size <= largest:
            yield Problem(field, str(size), f"must be from 1 to {_MAX_BATCH_SIZE} ({largest})")


def _delay_problems(delay_us: int, field: str) -> Iterator[Problem]:
    if delay_us > LONGEST_DELAY_US:
        yield Problem(
            field,
            f"{delay_us / 1_000_000:g}s",
            f"must be at most {LONGEST_DELAY_US // 1_000_000}s, usually a few ms",
        )


def _priority_problems(dynamic: ModelConfig) -> Iterator[Problem]:
    levels, default = dynamic.priority_levels, dynamic.default_priority_level
    if levels == 0:
        if default:
            yield Problem(f"{_DYNAMIC}.defaultPriority", str(default), "has no effect without priorityLevels")
        if dynamic.priority_queue_policy:
            yield Problem(f"{_DYNAMIC}.priorityPolicies", "set", "has no effect without priorityLevels")
        return
    if not 1 <= default <= levels:
        yield Problem(f"{_DYNAMIC}.defaultPriority", str(default), f"must be from 1 to priorityLevels ({levels})")
    for level in sorted(dynamic.priority_queue_policy):
        if not 1 <= level <= levels:
            yield Problem(
                f"{_DYNAMIC}.priorityPolicies",
                f"for level {level}",
                f"must be from 1 to priorityLevels ({levels})",
            )
    if dynamic.preserve_ordering and levels > 1:
        yield Problem(f"{_DYNAMIC}.priorityLevels", str(levels), "must be 1 when preserveOrdering is true")


def _policy_problems(field: str, policy: ModelConfig, *, preserves_order: bool) -> Iterator[Problem]:
    timeout_us = policy.default_timeout_microseconds
    if policy.max_queue_size == 0:
        yield Problem(
            f"{field}.maxQueueSize",
            "0",
            "means an unlimited queue, which grows until memory runs out under overload: set 1 or more",
        )
    if policy.timeout_action == _DELAY and timeout_us == 0:
        yield Problem(f"{field}.timeoutAction", "Delay", "has no effect without queueTimeout")
    if policy.timeout_action == _DELAY and timeout_us > 0 and preserves_order:
        yield Problem(f"{field}.timeoutAction", "Delay", "must be Reject when preserveOrdering is true")
    if policy.allow_timeout_override and timeout_us == 0:
        yield Problem(
            f"{field}.allowTimeoutOverride",
            "true",
            "has no effect without queueTimeout: a request can only shorten it",
        )


def _sequence_problems(config: ModelConfig) -> Iterator[Problem]:
    sequence, field = config.sequence_batching, "spec.modelConfig.sequence_batching"
    if sequence.HasField("oldest"):
        yield from _preferred_size_problems(
            sequence.oldest.preferred_batch_size,
            config.max_batch_size,
            f"{field}.oldest.preferred_batch_size",
        )
        yield from _delay_problems(
            sequence.oldest.max_queue_delay_microseconds, f"{field}.oldest.max_queue_delay_microseconds"
        )
    if sequence.HasField("direct"):
        utilization = sequence.direct.minimum_slot_utilization
        if not 0 <= utilization <= 1:
            yield Problem(f"{field}.direct.minimum_slot_utilization", f"{utilization:g}", "must be from 0 to 1")
        yield from _delay_problems(
            sequence.direct.max_queue_delay_microseconds, f"{field}.direct.max_queue_delay_microseconds"
        )


_KINDS: Final = {0: "Auto", 1: "GPU", 2: "CPU", 3: "Model"}
_GPU: Final = 1
_WITHOUT_GPUS: Final = frozenset({2, 3})


def instance_problems(config: ModelConfig, gpus: int) -> Iterator[Problem]:
    """Check every instance group; `gpus` is how many GPUs the container will see, numbered from 0."""
    for index, group in enumerate(config.instance_group):
        yield from _group_problems(f"spec.instances[{index}]", group, gpus)
        if group.profile and not _runs_tensorrt(config):
            yield Problem(
                f"spec.instances[{index}].profile",
                ", ".join(group.profile),
                "has an effect with backend tensorrt only: remove it",
            )
    if config.instance_group and all(group.passive for group in config.instance_group):
        yield Problem("spec.instances", "passive throughout", "at least one must not be passive, or nothing executes")


def _group_problems(field: str, group: ModelConfig, gpus: int) -> Iterator[Problem]:
    kind = _KINDS[group.kind]
    if group.HasField("count") and group.count < 1:
        yield Problem(f"{field}.count", str(group.count), "must be 1 or more; Triton would quietly run 1")
    if group.kind in _WITHOUT_GPUS and group.gpus:
        yield Problem(f"{field}.gpus", _listed(group.gpus), f"must be empty when kind is {kind}")
        return
    if group.kind == _GPU and gpus == 0:
        yield Problem(f"{field}.kind", "GPU", "needs spec.server.gpu.count of 1 or more, or kind CPU")
        return
    for gpu in group.gpus:
        if not 0 <= gpu < gpus:
            yield Problem(
                f"{field}.gpus",
                str(gpu),
                f"must be below spec.server.gpu.count ({gpus}): GPUs are numbered from 0 in the container",
            )


def _runs_tensorrt(config: ModelConfig) -> bool:
    return "tensorrt" in {config.backend, config.platform.removesuffix("_plan")} or not (
        config.backend or config.platform
    )


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
