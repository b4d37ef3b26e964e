"""The base of all models of the API, the rules that the API server checks, and the schema that it is given.

A rule is a CEL expression with the message of the API server when it rejects an object. `structural()` converts
pydantic's JSON schema of a model to a structural schema for Kubernetes.
"""

import json
from collections.abc import Collection, Iterable
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from tritonfleet.api.names import RESERVED_ANNOTATION_PREFIXES

Rule = dict[str, str]
"""One entry of `x-kubernetes-validations`."""


def rule(expression: str, must: str, *, got: str | None = None, at: str | None = None) -> Rule:
    """Return a rule that rejects the object with `must` when `expression` is false.

    `got` is a CEL expression for the offending value, quoted in the message; it must not fail when
    `expression` is false. `at` is the field to blame, relative to the rule's own node, such as `.uri`.
    """
    built = {"rule": expression, "message": must}
    if got is not None:
        # `format` and not `+`: the API server cannot bound the size of a number made into a string. `message`
        # stays, for values with line breaks: the API server drops a `messageExpression` that has any.
        quoting = must.replace("%", "%%") + ", got '%s'"
        built["messageExpression"] = f"{json.dumps(quoting)}.format([{got}])"
    if at is not None:
        built["fieldPath"] = at
    return built


def cel_list(texts: Iterable[str]) -> str:
    """Return strings as a CEL list literal."""
    return json.dumps(list(texts))


def cel_pattern(pattern: str) -> str:
    """Return an RE2 pattern as a CEL raw string literal; it must not hold a single quote."""
    return f"r'{pattern}'"


def _with_rules(schema: dict[str, Any], model: type[BaseModel]) -> None:
    rules: tuple[Rule, ...] = getattr(model, "rules", ())
    if rules:
        schema["x-kubernetes-validations"] = list(rules)


class ApiModel(BaseModel):
    """A node of the API: snake_case in Python, camelCase in YAML, immutable, lenient to newer fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
        json_schema_extra=_with_rules,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """CEL rules across the fields of this object."""


def text(max_length: int, *rules: Rule, min_length: int = 1, description: str | None = None) -> Any:
    """Return the constraints of a string, in characters, with CEL rules in which `self` is the string."""
    extra: dict[str, Any] = {"x-kubernetes-validations": list(rules)} if rules else {}
    least = min_length or None
    return Field(min_length=least, max_length=max_length, json_schema_extra=extra, description=description)


def items(max_items: int, *rules: Rule, list_type: str = "atomic", key: str | None = None) -> Any:
    """Return the constraints of a list; `key` names the field that identifies an item."""
    extra: dict[str, Any] = {"x-kubernetes-list-type": "map" if key else list_type}
    if key:
        extra["x-kubernetes-list-map-keys"] = [key]
    if rules:
        extra["x-kubernetes-validations"] = list(rules)
    return Field(max_length=max_items, json_schema_extra=extra)


def mapping(max_entries: int, *rules: Rule) -> Any:
    """Return the constraints of a map, with CEL rules in which `self` is the map."""
    extra: dict[str, Any] = {"x-kubernetes-validations": list(rules)} if rules else {}
    return Field(max_length=max_entries, json_schema_extra=extra)


def at_least_one(maximum: int, remedy: str) -> Any:
    """Return the constraints of a whole number from 1; `remedy` is what a person reads who writes 0."""
    reads = rule("self >= 1", f"must be at least 1: {remedy}", got="self")
    extra: dict[str, Any] = {"minimum": 0, "x-kubernetes-validations": [reads]}
    return Field(ge=1, le=maximum, json_schema_extra=extra)


def text_or_number(max_length: int, as_number: str, as_text: str, must: str) -> Any:
    """Return the constraints of a string that may be written as a whole number too, such as `toRevision: 6`.

    A CEL expression for each; `text_of_number` makes it a string in Python.
    """
    reads = rule(f"type(self) == int ? {as_number} : {as_text}", must, got="self")
    extra: dict[str, Any] = {"x-kubernetes-int-or-string": True, "x-kubernetes-validations": [reads]}
    return Field(max_length=max_length, json_schema_extra=extra)


def text_of_number(value: Any) -> Any:
    """Return a whole number as text, and everything else as it is."""
    return str(value) if type(value) is int else value


def text_not_number(max_length: int, expression: str, must: str, description: str | None = None) -> Any:
    """Return the constraints of a string where a number such as `target: 50` is a common mistake; `must` is the remedy.

    The schema takes a number too, since the API server says no more of a wrong type than its name. Not for items of a
    list: the API server cannot bound what the rule costs there.
    """
    reads = rule(f"type(self) == string && {expression}", must, got="self")
    extra: dict[str, Any] = {"x-kubernetes-int-or-string": True, "x-kubernetes-validations": [reads]}
    return Field(max_length=max_length, json_schema_extra=extra, description=description)


OPEN_VALUES_MAX: Final = 4096
OPEN_TEXT_MAX: Final = 65_536
_OPEN: Final = {"x-kubernetes-preserve-unknown-fields": True}


def open_object(max_entries: int, shapes: Collection[str], *, of_lists: bool = False) -> tuple[Any, ...]:
    """Return the constraints of an object whose fields others define.

    `shapes` are the ways in which objects (`o`) and lists (`l`) may be nested in a field, from outside to inside: `olo`
    is an object with a list of objects; what begins as one of them is allowed as well. `of_lists`: each field is a list
    of objects, and the shapes are those of the objects' fields. The API server checks this: a schema cannot refer to
    itself, so the levels are written out. The number of values and the length of the text are checked by
    `ModelDeployment.parse()`.
    """
    fields, levels = _open_value(shapes), max(map(len, shapes))
    if of_lists:
        item = {"type": "object", "additionalProperties": fields}
        fields, levels = {"type": "array", "maxItems": 32, "items": item}, levels + 2

    def bounded(value: dict[str, Any]) -> dict[str, Any]:
        check_open(value, levels)
        return value

    schema: dict[str, Any] = {**_OPEN, "additionalProperties": fields}
    return Field(max_length=max_entries, json_schema_extra=schema), AfterValidator(bounded)


def _open_value(shapes: Collection[str]) -> dict[str, Any]:
    """Return the schema of any value of these shapes; scalars are always allowed."""
    objects, lists = ({shape[1:] for shape in shapes if shape.startswith(kind)} for kind in "ol")
    return {
        **_OPEN,
        **({"additionalProperties": _open_value(objects)} if objects else {"maxProperties": 0}),
        **({"items": _open_value(lists)} if lists else {"maxItems": 0}),
    }


def check_open(given: dict[str, Any], levels: int) -> None:
    """Raise ValueError for an object with more `levels` of objects and lists inside it, more values or more text."""
    values, letters = 0, 0
    waiting: list[tuple[Any, int]] = [(given, 0)]
    while waiting:
        value, level = waiting.pop()
        values += 1
        if isinstance(value, (dict, list)):
            if level > levels:
                raise ValueError(f"must not be nested more than {levels} levels deep")
            letters += sum(map(len, value)) if isinstance(value, dict) else 0
            waiting += ((each, level + 1) for each in (value.values() if isinstance(value, dict) else value))
        elif isinstance(value, str):
            letters += len(value)
        if values > OPEN_VALUES_MAX:
            raise ValueError(f"must not have more than {OPEN_VALUES_MAX:,} values")
        if letters > OPEN_TEXT_MAX:
            raise ValueError(f"must not have more than {OPEN_TEXT_MAX:,} characters")


DURATION = "^([0-9]{1,6}([um]?s|m|h))+$"


def duration(lowest: str, highest: str, *, in_list: bool = False) -> Any:
    """Return the constraints of a duration such as `50ms` or `1m30s`, bounds included."""
    above = "" if lowest.startswith("0") else f" && duration(self) >= duration('{lowest}')"
    within = f"self.matches('{DURATION}'){above} && duration(self) <= duration('{highest}')"
    must = f"must be a duration from {lowest} to {highest}, such as 1m30s"
    if in_list:
        return text(20, rule(within, must, got="self"), min_length=0)
    return text_not_number(20, within, must)


def matching(max_length: int, pattern: str, must: str) -> Any:
    """Return the constraints of a string that must match an RE2 pattern; `must` is its message."""
    return text(max_length, rule(f"self.matches({cel_pattern(pattern)})", must, got="self"), min_length=0)


LABEL_KEY = r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE = r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$"

ObjectName = Annotated[
    str,
    matching(253, DNS_SUBDOMAIN, "must be the name of an object: lowercase letters, digits, '-' and '.'"),
    Field(description="Name of an object of this namespace."),
]
"""The name of another object of the same namespace."""

DataKey = Annotated[
    str, matching(253, "^[A-Za-z0-9._-]+$", "must be a key of the object: letters, digits, '-', '_' and '.'")
]
"""The key of a value in a ConfigMap or a Secret."""

QualifiedName = Annotated[str, matching(317, LABEL_KEY, "must be a qualified name such as topology.kubernetes.io/zone")]
"""The key of a label, an annotation or a taint."""

LabelValue = Annotated[
    str,
    text(
        63,
        rule(
            f"self.matches({cel_pattern(LABEL_VALUE)})",
            "must be a label value: letters, digits, '-', '_' and '.', at most 63 characters",
            got="self",
        ),
        min_length=0,
        description="Value of a label.",
    ),
]
"""The value of a label."""

LABEL_KEY_RULE: Final = rule(
    f"self.all(key, key.matches({cel_pattern(LABEL_KEY)}))",
    "must have keys such as example.com/name: letters, digits, '-', '_' and '.'",
)

Labels = Annotated[dict[str, LabelValue], mapping(32, LABEL_KEY_RULE)]
"""Labels, or what selects on them."""

ANNOTATION_RULES: Final = (
    LABEL_KEY_RULE,
    rule(
        "!self.exists(key, "
        + " || ".join(f"key.startsWith('{prefix}')" for prefix in RESERVED_ANNOTATION_PREFIXES)
        + ")",
        "must not have keys that start with " + ", ".join(RESERVED_ANNOTATION_PREFIXES),
    ),
)

POD_LABEL_RULE: Final = rule(
    "!self.exists(key, key.startsWith('tritonfleet.dev/') || key == 'app.kubernetes.io/managed-by')",
    "must not have keys that the operator sets itself: tritonfleet.dev/* and app.kubernetes.io/managed-by",
)

QUANTITY = r"^([0-9]{1,28}([.][0-9]{0,20})?|[.][0-9]{1,20})(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$"


def quantity(lowest: str, highest: str, example: str, description: str | None = None) -> Any:
    """Return the constraints of a resource quantity such as `500m` or `16Gi`, bounds included."""
    return text_not_number(
        48,
        f"self.matches({cel_pattern(QUANTITY)}) && isQuantity(self)"
        f" && quantity(self).compareTo(quantity('{lowest}')) >= 0"
        f" && quantity(self).compareTo(quantity('{highest}')) <= 0",
        f"must be a quantity from {lowest} to {highest}, such as {example}",
        description,
    )


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
