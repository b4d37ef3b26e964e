"""From a ModelDeployment's spec to Triton's ModelConfig."""

from typing import Final

from tritonfleet.api.batching import Batching, DynamicBatching, InstanceGroup, QueuePolicy, TimeoutAction
from tritonfleet.api.model import Model, ModelInput, Tensor, VersionPolicy
from tritonfleet.api.modeldeployment import ModelDeploymentSpec
from tritonfleet.api.quantities import duration_us
from tritonfleet.errors import InvalidSpec
from tritonfleet.triton import schema
from tritonfleet.triton.schema import SCHEDULERS, ModelConfig, merge

_RAW: Final = "spec.modelConfig"
_ENSEMBLE: Final = "ensemble"


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
    for given in model.inputs:
        _set_input(config.input.add(), given)
    for output in model.outputs:
        tensor = config.output.add()
        _set_tensor(tensor, output)
        if output.label_file is not None:
            tensor.label_filename = output.label_file
    for key, value in model.parameters.items():
        config.parameters[key].string_value = value
    if model.decoupled:
        config.model_transaction_policy.decoupled = True


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


def _set_batching(config: ModelConfig, batching: Batching) -> None:
    if batching.max_batch_size is not None:
        config.max_batch_size = batching.max_batch_size
    if batching.dynamic is not None:
        _set_dynamic_batching(config.dynamic_batching, batching.dynamic)


def _set_dynamic_batching(target: ModelConfig, dynamic: DynamicBatching) -> None:
    if dynamic.max_queue_delay is not None:
        target.max_queue_delay_microseconds = duration_us(dynamic.max_queue_delay)
    target.preferred_batch_size.extend(dynamic.preferred_batch_sizes)
    if dynamic.preserve_ordering is not None:
        target.preserve_ordering = dynamic.preserve_ordering
    if dynamic.priority_levels is not None:
        target.priority_levels = dynamic.priority_levels
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


def _refuse_second_scheduler(config: ModelConfig, overlay: ModelConfig) -> None:
    typed, raw = (part.WhichOneof(SCHEDULERS) for part in (config, overlay))
    if typed is not None and raw is not None and typed != raw:
        raise InvalidSpec(
            f"spec.batching.dynamic and {_RAW}.{raw} are both set: a model has one scheduler, remove one of them"
        )
