"""Rules for batch sizes and for the queue in front of a model."""

from collections.abc import Iterator
from typing import Final

from tritonfleet.triton.rules.problem import Problem
from tritonfleet.triton.schema import ModelConfig

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
            "means a queue without a limit, which turns overload into memory: set 1 or more",
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
