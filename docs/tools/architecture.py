"""Draw the layers of the package into README.md, from the import-linter contract and the imports themselves.

`python docs/tools/architecture.py` writes the picture; with `--check` it only says whether it is stale.
"""

import argparse
import ast
import sys
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "tritonfleet"
START, END = "<!-- architecture:start -->", "<!-- architecture:end -->"


def layers() -> list[list[str]]:
    """Return the layers from outermost to innermost; siblings on one level know nothing of each other."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    contract = next(contract for contract in contracts if contract["id"] == "layers")
    return [[name.strip() for name in level.split("|")] for level in contract["layers"]]


def purpose(layer: str) -> str:
    """Return the first line of the layer's docstring, without its full stop."""
    folder = ROOT / "operator" / PACKAGE
    source = folder / layer / "__init__.py"
    if not source.exists():
        source = folder / f"{layer}.py"
    docstring = ast.get_docstring(ast.parse(source.read_text()))
    if not docstring:
        raise SystemExit(f"{source.relative_to(ROOT)}: needs a docstring whose first line says what the layer is for")
    return docstring.splitlines()[0].rstrip(".").replace('"', "'")


def imports(names: list[str]) -> list[tuple[str, str]]:
    """Return which layer imports which, as the code stands."""
    graph = grimp.build_graph(PACKAGE)
    modules = {name: {f"{PACKAGE}.{name}", *graph.find_descendants(f"{PACKAGE}.{name}")} for name in names}
    imported_by = {
        name: {imported for module in members for imported in graph.find_modules_directly_imported_by(module)}
        for name, members in modules.items()
    }
    return [
        (importer, imported)
        for importer in names
        for imported in names
        if importer != imported and imported_by[importer] & modules[imported]
    ]


def picture() -> str:
    """Return the Mermaid block that belongs between the two markers."""
    names = [name for level in layers() for name in level]
    nodes = [f'    {_node(name)}["<b>{name}</b><br/>{purpose(name)}"]' for name in names]
    arrows = [f"    {_node(importer)} --> {_node(imported)}" for importer, imported in imports(names)]
    return "\n".join([START, "```mermaid", "flowchart TD", *nodes, *arrows, "```", END])


def _node(name: str) -> str:
    return name.strip("_")


def drawn_into(readme: str) -> str:
    """Return the README with the picture of today between its markers."""
    before, found_start, rest = readme.partition(START)
    _, found_end, after = rest.partition(END)
    if not (found_start and found_end):
        raise SystemExit(f"README.md: the markers {START} and {END} are missing")
    return before + picture() + after


def main() -> int:
    """Write the picture, or with --check exit 1 when it is stale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the picture is stale")
    readme = ROOT / "README.md"
    current = readme.read_text()
    wanted = drawn_into(current)
    if not parser.parse_args().check:
        readme.write_text(wanted)
    elif current != wanted:
        print("README.md: the architecture picture is stale; run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
