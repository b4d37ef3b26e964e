"""From a ModelDeployment's spec to Triton's ModelConfig, that of the model and those of its companions."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from tritonfleet.api.batching import Batching, DynamicBatching, InstanceGroup, QueuePolicy, TimeoutAction
from tritonfleet.api.companions import Companion
from tritonfleet.api.execution import Accelerator, Cuda, GraphShape, Optimization, WarmupSample
from tritonfleet.api.model import Model, VersionPolicy
from tritonfleet.api.modeldeployment import ModelDeploymentSpec
from tritonfleet.api.quantities import duration_us
from tritonfleet.api.sequences import ControlKind, SequenceBatching, SequenceControl, SequenceState
from tritonfleet.api.tensors import ModelInput, Tensor
from tritonfleet.errors import InvalidSpec
from tritonfleet.triton import schema
from tritonfleet.triton.schema import SCHEDULERS, ModelConfig, merge

_RAW: Final = "spec.modelConfig"
_ENSEMBLE: Final = "ensemble"

RAW_ONLY: Final[Mapping[str, str]] = {
    "name": "`spec.model.name` is the model's folder as well",
    "platform": "the name of a backend and a format from before there were backends: `spec.model.backend`",
    "runtime": "chooses between libraries of one backend, of which images have one",
    "cc_model_filenames": "a file for each kind of GPU, where a fleet's pods are all of one kind",
    "ensemble_scheduling": "the maps of an ensemble, which come with its artifact; `spec.companions` has its models",
    "instance_group.secondary_devices": "NVDLA, an accelerator of embedded boards",
    "model_operations": "libraries of custom operations, which a flag or the backend's parameters load as well",
    "model_repository_agents": "refused: an agent may replace files that were checked",
}
"""Fields of ModelConfig that no typed field sets, and why; `spec.modelConfig` can, except where the reason says no."""

TYPED: Final[Mapping[str, str]] = {
    "name": "spec.model.name",
    "platform": "spec.model.backend",
    "backend": "spec.model.backend",
    "version_policy": "spec.model.versionPolicy",
    "max_batch_size": "spec.batching.maxBatchSize",
    "input": "spec.model.inputs",
    "output": "spec.model.outputs",
    "batch_input": "spec.batching.batchInputs",
    "batch_output": "spec.batching.batchOutputs",
    "optimization": "spec.model.optimization",
    "dynamic_batching": "spec.batching.dynamic",
    "sequence_batching": "spec.batching.sequence",
    "instance_group": "spec.instances",
    "default_model_filename": "spec.model.defaultModelFilename",
    "metric_tags": "spec.model.metricTags",
    "parameters": "spec.model.parameters",
    "model_warmup": "spec.model.warmup",
    "model_transaction_policy": "spec.model.decoupled",
    "response_cache": "spec.server.responseCache",
    "model_metrics": "spec.model.metrics",
}
"""The typed field that sets each field of ModelConfig, or what is in it."""


def render(spec: ModelDeploymentSpec, model_name: str) -> str:
    """Return the text form of `model_config`; equal specs give equal bytes."""
    return schema.to_text(model_config(spec, model_name))


def model_config(spec: ModelDeploymentSpec, model_name: str) -> ModelConfig:
    """Return what the spec says about the model, `modelConfig` laid over the typed fields.

    Raises InvalidSpec when `modelConfig` cannot be read or chooses another scheduler than `batching`.
    """
    config = schema.empty()
    config.name = model_name
    _set_model(config, spec.model)
    if spec.batching is not None:
        _set_batching(config, spec.batching)
    for instance in spec.instances:
        _add_instance(config.instance_group.add(), instance)
    if spec.server.response_cache is not None:
        config.response_cache.enable = True
    if not spec.raw_model_config:
        return config
    overlay = schema.parse_json(spec.raw_model_config, _RAW)
    _refuse_second_scheduler(config, overlay)
    return merge(config, overlay)


def _set_model(config: ModelConfig, model: Model) -> None:
    if model.backend == _ENSEMBLE:
        config.platform = _ENSEMBLE
    elif model.backend is not None:
        config.backend = model.backend
    if model.version_policy is not None:
        _set_version_policy(config.version_policy, model.version_policy)
    _set_tensors(config, model)
    for key, value in model.parameters.items():
        config.parameters[key].string_value = value
    if model.decoupled:
        config.model_transaction_policy.decoupled = True
    _set_given(config, model, ("default_model_filename",))
    _set_metrics(config, model)
    for sample in model.warmup:
        _set_warmup(config.model_warmup.add(), sample)
    if model.optimization is not None:
        _set_optimization(config.optimization, model.optimization)


def _set_metrics(config: ModelConfig, model: Model) -> None:
    for key, value in model.metric_tags.items():
        config.metric_tags[key] = value
    for histogram in model.metrics:
        control = config.model_metrics.metric_control.add()
        control.metric_identifier.family = histogram.family
        control.histogram_options.buckets.extend(histogram.buckets)


def _set_warmup(target: ModelConfig, sample: WarmupSample) -> None:
    target.name, target.batch_size, target.count = sample.name, sample.batch_size, sample.count
    for given in sample.inputs:
        tensor = target.inputs[given.name]
        tensor.data_type = schema.data_type(given.data_type)
        tensor.dims.extend(given.dims)
        if given.input_data_file is not None:
            tensor.input_data_file = given.input_data_file
        elif given.random_data:
            tensor.random_data = True
        else:
            tensor.zero_data = True


def _set_optimization(target: ModelConfig, given: Optimization) -> None:
    target.SetInParent()
    if given.graph_level is not None:
        target.graph.level = given.graph_level
    if given.priority is not None:
        target.priority = target.ModelPriority.Value(f"PRIORITY_{given.priority.upper()}")
    if given.cuda is not None:
        _set_cuda(target.cuda, given.cuda)
    if given.execution_accelerators is not None:
        accelerators = target.execution_accelerators
        _add_accelerators(accelerators.gpu_execution_accelerator, given.execution_accelerators.gpu)
        _add_accelerators(accelerators.cpu_execution_accelerator, given.execution_accelerators.cpu)
    if given.input_pinned_memory is not None:
        target.input_pinned_memory.enable = given.input_pinned_memory
    if given.output_pinned_memory is not None:
        target.output_pinned_memory.enable = given.output_pinned_memory
    _set_given(target, given, ("gather_kernel_buffer_threshold", "eager_batching"))


def _set_given(target: ModelConfig, given: object, names: Sequence[str]) -> None:
    """Set the fields that are there and are called the same in Triton."""
    for name in names:
        value = getattr(given, name)
        if value is not None:
            setattr(target, name, value)


def _set_cuda(target: ModelConfig, given: Cuda) -> None:
    target.SetInParent()
    _set_given(target, given, ("graphs", "busy_wait_events", "output_copy_stream"))
    for spec in given.graph_specs:
        graph = target.graph_spec.add()
        _set_graph_shape(graph, spec)
        if spec.lower_bound is not None:
            _set_graph_shape(graph.graph_lower_bound, spec.lower_bound)


def _set_graph_shape(target: ModelConfig, given: GraphShape) -> None:
    target.batch_size = given.batch_size
    for tensor in given.inputs:
        target.input[tensor.name].dim.extend(tensor.dims)


def _add_accelerators(target: ModelConfig, accelerators: Sequence[Accelerator]) -> None:
    for accelerator in accelerators:
        added = target.add()
        added.name = accelerator.name
        for key, value in accelerator.parameters.items():
            added.parameters[key] = value


def _set_tensors(config: ModelConfig, model: Model) -> None:
    for given in model.inputs:
        _set_input(config.input.add(), given)
    for output in model.outputs:
        tensor = config.output.add()
        _set_tensor(tensor, output)
        if output.label_file is not None:
            tensor.label_filename = output.label_file


def _set_version_policy(target: ModelConfig, policy: VersionPolicy) -> None:
    if policy.latest is not None:
        target.latest.num_versions = policy.latest
    elif policy.specific is not None:
        target.specific.versions.extend(policy.specific)
    else:
        target.all.SetInParent()


def _set_input(target: ModelConfig, given: ModelInput) -> None:
    _set_tensor(target, given)
    if given.format is not None:
        target.format = target.Format.Value(f"FORMAT_{given.format}")
    if given.optional:
        target.optional = True
    if given.ragged_batch:
        target.allow_ragged_batch = True


def _set_tensor(target: ModelConfig, given: Tensor) -> None:
    target.name = given.name
    target.data_type = schema.data_type(given.data_type)
    target.dims.extend(given.dims)
    if given.reshape is not None:
        target.reshape.SetInParent()
        target.reshape.shape.extend(given.reshape)
    if given.is_shape_tensor:
        target.is_shape_tensor = True
    if given.is_non_linear_format_io:
        target.is_non_linear_format_io = True


def _set_batching(config: ModelConfig, batching: Batching) -> None:
    if batching.max_batch_size is not None:
        config.max_batch_size = batching.max_batch_size
    if batching.dynamic is not None:
        _set_dynamic_batching(config.dynamic_batching, batching.dynamic)
    if batching.sequence is not None:
        _set_sequence_batching(config.sequence_batching, batching.sequence)
    for described in batching.batch_inputs:
        tensor = config.batch_input.add()
        tensor.kind = tensor.Kind.Value(f"BATCH_{_upper(described.kind)}")
        tensor.target_name.extend(described.target_names)
        tensor.data_type = schema.data_type(described.data_type)
        tensor.source_input.append(described.source_input)
    for scattered in batching.batch_outputs:
        tensor = config.batch_output.add()
        tensor.kind = tensor.BATCH_SCATTER_WITH_INPUT_SHAPE
        tensor.target_name.extend(scattered.target_names)
        tensor.source_input.append(scattered.source_input)


def _upper(name: str) -> str:
    """Return a name such as ItemShape as ITEM_SHAPE."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", name).upper()


def _set_sequence_batching(target: ModelConfig, sequence: SequenceBatching) -> None:
    target.SetInParent()
    if sequence.direct is not None:
        target.direct.SetInParent()
        _set_delay(target.direct, sequence.direct.max_queue_delay)
        _set_given(target.direct, sequence.direct, ("minimum_slot_utilization",))
    elif sequence.oldest is not None:
        _set_delay(target.oldest, sequence.oldest.max_queue_delay)
        _set_given(target.oldest, sequence.oldest, ("max_candidate_sequences", "preserve_ordering"))
        target.oldest.preferred_batch_size.extend(sequence.oldest.preferred_batch_sizes)
    if sequence.max_sequence_idle is not None:
        target.max_sequence_idle_microseconds = duration_us(sequence.max_sequence_idle)
    inputs: dict[str, ModelConfig] = {}
    for control in sequence.controls:
        if control.input not in inputs:
            inputs[control.input] = target.control_input.add()
            inputs[control.input].name = control.input
        _set_control(inputs[control.input].control.add(), control)
    for state in sequence.states:
        _set_state(target.state.add(), state)
    if sequence.iterative:
        target.iterative_sequence = True


def _set_delay(target: ModelConfig, delay: str | None) -> None:
    if delay is not None:
        target.max_queue_delay_microseconds = duration_us(delay)


def _set_control(target: ModelConfig, control: SequenceControl) -> None:
    if control.kind is ControlKind.CORRELATION_ID:
        target.kind = target.CONTROL_SEQUENCE_CORRID
        target.data_type = schema.data_type(control.data_type)
        return
    target.kind = target.Kind.Value(f"CONTROL_SEQUENCE_{control.kind.upper()}")
    values = control.false_true or (0, 1)
    if control.data_type == "BOOL":
        target.bool_false_true.extend(map(bool, values))
    elif control.data_type == "INT32":
        target.int32_false_true.extend(map(int, values))
    else:
        target.fp32_false_true.extend(values)


def _set_state(target: ModelConfig, state: SequenceState) -> None:
    target.input_name, target.output_name = state.input_name, state.output_name
    target.data_type = schema.data_type(state.data_type)
    target.dims.extend(state.dims)
    initial = state.initial_state
    if initial is not None:
        first = target.initial_state.add()
        first.name = initial.name or state.input_name
        first.data_type = target.data_type
        first.dims.extend(initial.dims or state.dims)
        if initial.data_file is not None:
            first.data_file = initial.data_file
        else:
            first.zero_data = True
    for name in ("use_same_buffer_for_input_output", "use_growable_memory"):
        if getattr(state, name):
            setattr(target, name, True)


def _set_dynamic_batching(target: ModelConfig, dynamic: DynamicBatching) -> None:
    _set_delay(target, dynamic.max_queue_delay)
    target.preferred_batch_size.extend(dynamic.preferred_batch_sizes)
    _set_given(target, dynamic, ("preserve_ordering", "priority_levels"))
    if dynamic.default_priority is not None:
        target.default_priority_level = dynamic.default_priority
    target.SetInParent()
    _set_queue_policy(target.default_queue_policy, dynamic)
    for policy in dynamic.priority_policies:
        _set_queue_policy(target.priority_queue_policy[policy.level], policy)


def _set_queue_policy(target: ModelConfig, policy: QueuePolicy) -> None:
    if policy.max_queue_size is not None:
        target.max_queue_size = policy.max_queue_size
    if policy.timeout_action is not None:
        target.timeout_action = target.DELAY if policy.timeout_action == TimeoutAction.DELAY else target.REJECT
    if policy.queue_timeout is not None:
        target.default_timeout_microseconds = duration_us(policy.queue_timeout)
    if policy.allow_timeout_override is not None:
        target.allow_timeout_override = policy.allow_timeout_override


def _add_instance(target: ModelConfig, instance: InstanceGroup) -> None:
    target.kind = target.Kind.Value(f"KIND_{instance.kind.upper()}")
    target.count = instance.count
    target.gpus.extend(instance.gpus)
    target.profile.extend(instance.profile)
    if instance.passive:
        target.passive = True
    _set_given(target, instance, ("name", "host_policy"))
    limiter = instance.rate_limiter
    if limiter is not None:
        target.rate_limiter.SetInParent()
        _set_given(target.rate_limiter, limiter, ("priority",))
        for needed in limiter.resources:
            resource = target.rate_limiter.resources.add()
            resource.name, resource.count = needed.name, needed.count
            if needed.is_global:
                setattr(resource, "global", True)


def _refuse_second_scheduler(config: ModelConfig, overlay: ModelConfig, at: str = "spec") -> None:
    typed, raw = (part.WhichOneof(SCHEDULERS) for part in (config, overlay))
    if typed is not None and raw is not None and typed != raw:
        raise InvalidSpec(
            f"{at}.batching.{typed.removesuffix('_batching')} and {at}.modelConfig.{raw} are both set: a model has one"
            " scheduler, remove one of them"
        )


def companion_config(companion: Companion, index: int) -> ModelConfig:
    """Return what the spec says about a companion; raises InvalidSpec as `model_config` does."""
    config = schema.empty()
    config.name = companion.name
    if companion.backend == _ENSEMBLE:
        config.platform = _ENSEMBLE
    elif companion.backend is not None:
        config.backend = companion.backend
    batching = companion.batching
    if batching is not None:
        _set_given(config, batching, ("max_batch_size",))
        if batching.dynamic is not None:
            config.dynamic_batching.SetInParent()
            _set_delay(config.dynamic_batching, batching.dynamic.max_queue_delay)
    for instance in companion.instances:
        group = config.instance_group.add()
        group.kind, group.count = group.Kind.Value(f"KIND_{instance.kind.upper()}"), instance.count
        group.gpus.extend(instance.gpus)
    if not companion.raw_model_config:
        return config
    at = f"spec.companions[{index}]"
    overlay = schema.parse_json(companion.raw_model_config, f"{at}.modelConfig")
    _refuse_second_scheduler(config, overlay, at)
    return merge(config, overlay)


_FIELD: Final = re.compile(r"spec\.((?:model|batching|instances|modelConfig)\b(?:\.\w+|\[\d+\])*)")
_COMPANION_FIELD: Final = re.compile(
    r"model\.(name|uri|digest|backend)|batching(\.maxBatchSize|\.dynamic(\.maxQueueDelay)?)?"
    r"|instances(\[\d+\])?(\.(kind|count|gpus))?|modelConfig\b.*"
)


def of_companion(message: str, index: int) -> str:
    """Return a message about the model's fields as one about those of a companion.

    What a companion has no typed field for is named by its place in `modelConfig`.
    """

    def placed(field: re.Match[str]) -> str:
        path, at = field[1], f"spec.companions[{index}]"
        if _COMPANION_FIELD.fullmatch(path):
            return f"{at}.{path.removeprefix('model.')}"
        bare = f"spec.{path}"
        names = [name for name, typed in TYPED.items() if bare == typed or bare.startswith((f"{typed}.", f"{typed}["))]
        return f"{at}.modelConfig.{names[-1]}" if names else f"{at}.modelConfig"

    return _FIELD.sub(placed, message)
