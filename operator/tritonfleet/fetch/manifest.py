"""What a model's content is: its files, their sizes and checksums, and one digest over them all."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HASH_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """One file of the model."""

    path: str
    """Relative to the source, or to the model's folder once it is laid out."""
    size: int
    sha256: str
    """Hex digits of the file's bytes."""
    file: Path
    """Where those bytes are now."""


def digest_of(contents: Iterable[Content]) -> str:
    r"""Return `sha256:<hex>` of the lines `path\0size\0sha256\n`, sorted by the bytes of the path."""
    lines = sorted(f"{content.path}\0{content.size}\0{content.sha256}\n".encode() for content in contents)
    return f"sha256:{hashlib.sha256(b''.join(lines)).hexdigest()}"


def sha256_of(file: Path) -> str:
    """Return the hex SHA-256 of a file, read in pieces."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
