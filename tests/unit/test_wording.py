"""The source uses the words of the glossary, and messages, docstrings and comments are worded alike.

Everything is read from the syntax tree: names where they are defined, messages with `{}` for each value that is filled
in, docstrings, and comments.
"""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import tritonfleet

PACKAGE = Path(tritonfleet.__file__).parent

FORMER = re.compile(
    r"Moment|Advance|Facts|Tracks?|Split|Course|Steering|Passage|Look|Watch|Segment|Beat|Spread|Tally|Edge|Interview|"
    r"Compared|Case|Closing|Recording|Inquiry|Subject|Ear|NoMemory|Vitals|Patience|Complaint|Arena|"
    r"hear|keepsake|leave_memories|patiently|contest|roster|asking|holding|towards|floor_of|floor_back|carries|"
    r"pods_needed|_forth|straight|uncompared|pinned|at_rest|_?begun|told|noticed|judge|_?interview|_?looks?|_?beats?|"
    r"EVERYTHING|LOOK_AGAIN_SECONDS|"
    r"SLOW|ARRIVAL|LOOKING|HOLDING|SEASON|PROMOTED_BROKE"
)
"""Names that clearer ones have replaced; a name that also has another meaning is not among them."""
FORMER_MODULES = re.compile(
    r"law|hold|ledger|margin|pace|slow|arrival|tails|back|rest|room|asking|holding|course|steering|moment"
)
RENAMES = "api/renames.py"
"""Has former names as texts, to translate them."""

NOUNS = (
    r"answers|bytes|canaries|characters|checks|dimensions|failures|files|GPUs|instances|models|nodes|objects|pods|"
    r"replicas|requests|responses|retries|revisions|rows|seconds|servers|steps|values|versions|windows"
)
FAULTS = {
    "a space before a percent sign": re.compile(r"(\d|\}) %(?!\()"),
    "a space before the unit of a value": re.compile(r"\} (s|ms|us|m|h)\b"),
    "a count whose noun has no singular": re.compile(rf"(?<!/)(?<!of )(?<!to )\{{\}} (\w+ )?({NOUNS})\b(?!/s)"),
    "two spaces within a sentence": re.compile(r"\w[.,;:]?  +\w"),
    "a space at the end of a sentence": re.compile(r"[.!?] $"),
    "a riddle about people": re.compile(r"\b(nobody|somebody|anybody|everybody|whoever)\b", re.IGNORECASE),
    "private vocabulary": re.compile(
        r"\b(keepsakes?|arena|roster|hears?|taken? back|takes back|stands? by|make room|makes room|way back|anew)\b"
        r"|\bin the (place|midst) of\b|\b(a|the|each|one) looks?\b",
        re.IGNORECASE,
    ),
}

INDENTED = re.compile(r"^ {4,}.*$", re.MULTILINE)
"""Code and drawings within a docstring."""


class Text(NamedTuple):
    """A text of the source, with `{}` for what is filled in when it is shown."""

    place: str
    text: str


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def texts() -> tuple[Text, ...]:
    """Return every text of the package."""
    named = ((str(path.relative_to(PACKAGE)), path) for path in sources())
    return tuple(
        text for name, path in named if name != RENAMES for text in texts_of(path.read_text(encoding="utf-8"), name)
    )


def texts_of(source: str, name: str) -> Iterator[Text]:
    """Yield the texts of messages and docstrings, and the comments."""
    tree = ast.parse(source)
    parts = {id(each) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for each in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield Text(f"{name}:{node.lineno}", "".join(map(template, node.values)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield Text(f"{name}:{node.lineno}", INDENTED.sub("", inspect.cleandoc(node.value)))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(f"{name}:{token.start[0]}", token.string)


def template(part: ast.expr) -> str:
    """Return a part of an f-string; `{}` for a value, but `N` for a constant, whose number is known to be large."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    value = part.value if isinstance(part, ast.FormattedValue) else part
    name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
    return "N" if name.isupper() else "{}"


def names_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield every name that is defined, with its line: functions, classes, arguments, variables and attributes."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.arg():
                yield node.lineno, node.arg


def faults_in(source: str) -> set[str]:
    return {fault for fault, pattern in FAULTS.items() for _, text in texts_of(source, "x.py") if pattern.search(text)}


def test_no_former_name_is_defined() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in sources()
        for line, name in names_of(path.read_text(encoding="utf-8"))
        if FORMER.fullmatch(name)
    ]
    assert found == []
    assert [str(path) for path in sources() if FORMER_MODULES.fullmatch(path.stem)] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_texts_are_worded_alike(fault: str) -> None:
    assert [text for text in texts() if FAULTS[fault].search(text.text)] == []


@pytest.mark.parametrize(
    ("fault", "source"),
    [
        ("a space before a percent sign", 'f"{share} % of the traffic"'),
        ("a space before a percent sign", "# 10 % is enough"),
        ("a space before the unit of a value", 'f"waits {seconds:.0f} s"'),
        ("a count whose noun has no singular", 'f"{ready} pods are ready"'),
        ("a count whose noun has no singular", 'f"{ready} ready pods"'),
        ("two spaces within a sentence", '"one  sentence"'),
        ("a space at the end of a sentence", '"One sentence. "'),
        ("a riddle about people", '"""Return what nobody asked for."""'),
        ("private vocabulary", 'f"the canary is taken back"'),
    ],
)
def test_each_fault_is_found(fault: str, source: str) -> None:
    assert faults_in(source) == {fault}


def test_what_is_worded_well_is_left_alone() -> None:
    source = (
        'f"{share}% of {counted(ready, pod)}, {ready}/{asked} pods ready, at most {LARGEST} bytes within {left:.0f}s"'
    )
    assert faults_in(source) == set()
    assert list(names_of("def f(a):\n    b = 1\n    a.c = b")) == [(1, "f"), (1, "a"), (2, "b"), (3, "c")]
