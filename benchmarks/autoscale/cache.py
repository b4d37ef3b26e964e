"""Scores of earlier benches, kept for as long as the code that they depend on stays as it is."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple
from functools import cached_property
from pathlib import Path

import tritonfleet
from benchmarks.autoscale.runs import Job, Score

PACKAGE = Path(tritonfleet.__file__).parent
HERE = Path(__file__).parent
PLAYED = ("contenders.py", "recorded.py", "runs.py", "scenes.py", "settings.py")
"""What decides how a run goes, of the bench itself."""


class Cache:
    """A file with one score per line; a run is known by its job and by the text of the code behind it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self._scores = {entry["key"]: Score(**entry["score"]) for entry in map(json.loads, lines)}

    def split(self, jobs: Iterable[Job]) -> tuple[list[Score], list[Job]]:
        """Return the scores that are known, and the jobs that are left to do."""
        known, left = [], []
        for job in jobs:
            score = self._scores.get(self._key(job))
            if score is None:
                left.append(job)
            else:
                known.append(score)
        return known, left

    def keep(self, played: Iterable[tuple[Job, Score]]) -> Iterator[Score]:
        """Write scores down as they come, and hand them on."""
        for job, score in played:
            with self._path.open("a") as file:
                file.write(json.dumps({"key": self._key(job), "score": asdict(score)}) + "\n")
            yield score

    def _key(self, job: Job) -> str:
        code = self._ours if job.family.startswith("ours") else self._world
        return hashlib.sha256(f"{code} {astuple(job)}".encode()).hexdigest()

    @cached_property
    def _world(self) -> str:
        """Digest of the simulator, the rivals and the bench."""
        return _digest([*(PACKAGE / "sim").rglob("*.py"), *(HERE / name for name in PLAYED)])

    @cached_property
    def _ours(self) -> str:
        """Digest of all that, and of the autoscaler."""
        return self._world + _digest((PACKAGE / "plan" / "autoscale").rglob("*.py"))


def _digest(paths: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()
