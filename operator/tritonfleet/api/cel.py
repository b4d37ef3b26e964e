"""CEL rules: what the API server checks by itself, with the words a person reads when it refuses."""

import json
from collections.abc import Iterable
from typing import Final

Rule = dict[str, str]
"""One entry of `x-kubernetes-validations`."""


_GOT: Final = ", got '%s'"


def rule(expression: str, must: str, *, got: str | None = None, at: str | None = None) -> Rule:
    """Return a rule that refuses the object with `must` when `expression` is false.

    `got` is a CEL expression for the offending value, quoted in the message; it must not fail when
    `expression` is false. `at` is the field to blame, relative to the rule's own node, such as `.uri`.
    """
    built = {"rule": expression}
    if got is None:
        built["message"] = must
    else:
        # `format` and not `+`: the API server cannot bound the size of a number made into a string.
        built["messageExpression"] = f"{json.dumps(must.replace('%', '%%') + _GOT)}.format([{got}])"
    if at is not None:
        built["fieldPath"] = at
    return built


def requirement(built: Rule) -> str:
    """Return the words of a rule, without the value."""
    if "message" in built:
        return built["message"]
    words, _ = json.JSONDecoder().raw_decode(built["messageExpression"])
    return str(words).removesuffix(_GOT).replace("%%", "%")


def cel_list(texts: Iterable[str]) -> str:
    """Return strings as a CEL list literal."""
    return json.dumps(list(texts))


def cel_pattern(pattern: str) -> str:
    """Return an RE2 pattern as a CEL raw string literal; it must not hold a single quote."""
    return f"r'{pattern}'"
