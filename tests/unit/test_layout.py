"""The shape of the repository: what lies where, and what must never lie there."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from grimp import build_graph

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOT = ROOT / "operator"

SHORTEST, LONGEST = 60, 600
"""Lines of a module: shorter ones scatter one subject over many files, longer ones hold more than one."""
LONGEST_ELSEWHERE = 400
"""Lines of a file of tests, benchmarks or tools."""
LONGEST_FUNCTION = 80
MOST_FILES, MOST_SHORT_FILES = 185, 12
PACKAGE = "operator/tritonfleet"
SHORT = frozenset(
    f"{PACKAGE}/{name}"
    for name in (
        "__init__.py",
        "__main__.py",
        "adapters/__init__.py",
        "api/__init__.py",
        "cli/__init__.py",
        "cli/explain/__init__.py",
        "cli/rollout/__init__.py",
        "cli/simulate/__init__.py",
        "fetch/__init__.py",
        "plan/__init__.py",
        "runtime/__init__.py",
        "triton/__init__.py",
    )
)
"""Files that may be short, because each is a real interface: the face of a package, an entry point."""
FACES = (
    f"{PACKAGE}/cli",
    f"{PACKAGE}/cli/explain",
    f"{PACKAGE}/cli/rollout",
    f"{PACKAGE}/cli/simulate",
    f"{PACKAGE}/fetch",
    f"{PACKAGE}/plan/autoscale",
    f"{PACKAGE}/plan/objects",
    f"{PACKAGE}/plan/rollout",
    f"{PACKAGE}/plan/rollout/analysis",
    f"{PACKAGE}/plan/rollout/verification",
    f"{PACKAGE}/runtime",
    f"{PACKAGE}/sim",
    f"{PACKAGE}/sim/baselines",
)
"""Packages that are imported as a whole. The modules of `plan` itself are imported one by one: its packages build on
some of them, and others build on its packages."""
ONE_VOCABULARY = (*(f"{package}/*.py" for package in FACES), f"{PACKAGE}/plan/**/*.py")
"""Modules among which a public name stands for one thing: those of a package, and all of `plan`."""
MODULE = re.compile(r"(?<![\w/.<>-])(?:[\w-]+/)*[\w-]+\.py\b")
OUTSIDE = re.compile(r"\bresearch \d|\.\./shared\b|\bissue #?\d", re.IGNORECASE)
FOREIGN_MODULES = frozenset({"grpc/model_config_pb2.py", "load_scaling.py", "throughput_scaling.py"})
"""Of tritonclient and of Dynamo, which are named as such where they are cited."""

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


def line_counts(*patterns: str) -> dict[str, int]:
    return {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in tracked(*patterns)}


def test_the_package_has_few_files() -> None:
    assert len(tracked(f"{PACKAGE}/*.py")) <= MOST_FILES


def test_no_python_file_is_too_long() -> None:
    counts = line_counts("*.py")

    assert {
        name for name, lines in counts.items() if lines > (LONGEST if name.startswith(PACKAGE) else LONGEST_ELSEWHERE)
    } == set()


def test_no_function_is_too_long_to_read_at_once() -> None:
    functions = [
        (f"{module.relative_to(SOURCE_ROOT)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for module in tracked(f"{PACKAGE}/*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    assert {name for name, lines in functions if lines > LONGEST_FUNCTION} == set()
    assert len(functions) > 1000


def test_only_the_listed_interfaces_are_short() -> None:
    short = {name for name, lines in line_counts(f"{PACKAGE}/*.py").items() if lines < SHORTEST}

    assert short == SHORT
    assert len(SHORT) <= MOST_SHORT_FILES


@pytest.mark.parametrize("modules", ONE_VOCABULARY)
def test_no_public_name_is_defined_twice(modules: str) -> None:
    where: dict[str, list[str]] = {}
    for module in tracked(f":(glob){modules}"):
        for name in public_names(module):
            where.setdefault(name, []).append(str(module.relative_to(SOURCE_ROOT)))

    assert where
    assert {name: defined for name, defined in where.items() if len(defined) > 1} == {}


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = build_graph("tritonfleet", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}

    assert len(imports) > 100
    # Raises CycleError, with the modules of the circle.
    TopologicalSorter(imports).prepare()


@pytest.mark.parametrize("package", FACES)
def test_everyone_outside_imports_a_package_and_not_its_modules(package: str) -> None:
    dotted = package.removeprefix("operator/").replace("/", ".")
    inner = {f"{dotted}.{module.stem}" for module in tracked(f":(glob){package}/*.py") if module.name != "__init__.py"}
    # A test may look inside a package that its folder mirrors; tests/unit/cli mirrors all subcommands.
    mirrored = package.replace(PACKAGE, "tests/unit")
    homes = (package, "tests/unit/cli" if mirrored.startswith("tests/unit/cli/") else mirrored)
    outside = [path for path in tracked("*.py") if not str(path.relative_to(ROOT)).startswith(homes)]
    found = {name: path for path in outside for name in inner if re.search(rf"\b{re.escape(name)}\b", path.read_text())}

    assert found == {}


def test_comments_and_pages_cite_only_what_is_in_the_repository() -> None:
    modules = {f"/{name}" for name in relative(tracked("*.py"))}
    missing = set()
    for path in tracked(f"{PACKAGE}/*.py", "*.md"):
        text = path.read_text()
        cited = {name for name in MODULE.findall(text) if not any(module.endswith(f"/{name}") for module in modules)}
        missing |= {(str(path.relative_to(ROOT)), name) for name in cited - FOREIGN_MODULES}
        missing |= {(str(path.relative_to(ROOT)), name) for name in OUTSIDE.findall(text)}

    assert missing == set()


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
