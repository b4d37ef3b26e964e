"""What the API server would say of a manifest, found without one.

`violations()` checks a ModelDeployment as `kubectl apply --dry-run=server` would: unknown fields, types and bounds, and
then, with defaults filled in as the API server does it, the CEL rules of the schema. `tritonfleet validate` calls it.
It needs the extra `validate`, which has an interpreter of CEL; `unknown_fields()` does not.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

from tritonfleet.api.base import Schema
from tritonfleet.api.crd import root_schema
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import quantity
from tritonfleet.api.renames import RENAMES
from tritonfleet.errors import InvalidSpec

_OPEN: Final = "x-kubernetes-preserve-unknown-fields"
_UNKNOWN: Final = "unknown field"
_RULES: Final = "x-kubernetes-validations"


class Violation(NamedTuple):
    """One thing that is wrong, and where."""

    path: str
    """Such as `spec.instances[0].gpus`."""
    message: str


def violations(body: dict[str, Any]) -> list[Violation]:
    """Return what is wrong with a manifest; rules are only checked once every value has the right type."""
    body = in_namespace(body)
    read, sentences = ModelDeployment.read(body, strict=True)
    found = [*_misshapen(body, _schema(), ""), *map(_split, sentences)]
    if read is None:
        return found
    return [*found, *_broken(_with_defaults(body, _schema()), _schema(), "")]


def in_namespace(body: dict[str, Any]) -> dict[str, Any]:
    """Return an object with a namespace, as an API server has it."""
    metadata = body.get("metadata")
    return {**body, "metadata": {"namespace": "default", **metadata}} if isinstance(metadata, dict) else body


def unknown_fields(body: dict[str, Any]) -> Iterator[str]:
    """Yield the path of every field that the API does not have, such as `spec.batching.maxBatch`."""
    return (path for path, message in _misshapen(body, _schema(), "") if message == _UNKNOWN)


@cache
def _schema() -> Schema:
    schema = root_schema()
    del schema["properties"]["status"]
    return schema


def _split(sentence: str) -> Violation:
    path, _, message = sentence.partition(": ")
    return Violation(path, message)


def _misshapen(value: Any, schema: Schema, path: str) -> Iterator[Violation]:
    """Yield what the types of the API do not know: unknown fields, duplicates, bounds of open objects."""
    if isinstance(value, dict):
        if len(value) > schema.get("maxProperties", len(value)):
            yield Violation(path, "must not be an object: nothing is nested here")
        for name, child in value.items():
            inner = f"{path}.{name}".lstrip(".")
            within = _field(schema, name)
            if within is not None:
                yield from _misshapen(child, within, inner)
            elif inner != "status" and inner not in _FORMER:
                yield Violation(inner, _UNKNOWN)
    elif isinstance(value, list):
        yield from _items(value, schema, path)
        for index, child in enumerate(value):
            yield from _misshapen(child, schema.get("items", {}), f"{path}[{index}]")
    elif schema.get("exclusiveMinimum") and isinstance(value, int | float) and value <= schema["minimum"]:
        yield Violation(path, f"must be above {schema['minimum']}, got {value}")
    elif schema.get("type") == "array" and value is not None:
        yield Violation(path, f"must be a list, got {value!r}")


def _field(schema: Schema, name: str) -> Schema | None:
    """Return the schema of a field, an empty one where anything goes, or None if there is no such field."""
    known = schema.get("properties", {})
    is_open = schema.get(_OPEN) or not known
    found: Schema | None = known.get(name) or schema.get("additionalProperties") or ({} if is_open else None)
    return found


def _items(items: list[Any], schema: Schema, path: str) -> Iterator[Violation]:
    """Yield what is wrong with a list as such: that it is one, and what occurs twice in it."""
    if schema.get("maxItems") == 0 < len(items):
        yield Violation(path, "must not be a list: nothing is nested here")
    keys: list[str] = schema.get("x-kubernetes-list-map-keys", [])
    if not keys and schema.get("x-kubernetes-list-type") != "set":
        return
    seen: list[Any] = []
    for index, item in enumerate(items):
        identity = [item.get(key) for key in keys] if keys and isinstance(item, dict) else item
        if identity in seen:
            yield Violation(f"{path}[{index}]", f"must not occur twice, got {identity[0] if keys else identity!r}")
        seen.append(identity)


_FORMER: Final = frozenset(rename.path for rename in RENAMES)
"""They are refused with the new name."""


def _with_defaults(value: Any, schema: Schema) -> Any:
    """Fill in the schema's defaults, from outside to inside, as the API server does."""
    if isinstance(value, dict):
        known = schema.get("properties", {})
        defaults = {name: child["default"] for name, child in known.items() if "default" in child}
        given = {name: child for name, child in value.items() if child is not None}
        return {
            name: _with_defaults(child, _field(schema, name) or {}) for name, child in {**defaults, **given}.items()
        }
    if isinstance(value, list):
        return [_with_defaults(child, schema.get("items", {})) for child in value]
    return value


def _broken(value: Any, schema: Schema, path: str) -> Iterator[Violation]:
    """Yield each rule that does not hold; those of what is inside come first."""
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _broken(child, _field(schema, name) or {}, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _broken(child, schema.get("items", {}), f"{path}[{index}]")
    rules = [rule for rule in schema.get(_RULES, ()) if "oldSelf" not in rule["rule"]]
    context = _context(value) if rules else None
    for rule in rules:
        if not _compiled(rule["rule"]).execute(context):
            quoting = rule.get("messageExpression")
            message = _compiled(quoting).execute(context) if quoting else rule["message"]
            yield Violation(f"{path}{rule.get('fieldPath', '')}".lstrip("."), str(message))


def _context(value: Any) -> Any:
    """Return what rules about a value are evaluated in."""
    import cel  # noqa: PLC0415 - the extra `validate`

    context = cel.Context()
    for name, function in _LIBRARY.items():
        context.add_function(name, function)
    context.add_variable("self", value)
    return context


@cache
def _compiled(expression: str) -> Any:
    import cel  # noqa: PLC0415 - the extra `validate`

    return cel.compile(expression)


def _is_quantity(text: str) -> bool:
    try:
        quantity(text)
    except InvalidSpec:
        return False
    return True


def _found(text: str, pattern: str) -> str:
    """Return the first match of an RE2 pattern, or an empty string."""
    import regex  # noqa: PLC0415 - the extra `validate`

    match = regex.search(pattern, text)
    return match[0] if match else ""


def _shown(value: Any) -> str:
    """Return a value as CEL's `format` shows it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_shown(key)}: {_shown(child)}' for key, child in value.items())}}}"
    return str(value)


_LIBRARY: Final[dict[str, Any]] = {
    "quantity": lambda text: float(quantity(text)),
    "isQuantity": _is_quantity,
    "sign": lambda number: (number > 0) - (number < 0),
    "compareTo": lambda one, other: (one > other) - (one < other),
    "find": _found,
    "isSorted": lambda items: list(items) == sorted(items),
    "format": lambda text, values: text % tuple(map(_shown, values)),
}
"""Functions of Kubernetes' CEL that the interpreter lacks."""
