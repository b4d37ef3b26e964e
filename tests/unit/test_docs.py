"""The documentation says what the code does, and its links lead somewhere."""

import re
import subprocess
from pathlib import Path

import pytest

from tritonfleet.api.conditions import ConditionType, Reason
from tritonfleet.plan.autoscale import ScaleReason
from tritonfleet.plan.rollout import RolloutReason
from tritonfleet.runtime import Telemetry

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def pages() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / name for name in listing.stdout.splitlines()]


def anchors(page: Path) -> set[str]:
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in HEADING.findall(page.read_text())
    }


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    broken = []
    for target, anchor in LINK.findall(page.read_text()):
        linked = (page.parent / target).resolve() if target else page
        if not linked.exists() or (anchor and linked.suffix == ".md" and anchor not in anchors(linked)):
            broken.append(f"{target}#{anchor}")

    assert broken == []


def test_every_decision_is_in_the_list_of_decisions() -> None:
    folder = ROOT / "docs" / "adr"
    listed = set(re.findall(r"\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text()))

    assert listed == {page.name for page in folder.glob("[0-9]*.md")}


async def test_every_metric_of_the_operator_is_documented_with_its_type() -> None:
    exposed = {
        (f"{family.name}_total" if family.type == "counter" else family.name, family.type)
        for family in Telemetry().registry.collect()
    }
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()

    assert set(re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.MULTILINE)) == exposed


def test_every_condition_and_every_reason_is_documented_once() -> None:
    page = (ROOT / "docs" / "reference" / "conditions.md").read_text()
    types, reasons = page.split("## Reasons")

    assert sorted(first_cells(types.split("## Combinations")[0])) == sorted(ConditionType)
    assert sorted(first_cells(reasons)) == sorted({*Reason, *RolloutReason, *ScaleReason})


def test_every_situation_names_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "reference" / "situations.md").read_text()
    named = re.findall(r"^\| .* \| `(tests/[\w/]+\.py)::(\w+)` \|$", page, re.MULTILINE)
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| Situation |")]

    assert len(named) == len(rows) >= 20
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"


def test_every_reason_that_debugging_explains_exists() -> None:
    page = (ROOT / "docs" / "how-to" / "debug.md").read_text()
    explained = {
        word for words in re.findall(r"^\*\*([A-Za-z, ]+)\.\*\*", page, re.MULTILINE) for word in words.split(", ")
    }

    assert explained <= {*Reason, *RolloutReason, *ScaleReason}


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


AMBIGUOUS = re.compile(r"(?:kubectl|\{kubectl\})[^`|\n]*[ \"]modeldeployments?(?![\w.=-])(?!\.tritonfleet)")


def test_no_command_names_a_kind_that_other_projects_have_too() -> None:
    assert AMBIGUOUS.search("kubectl get modeldeployments --all-namespaces")
    assert not AMBIGUOUS.search("kubectl get pods -l tritonfleet.dev/modeldeployment=digits")
    listing = subprocess.run(
        ["git", "ls-files", "--", "*.md", "*.txt", "*.yaml", "operator/*.py", "devcluster/*.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found = [name for name in listing.stdout.splitlines() if AMBIGUOUS.search((ROOT / name).read_text())]

    assert found == []


def test_the_glossary_fits_on_a_screen() -> None:
    assert len((ROOT / "docs" / "reference" / "glossary.md").read_text().splitlines()) <= 45
