"""What a person reads about a value of the wrong type or size: the field, what it must be, and the value.

The API server refuses such a value with the schema's words alone, "must be of type object". Where a number is written
for a string its rules say more (`base.text_not_number`); for an object or a list only the description can, which
`kubectl explain` shows, so `EXAMPLES` are part of it. The operator and the command line say all of it themselves:
`server.image: "repo:tag"` is answered with "spec.server.image: must be an object, such as {repository: ..., tag: ...}".
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

from tritonfleet.api.base import Schema

EXAMPLES: Final = {
    "spec.model": "{uri: s3://models/recommender/7}",
    "spec.model.versionPolicy": "{latest: 2} or {all: true}",
    "spec.batching": "{maxBatchSize: 32}",
    "spec.batching.dynamic": "{maxQueueDelay: 2ms}",
    "spec.instances": "[{count: 2}]",
    "spec.companions": "[{name: tokenizer}]",
    "spec.server.image": "{repository: nvcr.io/nvidia/tritonserver, tag: 26.11-py3}",
    "spec.server.gpu": "{count: 1}",
    "spec.server.resources": "{requests: {cpu: 4, memory: 16Gi}}",
    "spec.server.env": "[{name: LOG_LEVEL, value: info}]",
    "spec.server.args": "[--log-verbose=1]",
    "spec.slo.latency": "{percentile: 99, target: 50ms}",
    "spec.metrics": "{source: Gateway}",
    "spec.traffic.gateway": "{parentRefs: [{name: public}]}",
    "spec.traffic.gateway.parentRefs": "[{name: public}]",
    "spec.traffic.gateway.hostnames": "[model.example.com]",
    "spec.rollout": "{strategy: Recreate}",
    "spec.rollout.canary": "{steps: [{weight: 10}, {weight: 50}]}",
    "spec.rollout.canary.steps": "[{weight: 10}, {weight: 50}]",
    "spec.rollout.canary.analysis.errorRate": "{ratio: 2, difference: 0.5}",
    "spec.rollout.canary.analysis.latency": "{ratio: 2, difference: 1}",
    "spec.rollback": "{toRevision: shop-1a2b3c4d5e}",
}
"""How to write an object or a list for which people write a single value, by the path of the field."""

_ITEM_EXAMPLES: Final = {
    "spec.rollout.canary.steps": "{weight: 10}",
    "spec.instances": "{count: 2}",
    "spec.companions": "{name: tokenizer}",
}
_CONTAINERS: Final = {
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "tuple_type": "must be a list",
}
_RULED: Final = {
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_type": "must be a string: write it in quotes",
}
_SCALARS: Final = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "float_parsing": "must be a number, without a unit",
    "float_type": "must be a number, without a unit",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number, without a unit",
    "int_type": "must be a whole number, without a unit",
    "missing": "must be set",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
    "greater_than": "must be above {gt}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
}
"""What is said of each type of pydantic's errors; for those in `_RULED` the field's own rule comes first."""

_GIVEN_MAX: Final = 100


def with_examples(root: Schema) -> Schema:
    """Add each example to the description of its field."""
    for path, example in EXAMPLES.items():
        node = _node(root, tuple(path.split(".")))
        node["description"] = f"{node['description']}\n\nExample: `{example}`."
    return root


def described(error: ValidationError, root: Schema) -> Iterator[str]:
    """Yield a sentence for each problem: path, what the value must be, and the value."""
    for problem in error.errors():
        if problem["type"] == "too_short" and len(problem["input"]) >= problem["ctx"]["min_length"]:
            # Of a tuple pydantic counts the valid items alone, and each of the others has a problem of its own.
            continue
        location = problem["loc"]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
        given = "" if problem["type"] == "missing" else f", got {_shown(problem['input'])}"[:_GIVEN_MAX]
        yield f"{path}: {_remedy(problem, _node(root, location)) or _lowered(problem['msg'])}{given}"


def _shown(given: object) -> str:
    try:
        return repr(given)
    except RecursionError:
        return "a value too deep to show"


def _remedy(problem: Any, node: Schema) -> str | None:
    """Return what the value must be, in the words of the API's own rules; None if pydantic says it as well."""
    kind = problem["type"]
    if kind in _CONTAINERS:
        return _CONTAINERS[kind] + _such_as(problem["loc"], node)
    said = (_rule(node) if kind in _RULED else None) or {**_RULED, **_SCALARS}.get(kind)
    return said.format(**problem.get("ctx", {})) if said is not None and "{" in said else said


def _such_as(location: tuple[int | str, ...], node: Schema) -> str:
    path = ".".join(part for part in location if isinstance(part, str))
    example = (_ITEM_EXAMPLES if isinstance(location[-1], int) else EXAMPLES).get(path)
    if example is not None:
        return f", such as {example}"
    fields = ", ".join(f"`{name}`" for name in list(node.get("properties", ()))[:5])
    return f" with fields such as {fields}" if fields else ""


def _rule(node: Schema) -> str | None:
    """Return the message of the rule on the value itself."""
    messages = [check["message"] for check in node.get("x-kubernetes-validations", ()) if "fieldPath" not in check]
    return next((message for message in messages if re.match("must (be|start|hold|name)", message)), None)


def _node(root: Schema, location: tuple[int | str, ...]) -> Schema:
    """Return the schema of the value at a location, or an empty one where there is none."""
    node = root
    for part in location:
        within = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
        node = within or node.get("additionalProperties") or {}
    return node


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:]
