"""`spec.batching.sequence` and tensors that describe a batch: batching for models that read more than their inputs.

A model with sequence batching keeps state between the requests of a sequence. Triton tells it by control tensors where
a sequence starts and ends, keeps tensors of state for it, and always sends a sequence to the same instance.
"""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from tritonfleet.api.base import ApiModel, Rule, duration, items, rule, text
from tritonfleet.api.tensors import DataFile, DataType, Dimension, KnownDimensions, TensorName

BatchSizes = Annotated[
    tuple[Annotated[int, Field(ge=1, le=65536, description="A batch size.")], ...],
    items(32, list_type="set"),
]


class DirectStrategy(ApiModel):
    """Each sequence has a slot of its own in the batch of an instance."""

    max_queue_delay: Annotated[str, duration("0us", "10s")] | None = None
    """How long a batch may wait for requests of other sequences, such as 2ms; absent: 0."""
    minimum_slot_utilization: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the slots that must have a request before a batch starts early; absent: 0."""


class OldestStrategy(ApiModel):
    """Requests of different sequences are batched dynamically, the oldest sequences first."""

    max_candidate_sequences: Annotated[int, Field(ge=1, le=1_000_000)]
    """Sequences that an instance works on at the same time."""
    preferred_batch_sizes: BatchSizes = ()
    """Batch sizes worth waiting for."""
    max_queue_delay: Annotated[str, duration("0us", "10s")] | None = None
    """How long a request may wait for others to join its batch, such as 2ms; absent: 0."""
    preserve_ordering: bool | None = None
    """Whether responses are sent in the order of the requests."""


class ControlKind(StrEnum):
    """What a control tensor tells the model."""

    START = "Start"
    READY = "Ready"
    END = "End"
    CORRELATION_ID = "CorrelationID"


class ControlType(StrEnum):
    """Element type of a control tensor."""

    BOOL = "BOOL"
    INT32 = "INT32"
    FP32 = "FP32"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT64 = "INT64"
    STRING = "STRING"


class SequenceControl(ApiModel):
    """One thing that Triton tells the model about the sequence of a request."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "self.kind == 'CorrelationID' ? !(self.dataType in ['BOOL', 'FP32'])"
            " : self.dataType in ['BOOL', 'INT32', 'FP32']",
            "must be BOOL, INT32 or FP32, or for 'CorrelationID' UINT64, INT64, UINT32, INT32 or STRING",
            got="self.dataType",
            at=".dataType",
        ),
        rule(
            "!has(self.falseTrue) || self.kind != 'CorrelationID'",
            "must be absent for 'CorrelationID', whose tensor holds the sequence's ID",
            at=".falseTrue",
        ),
        rule(
            "!has(self.falseTrue) || self.dataType != 'BOOL' || self.falseTrue.all(x, x == 0.0 || x == 1.0)",
            "must be 0 and 1 when `dataType` is BOOL",
            at=".falseTrue",
        ),
        rule(
            "!has(self.falseTrue) || self.dataType != 'INT32' || self.falseTrue.all(x, x == double(int(x)))",
            "must be whole numbers when `dataType` is INT32",
            at=".falseTrue",
        ),
    )

    kind: ControlKind
    """Start, End, Ready (whether the slot has a request) or CorrelationID (the sequence's ID)."""
    input: TensorName
    """Input of the model that gets it; not one of `model.inputs`."""
    data_type: ControlType
    """Element type of the input."""
    false_true: Annotated[
        tuple[Annotated[float, Field(ge=-(2**31), le=2**31 - 1, description="A value.")], ...],
        Field(min_length=2),
        items(2),
    ] = ()
    """Values of the tensor for false and true; absent: 0 and 1."""


class InitialState(ApiModel):
    """What a state holds when a sequence starts."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "has(self.zeroData) != has(self.dataFile)",
            "must set exactly one of `zeroData` and `dataFile`",
        ),
        rule("!has(self.zeroData) || self.zeroData", "must be true or absent", got="self.zeroData", at=".zeroData"),
    )

    name: Annotated[str, text(256)] | None = None
    """Name of the initial state; absent: that of the state's input."""
    dims: KnownDimensions = ()
    """Shape, with the size of every dimension; absent: that of the state."""
    zero_data: bool | None = None
    """Zeros; `true` is the only value."""
    data_file: DataFile | None = None
    """File in the folder `initial_state` beside the versions, with the bytes of the tensor."""


class SequenceState(ApiModel):
    """A tensor that the model returns and gets again with the next request of the sequence."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.initialState) || has(self.initialState.dims) || self.dims.all(size, size > 0)",
            "must be set when `dims` of the state has a -1",
            at=".initialState.dims",
        ),
    )

    input_name: TensorName
    """Input of the model that gets the state."""
    output_name: TensorName
    """Output of the model that is the new state."""
    data_type: DataType
    """Element type."""
    dims: Annotated[tuple[Dimension, ...], Field(min_length=1), items(16)]
    """Shape without the batch dimension; -1 marks a variable size."""
    initial_state: InitialState | None = None
    """What a sequence starts with; absent: zeros, of size 1 where `dims` has -1."""
    use_same_buffer_for_input_output: bool = False
    """Whether the model updates the state in place."""
    use_growable_memory: bool = False
    """Whether the buffer grows with the state; only on GPUs and with the same buffer for input and output."""


class SequenceBatching(ApiModel):
    """Batching for a model that keeps state between the requests of a sequence."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule("!has(self.direct) || !has(self.oldest)", "must be absent when `direct` is set", at=".oldest"),
    )

    direct: DirectStrategy | None = None
    """Gives each sequence its own slot in the batch; Triton's default."""
    oldest: OldestStrategy | None = None
    """Batches requests of different sequences dynamically."""
    max_sequence_idle: Annotated[str, duration("1us", "24h")] | None = None
    """How long a sequence may be without a request before its state is dropped, such as 30s; absent: 1s."""
    controls: Annotated[tuple[SequenceControl, ...], items(4, key="kind")] = ()
    """What Triton tells the model about a sequence, and in which inputs."""
    states: Annotated[tuple[SequenceState, ...], items(64, key="inputName")] = ()
    """State that Triton keeps for the model."""
    iterative: bool = False
    """Whether the model may put a request back into the queue to work on it in several steps."""


class BatchInputKind(StrEnum):
    """What a batch input tells about the shapes of a batch."""

    ELEMENT_COUNT = "ElementCount"
    ACCUMULATED_ELEMENT_COUNT = "AccumulatedElementCount"
    ACCUMULATED_ELEMENT_COUNT_WITH_ZERO = "AccumulatedElementCountWithZero"
    MAX_ELEMENT_COUNT_AS_SHAPE = "MaxElementCountAsShape"
    ITEM_SHAPE = "ItemShape"
    ITEM_SHAPE_FLATTEN = "ItemShapeFlatten"


class BatchInputType(StrEnum):
    """Element type of a batch input."""

    INT32 = "INT32"
    FP32 = "FP32"


class BatchInput(ApiModel):
    """A tensor by which Triton tells a model the shapes of the requests in a batch with ragged inputs."""

    kind: BatchInputKind
    """What it holds."""
    target_names: Annotated[tuple[TensorName, ...], Field(min_length=1), items(16)]
    """Inputs of the model that get it."""
    data_type: BatchInputType
    """Element type."""
    source_input: TensorName
    """Input of the requests that it describes."""


class BatchOutput(ApiModel):
    """Outputs that are cut apart by the shapes of an input, one part for each request of the batch."""

    target_names: Annotated[tuple[TensorName, ...], Field(min_length=1), items(16)]
    """Outputs of the model."""
    source_input: TensorName
    """Input of the requests whose shapes they have."""
