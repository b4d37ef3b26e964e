"""Triton on this machine, without a cluster: the server of the local cluster's image, in its root file system."""

import json
import os
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

from devcluster import images
from devcluster.progress import Progress

SERVER_PRIORITY = 5
"""Ahead of what else this machine does: milliseconds are compared."""


def take_priority(priority: int = SERVER_PRIORITY) -> None:
    """Let this process run as soon as it can."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(priority))


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass(frozen=True)
class Tally:
    """What Triton counted of one model between two moments."""

    requests: int
    executions: int
    seconds: float
    """Request durations added up."""
    batches: Mapping[int, tuple[int, float]]
    """Executions and their seconds added up, by batch size."""

    @property
    def mean_batch(self) -> float:
        return self.requests / self.executions


@dataclass
class TritonHere:
    """A running server; `root` must be empty at first."""

    root: Path
    models: Mapping[str, Mapping[str, bytes]]
    """By model, the content of its files by path."""
    http: int = field(default_factory=free_port)
    grpc: int = field(default_factory=free_port)

    def start(self) -> None:
        archive = images.triton(Progress()).path
        with tarfile.open(archive) as image, tempfile.TemporaryDirectory() as folder:
            image.extractall(folder, filter="tar")
            manifest = json.loads((Path(folder) / "manifest.json").read_text())
            for layer in manifest[0]["Layers"]:
                with tarfile.open(Path(folder) / layer) as files:
                    files.extractall(self.root, filter="tar")
        for name, contents in self.models.items():
            for path, content in contents.items():
                file = self.root / "models" / name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        command = (
            f"mount --rbind /dev {self.root}/dev && mount -t proc proc {self.root}/proc &&"
            f" exec chroot {self.root} /usr/local/bin/tritonserver --model-repository=/models"
            f" --http-address=127.0.0.1 --http-port={self.http} --grpc-address=127.0.0.1 --grpc-port={self.grpc}"
            " --allow-metrics=false --log-info=false"
        )
        self._log = (self.root / "log").open("w")
        self._process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", command],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            preexec_fn=take_priority,  # noqa: PLW1509
        )
        self._wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()

    def tally(self, model: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/v2/models/{model}/stats") as answer:
            return dict(json.load(answer)["model_stats"][0])

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.root / "log").read_text())
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/v2/health/ready", timeout=1):
                    return
            except (URLError, ConnectionError):
                time.sleep(0.1)


def between(before: Mapping[str, Any], after: Mapping[str, Any]) -> Tally:
    """Return what was counted from one answer of the statistics to the next."""
    parts = ("compute_input", "compute_infer", "compute_output")

    def batches(stats: Mapping[str, Any]) -> dict[int, tuple[int, int]]:
        return {
            each["batch_size"]: (each["compute_infer"]["count"], sum(each[part]["ns"] for part in parts))
            for each in stats.get("batch_stats", ())
        }

    old, new = batches(before), batches(after)
    first, last = before["inference_stats"]["success"], after["inference_stats"]["success"]
    return Tally(
        last["count"] - first["count"],
        after["execution_count"] - before["execution_count"],
        (last["ns"] - first["ns"]) / 1e9,
        {
            size: (count - old.get(size, (0, 0))[0], (spent - old.get(size, (0, 0))[1]) / 1e9)
            for size, (count, spent) in new.items()
            if count > old.get(size, (0, 0))[0]
        },
    )
