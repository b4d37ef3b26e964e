"""The reference page of the API, generated from its schema."""

from collections.abc import Iterator
from typing import Final

from tritonfleet.api import names
from tritonfleet.api.base import Rule, Schema

_RULES_IN_A_CELL: Final = 2
_HEAD: Final = f"""\
# ModelDeployment

Group `{names.GROUP}`, version `{names.VERSION}`, short name `mdep`. Generated from the schema by
`python -m tritonfleet.api.schema --write`; `kubectl explain mdep.spec --recursive` shows the same.

Durations are written `50ms`, `2s`, `1m30s`; quantities as in Kubernetes, such as `500m` or `16Gi`.
The API server rejects objects that break a rule below, with a message that says what is expected.
"""


def reference(schema: Schema) -> str:
    """Return the page in Markdown, one section per object of the API."""
    parts = [_HEAD, *_rules(schema)]
    for part in ("spec", "status"):
        parts.extend(_sections(part, schema["properties"][part]))
    return "\n".join(parts).rstrip("\n") + "\n"


def _sections(path: str, node: Schema) -> Iterator[str]:
    inner = node.get("items", node)
    if "properties" not in inner:
        return
    yield f"## {path}"
    yield _escaped(node["description"]) + "\n"
    yield "| Field | Type | Default | Limits | What it does |"
    yield "|---|---|---|---|---|"
    required = inner.get("required", ())
    for name, child in inner["properties"].items():
        default = "required" if name in required else _default(child)
        yield f"| `{name}` | {_type(child)} | {default} | {_limits(child)} | {_escaped(child['description'])} |"
    yield ""
    for name, child in inner["properties"].items():
        own = [f"- `{name}` {rule['message']}" for rule in _own_rules(child)]
        yield from own if len(own) > _RULES_IN_A_CELL else ()
    yield from _rules(inner)
    for name, child in inner["properties"].items():
        yield from _sections(f"{path}.{name}{'[]' if 'items' in child else ''}", child)


def _rules(node: Schema) -> Iterator[str]:
    rules = node.get("x-kubernetes-validations", ())
    for rule in rules:
        field = f"`{rule['fieldPath'].lstrip('.')}` " if "fieldPath" in rule else ""
        yield f"- {field}{rule['message']}"
    if rules:
        yield ""


def _type(node: Schema) -> str:
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return "object"
    if "items" in node:
        return f"list of {_type(node['items'])}"
    if "additionalProperties" in node:
        return f"map of {_type(node['additionalProperties'])}"
    if "enum" in node:
        return " or ".join(f"`{value}`" for value in node["enum"])
    if "type" in node:
        return str(node["type"])
    said = " ".join(rule["message"] for rule in node.get("x-kubernetes-validations", ()))
    return next((kind for kind in ("duration", "quantity") if f"must be a {kind}" in said), "string")


def _default(node: Schema) -> str:
    default = node.get("default")
    if default is None or isinstance(default, dict):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _limits(node: Schema) -> str:
    own = [rule["message"] for rule in _own_rules(node)]
    said = own if len(own) <= _RULES_IN_A_CELL else ["see below"]
    if "minimum" in node or "maximum" in node:
        above = "above " if node.get("exclusiveMinimum") else ""
        said.append(f"{above}{node.get('minimum', '')} to {node.get('maximum', '')}")
    for key, what in (("maxItems", "items"), ("maxProperties", "entries"), ("maxLength", "characters")):
        if key in node:
            said.append(f"at most {node[key]} {what}")
    return _escaped("; ".join(said))


def _own_rules(node: Schema) -> Iterator[Rule]:
    """Yield the rules of a value and of its items; those of an object stand in its own section."""
    for part in (node, node.get("items", {}), node.get("additionalProperties", {})):
        if "properties" not in part:
            yield from part.get("x-kubernetes-validations", ())


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
