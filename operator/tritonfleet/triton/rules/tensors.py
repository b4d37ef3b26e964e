"""Rules for the tensors that a model takes and gives."""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod
from typing import Final

from tritonfleet.triton.rules.problem import Problem
from tritonfleet.triton.schema import ModelConfig

_IMAGE_RANK: Final = 3
_FORMAT_NONE: Final = 0


def tensor_problems(config: ModelConfig) -> Iterator[Problem]:
    """Check names, data types and shapes of inputs and outputs."""
    for field, tensors in (("spec.model.inputs", config.input), ("spec.model.outputs", config.output)):
        counted = Counter(tensor.name for tensor in tensors)
        for name in sorted(name for name, count in counted.items() if count > 1):
            yield Problem(field, f"twice '{name}'", "names must differ; Triton would quietly use one of them")
        for index, tensor in enumerate(tensors):
            yield from _tensor_problems(f"{field}[{index}]", tensor)
    for index, tensor in enumerate(config.input):
        if tensor.format != _FORMAT_NONE and len(tensor.dims) != _IMAGE_RANK:
            yield Problem(
                f"spec.model.inputs[{index}].dims",
                _shape(tensor.dims),
                "must have 3 entries when format is NHWC or NCHW",
            )
        if tensor.allow_ragged_batch and config.max_batch_size == 0:
            yield Problem(
                f"spec.model.inputs[{index}].raggedBatch",
                "true",
                "needs spec.batching.maxBatchSize of 1 or more",
            )


def _tensor_problems(field: str, tensor: ModelConfig) -> Iterator[Problem]:
    if not tensor.name:
        yield Problem(f"{field}.name", "empty", "must be the name the model knows the tensor by")
    if tensor.data_type == 0:
        yield Problem(f"{field}.dataType", "not set", "must be a type such as FP32, INT64 or STRING")
    if not tensor.dims:
        yield Problem(f"{field}.dims", "empty", "must have at least one entry")
    for shape, part in ((tensor.dims, "dims"), (tensor.reshape.shape, "reshape")):
        if any(size == 0 or size < -1 for size in shape):
            yield Problem(f"{field}.{part}", _shape(shape), "must be 1 or more, or -1 for any size")
    if tensor.HasField("reshape") and not _same_size(tensor.dims, tensor.reshape.shape):
        yield Problem(
            f"{field}.reshape",
            _shape(tensor.reshape.shape),
            f"must hold as many elements as dims {_shape(tensor.dims)}, with as many -1",
        )


def _same_size(one: Sequence[int], other: Sequence[int]) -> bool:
    fixed = [prod(size for size in shape if size != -1) for shape in (one, other)]
    variable = [list(shape).count(-1) for shape in (one, other)]
    return fixed[0] == fixed[1] and variable[0] == variable[1]


def _shape(dims: Sequence[int]) -> str:
    return f"[{', '.join(map(str, dims))}]"
