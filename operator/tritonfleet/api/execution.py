"""`spec.model.warmup`, `optimization` and `metrics`: requests before traffic, execution, and what is measured."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from tritonfleet.api.base import ApiModel, Rule, items, mapping, matching, rule, text
from tritonfleet.api.tensors import DataFile, DataType, KnownDimensions, TensorName


class WarmupInput(ApiModel):
    """One input of a warm-up request."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "[has(self.zeroData), has(self.randomData), has(self.inputDataFile)].filter(x, x).size() == 1",
            "must set exactly one of `zeroData`, `randomData` and `inputDataFile`",
        ),
        rule("!has(self.zeroData) || self.zeroData", "must be true or absent", at=".zeroData"),
        rule("!has(self.randomData) || self.randomData", "must be true or absent", at=".randomData"),
    )

    name: TensorName
    """Name of the input."""
    data_type: DataType
    """Element type."""
    dims: KnownDimensions
    """Shape without the batch dimension, with the size of every dimension."""
    zero_data: bool | None = None
    """Zeros, or empty strings; `true` is the only value."""
    random_data: bool | None = None
    """Random data; `true` is the only value."""
    input_data_file: DataFile | None = None
    """File in the folder `warmup` beside the versions, with the bytes of the tensor."""


class WarmupSample(ApiModel):
    """A request that warms up the model."""

    name: Annotated[str, text(128)]
    """Name of the sample, which Triton's log shows."""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 1
    """Size of the batch that is made of it."""
    count: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How often it is executed."""
    inputs: Annotated[tuple[WarmupInput, ...], Field(min_length=1), items(64, key="name")]
    """The inputs of the request."""


class Priority(StrEnum):
    """Priority of the model's work on a GPU."""

    MAX = "Max"
    MIN = "Min"


class Accelerator(ApiModel):
    """Something that executes parts of the model in place of the backend."""

    name: Annotated[str, matching(64, r"^[A-Za-z0-9_]+$", "must be a name such as tensorrt or openvino")]
    """Name of it, such as tensorrt, openvino or cuda."""
    parameters: Annotated[
        dict[str, Annotated[str, text(1024, min_length=0, description="Value of the parameter.")]],
        mapping(32, rule("self.all(key, size(key) >= 1 && size(key) <= 256)", "must have keys of 1 to 256 characters")),
    ] = Field(default_factory=dict)
    """Its parameters, such as precision_mode: FP16."""


class ExecutionAccelerators(ApiModel):
    """Accelerators for the instances on GPUs and on CPUs."""

    gpu: Annotated[tuple[Accelerator, ...], items(8, key="name")] = ()
    """Accelerators of instances on GPUs, such as tensorrt."""
    cpu: Annotated[tuple[Accelerator, ...], items(8, key="name")] = ()
    """Accelerators of instances on CPUs, such as openvino."""


class GraphInput(ApiModel):
    """Shape of one input in a CUDA graph."""

    name: TensorName
    """Name of the input."""
    dims: KnownDimensions
    """Shape without the batch dimension."""


class GraphShape(ApiModel):
    """Shapes of a request."""

    batch_size: Annotated[int, Field(ge=0, le=65536)]
    """Batch size; 0 for a model without a batch dimension."""
    inputs: Annotated[tuple[GraphInput, ...], items(64, key="name")] = ()
    """Inputs of variable shape."""


class GraphSpec(GraphShape):
    """One CUDA graph to capture."""

    lower_bound: GraphShape | None = None
    """Smallest shapes that the graph executes as well; absent: only its own."""


class Cuda(ApiModel):
    """Settings of CUDA, read by the TensorRT backend."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.graphSpecs) || size(self.graphSpecs) == 0 || (has(self.graphs) && self.graphs)",
            "must come with `graphs: true`: no graph is captured otherwise",
            at=".graphSpecs",
        ),
    )

    graphs: bool | None = None
    """Whether executions are captured as CUDA graphs."""
    graph_specs: Annotated[tuple[GraphSpec, ...], items(32)] = ()
    """Graphs to capture; absent: those of batch size 1 and of the powers of 2."""
    busy_wait_events: bool | None = None
    """Whether a core waits actively for the GPU, for lower latency."""
    output_copy_stream: bool | None = None
    """Whether outputs are copied in a stream of their own."""


class Optimization(ApiModel):
    """How Triton and the backend execute the model. What is absent is the artifact's."""

    graph_level: Annotated[int, Field(ge=-1, le=99)] | None = None
    """Level of the backend's graph optimization: what a level means, the backend decides."""
    priority: Priority | None = None
    """Priority of the model's work on a GPU: Max or Min."""
    cuda: Cuda | None = None
    """Settings of CUDA."""
    execution_accelerators: ExecutionAccelerators | None = None
    """What executes parts of the model in place of the backend, in lower precision for instance."""
    input_pinned_memory: bool | None = None
    """Whether inputs are copied through pinned memory; Triton's default is true."""
    output_pinned_memory: bool | None = None
    """Whether outputs are copied through pinned memory; Triton's default is true."""
    gather_kernel_buffer_threshold: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    """Number of buffers above which a kernel gathers the inputs of a batch; 0: never."""
    eager_batching: bool | None = None
    """Whether the next batch is prepared while an instance is busy."""


class Histogram(ApiModel):
    """The buckets of one histogram."""

    family: Annotated[
        str,
        matching(
            128,
            r"^[a-zA-Z_][a-zA-Z0-9_]*$",
            "must be the name of a metric, such as nv_inference_first_response_histogram_ms",
        ),
    ]
    """Name of the metric, such as nv_inference_first_response_histogram_ms."""
    buckets: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1e12, description="Upper bound of a bucket.")], ...],
        Field(min_length=1),
        items(64),
    ]
    """Upper bounds of the buckets, in ascending order."""
