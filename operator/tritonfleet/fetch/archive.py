"""Unpack untrusted .tar, .tar.gz and .zip archives in memory that does not depend on their contents.

A link, a device, a name outside the folder, or a disproportionate size rejects the whole archive. Tar archives are read
block by block and not by `tarfile.open()`, which keeps every header in memory, however long it claims to be.
"""

import gzip
import hashlib
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Final

from tritonfleet.fetch.failure import FetchFailed, disk_failure
from tritonfleet.fetch.location import is_clutter, safe_relative
from tritonfleet.fetch.model_folder import HASH_BYTES, Content
from tritonfleet.fetch.transfer import check_space

SUFFIXES: Final = (".tar.gz", ".tgz", ".tar", ".zip")
MAX_RATIO: Final = 100
"""Model weights pack at 1.1 to 3; a bomb at 1,000 and more."""
FREE_BYTES: Final = 64 * 1024 * 1024
"""Unpacked size that is always allowed: mostly-zero test models compress well."""
MAX_MEMBERS: Final = 20_000
"""Files and folders."""
MAX_HEADER_BYTES: Final = 1024 * 1024
"""One long name or pax header of a tar; those of a file's extended attributes have some kilobytes."""
MAX_HEADERS_BYTES: Final = 16 * 1024 * 1024
"""All of them together, 800 bytes for each member."""
MAX_DIRECTORY_BYTES: Final = MAX_MEMBERS * 256
"""The list of members at a zip's end, which is read into memory whole."""


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file inside an archive; `data` is readable until the next member is requested."""

    path: str
    read: Callable[[int], bytes]
    """Returns so many bytes or fewer, and none at the end."""
    executable: bool


def is_archive(path: str) -> bool:
    """Return whether a file is unpacked instead of served, by its name."""
    return path.lower().endswith(SUFFIXES)


def unpacked(archive: Path, name: str, folder: Path, *, below: str = "", may_be_empty: bool = False) -> list[Content]:
    """Write the regular files of `archive` below `folder`; raise FetchFailed for anything that is not safe.

    Links, devices, names outside the folder, duplicate members and bombs reject the whole archive; files that file
    managers leave behind are skipped. `name` is what the archive is called in messages, its suffix decides the format.
    With `below`, a folder with its slash, a tar's other members are passed over, and paths are relative to it.
    """
    limit = max(FREE_BYTES, archive.stat().st_size * MAX_RATIO)
    contents: list[Content] = []
    members = (
        _zip_members(archive, name) if name.lower().endswith(".zip") else _tar_members(archive, name, limit, below)
    )
    try:
        for member in members:
            content = _written(member, folder, name, limit)
            limit -= content.size
            contents.append(content)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise FetchFailed(f"{name} cannot be unpacked ({error}); is it a whole .tar.gz or .zip file?") from error
    if not contents and not may_be_empty:
        raise FetchFailed(f"{name} is empty; pack the model's files into it")
    return contents


class _Blocks:
    """A tar file's bytes, read once from the front; more than `limit` of them are a bomb."""

    def __init__(self, data: IO[bytes], name: str, limit: int) -> None:
        self._data, self._name, self._limit = data, name, limit
        self.position = 0

    def read(self, size: int) -> bytes:
        """Return `size` bytes; raises FetchFailed when that is too much, EOFError when there are fewer."""
        self.position += size
        if self.position > self._limit:
            raise _bomb(self._name)
        found = self._data.read(size)
        if len(found) < size:
            raise EOFError("it ends too early")
        return found

    def read_until(self, end: int, size: int) -> bytes:
        """Return `size` bytes, or fewer at the position `end`."""
        return self.read(min(size, end - self.position))

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        while size > 0:
            size -= len(self.read(min(size, HASH_BYTES)))


_PAX_HEADERS: Final = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_HEADERS: Final = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE, *_PAX_HEADERS)


def _opened_tar(archive: Path, name: str) -> IO[bytes]:
    with archive.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(archive, "rb")  # type: ignore[return-value]
    if magic == b"\x28\xb5\x2f\xfd":
        raise FetchFailed(f"{name} is compressed by zstd, which is not supported; compress it by gzip")
    return archive.open("rb")


def _tar_members(archive: Path, name: str, limit: int, below: str) -> Iterator[Member]:
    with _opened_tar(archive, name) as data:
        blocks = _Blocks(data, name, limit + MAX_MEMBERS * tarfile.BLOCKSIZE * 2 + MAX_HEADERS_BYTES)
        headers: dict[str, str] = {}
        count = headers_size = 0
        while (block := blocks.read(tarfile.BLOCKSIZE)).strip(b"\0"):
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            if info.type in _HEADERS:
                headers_size += tarfile.BLOCKSIZE + info.size
                if info.size < 0 or info.size > MAX_HEADER_BYTES or headers_size > MAX_HEADERS_BYTES:
                    raise FetchFailed(
                        f"{name} has headers of {headers_size} bytes; pack it without extended attributes"
                    )
                headers |= _said_by_header(info.type, blocks.read(info.size))
                blocks.skip(-info.size % tarfile.BLOCKSIZE)
                continue
            path = headers.get("path", info.name).removeprefix("./")
            size = int(headers.get("size", info.size)) if info.isreg() else 0
            is_sparse = info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in headers)
            headers = {}
            if not path.startswith(below):
                blocks.skip(size + -size % tarfile.BLOCKSIZE)
                continue
            path = path.removeprefix(below)
            count += 1
            _check_count(count, name)
            if size < 0 or not (info.isdir() or is_clutter(path) or (info.isreg() and not is_sparse)):
                raise _no_file(name, path)
            end = blocks.position + size
            if info.isreg() and not is_clutter(path):
                yield Member(path, partial(blocks.read_until, end), executable=bool(info.mode & 0o111))
            blocks.skip(end - blocks.position + -size % tarfile.BLOCKSIZE)


def _said_by_header(kind: bytes, content: bytes) -> dict[str, str]:
    """Return what a header in front of a member says about it: its path and size, and whether it is sparse."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": content.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    found: dict[str, str] = {}
    start = 0
    while kind in _PAX_HEADERS and start < len(content) and content[start]:
        # A record is "<length of the record> <key>=<value>\n".
        space = content.index(b" ", start, start + 20)
        end = start + int(content[start:space])
        if not space < end <= len(content):
            raise ValueError("a pax header is damaged")
        if content.startswith((b"path=", b"size=", b"GNU.sparse."), space + 1):
            key, _, value = content[space + 1 : end - 1].decode("utf-8", "surrogateescape").partition("=")
            found[key] = value
        start = end
    return found


class _Directory(io.FileIO):
    """A zip file, of which no great piece is read at once."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise FetchFailed(f"{self.name} lists more than {MAX_MEMBERS} files; pack only the model")
        return super().read(size)


_PACKED_AS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The other methods unpack as much as they like at once."""


def _zip_members(archive: Path, name: str) -> Iterator[Member]:
    with _Directory(archive) as file, zipfile.ZipFile(file) as packed:
        _check_count(len(packed.infolist()), name)
        for info in packed.infolist():
            # Zip names are read raw: zipfile turns backslashes and cuts at NUL, which would hide both.
            path, mode = info.orig_filename.removeprefix("./"), info.external_attr >> 16
            if info.is_dir() or is_clutter(path):
                continue
            if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise _no_file(name, path)
            if info.flag_bits & 1:
                raise FetchFailed(f"{name} is encrypted; pack it without a password")
            if info.compress_type not in _PACKED_AS:
                raise FetchFailed(f"{name} is packed by another method than deflate; pack it as `zip` does by default")
            with packed.open(info) as data:
                yield Member(path, data.read, executable=bool(mode & 0o111))


def _check_count(members: int, name: str) -> None:
    if members > MAX_MEMBERS:
        raise FetchFailed(f"{name} holds more than {MAX_MEMBERS} files; pack only the model")


def _no_file(name: str, path: str) -> FetchFailed:
    return FetchFailed(f"{name} holds {path[:200]!r}, which is a link or a device; pack plain files only")


def _bomb(name: str) -> FetchFailed:
    return FetchFailed(f"{name} unpacks to more than {MAX_RATIO} times its size; is it a zip bomb?")


def _written(member: Member, folder: Path, name: str, limit_bytes: int) -> Content:
    path = safe_relative(member.path, of=name)
    file = folder / path
    sha256, size = hashlib.sha256(), 0
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as out:
            while chunk := member.read(HASH_BYTES):
                size += len(chunk)
                if size > limit_bytes:
                    raise _bomb(name)
                if size % (64 * HASH_BYTES) == 0:
                    check_space(folder, 0)
                sha256.update(chunk)
                out.write(chunk)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise FetchFailed(f"{name} holds {path!r} twice, or as a file and a folder; pack it again") from error
    except OSError as error:
        raise disk_failure(error) from error
    return Content(path, size, sha256.hexdigest(), file, executable=member.executable)
