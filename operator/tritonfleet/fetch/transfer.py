"""Bringing remote files to disk: in parallel parts, each resumed where it broke, with a checksum per file."""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from tritonfleet.errors import Transient
from tritonfleet.fetch.failure import FetchFailed, Stopped, disk_failure
from tritonfleet.fetch.journal import Journal
from tritonfleet.fetch.manifest import HASH_BYTES, Content
from tritonfleet.fetch.patience import Patience
from tritonfleet.fetch.progress import Progress, size_text
from tritonfleet.fetch.remote import PART_BYTES, RemoteFile

WORKERS: Final = 8
RENEWING_BYTES: Final = 1024 * 1024
"""An attempt that brought this much counts as success: patience starts anew."""
SPARE_BYTES: Final = 16 * 1024 * 1024


class Reader(Protocol):
    """Where the bytes come from."""

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from `start` up to `end`; Transient if it may work later."""


@dataclass(slots=True)
class _Target:
    """One file on its way: its parts may finish in any order, its checksum follows from the front."""

    file: RemoteFile
    path: Path
    done: set[int]
    lock: threading.Lock = field(default_factory=threading.Lock)
    sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    hashed_bytes: int = 0

    @property
    def step(self) -> int:
        return PART_BYTES if self.file.ranges else max(self.file.size, 1)

    def parts(self) -> list[tuple[int, int]]:
        return [(start, min(start + self.step, self.file.size)) for start in range(0, self.file.size, self.step)]

    def advance(self) -> bool:
        """Feed the checksum with what is contiguous by now; True when that was the rest of the file."""
        with self.lock, self.path.open("rb") as data:
            before = self.hashed_bytes
            data.seek(before)
            while self.hashed_bytes in self.done:
                end = min(self.hashed_bytes + self.step, self.file.size)
                while self.hashed_bytes < end:
                    chunk = data.read(min(HASH_BYTES, end - self.hashed_bytes))
                    self.sha256.update(chunk)
                    self.hashed_bytes += len(chunk)
            return self.hashed_bytes == self.file.size and (before < self.hashed_bytes or self.file.size == 0)


@dataclass(frozen=True, slots=True)
class Transfer:
    """One download of many files into one folder."""

    reader: Reader
    folder: Path
    journal: Journal
    report: Callable[[str], None]
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, files: Sequence[RemoteFile]) -> list[Content]:
        """Return each file with its size and checksum, all of them on disk; raise the first failure."""
        total = sum(file.size for file in files)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Before any part is planned: a listing may claim sizes that would not even fit in memory as a plan.
        check_space(self.folder, total - sum(map(self.journal.kept_bytes, files)))
        targets = [self._prepared(file) for file in files]
        kept = sum(end - start for target in targets for start, end in target.parts() if start in target.done)
        with Progress(total, len(files), self.report) as progress:
            progress.keep(kept)
            for target in targets:
                if target.advance():
                    progress.finish_file()
            self._fetch_all(targets, progress)
        return [Content(t.file.path, t.file.size, t.sha256.hexdigest(), t.path) for t in targets]

    def _prepared(self, file: RemoteFile) -> _Target:
        # One flat folder: what an earlier attempt left can stand in the way of no path of this one.
        path = self.folder / hashlib.sha256(file.path.encode()).hexdigest()
        on_disk = path.exists() and path.stat().st_size == file.size
        done = self.journal.finished_parts(file) if on_disk else set()
        with path.open("r+b" if on_disk else "wb") as data:
            data.truncate(file.size)
        return _Target(file, path, done)

    def _fetch_all(self, targets: Sequence[_Target], progress: Progress) -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            futures = [
                pool.submit(self._fetch_part, target, start, end, progress)
                for target in targets
                for start, end in target.parts()
                if start not in target.done
            ]
            try:
                finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                self.stopping.set()
                pool.shutdown(wait=True, cancel_futures=True)
        errors = [error for future in finished if (error := future.exception())]
        for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
            raise error

    def _fetch_part(self, target: _Target, start: int, end: int, progress: Progress) -> None:
        patience = Patience(self.stopping, self.report)
        position = start
        while position < end:
            attempt_start = position
            try:
                for reached in self._written(target, attempt_start, end, progress):
                    position = reached
                    if position - attempt_start >= RENEWING_BYTES:
                        patience.renew()
            except Transient as error:
                if not target.file.ranges:
                    progress.add(start - position)
                    position = start
                patience.wait(error)
        self.journal.record(target.file, start)
        target.done.add(start)
        if target.advance():
            progress.finish_file()

    def _written(self, target: _Target, position: int, end: int, progress: Progress) -> Iterator[int]:
        """Write what one read brings, yielding the position reached; Transient if it ends early."""
        with target.path.open("r+b", buffering=0) as data:
            for chunk in self.reader.read(target.file, position, end):
                if self.stopping.is_set():
                    raise Stopped
                if position + len(chunk) > end:
                    raise FetchFailed(f"{target.file.path}: the server sent more bytes than were asked for")
                write_at(data.fileno(), chunk, position)
                position += len(chunk)
                progress.add(len(chunk))
                yield position
        if position < end:
            raise Transient(f"{target.file.path}: the connection ended {end - position} bytes too early")


def write_at(descriptor: int, chunk: memoryview, position: int) -> None:
    """Write all of `chunk` at `position`; FetchFailed when the disk is full."""
    written = 0
    while written < len(chunk):
        try:
            written += os.pwrite(descriptor, chunk[written:], position + written)
        except OSError as error:
            raise disk_failure(error) from error


def check_space(folder: Path, needed_bytes: int) -> None:
    """Raise FetchFailed if the volume cannot hold `needed_bytes` more."""
    free = shutil.disk_usage(folder).free
    if needed_bytes + SPARE_BYTES > free:
        raise FetchFailed(
            f"the model needs {size_text(needed_bytes)} more on the model volume, {size_text(free)} are "
            "free; give the node or the volume more space"
        )
