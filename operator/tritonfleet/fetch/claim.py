"""Models on a PersistentVolumeClaim: linked in place, never copied.

`contents_of()` lists the files with their checksums and rejects links that lead out of the claim.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.location import MAX_FILES, safe_relative
from tritonfleet.fetch.model_folder import HASH_BYTES, Content
from tritonfleet.fetch.transfer import Progress

MAX_DEPTH: Final = 32
HASH_WORKERS: Final = 4


def contents_of(uri: str, mount: Path, path: str, report: Callable[[str], None]) -> list[Content]:
    """Return the files of the claim's folder, or of one file, with their checksums.

    Raises FetchFailed when nothing is there, or when a link leads out of the claim.
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
    sizes = [file.stat().st_size for _, file in found]
    with (
        Progress(sum(sizes), len(found), report, verb="read") as progress,
        ThreadPoolExecutor(HASH_WORKERS) as pool,
    ):
        hashes = list(pool.map(lambda entry: _hashed(entry[1], progress, uri), found))
    return [Content(name, size, sha256, file) for (name, file), size, sha256 in zip(found, sizes, hashes, strict=True)]


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
        name = safe_relative(prefix + entry.name, of=uri)
        real = _inside(entry, root, uri)
        if real.is_dir():
            yield from _files(real, f"{name}/", root, uri)
        elif real.is_file():
            yield name, real
        else:
            raise FetchFailed(f"{uri}: '{name}' is a device, a pipe or a socket; keep only plain files there")


def _hashed(file: Path, progress: Progress, uri: str) -> str:
    sha256 = hashlib.sha256()
    try:
        with file.open("rb") as data:
            while chunk := data.read(HASH_BYTES):
                sha256.update(chunk)
                progress.add(len(chunk))
    except OSError as error:
        raise FetchFailed(f"{uri}: '{file.name}' cannot be read ({error.strerror}); check its permissions") from error
    progress.finish_file()
    return sha256.hexdigest()
