"""Triton's ModelConfig, extended by field presence: whether a value was set or is the default.

Triton's own schema is proto3, where `max_batch_size: 0` and no `max_batch_size` are the same message, so a
spec could never switch off what an artifact's configuration switches on. The twin built here from the same
descriptor tracks presence; both have the same text, JSON and wire forms.

Python's parser of the text form is more liberal than the one in Triton, and less so where a string is not UTF-8. Both
are evened out here: what Triton cannot read is refused, and bytes that are not UTF-8 are kept as characters of
Unicode's private use area until the text is written.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Any, Final

from google.protobuf import json_format, text_encoding, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tritonfleet.errors import InvalidSpec

ModelConfig = Any
"""A message of the class that `empty()` builds; protobuf's generated attributes have no static types."""

_PRIVATE: Final = 0x10FF00
"""The first of 256 characters that stand for bytes which are not UTF-8."""
_PRIVATE_CHARACTERS: Final = re.compile("[\U0010ff80-\U0010ffff]")
_ERRORS: Final = "tritonfleet-private-use"
_UNLIKE_TRITON: Final = re.compile(r"\\|-\s|(?<![\w.])(?:\+|[0-9]+_|0[bBoO])")
"""Where the two parsers may differ; all other texts are parsed as they are."""
_LEXEME: Final = re.compile(
    r"(?P<comment>#[^\n]*)"
    r"|(?P<string>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
    r"|(?P<minus>-\s+(?=[0-9.]))"
    r"|(?P<number>(?<![\w.])(?:\+|[0-9]+_|0[bBoO])[\w.]*)"
)
_ESCAPED: Final = re.compile(
    r"(?:[^\\]|\\(?:[abfnrtv\\?'\"]|[0-7]{1,3}|[xX][0-9a-fA-F]|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}))*"
)
"""The inside of a string as Triton reads it."""

_AVAILABLE_FIELDS: Final = re.compile(r"\s*Available Fields\(except extensions\):.*", re.DOTALL)


def _generated() -> Any:
    """Load the module that tritonclient generated from Triton's schema, without the package around it.

    That would bring gRPC and numpy: 25 MiB and most of a second in every operator and every fetch step.
    """
    package = find_spec("tritonclient")
    folders = package.submodule_search_locations if package is not None else None
    found = PathFinder.find_spec("model_config_pb2", [f"{folder}/grpc" for folder in folders or ()])
    if found is None or found.loader is None:
        raise ModuleNotFoundError("tritonclient is not installed, or no longer has grpc/model_config_pb2.py")
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


def _with_presence() -> type[Message]:
    file = FileDescriptorProto()
    _generated().DESCRIPTOR.CopyToProto(file)
    file.syntax = "proto2"
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


_CLASS: Final = _with_presence()
_DATA_TYPE: Final = _CLASS.DESCRIPTOR.file.enum_types_by_name["DataType"]


def empty() -> ModelConfig:
    """Return a configuration in which nothing is set."""
    return _CLASS()


def _private(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(_PRIVATE + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_ERRORS, _private)


def decoded(data: bytes) -> str:
    """Return the text of a config.pbtxt, which need not be UTF-8; `to_text` writes the same bytes again."""
    return data.decode("utf-8", _ERRORS)


def parse_text(text: str, source: str) -> ModelConfig:
    """Parse the text form (config.pbtxt); raises InvalidSpec with line and column, blaming `source`."""
    config = empty()
    try:
        text_format.Parse(_LEXEME.sub(_as_triton_reads, text) if _UNLIKE_TRITON.search(text) else text, config)
    except text_format.ParseError as error:
        raise InvalidSpec(f"{source} is not a Triton model configuration: {error}") from error
    return config


def _as_triton_reads(lexeme: re.Match[str]) -> str:
    """Return a part of the text in a form that Python reads as Triton does; raises ParseError if Triton cannot."""
    kind, text = lexeme.lastgroup, lexeme[0]
    line, column = (
        lexeme.string.count("\n", 0, lexeme.start()) + 1,
        lexeme.start() - lexeme.string.rfind("\n", 0, lexeme.start()),
    )
    if kind == "number":
        raise text_format.ParseError(f"Triton reads no number from '{text}'.", line, column)
    if kind == "minus":
        return "-"
    if kind == "comment" or "\\" not in text:
        return text
    inside = text[1:-1]
    if not _ESCAPED.fullmatch(inside):
        raise text_format.ParseError(f"Invalid escape sequence in string literal {text}.", line, column)
    inside = re.sub(r"\\(.)", lambda escape: "?" if escape[1] == "?" else escape[0], inside)
    value = text_encoding.CUnescape(inside).decode("utf-8", _ERRORS)
    return f'"{text_encoding.CEscape(value.encode(), as_utf8=True)}"'


def parse_json(data: Mapping[str, Any], source: str) -> ModelConfig:
    """Parse the JSON form, field names in snake_case or camelCase; raises InvalidSpec blaming `source`."""
    config = empty()
    try:
        json_format.ParseDict(dict(data), config)
    except json_format.ParseError as error:
        problem = _AVAILABLE_FIELDS.sub("", str(error))
        raise InvalidSpec(
            f"{source} is not a Triton model configuration: {problem}; "
            "write it as the fields of config.pbtxt in JSON form"
        ) from error
    return config


def to_text(config: ModelConfig) -> str:
    """Return the text form, maps in key order, so that equal configurations give equal bytes."""
    text = text_format.MessageToString(config, as_utf8=True)
    return _PRIVATE_CHARACTERS.sub(lambda character: f"\\{ord(character[0]) - _PRIVATE:03o}", text)


def data_type(name: str) -> int:
    """Return the number of a tensor type such as `FP32`."""
    return int(_DATA_TYPE.values_by_name[f"TYPE_{name}"].number)


def merge(base: ModelConfig, overlay: ModelConfig) -> ModelConfig:
    """Return `base` with everything that is set in `overlay` taken from there; neither is changed.

    Scalars override, repeated fields replace, messages merge field by field, maps merge key by key, and
    a member of a oneof takes the place of the member that was set.
    """
    merged = type(base)()
    merged.CopyFrom(base)
    _lay_over(merged, overlay)
    return merged


QUEUE_LIMIT: Final = 1024
"""The length of a queue whose `max_queue_size` is not set: in Triton such a queue grows until memory runs out."""
SCHEDULERS: Final = "scheduling_choice"
"""The oneof of which a configuration sets one member at most."""


_SCHEDULER_FIELDS: Final = {
    "dynamic_batching": "spec.batching.dynamic",
    "sequence_batching": "spec.batching.sequence",
}


def effective(artifact: ModelConfig, overlay: ModelConfig) -> ModelConfig:
    """Return what Triton is to load: `overlay`, which the spec says, over `artifact`, and queues that have a limit.

    Raises InvalidSpec if `overlay` would replace sequence batching or an ensemble by another scheduler.
    """
    kept, wanted = artifact.WhichOneof(SCHEDULERS), overlay.WhichOneof(SCHEDULERS)
    if kept not in {None, "dynamic_batching", wanted} and wanted is not None:
        field = _SCHEDULER_FIELDS.get(wanted, f"spec.modelConfig.{wanted}")
        raise InvalidSpec(f"{field} would replace the `{kept}` of config.pbtxt: a model has one scheduler, remove one")
    config = merge(artifact, overlay)
    if config.HasField("dynamic_batching"):
        dynamic = config.dynamic_batching
        for policy in (dynamic.default_queue_policy, *dynamic.priority_queue_policy.values()):
            if not policy.HasField("max_queue_size"):
                policy.max_queue_size = QUEUE_LIMIT
    return config


def _lay_over(target: ModelConfig, overlay: ModelConfig) -> None:
    for field, value in overlay.ListFields():
        current = getattr(target, field.name)
        if _is_map(field):
            _lay_over_map(current, value, of_messages=field.message_type.fields_by_name["value"].message_type)
        elif field.is_repeated:
            target.ClearField(field.name)
            getattr(target, field.name).extend(value)
        elif field.message_type is not None:
            current.SetInParent()
            _lay_over(current, value)
        else:
            setattr(target, field.name, value)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


Path = tuple[str | int, ...]
"""Where a value is: names of fields, keys of maps, and numbers of list items from 0."""


def leaves(config: ModelConfig, at: Path = ()) -> Iterator[Path]:
    """Yield the path of each value, in the order in which `to_text` gives each a line; a map's key has a line too."""
    for field, value in config.ListFields():
        path = (*at, field.name)
        if _is_map(field):
            of_messages = field.message_type.fields_by_name["value"].message_type is not None
            for key in sorted(value):
                yield (*path, key)
                yield from leaves(value[key], (*path, key)) if of_messages else [(*path, key)]
        elif field.is_repeated:
            for index, item in enumerate(value):
                yield from leaves(item, (*path, index)) if field.message_type else [(*path, index)]
        else:
            yield from leaves(value, path) if field.message_type else [path]


def says(config: ModelConfig, path: Path) -> bool:
    """Return whether a configuration says what is at a path; a list says all that is in it."""
    name, rest = str(path[0]), path[1:]
    field = config.DESCRIPTOR.fields_by_name[name]
    if _is_map(field):
        found = getattr(config, name)
        # Reading a key that is not there would add it.
        if not rest or rest[0] not in found:
            return not rest and bool(found)
        return says(found[rest[0]], rest[1:]) if rest[1:] else True
    if field.is_repeated:
        return len(getattr(config, name)) > 0
    if not config.HasField(name):
        return False
    return says(getattr(config, name), rest) if rest else True


def _lay_over_map(current: ModelConfig, overlay: ModelConfig, *, of_messages: object) -> None:
    for key in overlay:
        if of_messages is not None:
            _lay_over(current[key], overlay[key])
        else:
            current[key] = overlay[key]


_TWO_ON_THE_CPU: Final = frozenset({"onnxruntime", "tensorflow"})
"""Backends of which Triton makes two copies where the configuration asks for none in particular."""


def largest_batch(config: ModelConfig) -> int:
    """Return how many requests Triton itself puts into one batch; 1 without a dynamic batcher."""
    return max(1, int(config.max_batch_size)) if config.HasField("dynamic_batching") else 1


def executions_side_by_side(config: ModelConfig, gpus: int) -> int:
    """Return how many batches a server with this many GPUs can execute concurrently."""
    if not config.instance_group:
        return gpus or (2 if config.backend in _TWO_ON_THE_CPU else 1)
    return max(1, sum(_copies(group, gpus) for group in config.instance_group if not group.passive))


def _copies(group: ModelConfig, gpus: int) -> int:
    on_gpus = group.kind in (group.KIND_GPU, group.KIND_AUTO) and gpus > 0
    return max(1, int(group.count)) * ((len(group.gpus) or gpus) if on_gpus else 1)
