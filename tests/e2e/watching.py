"""Looks at one ModelDeployment again and again, in a thread of its own."""

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar

from devcluster.cluster import Cluster
from devcluster.kube import ApiError

PERIOD_SECONDS = 0.4


class Seen(Protocol):
    """What was seen at one time."""

    @property
    def at(self) -> float:
        """Return when, in seconds since the epoch."""


Snapshot = TypeVar("Snapshot", bound=Seen)


@dataclass
class Watching(ABC, Generic[Snapshot]):
    """A thread that looks until it is left; `snapshots` may be read at any time."""

    cluster: Cluster
    namespace: str
    name: str
    snapshots: list[Snapshot] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, name=f"watching {self.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def since(self, start: float, end: float = float("inf")) -> list[Snapshot]:
        """Return what was seen in [start, end), seconds since the epoch."""
        return [moment for moment in self.snapshots if start <= moment.at < end]

    def story(self, start: float = 0.0) -> str:
        """Return what the status said since then, one line for each time it changed."""
        lines, said = [], ""
        for moment in self.since(start):
            words, numbers = self._row(moment)
            if words != said:
                lines.append(f"{moment.at - start:6.1f} s  {numbers}  {words}")
            said = words
        return "\n".join(lines)

    @abstractmethod
    def _look(self, at: float) -> Snapshot:
        """Return what there is to see."""

    @abstractmethod
    def _row(self, moment: Snapshot) -> tuple[str, str]:
        """Return what the status says in words, and the numbers beside it."""

    def _watch(self) -> None:
        while not self._over.wait(PERIOD_SECONDS):
            try:
                self.snapshots.append(self._look(time.time()))
            except (ApiError, KeyError, IndexError):
                # It is not all there yet, or no more, or the API server is being troubled on purpose.
                continue
