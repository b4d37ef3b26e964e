"""What runs the stages of `make test` fails when one of them does, counts its tests, and always says what each took."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests import suite

SAYS = {
    "lint": "All checks passed!",
    "test-good": "=== 3 passed, 1 warning in 0.12s ===\n= 4 passed, 2 deselected in 61.00s (0:01:01) =",
    "test-bad": "==== 1 failed, 2 passed, 3 errors in 1.00s ====",
    "test-skips": "==== 2 passed, 1 skipped in 1.00s ====",
    "test-empty": "==== no tests ran in 0.01s ====",
}


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stages that say what a real one would, and where their times are kept."""

    def command(target: str) -> list[str]:
        return [sys.executable, "-c", f"print({SAYS[target]!r}); raise SystemExit({int(target == 'test-bad')})"]

    monkeypatch.setattr(suite, "make", command)
    monkeypatch.setattr(suite, "LOGS", tmp_path / "suite")
    return tmp_path / "suite" / "suite.json"


def test_every_stage_is_run_counted_and_shown_even_if_another_fails(
    stages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert suite.main(["lint", "test-bad", "test-good"]) == 1

    said = capsys.readouterr().out
    assert "==== 1 failed, 2 passed, 3 errors in 1.00s ====" in said
    lines = [line.split() for line in said.splitlines()[-5:]]
    assert [(line[0], line[2:]) for line in lines[1:-1]] == [
        ("lint", []),
        ("test-bad", ["2", "4", "exit", "status", "1"]),
        ("test-good", ["7", "0"]),
    ]
    assert lines[-1][3:] == ["9", "4"]
    rows = json.loads(stages.read_text())
    assert [(row["stage"], row.get("passed"), row.get("failed")) for row in rows] == [
        ("lint", None, None),
        ("test-bad", 2, 4),
        ("test-good", 7, 0),
    ]


@pytest.mark.parametrize(("stage", "status"), [("lint", 0), ("test-good", 0), ("test-skips", 1), ("test-empty", 1)])
def test_a_stage_that_skips_or_tests_nothing_fails(stages: Path, stage: str, status: int) -> None:
    assert suite.main([stage]) == status
    assert stages.exists()


def test_the_stages_are_targets_of_the_makefile() -> None:
    targets = (suite.ROOT / "Makefile").read_text()

    for name in {*suite.STAGES, *suite.BESIDE.values()}:
        assert f"\n{name}: " in targets
    assert {*suite.BESIDE, suite.BUILT, suite.WAITS} <= {*suite.STAGES}


def test_a_stage_that_needs_the_builds_does_not_wait_for_them_at_the_lowest_priority(
    stages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "make", lambda _: ["nice", "-n", "19", "sh", "-c", "sleep 600 & echo $!; wait"])
    log = stages.parent / "test-builds.log"

    with suite.background() as beside:
        beside.begin("test-builds")
        while not (log.exists() and log.read_text().endswith("\n")):
            time.sleep(0.02)
        compiler = int(log.read_text())
        assert os.getpriority(os.PRIO_PROCESS, compiler) == 19

        beside.raise_priority()

        assert os.getpriority(os.PRIO_PROCESS, compiler) == os.getpriority(os.PRIO_PROCESS, 0)
