"""The shape of the repository: what lies where, and what must never lie there."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOT = ROOT / "operator"

SHORTEST, LONGEST = 60, 600
"""Lines of a module: shorter ones scatter one subject over many files, longer ones hold more than one."""
PACKAGE = "operator/tritonfleet"
MERGED = (
    f"{PACKAGE}/fetch",
    f"{PACKAGE}/plan",
    f"{PACKAGE}/plan/autoscale",
    f"{PACKAGE}/plan/objects",
    f"{PACKAGE}/plan/rollout",
    f"{PACKAGE}/plan/rollout/analysis",
    f"{PACKAGE}/plan/rollout/verification",
    f"{PACKAGE}/runtime",
    f"{PACKAGE}/sim",
    f"{PACKAGE}/sim/baselines",
    f"{PACKAGE}/cli",
    f"{PACKAGE}/cli/explain",
    f"{PACKAGE}/cli/golden",
    f"{PACKAGE}/cli/rollout",
    f"{PACKAGE}/cli/simulate",
)
"""Packages that keep the rules of size and of names, without what lies below them. Add each as it is merged."""
FACES = tuple(package for package in MERGED if package != f"{PACKAGE}/plan")
"""Merged packages that are imported as a whole. The modules of `plan` are imported one by one: its packages build on
some of them, and others build on its packages."""
SHORT: frozenset[str] = frozenset({f"{PACKAGE}/cli/operate.py"})
"""Modules of merged packages that may be short, because each is a real interface: a protocol, a security boundary, an
entry point. A package's `__init__.py` always may."""
LONGEST_UNMERGED = 400
"""Lines of everything that is not merged yet."""

NOTES_TO_SELF = re.compile(r"\b(?:T[O]DO|F[I]XME|X{3}|HA[C]K)\b")


def tracked(*patterns: str) -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [path for name in listing.stdout.splitlines() if (path := ROOT / name).is_file()]


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_the_source_root_is_not_a_package() -> None:
    assert not (SOURCE_ROOT / "__init__.py").exists()


def test_the_source_root_holds_the_package_alone() -> None:
    assert {path.relative_to(SOURCE_ROOT).parts[0] for path in tracked("operator")} == {"tritonfleet"}


@pytest.mark.parametrize("flags", [[], ["-S"], ["-m", "timeit", "-n1", "-r1"]])
def test_python_started_in_the_root_finds_the_operator_of_the_standard_library(flags: list[str]) -> None:
    code = "import operator, os; assert os.path.dirname(operator.__file__) == os.path.dirname(os.__file__)"
    subprocess.run([sys.executable, *flags, *([] if "-m" in flags else ["-c"]), code], cwd=ROOT, check=True)


def test_no_module_hides_one_of_the_standard_library() -> None:
    named_alike = [path for path in tracked("*.py") if path.stem in sys.stdlib_module_names - {"__main__"}]

    assert relative([path for path in named_alike if not path.stem.startswith("__")]) == []


def merged_modules(package: str) -> list[Path]:
    return tracked(f":(glob){package}/*.py")


def public_names(module: Path) -> Iterator[str]:
    """Yield what a module defines at its top level, without what it imports and without its logger."""
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            defined = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            defined = [
                each.id
                for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
                for each in ast.walk(target)
                if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            ]
        else:
            defined = []
        yield from (name for name in defined if not name.startswith("_") and name != "log")


def test_no_python_file_is_too_long() -> None:
    merged = {module for package in MERGED for module in merged_modules(package)}
    lines = {path: len(path.read_text().splitlines()) for path in tracked("*.py")}
    long = [path for path, count in lines.items() if count > (LONGEST if path in merged else LONGEST_UNMERGED)]

    assert relative(long) == []


@pytest.mark.parametrize("package", MERGED)
def test_a_short_module_of_a_merged_package_is_a_listed_interface(package: str) -> None:
    modules = [path for path in merged_modules(package) if path.name != "__init__.py"]
    short = [path for path in modules if len(path.read_text().splitlines()) < SHORTEST]

    assert modules
    assert set(relative(short)) == {name for name in SHORT if str(Path(name).parent) == package}


@pytest.mark.parametrize("package", MERGED)
def test_no_public_name_is_defined_twice_within_a_merged_package(package: str) -> None:
    where: dict[str, list[str]] = {}
    for module in merged_modules(package):
        for name in public_names(module):
            where.setdefault(name, []).append(module.name)

    assert {name: modules for name, modules in where.items() if len(modules) > 1} == {}


@pytest.mark.parametrize("package", FACES)
def test_everyone_outside_imports_a_merged_package_and_not_its_modules(package: str) -> None:
    dotted = package.removeprefix("operator/").replace("/", ".")
    inner = {f"{dotted}.{module.stem}" for module in merged_modules(package) if module.name != "__init__.py"}
    # A test may look inside a package that its folder mirrors; tests/unit/cli mirrors all subcommands.
    mirrored = package.replace(PACKAGE, "tests/unit")
    homes = (package, "tests/unit/cli" if mirrored.startswith("tests/unit/cli/") else mirrored)
    outside = [path for path in tracked("*.py") if not str(path.relative_to(ROOT)).startswith(homes)]
    found = {name: path for path in outside for name in inner if re.search(rf"\b{re.escape(name)}\b", path.read_text())}

    assert found == {}


def test_nothing_is_left_to_be_done_in_the_sources() -> None:
    sources = tracked("*.py", "*.go", "*.yaml", "*.md", "Makefile")

    assert relative([path for path in sources if NOTES_TO_SELF.search(path.read_text())]) == []


def test_every_locked_package_is_pinned_by_hash_and_names_no_index() -> None:
    for lock in (ROOT / "requirements.lock", ROOT / "requirements-dev.lock"):
        requirements = re.split(r"\n(?=\S)", lock.read_text().strip())
        assert [line for line in requirements if "==" not in line or "--hash=sha256:" not in line] == []
        assert "://" not in lock.read_text()


def test_every_layer_says_what_it_is_for() -> None:
    silent = [path for path in tracked("operator/**/__init__.py") if not path.read_text().startswith('"""')]

    assert relative(silent) == []
