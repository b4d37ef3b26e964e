"""Models on a PersistentVolumeClaim: linked in place, or copied where their digest must hold.

`contents_of()` lists the files with their checksums and rejects links that lead out of the claim. Files of a claim can
change while they are served: without copies, the checksums are those at the pod's start.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final

from tritonfleet.fetch.archive import is_archive
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.location import MAX_FILES, is_clutter, safe_relative
from tritonfleet.fetch.model_folder import HASH_BYTES, Content
from tritonfleet.fetch.transfer import Progress, check_space

MAX_DEPTH: Final = 32
HASH_WORKERS: Final = 4


def contents_of(
    uri: str, mount: Path, path: str, report: Callable[[str], None], *, copies: Path | None = None
) -> list[Content]:
    """Return the files of the claim's folder, or of one file, with their checksums.

    With `copies`, a folder on the model volume, the files are copied there while they are hashed, an archive excepted:
    its files are hashed as they are unpacked. Raises FetchFailed when nothing is there, or when a link leads out of the
    claim.
    """
    if not mount.is_dir():
        raise FetchFailed(f"{uri}: the claim is not mounted at {mount}; check that the claim exists in this namespace")
    root = mount.resolve()
    start = _inside(root / path, root, uri)
    found = list(_files(start, "", root, uri)) if start.is_dir() else [(start.name, start)]
    if len(found) > MAX_FILES:
        raise FetchFailed(f"{uri} holds more than {MAX_FILES} files; name the model's own folder")
    if not found:
        raise FetchFailed(f"{uri}: the folder is empty; copy the model onto the claim first")
    total = sum(file.stat().st_size for _, file in found)
    if len(found) == 1 and is_archive(found[0][0]):
        copies = None
    if copies:
        copies.mkdir(parents=True, exist_ok=True)
        check_space(copies, total)
    with (
        Progress(total, len(found), report, verb="copied" if copies else "read") as progress,
        ThreadPoolExecutor(HASH_WORKERS) as pool,
    ):
        return list(pool.map(lambda entry: _hashed(entry[0], entry[1], copies, progress, uri), found))


def files_of(folder: Path, uri: str) -> dict[str, Path]:
    """Return the files of a folder by their path in it, as they would be fetched from a claim; raises FetchFailed."""
    root = folder.resolve()
    return dict(_files(root, "", root, uri))


def _inside(path: Path, root: Path, uri: str) -> Path:
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise FetchFailed(f"{uri}: '{path.relative_to(root)}' is not on the claim, or is a broken link") from error
    if not real.is_relative_to(root):
        raise FetchFailed(
            f"{uri}: '{path.relative_to(root)}' is a link that leads out of the claim; copy the file onto it"
        )
    return real


def _files(folder: Path, prefix: str, root: Path, uri: str) -> Iterator[tuple[str, Path]]:
    if prefix.count("/") > MAX_DEPTH:
        raise FetchFailed(f"{uri}: folders are nested deeper than {MAX_DEPTH}; does a link lead in a circle?")
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise FetchFailed(
            f"{uri}: '{prefix or '/'}' cannot be read ({error.strerror}); check its permissions"
        ) from error
    for entry in entries:
        if is_clutter(entry.name):
            continue
        name = safe_relative(prefix + entry.name, of=uri)
        real = _inside(entry, root, uri)
        if real.is_dir():
            yield from _files(real, f"{name}/", root, uri)
        elif real.is_file():
            yield name, real
        else:
            raise FetchFailed(f"{uri}: '{name}' is a device, a pipe or a socket; keep only plain files there")


def _hashed(name: str, file: Path, copies: Path | None, progress: Progress, uri: str) -> Content:
    sha256, size = hashlib.sha256(), 0
    copy = copies / hashlib.sha256(name.encode()).hexdigest() if copies else None
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(copy.open("wb")) if copy else None
        try:
            data = stack.enter_context(file.open("rb"))
            mode = os.fstat(data.fileno()).st_mode
        except OSError as error:
            raise _unreadable(error, file, uri) from error
        while chunk := _read(data, file, uri):
            size += len(chunk)
            sha256.update(chunk)
            if out:
                out.write(chunk)
            progress.add(len(chunk))
    progress.finish_file()
    return Content(name, size, sha256.hexdigest(), copy or file, executable=bool(mode & 0o111))


def _read(data: BinaryIO, file: Path, uri: str) -> bytes:
    try:
        return data.read(HASH_BYTES)
    except OSError as error:
        raise _unreadable(error, file, uri) from error


def _unreadable(error: OSError, file: Path, uri: str) -> FetchFailed:
    return FetchFailed(f"{uri}: '{file.name}' cannot be read ({error.strerror}); check its permissions")
