"""Which parts of which files are on disk, so that a restarted container goes on where it stopped."""

import json
import threading
from pathlib import Path

from tritonfleet.fetch.remote import PART_BYTES, RemoteFile


class Journal:
    """An append-only file of finished parts, keyed by the file's path, size and version.

    A part is written down after its bytes, so a kill at any moment loses at most the parts in flight.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._done: dict[tuple[object, ...], set[int]] = {}
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            try:
                *key, start = json.loads(line)
            except (ValueError, TypeError):
                continue  # the line that a kill cut short
            self._done.setdefault(tuple(key), set()).add(start)

    def finished_parts(self, file: RemoteFile) -> set[int]:
        """Return the offsets of the parts on disk; none if the server does not tell versions apart."""
        return set(self._done.get(_key(file), ())) if file.version else set()

    def kept_bytes(self, file: RemoteFile) -> int:
        """Return how many bytes of the file the finished parts hold."""
        step = PART_BYTES if file.ranges else file.size
        return sum(min(step, file.size - start) for start in self.finished_parts(file))

    def record(self, file: RemoteFile, start: int) -> None:
        """Write down that the part at `start` is complete on disk."""
        with self._lock, self._path.open("a") as lines:
            # The newline comes first: it also ends a line that a kill cut short.
            lines.write("\n" + json.dumps([*_key(file), start]))


def _key(file: RemoteFile) -> tuple[object, ...]:
    return (file.path, file.size, file.version, PART_BYTES if file.ranges else 0)
