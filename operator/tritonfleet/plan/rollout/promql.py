"""A user's PromQL, confined to one namespace and one revision, whatever it says.

This is a security boundary: `runtime/probes.py` sends no query to Prometheus that did not pass `confine()`. The query
is parsed, every selector in the tree is replaced by one that has the two matchers as well, the tree is written out and
read again, and what comes back must have them everywhere.
"""

import re
from typing import Final

import promql_parser
from promql_parser import Expr, MatchOp, VectorSelector

from tritonfleet.errors import InvalidSpec

NAMESPACE: Final = "namespace"
REVISION: Final = "revision"
"""The labels that our PodMonitor puts on every series of a pod."""

_WORD: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_UNCONFINED: Final = frozenset({"info"})
"""Functions that read series which no selector of the query names."""


def confine(query: str, namespace: str, revision: str) -> str:
    """Return the query with every selector confined to a namespace and a revision (its hash).

    Raises:
        InvalidSpec: It is no PromQL, or it selects in a way that cannot be confined for sure.
    """
    if not _WORD.fullmatch(namespace) or not _WORD.fullmatch(revision):
        raise ValueError(f"not names of a namespace and a revision: {namespace!r}, {revision!r}")
    wanted = {NAMESPACE: namespace, REVISION: revision}
    tree = _parsed(query)
    _refuse_unconfinable(tree)
    confined = promql_parser.transform(tree, post_visit=lambda node: _confined(node, wanted)).prettify()
    if not all(_is_confined(selector, wanted) for selector in _selectors(_parsed(confined))):
        raise InvalidSpec(f"the query {query!r} has a selector that cannot be confined: write it in a simpler way")
    return confined


def _parsed(query: str) -> Expr:
    try:
        tree: Expr = promql_parser.parse(query)
    except ValueError as error:
        raise InvalidSpec(f"the query {query!r} is not PromQL: {error}") from error
    return tree


def _refuse_unconfinable(tree: Expr) -> None:
    if isinstance(tree, promql_parser.StringLiteral | promql_parser.MatrixSelector | promql_parser.SubqueryExpr):
        raise InvalidSpec("a query must give a number or a vector at one moment, neither a range nor text")
    for node in _nodes(tree):
        if isinstance(node, promql_parser.Call) and node.func.name in _UNCONFINED:
            raise InvalidSpec(f"the function {node.func.name}() reads series beyond the selectors: leave it out")
    selectors = _selectors(tree)
    if not selectors:
        raise InvalidSpec("a query must select series: a constant says nothing of a canary")
    if any(selector.matchers.or_matchers for selector in selectors):
        raise InvalidSpec("a selector must not contain `or`: write two selectors")


def _confined(node: Expr, wanted: dict[str, str]) -> Expr | None:
    if not isinstance(node, VectorSelector):
        return None
    # Ours go first, where no text of the user's has come before but the metric's name.
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
