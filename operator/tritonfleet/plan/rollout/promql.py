"""Confine a user's PromQL query to one namespace and one revision.

This is a security boundary: `runtime/probes.py` sends no query to Prometheus that did not pass `confine()`. The query
is parsed, both matchers are added to every selector, and the result is serialized and parsed again to check that every
selector has them.
"""

import re
from typing import Final

import promql_parser
from promql_parser import Expr, MatchOp, VectorSelector

from tritonfleet.errors import InvalidSpec

NAMESPACE: Final = "namespace"
REVISION: Final = "revision"
"""Labels that the PodMonitor adds to every series of a pod."""

_WORD: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_UNCONFINED: Final = frozenset({"info"})
"""Functions that read series beyond the selectors of the query."""


def confine(query: str, namespace: str, revision: str) -> str:
    """Return the query with every selector confined to a namespace and a revision (its hash).

    Raises:
        InvalidSpec: It is not PromQL, or one of its selectors cannot be confined.
    """
    if not _WORD.fullmatch(namespace) or not _WORD.fullmatch(revision):
        raise ValueError(f"not names of a namespace and a revision: {namespace!r}, {revision!r}")
    wanted = {NAMESPACE: namespace, REVISION: revision}
    tree = _parsed(query)
    _refuse_unconfinable(tree)
    confined = promql_parser.transform(tree, post_visit=lambda node: _confined(node, wanted)).prettify()
    if not all(_is_confined(selector, wanted) for selector in _selectors(_parsed(confined))):
        raise InvalidSpec(f"the query {query!r} has a selector that cannot be confined: simplify it")
    return confined


def _parsed(query: str) -> Expr:
    try:
        tree: Expr = promql_parser.parse(query)
    except ValueError as error:
        raise InvalidSpec(f"the query {query!r} is not PromQL: {error}") from error
    return tree


def _refuse_unconfinable(tree: Expr) -> None:
    if isinstance(tree, promql_parser.StringLiteral | promql_parser.MatrixSelector | promql_parser.SubqueryExpr):
        raise InvalidSpec("a query must return a scalar or an instant vector, neither a range vector nor a string")
    for node in _nodes(tree):
        if isinstance(node, promql_parser.Call) and node.func.name in _UNCONFINED:
            raise InvalidSpec(f"the function {node.func.name}() reads series beyond the selectors: remove it")
    selectors = _selectors(tree)
    if not selectors:
        raise InvalidSpec("a query must select series: a constant does not depend on the canary")
    if any(selector.matchers.or_matchers for selector in selectors):
        raise InvalidSpec("a selector must not contain `or`: write two selectors")


def _confined(node: Expr, wanted: dict[str, str]) -> Expr | None:
    if not isinstance(node, VectorSelector):
        return None
    # Our matchers go first, where only the metric's name precedes them.
    name = node.name or ""
    rest = node.prettify().removeprefix(name)
    others = rest[1:] if rest.startswith("{") else "}" + rest
    ours = ",".join(f'{label}="{value}"' for label, value in wanted.items())
    return _parsed(f"{name}{{{ours}{'' if others.startswith('}') else ','}{others}")


def _is_confined(selector: VectorSelector, wanted: dict[str, str]) -> bool:
    equal = {(each.name, each.value) for each in selector.matchers.matchers if each.op == MatchOp.Equal}
    return not selector.matchers.or_matchers and wanted.items() <= equal


def _selectors(tree: Expr) -> list[VectorSelector]:
    return [node for node in _nodes(tree) if isinstance(node, VectorSelector)]


def _nodes(tree: Expr) -> list[Expr]:
    nodes: list[Expr] = []
    promql_parser.walk(tree, pre_visit=nodes.append)
    return nodes
