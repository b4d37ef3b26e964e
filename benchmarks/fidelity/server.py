"""Triton on this machine, without a cluster: the server of the local cluster's image, in its root file system."""

import json
import os
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from devcluster import images
from devcluster.progress import Progress

PRIORITY = 5
"""Ahead of what else this machine does: milliseconds are compared."""
START_SECONDS = 120.0
START_ATTEMPTS = 3


def take_priority() -> None:
    """Let this process, which sends the requests at their times, run even before the server."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY + 1))


@contextmanager
def running(models: Mapping[str, Mapping[str, bytes]]) -> Iterator[str]:
    """Serve `models`, by name the content of their files by path; gives the address to speak gRPC with."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        _unpack(images.triton(Progress()).path, root)
        for name, contents in models.items():
            for path, content in contents.items():
                file = root / "models" / name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        process, address = _serve(root, Path(folder) / "log")
        try:
            yield address
        finally:
            process.terminate()
            process.wait(60)


def _unpack(archive: Path, root: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as image:
        image.extractall(folder, filter="tar")
        manifest = json.loads((Path(folder) / "manifest.json").read_text())
        for layer in manifest[0]["Layers"]:
            with tarfile.open(Path(folder) / layer) as files:
                files.extractall(root, filter="tar")


def _serve(root: Path, log: Path) -> "tuple[subprocess.Popen[bytes], str]":
    """Start Triton on a free port; on another one if it was taken before Triton bound it."""
    for attempt in range(1, START_ATTEMPTS + 1):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        process = _start(root, address, log)
        try:
            _wait(process, address, log)
        except RuntimeError:
            process.kill()
            process.wait(60)
            if attempt == START_ATTEMPTS or "Address already in use" not in log.read_text():
                raise
        else:
            return process, address
    raise AssertionError("the last attempt returns or raises")


def _start(root: Path, address: str, log: Path) -> "subprocess.Popen[bytes]":
    port = address.rpartition(":")[2]
    command = (
        f"mount --rbind /dev {root}/dev && mount -t proc proc {root}/proc &&"
        f" exec chroot {root} /usr/local/bin/tritonserver --model-repository=/models --allow-http=false"
        f" --grpc-address=127.0.0.1 --grpc-port={port} --allow-metrics=false --log-info=false --exit-timeout-secs=1"
    )
    with log.open("wb") as written:
        return subprocess.Popen(
            ["unshare", "--mount", "chrt", "--rr", str(PRIORITY), "sh", "-c", command],
            stdout=written,
            stderr=subprocess.STDOUT,
        )


def _wait(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with InferenceServerClient(address) as client:
        while not _ready(client):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Triton did not start: {log.read_text()}")
            time.sleep(0.1)


def _ready(client: InferenceServerClient) -> bool:
    try:
        return bool(client.is_server_ready())
    except InferenceServerException:
        return False
