"""Bring remote files to disk: in parallel parts, each resumed where it broke, with a checksum per file.

Eight threads read parts of 32 MiB, and more of them small files, whose requests cost more than their bytes. A read that
fails is tried again with growing pauses (`Backoff`), from the byte that it had reached. `Journal` notes each finished
piece of 4 MiB on disk, so that a restarted container fetches only what is missing; `Progress` reports every two seconds
how far it is. The bytes come from a `Reader`, which is `remote.Remote`.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

from tritonfleet.api.quantities import counted
from tritonfleet.errors import Transient
from tritonfleet.fetch.failure import FetchFailed, Stopped, disk_failure
from tritonfleet.fetch.model_folder import HASH_BYTES, Content
from tritonfleet.fetch.remote import PART_BYTES, RemoteFile

ATTEMPTS: Final = 7
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 15.0
"""With full jitter, seven attempts in a row wait 15 s on average and 31 s at most."""


class Backoff:
    """Counts the failures in a row of one read, and waits between them; one per read, not shared."""

    def __init__(self, stopping: threading.Event, report: Callable[[str], None]) -> None:
        self._stopping = stopping
        self._report = report
        self._failures = 0

    def renew(self) -> None:
        """Forget the failures: the source has delivered a good piece since."""
        self._failures = 0

    def wait(self, error: Transient) -> None:
        """Sleep with full jitter; FetchFailed after the last attempt, Stopped when the fetch has ended."""
        self._failures += 1
        if self._failures >= ATTEMPTS:
            raise FetchFailed(f"{error}; gave up after {ATTEMPTS} attempts in a row") from error
        ceiling = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (self._failures - 1))
        pause = max(random.uniform(0, ceiling), error.retry_after_seconds or 0)  # noqa: S311 - jitter, no secret
        self._report(f"{error}; attempt {self._failures + 1} of {ATTEMPTS} in {pause:.1f}s")
        if self._stopping.wait(pause):
            raise Stopped


_T = TypeVar("_T")


def retry(action: Callable[[], _T], backoff: Backoff) -> _T:
    """Return what `action` returns, calling it again while it raises Transient and attempts are left."""
    while True:
        try:
            return action()
        except Transient as error:
            backoff.wait(error)


INTERVAL_SECONDS: Final = 2.0
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


class Progress:
    """Counts bytes and files of one stage; safe to feed from several threads."""

    def __init__(
        self, total_bytes: int, total_files: int, report: Callable[[str], None], *, verb: str = "fetched",
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:  # fmt: skip
        self._total, self._files, self._report, self._verb = total_bytes, total_files, report, verb
        self._interval_seconds = interval_seconds
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._done = self._kept = self._done_files = 0
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def keep(self, count: int) -> None:
        """Count bytes that an earlier attempt left on disk; they are no part of the rate."""
        with self._lock:
            self._kept += count

    def add(self, count: int) -> None:
        """Count bytes that have just arrived; negative when they have to come again."""
        with self._lock:
            self._done += count

    def finish_file(self) -> None:
        """Count one complete file."""
        with self._lock:
            self._done_files += 1

    def __enter__(self) -> Self:
        self._started_at = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is None:
            self._report(self._line(self._done / max(time.monotonic() - self._started_at, 1e-3)))

    def _tick(self) -> None:
        before, at = 0, time.monotonic()
        while not self._ended.wait(self._interval_seconds):
            now, done = time.monotonic(), self._done
            self._report(self._line(max(0.0, (done - before) / (now - at))))
            before, at = done, now

    def _line(self, bytes_per_second: float) -> str:
        present = self._done + self._kept
        unit = max(0, min((max(self._total, 1).bit_length() - 1) // 10, len(_UNITS) - 1))
        percent = 100 * present // self._total if self._total else 100
        kept = f", {size_text(self._kept)} from an earlier attempt" if self._kept else ""
        missing = self._total - present
        left = f", {-(-missing // max(1, round(bytes_per_second)))}s left" if missing and bytes_per_second >= 1 else ""
        return (
            f"{self._verb} {_number(present / 1024**unit)} of {size_text(self._total)} ({percent}%), "
            f"{size_text(round(bytes_per_second))}/s{left}, {self._done_files} of {counted(self._files, 'file')}{kept}"
        )


def size_text(count: float) -> str:
    """Return bytes in the largest binary unit that keeps at least one digit before the point."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{_number(count)} {_UNITS[unit]}"


def _number(count: float) -> str:
    """Return three digits at most, or all that stand before the point."""
    return f"{count:.0f}" if count >= 100 else f"{count:.3g}"


PIECE_BYTES: Final = 4 * 1024 * 1024
"""What a kill can cost of each part that is being read."""


class Journal:
    """An append-only file of finished pieces, keyed by the file's path, size and version.

    A piece is written down after its bytes, so a kill at any moment loses at most the pieces in flight.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor = -1
        self._done: dict[tuple[object, ...], set[int]] = {}
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            try:
                *key, start = json.loads(line)
            except (ValueError, TypeError):
                continue  # the line that a kill cut short
            if start is None:
                self._done.pop(tuple(key), None)
            else:
                self._done.setdefault(tuple(key), set()).add(start)

    def finished_pieces(self, file: RemoteFile) -> set[int]:
        """Return the offsets of the pieces on disk; none if the server does not tell versions apart."""
        return set(self._done.get(_key(file), ())) if file.version else set()

    def kept_bytes(self, file: RemoteFile) -> int:
        """Return how many bytes of the file the finished pieces hold."""
        step = piece_bytes(file)
        return sum(min(step, file.size - start) for start in self.finished_pieces(file))

    def record(self, file: RemoteFile, start: int | None) -> None:
        """Write down that the piece at `start` is complete on disk, or with None, that none of the file's is."""
        # The newline comes first: it also ends a line that a kill cut short.
        line = "\n" + json.dumps([*_key(file), start])
        with self._lock:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.write(self._descriptor, line.encode())

    def close(self) -> None:
        """Close the file; the next record opens it again."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


def piece_bytes(file: RemoteFile) -> int:
    """Return how long each piece of a file is but the last: all of it where the server sends no parts."""
    return min(PIECE_BYTES, PART_BYTES) if file.ranges else max(file.size, 1)


def _key(file: RemoteFile) -> tuple[object, ...]:
    return (file.path, file.size, file.version, piece_bytes(file) if file.ranges else 0)


WORKERS: Final = 8
SMALL_FILE_BYTES: Final = 1024 * 1024
SMALL_FILE_WORKERS: Final = 16
RENEWING_BYTES: Final = 1024 * 1024
"""An attempt that brought this much counts as success: the pauses start over."""
SPARE_BYTES: Final = 16 * 1024 * 1024


class Reader(Protocol):
    """Where the bytes come from."""

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from `start` up to `end`; Transient if it may work later."""


class Source(Reader, Protocol):
    """A place to read a model from."""

    @property
    def version(self) -> str:
        """What the URI's branch, tag or alias named when the files were listed; empty for a URI without one."""

    def files(self) -> list[RemoteFile]:
        """List the files; FetchFailed if there are none, Transient if it may work later."""

    def arranged(self, contents: Sequence[Content], folder: Path) -> list[Content]:
        """Return the model's files of those that were fetched; what has to be unpacked goes below `folder`."""


@dataclass(slots=True)
class _Target:
    """One file on its way: its pieces may finish in any order, its checksum follows from the front."""

    file: RemoteFile
    path: Path
    done: set[int]
    lock: threading.Lock = field(default_factory=threading.Lock)
    sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    hashed_bytes: int = 0

    @property
    def step(self) -> int:
        return piece_bytes(self.file)

    @property
    def is_one_piece(self) -> bool:
        """Whether one thread fetches all of it, from the front."""
        return 0 < self.file.size <= self.step

    def parts(self) -> list[tuple[int, int]]:
        """Return the spans to fetch: what is missing of each part."""
        size, step = self.file.size, self.step
        found: list[tuple[int, int]] = []
        for start in range(0, size, step):
            if start in self.done:
                continue
            end = min(start + step, size)
            if found and found[-1][1] == start and start % max(PART_BYTES, step):
                found[-1] = (found[-1][0], end)
            else:
                found.append((start, end))
        return found

    def feed(self, chunk: memoryview, position: int) -> None:
        """Hash what has just been written of a file of one piece, which only one thread writes."""
        if self.is_one_piece and position == self.hashed_bytes:
            self.sha256.update(chunk)
            self.hashed_bytes += len(chunk)

    def restart(self) -> None:
        """Forget what was hashed of a file that comes again from its first byte."""
        self.sha256 = hashlib.sha256()
        self.hashed_bytes = 0

    def advance(self) -> bool:
        """Feed the checksum with what is contiguous by now; True when that was the rest of the file.

        One thread at a time does it, and goes on with what others finish meanwhile: they fetch instead of waiting.
        """
        if self.file.size <= self.step and self.hashed_bytes == self.file.size:
            return True
        while self.hashed_bytes in self.done and self.lock.acquire(blocking=False):
            try:
                with self.path.open("rb", buffering=0) as data:
                    self._hash(data)
                if self.hashed_bytes == self.file.size:
                    return True
            finally:
                self.lock.release()
        return False

    def _hash(self, data: FileIO) -> None:
        buffer = memoryview(bytearray(min(HASH_BYTES, self.file.size)))
        data.seek(self.hashed_bytes)
        while self.hashed_bytes in self.done:
            left = min(self.step, self.file.size - self.hashed_bytes)
            while left and (count := data.readinto(buffer[:left])):
                self.sha256.update(buffer[:count])
                self.hashed_bytes += count
                left -= count


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
        parts = [(target, start, end) for target in targets for start, end in target.parts()]
        with Progress(total, len(files), self.report) as progress, contextlib.closing(self.journal):
            progress.keep(total - sum(end - start for _, start, end in parts))
            for target in targets:
                if target.done or not target.file.size:
                    self._advance(target, progress)
            self._fetch_all(parts, progress)
        return [Content(t.file.path, t.file.size, t.sha256.hexdigest(), t.path) for t in targets]

    def _prepared(self, file: RemoteFile) -> _Target:
        # One flat folder: what an earlier attempt left can stand in the way of no path of this one.
        path = self.folder / hashlib.sha256(file.path.encode()).hexdigest()
        done = self.journal.finished_pieces(file)
        target = _Target(file, path, done)
        if target.is_one_piece and not done:
            return target  # it is made when it is fetched
        on_disk = path.exists() and path.stat().st_size == file.size
        if not on_disk:
            done.clear()
        with path.open("r+b" if on_disk else "wb") as data:
            data.truncate(file.size)
        return target

    def _fetch_all(self, parts: Sequence[tuple[_Target, int, int]], progress: Progress) -> None:
        with ThreadPoolExecutor(WORKERS) as pool, ThreadPoolExecutor(SMALL_FILE_WORKERS) as small:
            futures = [
                (small if target.file.size <= SMALL_FILE_BYTES else pool).submit(
                    self._fetch_part, target, start, end, progress
                )
                for target, start, end in parts
            ]
            try:
                finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                self.stopping.set()
                for each in (pool, small):
                    each.shutdown(wait=True, cancel_futures=True)
        errors = [error for future in finished if (error := future.exception())]
        for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
            raise error

    def _fetch_part(self, target: _Target, start: int, end: int, progress: Progress) -> None:
        backoff = Backoff(self.stopping, self.report)
        position = piece = start
        while position < end:
            attempt_start = position
            try:
                for reached in self._written(target, attempt_start, end, progress):
                    position = reached
                    if position - attempt_start >= RENEWING_BYTES:
                        backoff.renew()
                    while piece < end and position >= min(piece + target.step, end):
                        self.journal.record(target.file, piece)
                        target.done.add(piece)
                        piece += target.step
                        self._advance(target, progress)
            except Transient as error:
                if not target.file.ranges:
                    progress.add(start - position)
                    position = start
                    target.restart()
                backoff.wait(error)

    def _advance(self, target: _Target, progress: Progress) -> None:
        if not target.advance():
            return
        file, found = target.file, target.sha256.hexdigest()
        if file.sha256 and found != file.sha256:
            self.journal.record(file, None)
            raise FetchFailed(
                f"{file.path}: what arrived has the SHA-256 {found}, the store lists it with {file.sha256}; "
                "publish the file again"
            )
        progress.finish_file()

    def _written(self, target: _Target, position: int, end: int, progress: Progress) -> Iterator[int]:
        """Write what one read brings, yielding the position reached; Transient if it ends early."""
        cut = os.O_TRUNC if target.is_one_piece and position == 0 else 0
        descriptor = os.open(target.path, os.O_WRONLY | os.O_CREAT | cut, 0o644)
        try:
            for chunk in self.reader.read(target.file, position, end):
                if self.stopping.is_set():
                    raise Stopped
                if position + len(chunk) > end:
                    raise FetchFailed(f"{target.file.path}: the server sent more bytes than were asked for")
                write_at(descriptor, chunk, position)
                target.feed(chunk, position)
                position += len(chunk)
                progress.add(len(chunk))
                yield position
        finally:
            os.close(descriptor)
        if position < end:
            raise Transient(f"{target.file.path}: the connection ended {counted(end - position, 'byte')} too early")


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
