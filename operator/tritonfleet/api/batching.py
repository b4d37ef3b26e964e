"""`spec.batching` and `spec.instances`: queueing and batching of requests, and copies of the model."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from tritonfleet.api.base import ApiModel, Rule, at_least_one, duration, items, matching, rule, text
from tritonfleet.api.sequences import BatchInput, BatchOutput, BatchSizes, SequenceBatching


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
    preferred_batch_sizes: BatchSizes = ()
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
        rule(
            "!has(self.sequence) || !has(self.dynamic)",
            "must be absent when `dynamic` is set: a model has one scheduler; `sequence.oldest` batches dynamically",
            at=".sequence",
        ),
        rule(
            "!has(self.sequence) || !has(self.sequence.oldest) || !has(self.sequence.oldest.preferredBatchSizes)"
            " || !has(self.maxBatchSize) || self.maxBatchSize == 0"
            " || self.sequence.oldest.preferredBatchSizes.all(size, size <= self.maxBatchSize)",
            "must not be above `maxBatchSize`",
            got="self.sequence.oldest.preferredBatchSizes.filter(size, size > self.maxBatchSize)[0]",
            at=".sequence.oldest.preferredBatchSizes",
        ),
    )

    max_batch_size: Annotated[int, Field(ge=0, le=65536)] | None = None
    """Maximum batch size of the model; 0 means no batch dimension. Absent: determined by Triton."""
    dynamic: DynamicBatching | None = None
    """Enables dynamic batching; `{}` is a good start."""
    sequence: SequenceBatching | None = None
    """Enables sequence batching, for a model that keeps state between the requests of a sequence.

    Its requests must reach one pod: see `traffic.gateway.consistentHash`."""
    batch_inputs: Annotated[tuple[BatchInput, ...], items(16)] = ()
    """Inputs by which Triton tells the model the shapes in a batch; for inputs with `raggedBatch`."""
    batch_outputs: Annotated[tuple[BatchOutput, ...], items(16)] = ()
    """Outputs that Triton cuts apart by the shapes of the inputs."""


class InstanceKind(StrEnum):
    """Device of an instance; Model leaves it to the model's code."""

    AUTO = "Auto"
    GPU = "GPU"
    CPU = "CPU"
    MODEL = "Model"


class RateLimiterResource(ApiModel):
    """A resource of the server that an execution needs."""

    name: Annotated[str, text(128)]
    """Name of the resource, chosen freely."""
    count: Annotated[int, Field(ge=1, le=1_000_000)]
    """How much of it an execution takes."""
    is_global: bool = Field(False, alias="global")
    """Whether all devices share the resource; otherwise each has as much."""


class RateLimiter(ApiModel):
    """Limits how many instances execute at the same time, by the resources that they need."""

    resources: Annotated[tuple[RateLimiterResource, ...], items(16, key="name")] = ()
    """Resources that an execution needs; there is as much as the neediest instance takes.

    The flag `--rate-limit-resource` of `server.args` says otherwise."""
    priority: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """An instance of priority 2 executes half as often as one of 1, which is the default."""


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
    name: Annotated[str, text(128)] | None = None
    """Name of the group; Triton numbers the groups by default."""
    rate_limiter: RateLimiter | None = None
    """Limits how many instances execute at the same time; the server gets `--rate-limit=execution_count` with it."""
    host_policy: (
        Annotated[str, matching(64, r"^[A-Za-z0-9_-]+$", "must be the name of a host policy, such as gpu_0")] | None
    ) = None
    """Host policy of the instances, which a flag `--host-policy` of `server.args` defines."""
