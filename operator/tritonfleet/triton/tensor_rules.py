"""Rules about tensors: a model's inputs and outputs, what a batch adds to them, and the samples that warm it up.

Source: `ValidateIOShape`, `ValidateModelInput`, `ValidateModelOutput` and `ValidateBatchIO` in Triton core's
model_config_utils.cc, and `GenerateWarmupData` in its backend_model_instance.cc.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod
from typing import Final

from tritonfleet.api.quantities import counted
from tritonfleet.triton.context import TENSORRT_PLAN, Context, Problem, backend_and_platform, batch_size
from tritonfleet.triton.schema import ModelConfig

_FORMAT_NONE: Final = 0
_IMAGE_RANK: Final = 3
_SHAPE: Final = "must be 1 or more, or -1 for any size"
STRING: Final = 13
"""Value of `DataType.TYPE_STRING`."""
ELEMENT_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 2, 8: 4, 9: 8, 10: 2, 11: 4, 12: 8, STRING: 4, 14: 2}
"""Bytes of one element by `DataType`; of an empty string, its length."""


def tensor_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    """Check every input and output of a configuration."""
    found = backend_and_platform(config, context)
    platform = found[1] if found is not None else None
    batch = batch_size(config, context)
    for field, tensors in (("spec.model.inputs", config.input), ("spec.model.outputs", config.output)):
        for index, tensor in enumerate(tensors):
            yield from _tensor_problems(f"{field}[{index}]", tensor, batch)
            if tensor.is_shape_tensor or tensor.is_non_linear_format_io:
                yield from _tensorrt_problems(f"{field}[{index}]", tensor, platform)
    for index, tensor in enumerate(config.input):
        if tensor.format != _FORMAT_NONE and len(tensor.dims) != _IMAGE_RANK:
            yield Problem(
                f"spec.model.inputs[{index}].dims",
                _shape(tensor.dims),
                "must have 3 entries when format is NHWC or NCHW",
            )
    if len({tensor.name for tensor in config.input}) < len(config.input):
        names = Counter(tensor.name for tensor in config.input)
        for name in sorted(name for name, count in names.items() if count > 1):
            yield Problem(
                "spec.model.inputs",
                f"twice '{name}'",
                "names must differ: Triton counts both, and no request can bring two inputs of one name",
            )
    if context.folder is not None:
        yield from _label_problems(config, context)
    if config.batch_input or config.batch_output:
        yield from _batch_tensor_problems(config)


def _tensor_problems(field: str, tensor: ModelConfig, batch: int | None) -> Iterator[Problem]:
    if not tensor.name:
        yield Problem(f"{field}.name", "empty", "must be the name the model knows the tensor by")
    if tensor.data_type == 0:
        yield Problem(f"{field}.dataType", "not set", "must be a type such as FP32, INT64 or STRING")
    dims = tensor.dims
    if not dims:
        yield Problem(f"{field}.dims", "empty", "must have at least one entry")
    for size in dims:
        if size < 1 and size != -1:
            yield Problem(f"{field}.dims", _shape(dims), _SHAPE)
            break
    if tensor.HasField("reshape"):
        yield from _reshape_problems(f"{field}.reshape", dims, tensor.reshape.shape, batch)


def _reshape_problems(field: str, dims: Sequence[int], shape: Sequence[int], batch: int | None) -> Iterator[Problem]:
    if any(size < 1 and size != -1 for size in shape):
        yield Problem(field, _shape(shape), _SHAPE)
    elif not shape and batch == 0:
        yield Problem(
            field, "empty", "must have an entry when spec.batching.maxBatchSize is 0: there are no scalars then"
        )
    elif _trunks(dims) != _trunks(shape):
        remedy = f"must have as many elements as dims {_shape(dims)}"
        if -1 in dims or -1 in shape:
            remedy += ", with as many -1, and as many elements before, between and after them"
        yield Problem(field, _shape(shape), remedy)


def _trunks(shape: Sequence[int]) -> list[int]:
    """Return the number of elements before, between and after the dimensions of any size."""
    found = [1]
    for size in shape:
        if size == -1:
            found.append(1)
        else:
            found[-1] *= size
    return found


def _tensorrt_problems(field: str, tensor: ModelConfig, platform: str | None) -> Iterator[Problem]:
    given = {"isShapeTensor": tensor.is_shape_tensor, "isNonLinearFormatIo": tensor.is_non_linear_format_io}
    flags = [name for name, is_set in given.items() if is_set]
    if platform not in {None, TENSORRT_PLAN}:
        for flag in flags:
            yield Problem(f"{field}.{flag}", "true", "is for the backend tensorrt only: remove it")
    elif tensor.is_non_linear_format_io and len(tensor.dims) != _IMAGE_RANK:
        yield Problem(f"{field}.dims", _shape(tensor.dims), "must have 3 entries with isNonLinearFormatIo")


def _label_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    for index, tensor in enumerate(config.output):
        file = tensor.label_filename
        if file and context.folder is not None and context.folder.size(file) is None:
            yield Problem(
                f"spec.model.outputs[{index}].labelFile", f"'{file}'", "must be a file below the model's folder"
            )


_BATCH_INPUT_TYPES: Final = frozenset({8, 11})
"""`TYPE_INT32` and `TYPE_FP32`."""


def _batch_tensor_problems(config: ModelConfig) -> Iterator[Problem]:
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    for kind, tensors in (("batchInputs", config.batch_input), ("batchOutputs", config.batch_output)):
        for index, tensor in enumerate(tensors):
            field = f"spec.batching.{kind}[{index}]"
            if kind == "batchInputs" and tensor.data_type not in _BATCH_INPUT_TYPES:
                yield Problem(f"{field}.dataType", str(tensor.data_type), "must be TYPE_INT32 or TYPE_FP32")
            sources = tensor.source_input
            if len(sources) != 1:
                yield Problem(f"{field}.sourceInput", counted(len(sources), "name"), "must be the name of one input")
            unknown = [name for name in sources if inputs and name not in inputs]
            for name in unknown:
                yield Problem(f"{field}.sourceInput", f"'{name}'", f"must be one of {_listed(inputs)}")
            if kind == "batchOutputs":
                yield from _target_problems(f"{field}.targetNames", tensor.target_name, outputs)


def _target_problems(field: str, targets: Sequence[str], outputs: set[str]) -> Iterator[Problem]:
    for name in dict.fromkeys(targets):
        if outputs and name not in outputs:
            yield Problem(field, f"'{name}'", f"must be one of {_listed(outputs)}")
    if len(set(targets)) < len(targets):
        yield Problem(field, _listed(targets), "must name each output once")


def warmup_problems(config: ModelConfig, context: Context) -> Iterator[Problem]:
    """Check the samples that Triton runs before it reports the model ready; those of batch size 0 it skips."""
    batch = batch_size(config, context)
    known = {tensor.name: tensor for tensor in config.input}
    needed = {tensor.name for tensor in config.input if not tensor.optional}
    for index, sample in enumerate(config.model_warmup):
        if not sample.batch_size:
            continue
        field = f"spec.model.warmup[{index}]"
        if batch is not None and sample.batch_size > max(batch, 1):
            yield Problem(
                f"{field}.batchSize",
                str(sample.batch_size),
                f"must be at most {max(batch, 1)}: Triton would wait forever for what does not fit into a batch",
            )
        missing = sorted(needed - set(sample.inputs))
        if missing:
            yield Problem(f"{field}.inputs", f"without {', '.join(missing)}", "must give every input of the model")
        for name in sorted(sample.inputs):
            yield from _sample_problems(f"{field}.inputs[{name}]", sample.inputs[name], known.get(name), context)


def _sample_problems(field: str, given: ModelConfig, tensor: ModelConfig | None, context: Context) -> Iterator[Problem]:
    if any(size < 0 for size in given.dims):
        yield Problem(f"{field}.dims", _shape(given.dims), "must give the size of every dimension")
    elif tensor is not None and not fits(given.dims, tensor.dims):
        yield Problem(f"{field}.dims", _shape(given.dims), f"must fit dims {_shape(tensor.dims)} of the input")
    if tensor is not None and tensor.data_type and given.data_type != tensor.data_type:
        yield Problem(f"{field}.dataType", type_name(given), f"must be {type_name(tensor)}, as that of the input")
    if given.WhichOneof("input_data_type") is None:
        yield Problem(field, "without data", "must have zero_data, random_data or input_data_file")
    elif given.HasField("input_data_file"):
        yield from data_file_problems(f"{field}.inputDataFile", "warmup", given.input_data_file, given, context)


def data_file_problems(field: str, folder: str, name: str, given: ModelConfig, context: Context) -> Iterator[Problem]:
    """Check that a file of tensor data is in a folder beside the versions, with as many bytes as the tensor has."""
    if context.folder is None:
        return
    size = context.folder.size(f"{folder}/{name}")
    if size is None:
        yield Problem(field, f"'{name}'", f"must be a file below {folder}/ in the model's folder")
    elif given.data_type != STRING or folder == "warmup":
        # A warm-up string is preceded by its length, in 4 bytes.
        expected = prod(given.dims) * ELEMENT_BYTES.get(given.data_type, 0)
        if size < expected:
            yield Problem(
                field,
                f"'{name}' of {counted(size, 'byte')}",
                f"must have {counted(expected, 'byte')} for dims {_shape(given.dims)}",
            )


def fits(given: Sequence[int], wanted: Sequence[int]) -> bool:
    """Return whether a shape is one that another allows, whose -1 stand for any size; both ways round."""
    return len(given) == len(wanted) and all(
        one == other or -1 in (one, other) for one, other in zip(given, wanted, strict=True)
    )


def type_name(tensor: ModelConfig) -> str:
    """Return the data type of a tensor as config.pbtxt writes it."""
    value = tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number.get(tensor.data_type)
    return value.name if value is not None else str(tensor.data_type)


def _shape(dims: Sequence[int]) -> str:
    return f"[{', '.join(map(str, dims))}]"


def _listed(names: Sequence[str] | set[str]) -> str:
    return ", ".join(f"'{name}'" for name in (sorted(names) if isinstance(names, set) else names))
