"""Tensors of a model: `spec.model.inputs` and `outputs`, and the types by which other fields describe tensors."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from tritonfleet.api.base import ApiModel, Rule, items, matching, rule, text


class DataType(StrEnum):
    """Element type of a tensor, as in Triton."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BF16 = "BF16"
    STRING = "STRING"


class TensorFormat(StrEnum):
    """Layout of an image tensor."""

    NHWC = "NHWC"
    NCHW = "NCHW"


Dimension = Annotated[
    int,
    Field(
        ge=-1,
        le=2**40,
        description="One dimension; -1 means variable.",
        json_schema_extra={
            "x-kubernetes-validations": [
                rule("self != 0", "must be at least 1, or -1 for a variable dimension", got="self")
            ]
        },
    ),
]
TensorName = Annotated[str, text(256, description="Name of a tensor.")]

KnownDimensions = Annotated[
    tuple[Annotated[int, Field(ge=0, le=2**40, description="One dimension, of known size.")], ...], items(16)
]

FILE_NAME = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"
DataFile = Annotated[
    str, matching(255, FILE_NAME, "must be the name of a file, without a path: letters, digits, '_', '.' and '-'")
]
"""A file with the bytes of a tensor, in a folder beside the model's versions."""


class Tensor(ApiModel):
    """One tensor of the model."""

    name: TensorName
    """Name of the tensor in the model file."""
    data_type: DataType
    """Element type."""
    dims: Annotated[
        tuple[Dimension, ...],
        Field(min_length=1),
        items(16, rule("size(self) > 0", "must list at least one dimension, such as [-1] or [3, 224, 224]")),
    ]
    """Shape without the batch dimension when `batching.maxBatchSize` is above 0; -1 marks a variable size."""
    reshape: Annotated[tuple[Dimension, ...] | None, items(16)] = None
    """Shape that the model expects if it differs from `dims`; same number of elements."""
    is_shape_tensor: bool = False
    """Whether TensorRT reads it as a shape."""
    is_non_linear_format_io: bool = False
    """Whether its layout in TensorRT is not linear."""


class ModelInput(Tensor):
    """One input tensor of the model."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.format) || size(self.dims) == 3",
            "must have exactly 3 dimensions when `format` is set",
            got="size(self.dims)",
            at=".dims",
        ),
    )

    format: TensorFormat | None = None
    """Layout of an image; needs exactly three dims."""
    optional: bool = False
    """Whether a request may omit this input."""
    ragged_batch: bool = False
    """Whether requests of different shapes may share a batch."""


class ModelOutput(Tensor):
    """One output tensor of the model."""

    label_file: (
        Annotated[
            str,
            matching(
                255,
                FILE_NAME,
                "must be the name of a file in the model's folder, without a path",
            ),
        ]
        | None
    ) = None
    """File in the model's folder with the names of the classes, one per line."""
