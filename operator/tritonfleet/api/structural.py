"""Convert pydantic's JSON schema to a structural schema for Kubernetes."""

from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

_DROPPED: Final = {"title", "$defs"}
_NO_DEFAULT: Final[tuple[Any, ...]] = (None, [], {})
"""Defaults equal to absent are omitted, so that Kubernetes does not write them into objects."""


def structural(model: type[BaseModel]) -> Schema:
    """Return the schema of a model: references inlined, optional fields absent rather than null."""
    schema = model.model_json_schema(by_alias=True)
    return _node(schema, schema.get("$defs", {}))


def _node(node: Schema, definitions: dict[str, Schema]) -> Schema:
    merged = _resolved(node, definitions)
    is_object = "properties" in merged
    if merged.get("default") in _NO_DEFAULT:
        merged.pop("default", None)
    elif is_object and "default" in merged:
        merged["default"] = {}
    if is_object:
        merged["properties"] = {name: _node(child, definitions) for name, child in merged["properties"].items()}
    if "items" in merged:
        merged["items"] = _node(merged["items"], definitions)
    _settle_map(merged, definitions)
    if merged.get("x-kubernetes-int-or-string"):
        del merged["type"]
    return _ordered(merged)


def _resolved(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """Inline `$ref` and `anyOf: [T, null]`; keys beside them win."""
    merged = {key: value for key, value in node.items() if key not in _DROPPED}
    if "$ref" in merged:
        target = definitions[merged.pop("$ref").removeprefix("#/$defs/")]
        return {**_resolved(target, definitions), **merged}
    if "anyOf" in merged:
        (target,) = (one for one in merged.pop("anyOf") if one != {"type": "null"})
        return {**_resolved(target, definitions), **merged}
    return merged


def _settle_map(node: Schema, definitions: dict[str, Schema]) -> None:
    if isinstance(node.get("additionalProperties"), dict):
        node["additionalProperties"] = _node(node["additionalProperties"], definitions)
    else:
        node.pop("additionalProperties", None)


def _ordered(node: Schema) -> Schema:
    """Order the keys for readers: children last."""
    first = [key for key in ("description", "type", "format", "default", "enum") if key in node]
    last = [key for key in ("x-kubernetes-validations", "required", "items", "properties") if key in node]
    middle = sorted(key for key in node if key not in first and key not in last)
    return {key: node[key] for key in (*first, *middle, *last)}
