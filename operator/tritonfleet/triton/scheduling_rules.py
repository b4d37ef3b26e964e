"""Rules about scheduling: how requests are batched, which sequences they belong to, and which copies execute them.

Source: `ValidateModelConfig`, `GetBooleanSequenceControlProperties`, `GetTypedSequenceControlProperties` and
`ValidateInstanceGroup` in Triton core's model_config_utils.cc, `GenerateInitialStateData` in its
sequence_batch_scheduler.cc, and `ValidateMaxResources` in its rate_limiter.cc.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from tritonfleet.api.quantities import counted
from tritonfleet.triton.context import TENSORRT_PLAN, Context, Problem, backend_and_platform, batch_size
from tritonfleet.triton.schema import ModelConfig
from tritonfleet.triton.tensor_rules import data_file_problems, type_name

LONGEST_DELAY_US: Final = 10_000_000
"""Triton accepts any delay and then holds every request that long."""

_MAX_BATCH_SIZE: Final = "spec.batching.maxBatchSize"
_DYNAMIC: Final = "spec.batching.dynamic"
_DELAY: Final = 1
"""Value of `ModelQueuePolicy.TimeoutAction.DELAY`."""


def batching_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    """Check batch sizes and the scheduler of a configuration."""
    if config.max_batch_size < 0:
        yield Problem(_MAX_BATCH_SIZE, str(config.max_batch_size), "must be 0 (no batching) or more")
    if config.HasField("dynamic_batching"):
        yield from _dynamic_problems(config, context)
    elif config.HasField("sequence_batching"):
        yield from _sequence_problems(config, context)


def _dynamic_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    dynamic = config.dynamic_batching
    yield from _preferred_size_problems(
        dynamic.preferred_batch_size, batch_size(config, context), f"{_DYNAMIC}.preferredBatchSizes"
    )
    yield from _delay_problems(dynamic.max_queue_delay_microseconds, f"{_DYNAMIC}.maxQueueDelay")
    if dynamic.priority_levels:
        yield from _priority_problems(dynamic, context)
    if dynamic.preserve_ordering:
        policies = [(_DYNAMIC, dynamic.default_queue_policy)]
        policies += [
            (f"{_DYNAMIC}.priorityPolicies[{level}]", dynamic.priority_queue_policy[level])
            for level in sorted(dynamic.priority_queue_policy)
        ]
        for field, policy in policies:
            if policy.timeout_action == _DELAY and policy.default_timeout_microseconds:
                yield Problem(f"{field}.timeoutAction", "Delay", "must be Reject when preserveOrdering is true")


def _preferred_size_problems(sizes: Sequence[int], largest: int | None, field: str) -> Iterator[Problem]:
    for size in sizes:
        if size < 1 or (largest is not None and size > largest):
            limit = (
                f"from 1 to {_MAX_BATCH_SIZE} ({largest})" if largest else f"1 or more, and {_MAX_BATCH_SIZE} as large"
            )
            yield Problem(field, str(size), f"must be {limit}")


def _delay_problems(delay_us: int, field: str) -> Iterator[Problem]:
    if delay_us > LONGEST_DELAY_US:
        yield Problem(
            field,
            f"{delay_us / 1_000_000:g}s",
            f"must be at most {LONGEST_DELAY_US // 1_000_000}s, usually a few ms",
        )


def _priority_problems(dynamic: ModelConfig, context: Context) -> Iterator[Problem]:
    levels, default = dynamic.priority_levels, dynamic.default_priority_level
    may_come = context.partial and not dynamic.HasField("default_priority_level")
    if not 1 <= default <= levels and not may_come:
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


_SEQUENCE: Final = "spec.batching.sequence"


def _sequence_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    sequence = config.sequence_batching
    if sequence.HasField("oldest"):
        yield from _preferred_size_problems(
            sequence.oldest.preferred_batch_size,
            batch_size(config, context),
            f"{_SEQUENCE}.oldest.preferredBatchSizes",
        )
        yield from _delay_problems(sequence.oldest.max_queue_delay_microseconds, f"{_SEQUENCE}.oldest.maxQueueDelay")
    if sequence.HasField("direct"):
        utilization = sequence.direct.minimum_slot_utilization
        if utilization < 0 or utilization > 1:
            yield Problem(f"{_SEQUENCE}.direct.minimumSlotUtilization", f"{utilization:g}", "must be from 0 to 1")
        yield from _delay_problems(sequence.direct.max_queue_delay_microseconds, f"{_SEQUENCE}.direct.maxQueueDelay")
    yield from _control_problems(sequence.control_input)
    yield from _state_problems(sequence.state, context)


_CORRELATION_ID: Final = 3
_CONTROL_KINDS: Final = (
    "CONTROL_SEQUENCE_START",
    "CONTROL_SEQUENCE_READY",
    "CONTROL_SEQUENCE_END",
    "CONTROL_SEQUENCE_CORRID",
)
_ID_TYPES: Final = frozenset({4, 5, 8, 9, 13})
"""`TYPE_UINT32`, `TYPE_UINT64`, `TYPE_INT32`, `TYPE_INT64` and `TYPE_STRING`."""
_PAIRS: Final = ("int32_false_true", "fp32_false_true", "bool_false_true")


def _control_problems(inputs: Sequence[ModelConfig]) -> Iterator[Problem]:
    names, kinds = set(), set()
    field = f"{_SEQUENCE}.controls"
    for given in inputs:
        if not given.name:
            yield Problem(f"{field}.input", "empty", "must be the name of the input that the model reads")
        elif given.name in names:
            yield Problem(f"{field}.input", f"'{given.name}'", "must be another name than that of the other controls")
        names.add(given.name)
        for control in given.control:
            kind = _CONTROL_KINDS[control.kind]
            if control.kind in kinds:
                yield Problem(field, f"a second {kind}", "must be given once")
            kinds.add(control.kind)
            yield from _control_value_problems(field, control, kind)


def _control_value_problems(field: str, control: ModelConfig, kind: str) -> Iterator[Problem]:
    given = [name for name in _PAIRS if getattr(control, name)]
    if control.kind == _CORRELATION_ID:
        if control.data_type not in _ID_TYPES:
            yield Problem(
                f"{field}.dataType",
                type_name(control),
                f"must be TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32 or TYPE_STRING for {kind}",
            )
        for name in given:
            yield Problem(f"{field}.{name}", "set", f"must be left out for {kind}: set data_type")
    elif len(given) != 1:
        value = f"without values for {kind}" if not given else f"{' and '.join(given)} for {kind}"
        yield Problem(field, value, f"must have exactly one of {', '.join(_PAIRS)}")
    elif len(getattr(control, given[0])) != 2:
        yield Problem(
            f"{field}.{given[0]}",
            counted(len(getattr(control, given[0])), "value"),
            "must be the two for false and true",
        )


def _state_problems(states: Sequence[ModelConfig], context: Context) -> Iterator[Problem]:
    initial = set()
    for index, state in enumerate(states):
        field = f"{_SEQUENCE}.states[{index}]"
        if len(state.initial_state) > 1:
            yield Problem(f"{field}.initialState", str(len(state.initial_state)), "must have at most one entry")
        for given in state.initial_state[:1]:
            if state.input_name in initial:
                yield Problem(f"{field}.inputName", f"'{state.input_name}'", "must have one initial state only")
            initial.add(state.input_name)
            yield from _initial_state_problems(f"{field}.initialState", given, state, context)


def _initial_state_problems(field: str, given: ModelConfig, state: ModelConfig, context: Context) -> Iterator[Problem]:
    if not given.name:
        yield Problem(f"{field}.name", "empty", "must be set")
    if given.data_type != state.data_type:
        yield Problem(f"{field}.dataType", type_name(given), f"must be {type_name(state)}, as that of the state")
    dims = list(given.dims)
    wanted = list(state.dims)
    if any(size < 0 for size in dims):
        yield Problem(f"{field}.dims", str(dims), "must give the size of every dimension")
    elif len(dims) != len(wanted) or any(size not in (one, -1) for one, size in zip(dims, wanted, strict=True)):
        yield Problem(f"{field}.dims", str(dims), f"must fit dims {wanted} of the state")
    elif given.WhichOneof("state_data") is None:
        yield Problem(field, "without data", "must have zero_data or data_file")
    elif given.HasField("data_file"):
        yield from data_file_problems(f"{field}.dataFile", "initial_state", given.data_file, given, context)


_KINDS: Final = {0: "Auto", 1: "GPU", 2: "CPU", 3: "Model"}
_GPU: Final = 1
_WITHOUT_GPUS: Final = frozenset({2, 3})
_PROFILE: Final = re.compile(r"\s*\+?[0-9]{1,9}")
"""What Triton's `stoi` reads a number from; it ignores what follows."""


def instance_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    """Check every instance group."""
    groups = config.instance_group
    for index, group in enumerate(groups):
        yield from _group_problems(f"spec.instances[{index}]", group, context.gpus)
        if group.profile:
            yield from _profile_problems(f"spec.instances[{index}].profile", config, group.profile, context)
    if all(group.passive for group in groups):
        yield Problem("spec.instances", "passive throughout", "at least one must not be passive, or nothing executes")
    yield from _resource_problems(groups)
    limited = [index for index, group in enumerate(groups) if group.HasField("rate_limiter")]
    if limited and context.rate_limited is False:
        yield Problem(
            f"spec.instances[{limited[0]}].rateLimiter",
            "set by config.pbtxt alone",
            "limits nothing unless the server does: repeat it in the spec, or add --rate-limit=execution_count to"
            " spec.server.args",
        )


def _group_problems(field: str, group: ModelConfig, gpus: int) -> Iterator[Problem]:
    if group.kind in _WITHOUT_GPUS:
        if group.gpus:
            yield Problem(f"{field}.gpus", _listed(group.gpus), f"must be empty when kind is {_KINDS[group.kind]}")
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


def _profile_problems(field: str, config: ModelConfig, profiles: Sequence[str], context: Context) -> Iterator[Problem]:
    found = backend_and_platform(config, context)
    if found is not None and found[1] != TENSORRT_PLAN:
        yield Problem(field, ", ".join(profiles), "has an effect with backend tensorrt only: remove it")
        return
    for profile in profiles:
        if not _PROFILE.match(profile):
            yield Problem(field, f"'{profile}'", "must be the number of a TensorRT profile, 0 or more")


def _resource_problems(groups: Sequence[ModelConfig]) -> Iterator[Problem]:
    shared: dict[str, bool] = {}
    reported = set()
    for index, group in enumerate(groups):
        for resource in group.rate_limiter.resources if group.HasField("rate_limiter") else ():
            known = shared.setdefault(resource.name, getattr(resource, "global"))
            if known != getattr(resource, "global") and resource.name not in reported:
                reported.add(resource.name)
                yield Problem(
                    f"spec.instances[{index}].rateLimiter.resources",
                    f"'{resource.name}' with and without global",
                    "must be the same wherever the resource is named",
                )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
