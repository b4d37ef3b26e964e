"""What `make test` runs: stage after stage, with a table of what each took and proved.

What a later stage needs is built and started in the background meanwhile. Every stage is a target of the Makefile too.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.report import Bar, Table, report
from devcluster.commands import raise_priority

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / ".cache" / "suite"
STAGES = ("lint", "test-unit", "test-stores", "test-sim", "test-cluster", "test-e2e")
BESIDE = {"lint": "test-builds", "test-cluster": "test-bring-up"}
"""Which target is begun in the background with which stage; all are waited for before WAITS."""
BUILT = "test-stores"
"""The first stage that needs what is built: from then on the builds have the priority of the stages."""
WAITS = "test-e2e"
LIMIT_MINUTES = 25.0
CLOSING = re.compile(r"=+ (.*\d+ \w+.*) in [\d.]+s(?: \([\d:]+\))? =+")
COLOR = re.compile(r"\x1b\[[\d;]*m")
NEVER = ("skipped", "xfailed", "xpassed")
"""What a test must not be: each shows what it claims, every time."""


@dataclass
class Outcome:
    """How a stage ended; `counts` are those of pytest's closing lines, by what they count."""

    stage: str
    seconds: float = 0.0
    status: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return self.counts["failed"] + self.counts["error"] + self.counts["errors"]

    @property
    def complaint(self) -> str:
        """Return why this is no success; nothing if it is one."""
        if self.status or self.failed:
            return f"exit status {self.status}"
        if any(self.counts[each] for each in NEVER):
            return "not every test was run, or is expected to pass"
        if self.stage.startswith("test-") and not self.counts["passed"]:
            return "nothing was tested"
        return ""

    def as_row(self) -> dict[str, object]:
        tests = {"passed": self.counts["passed"], "failed": self.failed} if self.counts else {}
        return {"stage": self.stage, "seconds": round(self.seconds, 1), **tests}


def counted(line: str) -> Counter[str]:
    """Return what a line counts if it is pytest's last; `2 failed, 3 passed in 4.00s` between equals signs."""
    closing = CLOSING.fullmatch(COLOR.sub("", line).strip())
    found = re.findall(r"(\d+) (\w+)", closing[1]) if closing else ()
    return Counter({what: int(number) for number, what in found})


def make(target: str) -> list[str]:
    return [os.environ.get("MAKE", "make"), "--no-print-directory", target]


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def run(stage: str, command: Sequence[str]) -> Outcome:
    """Run a stage and show what it says as it says it."""
    outcome, began = Outcome(stage), time.monotonic()
    say(f"\n--- {stage}\n")
    colors = {"PY_COLORS": "1"} if sys.stdout.isatty() else {}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | colors, stdout=pipe, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            say(line)
            outcome.counts += counted(line)
    outcome.seconds, outcome.status = time.monotonic() - began, process.returncode
    return outcome


class Background:
    """Targets that run beside the stages, one after the other; what they say is in LOGS."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self, target: str) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        with (LOGS / f"{target}.log").open("wb") as log:
            # A group and not a session: Linux weighs the sessions against each other before it looks at any priority.
            self._running[target] = subprocess.Popen(
                make(target), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )

    def raise_priority(self) -> None:
        """Give what runs the priority of the stages: a busy machine would never finish it otherwise."""
        for process in self._running.values():
            raise_priority(process.pid)

    def wait(self) -> Outcome:
        """Wait for all; one that failed is only told: the stage that needs it does what it could not, or fails."""
        began = time.monotonic()
        for target, process in self._running.items():
            if process.wait():
                say(f"{target} failed, see {(LOGS / target).relative_to(ROOT)}.log\n")
        return Outcome("waiting for the cluster", time.monotonic() - began)

    def end(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()


@contextmanager
def background() -> Iterator[Background]:
    beside = Background()
    try:
        yield beside
    finally:
        beside.end()


def run_all(stages: Sequence[str], outcomes: list[Outcome]) -> None:
    """Run every stage, whatever becomes of those before it."""
    with background() as beside:
        for stage in stages:
            if WAITS in stages and stage in BESIDE:
                beside.begin(BESIDE[stage])
            if stage == BUILT:
                beside.raise_priority()
            if stage == WAITS:
                outcomes.append(beside.wait())
            outcomes.append(run(stage, make(stage)))


def table(outcomes: Sequence[Outcome]) -> str:
    """Return what each stage took, and whether it holds."""
    lines = [f"{'stage':<24}{'seconds':>9}{'passed':>8}{'failed':>8}"]
    for each in outcomes:
        tests = f"{each.counts['passed']:>8}{each.failed:>8}" if each.counts else " " * 16
        lines.append(f"{each.stage:<24}{each.seconds:>9.1f}{tests}  {each.complaint}".rstrip())
    passed, failed = sum(each.counts["passed"] for each in outcomes), sum(each.failed for each in outcomes)
    lines.append(f"{'in all':<24}{sum(each.seconds for each in outcomes):>9.1f}{passed:>8}{failed:>8}")
    return "\n".join(lines)


def record(outcomes: Sequence[Outcome], load: float) -> None:
    """Keep the table beside the other measurements of this repository."""
    minutes = sum(each.seconds for each in outcomes) / 60
    notes = f"- Load average of the machine before: {load:.1f}. What the cache lacked was built meanwhile.\n"
    report("suite", [Table("Stages", [each.as_row() for each in outcomes])],
           [Bar("make test", round(minutes, 1), "min", LIMIT_MINUTES)], notes)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages; return 0 only if each of them holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.suite", description=__doc__)
    parser.add_argument("stages", nargs="*", default=STAGES, metavar="STAGE", help="targets of the Makefile (all)")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/suite.json too")
    options = parser.parse_args(arguments)
    load, outcomes = os.getloadavg()[0], list[Outcome]()
    try:
        run_all(options.stages, outcomes)
    finally:
        LOGS.mkdir(parents=True, exist_ok=True)
        (LOGS / "suite.json").write_text(json.dumps([each.as_row() for each in outcomes], indent=1) + "\n")
        say(f"\n{table(outcomes)}\n")
    if options.record:
        record(outcomes, load)
    return int(any(each.complaint for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
