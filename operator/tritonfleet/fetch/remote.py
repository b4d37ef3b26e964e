"""Object stores and HTTPS servers, listed by obstore through the tunnel.

`Remote` lists the source and reads ranges of its files, by itself (`direct`) or through obstore where only that has the
keys; `stores.open_remote()` makes one. `explained()` turns obstore's
exceptions into a `FetchFailed` in the user's words, or a `Transient` where another try may succeed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeVar
from urllib.parse import unquote

from tritonfleet.errors import Transient, TritonfleetError
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.location import MAX_FILES, is_clutter, safe_relative

if TYPE_CHECKING:
    from pathlib import Path

    from tritonfleet.fetch.location import Location
    from tritonfleet.fetch.model_folder import Content


PART_BYTES: Final = 32 * 1024 * 1024
CHUNK_BYTES: Final = 128 * 1024
"""What a broken connection can cost: obstore drops the chunk that it had not filled."""
SMALL_BYTES: Final = 1024 * 1024
_T = TypeVar("_T")


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
    sha256: str = ""
    """Hex digits of what the store says the content is; empty if it does not say."""


class Objects(Protocol):
    """What reads objects without obstore; `direct.Direct` is it."""

    def pieces(
        self,
        key: str,
        span: tuple[int, int] | None,
        check: Callable[[int, str | None], None],
        refused: Callable[[int, bytes], FetchFailed | Transient],
    ) -> Iterator[memoryview]:
        """Yield the bytes of an object, or those of a span of it; each piece is valid until the next.

        `check` gets the object's size and version before the first piece. Raises what `refused` returns for the status
        and the body of an answer that is no success.
        """


@dataclass(frozen=True, slots=True)
class Remote:
    """A store opened for one location."""

    location: Location
    store: Any
    problem: Callable[[], TritonfleetError | None]
    """Returns why the last connection, or the credentials for it, could not be had: FetchFailed or Transient."""
    remedy: str
    """What to do when the store denies access."""
    direct: Objects | None = None
    """What reads the objects that obstore has listed; None where obstore does."""
    version: ClassVar[str] = ""
    """A URI of these stores names the files themselves, nothing that moves."""

    def arranged(self, contents: Sequence[Content], _: Path) -> list[Content]:
        """Return the files as they are: each object is one."""
        return list(contents)

    def files(self) -> list[RemoteFile]:
        """List the source; raise FetchFailed if it is empty or unsafe, Transient if it may work later."""
        if self.location.scheme == "https":
            return [self._single_https()]
        listed = [meta for page in self._call(self.location.uri, self._pages) for meta in page]
        prefix = self.location.path + "/" if self.location.path else ""
        found = [_remote_file(meta, meta["path"].removeprefix(prefix)) for meta in listed]
        files = without_folder_markers([file for file in found if file.key != self.location.path])
        files = [file for file in files if not is_clutter(file.path)]
        if not files and self.location.path:
            files = [self._single_object()]
        if not files:
            raise FetchFailed(f"{self.location.uri}: nothing is stored there; upload the model first")
        for file in files:
            safe_relative(file.path, of=self.location.uri)
        return files

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from `start` up to `end`; raise Transient when the connection breaks.

        Raises FetchFailed when the object is no longer the one that was listed.
        """
        import obstore  # noqa: PLC0415

        where = f"{self.location.scheme}://{self.location.authority}/{file.key or self.location.path}"
        if self.direct is not None:
            yield from self._direct(self.direct, where, file, None if (start, end) == (0, file.size) else (start, end))
            return
        options: dict[str, Any] = {} if (start, end) == (0, file.size) else {"range": (start, end)}
        result = self._call(where, lambda: obstore.get(self.store, file.key, options=options))  # type: ignore[arg-type]
        now = _remote_file(result.meta, file.path)
        _check_unchanged(file, now.size, now.version, where)
        if not options and file.size <= SMALL_BYTES:
            # In one turn instead of one for each piece and the end: it is what many small files are made of.
            yield memoryview(self._call(where, result.bytes))
            return
        stream = result.stream(min_chunk_size=CHUNK_BYTES)
        while (chunk := self._call(where, lambda: next(stream, None))) is not None:
            yield memoryview(chunk)

    def _direct(
        self, direct: Objects, where: str, file: RemoteFile, span: tuple[int, int] | None
    ) -> Iterator[memoryview]:
        def check(size: int, version: str | None) -> None:
            _check_unchanged(file, size, version, where)

        def refused(status: int, body: bytes) -> FetchFailed | Transient:
            code = _CODE.search(body.decode("utf-8", "replace"))
            return by_status(status, code[1] if code else "", where, self.remedy)

        return direct.pieces(file.key, span, check, refused)

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

    def _call(self, where: str, action: Callable[[], _T]) -> _T:
        from obstore.exceptions import BaseError  # noqa: PLC0415

        try:
            return action()
        except (BaseError, FileNotFoundError, ValueError) as error:
            result = explained(error, where, self.remedy)
            problem = self.problem() if isinstance(result, Transient) else None
            raise (_placed(problem, where) if problem else result) from error


def _check_unchanged(file: RemoteFile, size: int, version: str | None, where: str) -> None:
    if (size, version) != (file.size, file.version):
        raise FetchFailed(f"{where} was replaced while it was being fetched; publish models under new paths")


def in_parts(files: Sequence[RemoteFile], has_ranges: Callable[[RemoteFile], bool]) -> list[RemoteFile]:
    """Return the files with those read in parts that are larger than one, if the server sends parts of the first."""
    large = next((file for file in files if file.size > PART_BYTES), None)
    known = large is not None and has_ranges(large)
    return [replace(file, ranges=known and file.size > PART_BYTES) for file in files]


def without_folder_markers(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Drop the empty objects that consoles create to make a prefix look like a folder."""
    folders = {file.path[:at] for file in files for at, letter in enumerate(file.path) if letter == "/"}
    return [file for file in files if file.size or file.path not in folders]


def _remote_file(meta: Any, path: str, *, ranges: bool = True) -> RemoteFile:
    modified = meta["last_modified"]
    dated = modified.isoformat() if modified != datetime.fromtimestamp(0, UTC) else None
    # Servers differ in whether a listing has the quotes of the header.
    tag = (meta["e_tag"] or "").strip('"')
    return RemoteFile(path, meta["path"], meta["size"], tag or dated, ranges)


def _placed(problem: TritonfleetError, where: str) -> TritonfleetError:
    return type(problem)(f"{where}: {problem}")


_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w{1,64})</Code>")
_SIGN_IN_CODE: Final = re.compile(r"(AADSTS\d+)")
_CERTIFICATE: Final = re.compile(r"InvalidCertificate\(\s*(\w+)")
_TRY_AGAIN: Final = frozenset({408, 425, 429})


def explained(error: Exception, where: str, remedy: str) -> FetchFailed | Transient:
    """Return the exception to raise for a failed read of `where`; `remedy` is for one that the store denies.

    obstore tells most failures apart only in its text, which holds the status, the store's error code and, after
    "Debug source", the Rust error; nothing of that text but these words is passed on.
    """
    text = str(error)
    status = _STATUS.search(text)
    if status and "Error performing POST" in text:
        # All else is read by GET and HEAD.
        return _without_token(int(status[1]), _CODE.search(text) or _SIGN_IN_CODE.search(text), where)
    if status:
        code = _CODE.search(text)
        return by_status(int(status[1]), code[1] if code else "", where, remedy)
    for sign, message in _SIGNS:
        if sign in text:
            return FetchFailed(f"{where}: {message}")
    if certificate := _CERTIFICATE.search(text):
        return untrusted(where, certificate[1])
    if isinstance(error, FileNotFoundError):
        return FetchFailed(f"{where}: not found (404); check the path")
    return Transient(f"{where}: {_kind(text)}")


_SIGNS: Final = (
    ("RangeNotSupported", "the server announced byte ranges and then ignored one; ask its operator"),
    (
        "BareRedirect",
        "the bucket lives in another region; set AWS_REGION in the Secret to the bucket's region",
    ),
    ("BadScheme", "it redirects to a plain http address, which is not followed; name an https address"),
    ("TooManyRedirects", "it redirects more than 10 times; name the final address"),
    (
        "MissingContentLength",
        "the server does not say how long the file is (no Content-Length); host it elsewhere",
    ),
    ("InvalidPath", "an object's key cannot be a file name ('//', '.' or '..' in it); rename the object"),
)


def _without_token(status: int, code: re.Match[str] | None, where: str) -> FetchFailed | Transient:
    name = f"{status} {code[1]}" if code else str(status)
    if status in _TRY_AGAIN or status >= 500:
        return Transient(f"{where}: the cloud gave no token for the pod's identity ({name})")
    return FetchFailed(
        f"{where}: the cloud gave no token for the pod's identity ({name}); check that it exists and trusts the pod's "
        "ServiceAccount"
    )


_MISSING: Final = {"NoSuchBucket": "bucket", "ContainerNotFound": "container"}


def by_status(
    status: int, code: str, where: str, remedy: str, retry_after_seconds: float | None = None
) -> FetchFailed | Transient:
    """Return the exception to raise for an answer; `code` is the store's own word for it, empty if it has none."""
    name = f"{status} {code}" if code else str(status)
    if status in _TRY_AGAIN or status >= 500:
        return Transient(f"{where}: the server answered {name}", retry_after_seconds=retry_after_seconds)
    if kind := _MISSING.get(code):
        return FetchFailed(f"{where}: no such {kind} ({name}); check its name and the endpoint in the Secret")
    if code == "ResourceNotFound":
        # Azure's answer to a stranger about a private container.
        return FetchFailed(f"{where}: not there, or access denied ({name}); check the path; {remedy}")
    # versitygw answers an unknown access key with 404 XAdminUserNotFound.
    if status in {401, 403} or code.endswith(("UserNotFound", "PublicAccessNotPermitted")):
        return FetchFailed(f"{where}: access denied ({name}); {remedy}")
    if status == 404:
        return FetchFailed(f"{where}: not found ({name}); check the path")
    return FetchFailed(f"{where}: the server refused the request ({name}); check the URI and the endpoint")


def untrusted(where: str, why: str) -> FetchFailed:
    """Return the failure to raise for a server whose certificate no known authority has signed."""
    return FetchFailed(
        f"{where}: its TLS certificate is not trusted ({why}); if a private authority "
        "signed it, put that authority's PEM text into the Secret as CA_CERTIFICATE, or ask the administrator "
        "for the ConfigMap of `fetch.ca`"
    )


def _kind(text: str) -> str:
    lowered = text.lower()
    if "timedout" in lowered or "timed out" in lowered:
        return "the server sent nothing for too long"
    if "body error" in lowered:
        return "the connection broke in the middle of the file"
    return "the connection failed"
