"""Validate a model configuration before a GPU is allocated: whether Triton loads it.

`problems()` checks the rules that Triton enforces when it reads and loads a model, and a few settings with which it
loads and then cannot serve (docs/reference/model-configuration.md lists them). Here are the rules for the model as a
whole and for ensembles, `tensor_rules` and `scheduling_rules` hold the others. They are pure functions of the
configuration and of `Context`. Each `Problem` names a field of the ModelDeployment and the remedy.

`plan/objects` and `cli/simulate` reject a spec that has any, with what the spec says alone; `fetch` rejects the
configuration that Triton would load, with the artifact's configuration and files.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Final, NamedTuple

from tritonfleet.errors import InvalidSpec
from tritonfleet.triton.context import (
    DROPPED_BACKENDS,
    ENSEMBLE,
    LATER_FIELDS,
    Context,
    Folder,
    Member,
    Problem,
    backend_and_platform,
    platforms,
)
from tritonfleet.triton.images import IMAGE_FOLDERS, Release
from tritonfleet.triton.scheduling_rules import batching_problems, instance_problems
from tritonfleet.triton.schema import ModelConfig, says
from tritonfleet.triton.tensor_rules import fits, tensor_problems, type_name, warmup_problems

_SHOWN = 5
"""Problems quoted in one message; conditions are short."""


def problems(
    config: ModelConfig,
    *,
    model_name: str,
    gpus: int,
    server_has_cache: bool = False,
    rate_limited: bool | None = None,
    release: Release | None = None,
    folder: Folder | None = None,
    members: Mapping[str, Member] | None = None,
    image_folders: Collection[str] | None = IMAGE_FOLDERS,
    partial: bool = False,
) -> tuple[Problem, ...]:
    """Return every broken rule; `Context` says what the arguments mean."""
    context = Context(
        model_name, gpus, server_has_cache, rate_limited, release, folder, members, image_folders, partial
    )
    found = chain(
        _name_problems(config, context),
        _release_problems(config, context),
        _backend_problems(config, context),
        _version_problems(config, context),
        _cache_problems(config, context),
        _metric_problems(config),
        _parameter_problems(config, context),
        warmup_problems(config, context) if config.model_warmup else (),
        _ensemble_problems(config, context) if _is_ensemble(config) else (),
        tensor_problems(config, context) if _has_tensors(config) else (),
        batching_problems(config, context) if config.max_batch_size or config.WhichOneof("scheduling_choice") else (),
        instance_problems(config, context) if config.instance_group else (),
    )
    return tuple(found)


def _has_tensors(config: ModelConfig) -> bool:
    return bool(config.input or config.output or config.batch_input or config.batch_output)


def refuse_problems(found: tuple[Problem, ...]) -> None:
    """Raise InvalidSpec (ConfigInvalid) that names the broken rules, if there are any."""
    if not found:
        return
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise InvalidSpec("; ".join(str(problem) for problem in found[:_SHOWN]) + more)


def _name_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    if config.name and config.name != context.model_name:
        yield Problem(
            "spec.modelConfig.name",
            f"'{config.name}'",
            f"must be left out or equal spec.model.name '{context.model_name}'",
        )
    if config.HasField("model_repository_agents") and config.model_repository_agents.agents:
        agents = ", ".join(f"'{agent.name}'" for agent in config.model_repository_agents.agents)
        yield Problem(
            "spec.modelConfig.model_repository_agents",
            agents,
            "must be left out: an agent may replace what was checked; spec.model.digest verifies the model's files",
        )


def _release_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    if context.release is None:
        return
    for later in LATER_FIELDS:
        if context.release < later.since and says(config, later.path):
            yield Problem(
                later.field,
                f"set for Triton {context.release}",
                f"must be left out before {later.since}, the first release that can read it",
            )
    dropped = DROPPED_BACKENDS.get(config.backend or platforms(context.release).get(config.platform, ""))
    if dropped is not None and context.release >= dropped[0]:
        yield Problem(
            "spec.model.backend",
            f"'tensorflow' for Triton {context.release}",
            f"needs a release before {dropped[0]}, the first without it, or the model in another format, such as ONNX",
        )


def _is_ensemble(config: ModelConfig) -> bool:
    return ENSEMBLE in {config.platform, config.backend} or config.HasField("ensemble_scheduling")


_WITHOUT_TABLE: Final = frozenset({"tensorflow", "tensorrt", "onnxruntime", "pytorch"})
"""Backends whose platform Triton checks; with any other backend it ignores the platform."""


def _backend_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    if _is_ensemble(config) or (context.partial and not (config.backend and config.platform)):
        return
    found = backend_and_platform(config, context)
    if found is None:
        return
    backend, platform = found
    known = platforms(context.release)
    choices = f"{', '.join(sorted(known))}, {ENSEMBLE}"
    if not backend and platform:
        yield Problem(
            "spec.modelConfig.platform",
            f"'{platform}'",
            f"must be left out (use spec.model.backend) or one of {choices}",
        )
    elif not backend and not config.default_model_filename and context.folder is not None and context.folder.versions:
        yield Problem(
            "spec.model.backend", "not set", "must be set: no file of the model tells which backend it is for"
        )
    elif backend in _WITHOUT_TABLE and known.get(platform) != backend:
        fitting = " or ".join(f"'{name}'" for name in sorted(known) if known[name] == backend)
        if config.platform in known:
            yield Problem(
                "spec.model.backend", f"'{backend}'", f"must be '{known[platform]}' for platform '{platform}'"
            )
        else:
            value = f"'{platform}'" if platform else "not set"
            yield Problem("spec.modelConfig.platform", value, f"must be {fitting} for backend '{backend}'")


def _version_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    policy, field = config.version_policy, "spec.model.versionPolicy"
    choice = policy.WhichOneof("policy_choice")
    if choice == "latest" and not policy.latest.num_versions:
        yield Problem(f"{field}.latest", "0", "must be 1 or more")
    elif choice == "specific" and not policy.specific.versions:
        yield Problem(f"{field}.specific", "empty", "must list at least one version")
    elif context.folder is None:
        if choice == "specific" and max(policy.specific.versions) < 0:
            value = ", ".join(map(str, policy.specific.versions))
            yield Problem(f"{field}.specific", value, "must be the name of a version folder, such as 1")
    elif not context.folder.versions:
        yield Problem("the model's folder", "without a version", "must have a folder such as 1/, without leading zeros")
    elif not served_versions(config, context.folder.versions):
        value = ", ".join(map(str, policy.specific.versions))
        there = ", ".join(map(str, sorted(context.folder.versions)))
        yield Problem(f"{field}.specific", value, f"must name a version that the model has: {there}")
    else:
        yield from _file_problems(config, context)


def served_versions(config: ModelConfig, there: frozenset[int]) -> frozenset[int]:
    """Return the versions that Triton loads of those that are there."""
    policy = config.version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return there
    if choice == "specific":
        return there & frozenset(policy.specific.versions)
    return frozenset(sorted(there)[-(policy.latest.num_versions if choice == "latest" else 1) :])


_WAITS_FOR: Final = {"python": "model.py"}
"""Backends for whose file Triton waits forever if it is missing, and the file they load by default."""


def _file_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    """Check that each version has the file that `default_model_filename` names, or that the backend waits for."""
    found = backend_and_platform(config, context)
    file = config.default_model_filename or _WAITS_FOR.get(found[0] if found else "")
    if not file or context.folder is None or config.cc_model_filenames or config.platform == ENSEMBLE:
        return
    for version in sorted(served_versions(config, context.folder.versions)):
        if not context.folder.has(f"{version}/{file}"):
            yield Problem(
                "spec.model.defaultModelFilename",
                f"'{file}'",
                f"must be a file of every version: there is no {version}/{file}",
            )


def _cache_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    if not config.response_cache.enable:
        return
    field = "spec.server.responseCache" if context.server_has_cache else "spec.modelConfig.response_cache"
    if not context.server_has_cache:
        yield Problem(
            field,
            "enabled",
            "caches nothing unless the server has one: set spec.server.responseCache, such as {local: {size: 64Mi}}",
        )
    if config.model_transaction_policy.decoupled:
        yield Problem(field, "enabled", "must be off when spec.model.decoupled is true")
    if config.HasField("sequence_batching"):
        yield Problem(field, "enabled", "must be off with sequence batching")


_TAG: Final = re.compile(r"[A-Za-z0-9_]*")
"""What may follow the `_` with which Triton begins the label of a tag."""


def _metric_problems(config: ModelConfig) -> Iterator[Problem]:
    for key in sorted(config.metric_tags):
        if not _TAG.fullmatch(key) or key.startswith("_"):
            yield Problem(
                "spec.model.metricTags",
                f"for '{key}'",
                "must have keys of letters, digits and '_', not beginning with '_': the server ends with any other",
            )
    for index, control in enumerate(config.model_metrics.metric_control):
        field = f"spec.model.metrics[{index}]"
        if not control.metric_identifier.family:
            yield Problem(f"{field}.family", "empty", "must be the name of a histogram")
        buckets = list(control.histogram_options.buckets)
        if not buckets:
            yield Problem(f"{field}.buckets", "empty", "must have at least one bound")
        elif any(low >= high for low, high in pairwise(buckets)):
            yield Problem(f"{field}.buckets", str(buckets), "must be in ascending order")


_MODEL_FOLDER: Final = "$$TRITON_MODEL_DIRECTORY"
_PATH_PARAMETERS: Final = {"EXECUTION_ENV_PATH": "python", "TRITON_BATCH_STRATEGY_PATH": None}
"""Parameters that name a file, and the only backend that reads each; None for all."""


def _parameter_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    if not config.parameters:
        return
    field = "spec.model.parameters"
    cpu_only = "FORCE_CPU_ONLY_INPUT_TENSORS"
    is_python = config.backend == "python"
    if is_python and cpu_only in config.parameters:
        value = config.parameters[cpu_only].string_value
        if value not in {"yes", "no"}:
            yield Problem(f"{field}.{cpu_only}", f"'{value}'", "must be 'yes' or 'no'")
    for name, backend in _PATH_PARAMETERS.items():
        if name in config.parameters and (backend is None or is_python):
            path = config.parameters[name].string_value
            if (path or backend is None) and not _can_be_there(path, context):
                yield Problem(
                    f"{field}.{name}",
                    f"'{path}'",
                    f"must be a path in the model's folder, such as {_MODEL_FOLDER}/file, or in the image",
                )


def _can_be_there(path: str, context: Context) -> bool:
    for prefix in (_MODEL_FOLDER, f"/models/{context.model_name}"):
        if path.startswith(f"{prefix}/"):
            return context.folder is None or context.folder.has(path.removeprefix(prefix))
    roots = context.image_folders
    return roots is None or any(path.startswith(f"{root.rstrip('/')}/") for root in roots)


_STEPS: Final = "spec.modelConfig.ensemble_scheduling"


def _ensemble_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    """Check an ensemble by itself; source: `ValidateEnsembleSchedulingConfig` of Triton core."""
    if config.backend:
        yield Problem(
            "spec.modelConfig.backend",
            f"'{config.backend}'",
            "must be left out of an ensemble, whose platform is 'ensemble'",
        )
    elif config.platform != ENSEMBLE and (config.platform or not context.partial):
        value = f"'{config.platform}'" if config.platform else "not set"
        yield Problem("spec.modelConfig.platform", value, "must be 'ensemble' with ensemble_scheduling")
    if context.partial and not config.HasField("ensemble_scheduling"):
        return
    for part, is_set in (
        ("spec.instances", len(config.instance_group)),
        ("spec.model.optimization", config.HasField("optimization")),
        ("spec.model.warmup", len(config.model_warmup)),
    ):
        if is_set:
            yield Problem(part, "set", "must be left out of an ensemble: it belongs to the member models")
    found = tuple(_step_problems(config, context)) or tuple(_flow_problems(config, context))
    yield from found
    if not found and context.members is not None:
        yield from _member_problems(config, context, context.members)


def _step_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    steps = config.ensemble_scheduling.step
    if not steps:
        yield Problem(f"{_STEPS}.step", "empty", "must list the models of the ensemble")
    makers: dict[str, int] = {}
    for index, step in enumerate(steps):
        field = f"{_STEPS}.step[{index}]"
        for name in ("model_name", "input_map", "output_map"):
            if not getattr(step, name):
                yield Problem(f"{field}.{name}", "empty", "must be set in every step")
        if not step.model_version and context.members is None:
            yield Problem(f"{field}.model_version", "not set", "must be -1, which is the latest version")
        for tensor in step.output_map.values():
            if tensor in makers:
                yield Problem(f"{field}.output_map", f"'{tensor}'", "must be written by one step, once")
            makers[tensor] = index


def _flow_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    """Check that every tensor is read, and can be computed from the inputs."""
    if context.partial and not (config.input and config.output):
        return
    steps = config.ensemble_scheduling.step
    outputs = [tensor.name for tensor in config.output]
    used = {tensor for step in steps for tensor in (*step.input_map.values(), *step.output_map.values())}
    read = {tensor for step in steps for tensor in step.input_map.values()}
    for index, tensor in enumerate(config.input):
        if tensor.name not in used:
            yield Problem(f"spec.model.inputs[{index}]", f"'{tensor.name}'", "must be used by a step of the ensemble")
    ready, waiting = {tensor.name for tensor in config.input}, list(steps)
    while fed := [step for step in waiting if ready.issuperset(step.input_map.values())]:
        ready.update(tensor for step in fed for tensor in step.output_map.values())
        waiting = [step for step in waiting if step not in fed]
    for index, name in enumerate(outputs):
        if name not in ready or name not in used:
            remedy = "must be made by a step whose inputs come from the ensemble's inputs or from other steps"
            yield Problem(f"spec.model.outputs[{index}]", f"'{name}'", remedy)
    for name in sorted(used - set(outputs)):
        if name not in ready:
            yield Problem(_STEPS, f"with tensor '{name}'", "must get it from an input or from a step that can run")
        elif name not in read:
            yield Problem(_STEPS, f"with tensor '{name}'", "must use it in a step or as an output, or not make it")


def _member_problems(config: ModelConfig, context: Context, members: Mapping[str, Member]) -> Iterator[Problem]:
    """Check an ensemble against its members; source: `ValidateEnsembleConfig` of Triton core's ensemble_utils.cc."""
    circle = _circle(context.model_name, config, members, ())
    if circle:
        yield Problem(_STEPS, f"a circle: {' -> '.join(circle)}", "must not lead back to a model that it came from")
        return
    nodes: dict[str, _Node] = {}
    for tensor in (*config.input, *config.output):
        dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
        nodes.setdefault(tensor.name, _Node(tensor, tuple(dims), config.max_batch_size > 0, context.model_name))
    for index, step in enumerate(config.ensemble_scheduling.step):
        field, name = f"{_STEPS}.step[{index}]", step.model_name
        member = members.get(name)
        if member is None:
            yield Problem(
                f"{field}.model_name", f"'{name}'", "must be a model of the same server: name it in spec.companions"
            )
            continue
        yield from _choice_problems(field, config, step, member)
        for kind, mapped, wanted in (
            ("input_map", step.input_map, member.config.input),
            ("output_map", step.output_map, member.config.output),
        ):
            yield from _map_problems(f"{field}.{kind}", mapped, wanted, name)
            for tensor in wanted:
                if tensor.name in mapped:
                    node = _Node(tensor, tuple(tensor.dims), member.config.max_batch_size > 0, name)
                    yield from _agreement_problems(
                        mapped[tensor.name], nodes.setdefault(mapped[tensor.name], node), node
                    )
    yield from _stream_problems(config, members)


def _choice_problems(field: str, config: ModelConfig, step: ModelConfig, member: Member) -> Iterator[Problem]:
    if step.model_version != -1 and member.folder is not None:
        served = served_versions(member.config, member.folder.versions)
        if step.model_version not in served:
            listed = ", ".join(map(str, sorted(served)))
            yield Problem(f"{field}.model_version", str(step.model_version), f"must be -1 or one of {listed}")
    largest = member.config.max_batch_size
    if largest and largest < config.max_batch_size:
        remedy = f"must be at most that of '{step.model_name}', {largest}"
        yield Problem("spec.batching.maxBatchSize", str(config.max_batch_size), remedy)


def _stream_problems(config: ModelConfig, members: Mapping[str, Member]) -> Iterator[Problem]:
    """Check that no step reads tensors that two decoupled members send, each as often as it likes."""
    sender: dict[str, int] = dict.fromkeys((tensor.name for tensor in config.input), -1)
    waiting = list(enumerate(config.ensemble_scheduling.step))
    while fed := [(index, step) for index, step in waiting if sender.keys() >= set(step.input_map.values())]:
        for index, step in fed:
            senders = {sender[tensor] for tensor in step.input_map.values()}
            if len(senders) > 1:
                yield Problem(
                    f"{_STEPS}.step[{index}].input_map",
                    "of tensors that different decoupled models send",
                    "must be of tensors that come from the same one",
                )
            member = members.get(step.model_name)
            is_decoupled = member is not None and member.config.model_transaction_policy.decoupled
            sender.update(dict.fromkeys(step.output_map.values(), index if is_decoupled else min(senders)))
        waiting = [each for each in waiting if each not in fed]


def _circle(
    name: str, config: ModelConfig, members: Mapping[str, Member], path: tuple[str, ...]
) -> tuple[str, ...] | None:
    path = (*path, name)
    for step in config.ensemble_scheduling.step:
        if step.model_name in path:
            return (*path[path.index(step.model_name) :], step.model_name)
        member = members.get(step.model_name)
        found = _circle(step.model_name, member.config, members, path) if member is not None else None
        if found:
            return found
    return None


def _map_problems(
    field: str, mapped: Mapping[str, str], tensors: Sequence[ModelConfig], model: str
) -> Iterator[Problem]:
    if not tensors:
        return
    names = {tensor.name for tensor in tensors}
    for name in sorted(set(mapped) - names):
        yield Problem(field, f"for '{name}'", f"must be for a tensor that '{model}' has: {', '.join(sorted(names))}")
    if field.endswith("input_map"):
        missing = sorted({tensor.name for tensor in tensors if not tensor.optional} - set(mapped))
        if missing:
            yield Problem(field, f"without {', '.join(missing)}", f"must give every input of '{model}'")


class _Node(NamedTuple):
    """A tensor of an ensemble, as the model that is named first knows it."""

    tensor: ModelConfig
    dims: tuple[int, ...]
    batched: bool
    model: str

    @property
    def full(self) -> tuple[int, ...]:
        return (-1, *self.dims) if self.batched else self.dims


def _agreement_problems(name: str, one: _Node, other: _Node) -> Iterator[Problem]:
    if one.tensor.data_type != other.tensor.data_type:
        yield Problem(
            _STEPS,
            f"with tensor '{name}' of {type_name(one.tensor)} in '{one.model}'",
            f"must be {type_name(other.tensor)}, as in '{other.model}'",
        )
    if not fits(one.dims, other.dims) and not fits(one.full, other.full):
        yield Problem(
            _STEPS,
            f"with tensor '{name}' of dims {list(one.dims)} in '{one.model}'",
            f"must fit {list(other.dims)}, as in '{other.model}'",
        )
