"""The shape of the repository: what lies where, and what must never lie there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOT = ROOT / "operator"

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


def test_no_python_file_is_longer_than_400_lines() -> None:
    long = [path for path in tracked("*.py") if len(path.read_text().splitlines()) > 400]

    assert relative(long) == []


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
