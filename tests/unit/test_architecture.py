"""What may import what, beyond what import-linter's contracts can say."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from tritonfleet.api.conditions import Reason

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "operator" / "tritonfleet"
PURE_LAYERS = ("api", "plan", "triton")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("tritonfleet", include_external_packages=True)


def nodes(*layers: str) -> Iterator[tuple[Path, ast.AST]]:
    for layer in layers:
        for path in sorted((PACKAGE / layer).rglob("*.py")):
            yield from ((path.relative_to(ROOT), node) for node in ast.walk(ast.parse(path.read_text())))


def test_every_import_contract_holds() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, check=False, capture_output=True, text=True
    )

    assert "0 broken" in done.stdout
    assert done.returncode == 0


def test_no_module_imports_itself_in_a_circle(graph: grimp.ImportGraph) -> None:
    own = [module for module in graph.modules if module.startswith("tritonfleet")]
    circles = [
        (module, *chain)
        for module in own
        for imported in graph.find_modules_directly_imported_by(module)
        if (chain := graph.find_shortest_chain(imported, module))
    ]

    assert circles == []


def test_decisions_are_given_the_time_and_never_ask_for_it() -> None:
    clocks = {"now", "utcnow", "today"}
    asked = [
        f"{path}:{node.lineno}"
        for path, node in nodes(*PURE_LAYERS)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in clocks
    ]

    assert asked == []


def test_decisions_never_wait() -> None:
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)

    assert [f"{path}" for path, node in nodes(*PURE_LAYERS) if isinstance(node, waiting)] == []


def test_tritonclient_lends_its_schema_and_brings_nothing_else_into_the_process() -> None:
    program = (
        "from tritonfleet.runtime import operate; import sys, tritonfleet.fetch;"
        "print(sorted({'grpc', 'numpy', 'tritonclient'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)

    assert done.stdout == "[]\n"


def test_the_picture_in_the_readme_is_drawn_from_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "docs/tools/architecture.py", "--check"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr


def test_every_reason_that_a_decision_names_is_part_of_the_api() -> None:
    named = {
        argument.value
        for _, node in nodes(*PURE_LAYERS)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"Finding", "InvalidSpec"}
        for argument in (*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "reason"))
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value.isalnum()
    }

    assert named
    assert named <= set(Reason)
