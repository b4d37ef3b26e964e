"""S3 buckets and https servers, read through obstore and never around the tunnel."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote

from tritonfleet.errors import Transient, TritonfleetError
from tritonfleet.fetch.explain import explained
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.paths import safe_relative

if TYPE_CHECKING:
    from tritonfleet.fetch.location import Location
    from tritonfleet.fetch.tunnel import Tunnel

PART_BYTES: Final = 32 * 1024 * 1024
CHUNK_BYTES: Final = 128 * 1024
"""What a broken connection can cost: obstore drops the chunk that it had not filled."""
MAX_FILES: Final = 100_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One object below the source, as it was when listed."""

    path: str
    """Relative to the source."""
    key: str
    size: int
    version: str | None
    """Changes with the content (ETag or modification time); None if the server gives neither."""
    ranges: bool = True
    """Whether it is read in parts; otherwise a broken read starts over."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A store opened for one location."""

    location: Location
    store: Any
    tunnel: Tunnel

    def files(self) -> list[RemoteFile]:
        """List the source; raise FetchFailed if it is empty or unsafe, Transient if it may work later."""
        if self.location.scheme == "https":
            return [self._single_https()]
        listed = [meta for page in self._call(self.location.uri, self._pages) for meta in page]
        prefix = self.location.path + "/" if self.location.path else ""
        found = [_remote_file(meta, meta["path"].removeprefix(prefix)) for meta in listed]
        files = without_folder_markers([file for file in found if file.key != self.location.path])
        if not files and self.location.path:
            files = [self._single_object()]
        if not files:
            raise FetchFailed(f"{self.location.uri}: the bucket is empty; upload the model first")
        for file in files:
            safe_relative(file.path, of=self.location.uri)
        return files

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from `start` up to `end`; raise Transient when the connection breaks.

        Raises FetchFailed when the object is no longer the one that was listed.
        """
        import obstore  # noqa: PLC0415

        where = f"{self.location.scheme}://{self.location.authority}/{file.key or self.location.path}"
        options: dict[str, Any] = {} if (start, end) == (0, file.size) else {"range": (start, end)}
        result = self._call(where, lambda: obstore.get(self.store, file.key, options=options))  # type: ignore[arg-type]
        now = _remote_file(result.meta, file.path)
        if (now.size, now.version) != (file.size, file.version):
            raise FetchFailed(f"{where} was replaced while it was being fetched; publish models under new paths")
        stream = result.stream(min_chunk_size=CHUNK_BYTES)
        while (chunk := self._call(where, lambda: next(stream, None))) is not None:
            yield memoryview(chunk)

    def _pages(self) -> list[Any]:
        import obstore  # noqa: PLC0415

        pages, count = [], 0
        for page in obstore.list(self.store, prefix=self.location.path or None, chunk_size=1000):
            pages.append(page)
            count += len(page)
            if count > MAX_FILES:
                raise FetchFailed(f"{self.location.uri} holds more than {MAX_FILES} files; name the model's own folder")
        return pages

    def _single_object(self) -> RemoteFile:
        import obstore  # noqa: PLC0415

        path = self.location.path
        try:
            meta = self._call(self.location.uri, lambda: obstore.head(self.store, path))
        except FetchFailed as error:
            if "not found" not in str(error):
                raise
            raise FetchFailed(f"{self.location.uri}: nothing is stored there (404); check the path") from error
        return _remote_file(meta, self.location.name)

    def _single_https(self) -> RemoteFile:
        import obstore  # noqa: PLC0415

        uri = self.location.uri
        name = safe_relative(unquote(self.location.name), of=uri)
        try:
            meta = self._call(uri, lambda: obstore.head(self.store, ""))
        except FetchFailed as error:
            # Some servers answer HEAD as if the file were not there, or forbidden; GET decides.
            if not re.search(r"\((40[345]|501)", str(error)):
                raise
            meta = self._call(uri, lambda: obstore.get(self.store, "")).meta
        return _remote_file(meta, name, ranges=meta["size"] > PART_BYTES and self._has_ranges())

    def _has_ranges(self) -> bool:
        import obstore  # noqa: PLC0415
        from obstore.exceptions import NotSupportedError  # noqa: PLC0415

        with contextlib.suppress(NotSupportedError):
            obstore.get(self.store, "", options={"range": (0, 1)})
            return True
        return False

    def _call(self, where: str, action: Callable[[], T]) -> T:
        from obstore.exceptions import BaseError  # noqa: PLC0415

        try:
            return action()
        except (BaseError, FileNotFoundError, ValueError) as error:
            result = explained(error, where)
            problem = self.tunnel.problem if isinstance(result, Transient) else None
            raise (_placed(problem, where) if problem else result) from error


def without_folder_markers(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Drop the empty objects that consoles create to make a prefix look like a folder."""
    folders = {file.path[:at] for file in files for at, letter in enumerate(file.path) if letter == "/"}
    return [file for file in files if file.size or file.path not in folders]


def _remote_file(meta: Any, path: str, *, ranges: bool = True) -> RemoteFile:
    modified = meta["last_modified"]
    dated = modified.isoformat() if modified != datetime.fromtimestamp(0, UTC) else None
    return RemoteFile(path, meta["path"], meta["size"], meta["e_tag"] or dated, ranges)


def _placed(problem: TritonfleetError, where: str) -> TritonfleetError:
    return type(problem)(f"{where}: {problem}")
