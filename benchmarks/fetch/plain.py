"""A plain client of S3: obstore alone, eight readers, no proxy, nothing kept for a restart.

With `--check` it hashes each file afterwards, as `sha256sum` would: the fetch step does so while it downloads.
"""

import argparse
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

PART_BYTES = 32 * 1024 * 1024
READERS = 8


def main() -> None:
    """Download all objects below a prefix into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bucket")
    parser.add_argument("prefix")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    endpoint, trusted = os.environ["AWS_ENDPOINT_URL"], os.environ.get("CA_CERTIFICATE")
    client: Any = {"allow_http": True, **({"root_certificate": trusted} if trusted else {})}
    store = S3Store(arguments.bucket, config={"endpoint": endpoint}, client_options=client)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    files = {
        meta["path"]: (arguments.folder / meta["path"].rpartition("/")[2], meta["size"])
        for page in obstore.list(store, prefix=arguments.prefix)
        for meta in page
    }
    spans = [
        (path, file, start, min(start + PART_BYTES, size), size)
        for path, (file, size) in files.items()
        for start in range(0, size, PART_BYTES)
    ]
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(lambda span: _read(store, *span), spans))
        if arguments.check:
            list(pool.map(_sha256, [file for file, _ in files.values()]))


def _read(store: S3Store, path: str, file: Path, start: int, end: int, size: int) -> None:
    options: Any = {} if end - start == size else {"range": (start, end)}
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        for chunk in obstore.get(store, path, options=options).stream(min_chunk_size=1024 * 1024):
            view = memoryview(chunk)
            while view:
                written = os.pwrite(descriptor, view, start)
                start, view = start + written, view[written:]
    finally:
        os.close(descriptor)


def _sha256(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


if __name__ == "__main__":
    main()
