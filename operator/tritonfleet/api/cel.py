"""CEL rules: what the API server checks by itself, with the words a person reads when it refuses."""

import json
from collections.abc import Iterable

Rule = dict[str, str]
"""One entry of `x-kubernetes-validations`."""


def rule(expression: str, must: str, *, got: str | None = None, at: str | None = None) -> Rule:
    """Return a rule that refuses the object with `must` when `expression` is false.

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
