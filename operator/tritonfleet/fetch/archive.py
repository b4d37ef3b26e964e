"""Unpack untrusted .tar.gz and .zip archives.

A link, a device, a name outside the folder, or a disproportionate size rejects the whole archive.
"""

import hashlib
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from tritonfleet.fetch.failure import FetchFailed, disk_failure
from tritonfleet.fetch.location import safe_relative
from tritonfleet.fetch.model_folder import HASH_BYTES, Content
from tritonfleet.fetch.transfer import check_space

SUFFIXES: Final = (".tar.gz", ".tgz", ".tar", ".zip")
MAX_RATIO: Final = 100
"""Model weights pack at 1.1 to 3; a bomb at 1,000 and more."""
FREE_BYTES: Final = 64 * 1024 * 1024
"""Unpacked size that is always allowed: mostly-zero test models compress well."""
MAX_MEMBERS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file inside an archive; `data` is readable until the next member is requested."""

    path: str
    data: IO[bytes]


def is_archive(path: str) -> bool:
    """Return whether a file is unpacked instead of served, by its name."""
    return path.lower().endswith(SUFFIXES)


def unpacked(archive: Path, name: str, folder: Path) -> list[Content]:
    """Write the regular files of `archive` below `folder`; raise FetchFailed for anything that is not safe.

    Links, devices, names outside the folder, duplicate members and bombs reject the whole archive.
    `name` is what the archive is called in messages, its suffix decides the format.
    """
    limit = max(FREE_BYTES, archive.stat().st_size * MAX_RATIO)
    contents: list[Content] = []
    try:
        for member in _members(archive, name):
            if len(contents) >= MAX_MEMBERS:
                raise FetchFailed(f"{name} holds more than {MAX_MEMBERS} files; pack only the model")
            content = _written(member, folder, name, limit)
            limit -= content.size
            contents.append(content)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise FetchFailed(f"{name} cannot be unpacked ({error}); is it a whole .tar.gz or .zip file?") from error
    if not contents:
        raise FetchFailed(f"{name} is empty; pack the model's files into it")
    return contents


def _members(archive: Path, name: str) -> Iterator[Member]:
    return _zip_members(archive, name) if name.lower().endswith(".zip") else _tar_members(archive, name)


def _tar_members(archive: Path, name: str) -> Iterator[Member]:
    with tarfile.open(archive, "r:*") as tar:
        for info in tar:
            path = info.name.removeprefix("./")
            if info.isdir():
                continue
            data = tar.extractfile(info) if info.isreg() and not info.issparse() else None
            if data is None:
                raise FetchFailed(f"{name} holds {path[:200]!r}, which is a link or a device; pack plain files only")
            yield Member(path, data)


def _zip_members(archive: Path, name: str) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            # Zip names are read raw: zipfile turns backslashes and cuts at NUL, which would hide both.
            path = info.orig_filename.removeprefix("./")
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise FetchFailed(f"{name} holds {path[:200]!r}, which is a link or a device; pack plain files only")
            if info.flag_bits & 1:
                raise FetchFailed(f"{name} is encrypted; pack it without a password")
            if info.is_dir():
                continue
            with packed.open(info) as data:
                yield Member(path, data)


def _written(member: Member, folder: Path, name: str, limit_bytes: int) -> Content:
    path = safe_relative(member.path, of=name)
    file = folder / path
    sha256, size = hashlib.sha256(), 0
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as out:
            while chunk := member.data.read(HASH_BYTES):
                size += len(chunk)
                if size > limit_bytes:
                    raise FetchFailed(f"{name} unpacks to more than {MAX_RATIO} times its size; is it a zip bomb?")
                if size % (64 * HASH_BYTES) == 0:
                    check_space(folder, 0)
                sha256.update(chunk)
                out.write(chunk)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise FetchFailed(f"{name} holds {path!r} twice, or as a file and a folder; pack it again") from error
    except OSError as error:
        raise disk_failure(error) from error
    return Content(path, size, sha256.hexdigest(), file)
