"""Draw the phases of a rollout into docs/explanation/rollouts.md, from the one table of transitions in the code.

`python docs/tools/phases.py` writes the pictures and the table; with `--check` it only says whether they are stale.
"""

import argparse
import ast
import inspect
import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tritonfleet.plan.rollout import TRANSITIONS, Phase

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "rollouts.md"
START, END = "<!-- phases:start -->", "<!-- phases:end -->"
GROUP_MIN = 3
"""So many phases from which, or to which, the same condition leads are drawn as one."""

Edge = tuple[tuple[Phase, ...], tuple[Phase, ...], str]
"""From any of these phases to any of those, and when."""


def edges() -> list[Edge]:
    """Return every transition, those together that have the condition and one end in common."""
    alike: dict[str, list[tuple[Phase, Phase]]] = {}
    for edge in TRANSITIONS:
        for when in edge.when.split("; or "):
            alike.setdefault(when, []).append((edge.source, edge.target))
    found: list[Edge] = []
    for when, pairs in alike.items():
        sources = tuple(dict.fromkeys(source for source, _ in pairs))
        targets = tuple(dict.fromkeys(target for _, target in pairs))
        if len(pairs) >= GROUP_MIN and len(pairs) == len(sources) * len(targets):
            found.append((sources, targets, when))
        else:
            found.extend(((source,), (target,), when) for source, target in pairs)
    return found


def meanings() -> list[tuple[str, str]]:
    """Return every phase and what the code says of it."""
    (tree,) = ast.parse(inspect.getsource(Phase)).body
    if not isinstance(tree, ast.ClassDef):
        raise TypeError("the source of Phase is not a class")
    return [
        (ast.literal_eval(name.value), ast.literal_eval(said.value))
        for name, said in itertools.pairwise(tree.body)
        if isinstance(name, ast.Assign) and isinstance(said, ast.Expr)
    ]


def drawing() -> str:
    """Return what belongs between the two markers: two pictures and a table."""
    single = [edge for edge in edges() if len(edge[0]) == len(edge[1]) == 1]
    grouped = [edge for edge in edges() if edge not in single]
    phases = [f"| `{phase}` | {meaning} |" for phase, meaning in meanings()]
    return "\n".join(
        [
            START,
            *_picture(single),
            "",
            "From many phases alike:",
            "",
            *_picture(grouped),
            "",
            "| Phase | |",
            "|---|---|",
            *phases,
            END,
        ]
    )


def _picture(some: Iterable[Edge]) -> Iterator[str]:
    some = list(some)
    ends = list(dict.fromkeys(end for edge in some for end in edge[:2]))
    names = {end: end[0].value if len(end) == 1 else f"Any{index}" for index, end in enumerate(ends)}
    yield "```mermaid"
    yield "stateDiagram-v2"
    for end, name in names.items():
        if len(end) > 1:
            yield f'    state "{_listed(end)}" as {name}'
    for source, target, when in some:
        yield f"    {names[source]} --> {names[target]} : {when.replace(':', ',')}"
    yield "```"


def _listed(phases: tuple[Phase, ...]) -> str:
    lines = [", ".join(phases[start : start + GROUP_MIN]) for start in range(0, len(phases), GROUP_MIN)]
    return "any of<br/>" + ",<br/>".join(lines)


def drawn_into(page: str) -> str:
    """Return the page with the drawing of today between its markers."""
    before, found_start, rest = page.partition(START)
    _, found_end, after = rest.partition(END)
    if not (found_start and found_end):
        raise SystemExit(f"{PAGE.relative_to(ROOT)}: the markers {START} and {END} are missing")
    return before + drawing() + after


def main() -> int:
    """Write the drawing, or with --check exit 1 when it is stale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the drawing is stale")
    current = PAGE.read_text()
    wanted = drawn_into(current)
    if not parser.parse_args().check:
        PAGE.write_text(wanted)
    elif current != wanted:
        print(f"{PAGE.relative_to(ROOT)}: the drawing of the phases is stale; run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
