"""`spec.batching` and `spec.instances`: queueing and batching of requests, and copies of the model."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from tritonfleet.api.base import ApiModel, Rule, at_least_one, duration, items, rule, text


class TimeoutAction(StrEnum):
    """What happens to a request that exceeds `queueTimeout`."""

    REJECT = "Reject"
    DELAY = "Delay"


class QueuePolicy(ApiModel):
    """Limits of the queue."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.timeoutAction) || self.timeoutAction != 'Delay' || has(self.queueTimeout)"
            " || has(self.allowTimeoutOverride) && self.allowTimeoutOverride",
            "must come with `queueTimeout` or `allowTimeoutOverride` when it is 'Delay':"
            " without a timeout it has no effect",
            at=".timeoutAction",
        ),
    )

    max_queue_size: Annotated[int, at_least_one(1_000_000, "a queue is never unbounded")] | None = None
    """Maximum length of the queue; further requests are rejected. Absent: the artifact's, else 1024."""
    queue_timeout: Annotated[str, duration("1us", "1h", in_list=True)] | None = None
    """How long a request may wait, such as 100ms; absent: no limit."""
    timeout_action: TimeoutAction | None = None
    """Reject (Triton's default) answers a timed-out request with an error; Delay serves it after all others."""
    allow_timeout_override: bool | None = None
    """Whether requests may set a shorter timeout."""


class PriorityPolicy(QueuePolicy):
    """The queue of one priority level."""

    level: Annotated[int, Field(ge=1, le=64)]
    """The level; 1 is the most urgent."""


_ORDERED = "(has(self.preserveOrdering) && self.preserveOrdering)"
_LEVELS = "(has(self.priorityLevels) ? self.priorityLevels : 0)"


class DynamicBatching(QueuePolicy):
    """Groups requests that arrive close together into one batch. What is absent is the artifact's."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *QueuePolicy.rules,
        rule(
            f"has(self.defaultPriority) == ({_LEVELS} > 0)",
            "must be set exactly when `priorityLevels` is set",
            at=".defaultPriority",
        ),
        rule(
            f"!has(self.defaultPriority) || {_LEVELS} == 0 || self.defaultPriority <= self.priorityLevels",
            "must be between 1 and `priorityLevels`",
            got="self.defaultPriority",
            at=".defaultPriority",
        ),
        rule(
            f"!has(self.priorityPolicies) || self.priorityPolicies.all(p, p.level <= {_LEVELS})",
            "must only have levels between 1 and `priorityLevels`",
            got=f"self.priorityPolicies.filter(p, p.level > {_LEVELS})[0].level",
            at=".priorityPolicies",
        ),
        rule(
            f"!{_ORDERED} || {_LEVELS} <= 1",
            "must be false when `priorityLevels` is above 1: priorities change the order",
            at=".preserveOrdering",
        ),
        rule(
            f"!{_ORDERED} || (!(has(self.timeoutAction) && self.timeoutAction == 'Delay')"
            " && !(has(self.priorityPolicies)"
            " && self.priorityPolicies.exists(p, has(p.timeoutAction) && p.timeoutAction == 'Delay')))",
            "must be false when a `timeoutAction` is 'Delay': delayed requests change the order",
            at=".preserveOrdering",
        ),
    )

    max_queue_delay: Annotated[str, duration("0us", "10s")] | None = None
    """How long a request may wait for others to join its batch, such as 2ms; absent: 0."""
    preferred_batch_sizes: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65536, description="A batch size.")], ...],
        items(32, list_type="set"),
    ] = ()
    """Batch sizes worth waiting for; useful only with TensorRT profiles."""
    preserve_ordering: bool | None = None
    """Whether responses are sent in the order of the requests."""
    priority_levels: Annotated[int, Field(ge=1, le=64)] | None = None
    """Number of priority levels; absent: none."""
    default_priority: Annotated[int, Field(ge=1, le=64)] | None = None
    """Level of requests without one; required with `priorityLevels`."""
    priority_policies: Annotated[tuple[PriorityPolicy, ...], items(64, key="level")] = ()
    """Queue limits per priority level, where they differ."""


class Batching(ApiModel):
    """How requests are grouped into batches."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.dynamic) || !has(self.maxBatchSize) || self.maxBatchSize > 0",
            "must be at least 1 when `dynamic` is set: with 0 Triton never forms a batch",
            at=".maxBatchSize",
        ),
        rule(
            "!has(self.dynamic) || !has(self.dynamic.preferredBatchSizes) || !has(self.maxBatchSize)"
            " || self.dynamic.preferredBatchSizes.all(size, size <= self.maxBatchSize)",
            "must not be above `maxBatchSize`",
            got="self.dynamic.preferredBatchSizes.filter(size, size > self.maxBatchSize)[0]",
            at=".dynamic.preferredBatchSizes",
        ),
    )

    max_batch_size: Annotated[int, Field(ge=0, le=65536)] | None = None
    """Maximum batch size of the model; 0 means no batch dimension. Absent: determined by Triton."""
    dynamic: DynamicBatching | None = None
    """Enables dynamic batching; `{}` is a good start."""


class InstanceKind(StrEnum):
    """Device of an instance; Model leaves it to the model's code."""

    AUTO = "Auto"
    GPU = "GPU"
    CPU = "CPU"
    MODEL = "Model"


class InstanceGroup(ApiModel):
    """A group of identical copies of the model within one server."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.gpus) || size(self.gpus) == 0 || !(self.kind in ['CPU', 'Model'])",
            "must be absent unless `kind` is 'GPU' or 'Auto'",
            at=".gpus",
        ),
    )

    kind: InstanceKind = InstanceKind.AUTO
    """GPU, CPU, Model (decided by the model's code) or Auto."""
    count: Annotated[int, Field(ge=1, le=128)] = 1
    """Copies of the model; with GPU, copies on each GPU."""
    gpus: Annotated[
        tuple[Annotated[int, Field(ge=0, le=15, description="A GPU of the pod, counted from 0.")], ...],
        items(16, list_type="set"),
    ] = ()
    """GPUs of the pod to use, counted from 0; absent: all."""
    profile: Annotated[
        tuple[Annotated[str, text(64, description="A TensorRT profile.")], ...], items(16, list_type="set")
    ] = ()
    """TensorRT optimization profiles to load."""
    passive: bool = False
    """Whether the copies are loaded without getting requests from the scheduler."""
