"""Every process must collect the same tests: pytest-xdist refuses to run workers that disagree."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_two_processes_collect_the_same_tests_at_other_times_and_in_other_folders(tmp_path):
    elsewhere = _copied(tmp_path / "elsewhere")
    first = _start_collecting(ROOT, hash_seed="1")
    # Whatever holds the second of its making differs from now on.
    second = int(time.time())
    while int(time.time()) == second:
        time.sleep(0.05)
    other = _start_collecting(elsewhere, hash_seed="2")
    names = _collected(first)
    assert len(names) > 1000
    assert _collected(other) == names


def _copied(target: Path) -> Path:
    git = ("git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, subprocess.run(git, check=True, capture_output=True, text=True).stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    subprocess.run(("git", "-C", str(target), "init", "--quiet"), check=True)
    return target


def _start_collecting(folder: Path, hash_seed: str) -> subprocess.Popen[str]:
    # As workers collect them: in the order of the files, and without anything of the process around.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_"))}
    environment = inherited | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(folder / "operator")}
    command = ("pytest", "tests", "--collect-only", "-q", "-p", "no:randomly", "-p", "no:cacheprovider")
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def _collected(process: subprocess.Popen[str]) -> list[str]:
    said, _ = process.communicate()
    assert process.returncode == 0, said[-3000:]
    return [line for line in said.splitlines() if "::" in line]
