"""Long-lived processes: started once, found again by id and start time, stopped with a deadline."""

import json
import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.commands import spawn
from devcluster.errors import DevclusterError

_POLL_SECONDS = 0.05


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


@dataclass(frozen=True, slots=True)
class Running:
    """A live process, told from a later one with the same id by its start time."""

    pid: int
    ticks: int

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return start_ticks(self.pid) == self.ticks

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has gone or its id now belongs to another."""
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


@dataclass(frozen=True, slots=True)
class Registry:
    """The processes of one cluster, one JSON file each under `folder`."""

    folder: Path
    logs: Path

    def find(self, name: str) -> tuple[Running, list[str]] | None:
        """The live process recorded under a name and the command it was started with."""
        try:
            record = json.loads((self.folder / f"{name}.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        running = Running(record["pid"], record["ticks"])
        return (running, record["command"]) if running.alive() else None

    def require(self, name: str) -> None:
        """Raise DevclusterError with the end of its log if the process does not run."""
        if self.find(name) is None:
            log = self.logs / f"{name}.log"
            last = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
            raise DevclusterError(f"{name} ended by itself; the last lines of {log}:\n" + "\n".join(last))

    def recorded(self) -> list[str]:
        """Every name that was started and not stopped since, whether or not it still runs."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def names(self) -> list[str]:
        """Every name with a live process."""
        return [name for name in self.recorded() if self.find(name)]

    def revive(self) -> None:
        """Start whatever was recorded and has died, with the command it was started with."""
        for name in self.recorded():
            if self.find(name) is None:
                self.ensure(name, json.loads((self.folder / f"{name}.json").read_text())["command"])

    def ensure(self, name: str, command: Sequence[str | Path]) -> bool:
        """Start the process unless it runs with this very command; returns whether it was started."""
        words = [str(word) for word in command]
        found = self.find(name)
        if found and found[1] == words:
            return False
        if found:
            stop([found[0]], term_seconds=5)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        pid = spawn(words, self.logs / f"{name}.log")
        record = {"pid": pid, "ticks": start_ticks(pid) or 0, "command": words}
        path = self.folder / f"{name}.json"
        path.with_suffix(".new").write_text(json.dumps(record))
        path.with_suffix(".new").replace(path)
        return True

    def stop(self, *names: str, term_seconds: float = 5) -> None:
        """Stop these processes together and forget them."""
        found = [self.find(name) for name in names]
        stop([each[0] for each in found if each], term_seconds=term_seconds)
        for name in names:
            (self.folder / f"{name}.json").unlink(missing_ok=True)


def stop(running: Iterable[Running], *, term_seconds: float) -> None:
    """SIGTERM all, give them `term_seconds` together, then SIGKILL whoever is left."""
    left = list(running)
    for number, patience_seconds in ((signal.SIGTERM, term_seconds), (signal.SIGKILL, 10.0)):
        for process in left:
            process.signal(number)
        deadline = time.monotonic() + patience_seconds
        while left and time.monotonic() < deadline:
            left = [process for process in left if process.alive()]
            if left:
                time.sleep(_POLL_SECONDS)


def running_with(*words: str) -> list[Running]:
    """Every process whose command line holds all these words as whole arguments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks = start_ticks(int(folder.name))
        if ticks is not None and all(word in arguments for word in words):
            found.append(Running(int(folder.name), ticks))
    return found
