"""Rules for what a model is: its name, its backend, its versions, its warm-up and its ensemble."""

from collections.abc import Iterator
from typing import Final

from tritonfleet.triton.rules.problem import Problem
from tritonfleet.triton.schema import ModelConfig

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
