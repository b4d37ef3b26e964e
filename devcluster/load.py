"""Open-loop load on a model by k6, over HTTP and gRPC, and what its clients saw, second by second."""

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2

from devcluster import gobuild
from devcluster.errors import DevclusterError
from devcluster.paths import HERE
from devcluster.progress import Progress

END_SECONDS_MAX = 60.0
RATE_UNIT_SECONDS = 10
"""k6 takes whole numbers only: rates are given to it per ten seconds."""
UNSENT_SHARE_MAX = 0.05
"""Of the load asked for: k6 may be late on a busy machine, which says nothing of what it asks."""
K6_STOPPED = 105
"""How k6 ends when it was told to stop."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of time over which the rate goes in a straight line to `rate_per_second`; 0 seconds make a step."""

    seconds: float
    rate_per_second: float


def steady(seconds: float, rate_per_second: float) -> tuple[Stage, Stage]:
    """Return the stages of a step to a rate that then stays."""
    return Stage(0, rate_per_second), Stage(seconds, rate_per_second)


@dataclass
class Answers:
    """What clients saw so far: one entry in each of the first four lists for each request that was answered well."""

    at: list[float] = field(default_factory=list)
    """When each answer came, in seconds since the epoch."""
    milliseconds: list[float] = field(default_factory=list)
    """From sending the request to having the whole answer."""
    revisions: list[str] = field(default_factory=list)
    """Which revision answered, as the gateway names it; empty for none."""
    protocols: list[str] = field(default_factory=list)
    """`http` or `grpc`."""
    failures: list[tuple[float, str]] = field(default_factory=list)
    """When requests were answered with an error or cut off, and over which protocol."""
    wrong_at: list[float] = field(default_factory=list)
    """When an answer came that was not the expected one."""
    unsent: int = 0
    """Requests that no client was free to send: the load was smaller than asked for."""

    @property
    def failed(self) -> int:
        """Return how many requests were answered with an error or cut off."""
        return len(self.failures)

    @property
    def sent(self) -> bool:
        """Return whether nearly all of the load asked for was sent."""
        return self.unsent <= UNSENT_SHARE_MAX * (len(self.at) + self.failed + self.unsent)

    def between(self, start: float, end: float) -> np.ndarray:
        """Return the latencies, in ms, of the answers that came in [start, end), seconds since the epoch."""
        at = np.asarray(self.at)
        return np.asarray(self.milliseconds)[(at >= start) & (at < end)]

    def percentile(self, percentile: float, start: float, end: float) -> float:
        """Return a percentile (0..100) of the latencies in [start, end), in ms; NaN when nothing was answered."""
        part = self.between(start, end)
        return float(np.percentile(part, percentile)) if len(part) else float("nan")

    def by_revision(self, start: float = 0.0, end: float = float("inf")) -> Counter[str]:
        """Return how many answers of [start, end) came from each revision."""
        return Counter(name for at, name in zip(self.at, self.revisions, strict=True) if start <= at < end)

    def failed_between(self, start: float, end: float) -> int:
        """Return how many requests failed in [start, end), seconds since the epoch."""
        return sum(start <= at < end for at, _ in self.failures)

    def read(self, line: str) -> None:
        """Take in one sample of k6: `metric,milliseconds,value,scenario,tags,...`."""
        name, _, rest = line.partition(",")
        if name not in {"answered_ms", "failed", "wrong", "dropped_iterations"}:
            return
        milliseconds, value, protocol, tags = rest.split(",")[:4]
        at = int(milliseconds) / 1000
        match name:
            case "answered_ms":
                self.at.append(at)
                self.milliseconds.append(float(value))
                self.revisions.append(tags.removeprefix("revision="))
                self.protocols.append(protocol)
            case "failed":
                self.failures.append((at, protocol))
            case "wrong":
                self.wrong_at.append(at)
            case "dropped_iterations":
                self.unsent += int(float(value))


@dataclass
class Load:
    """One run of k6, begun on entering and ended on leaving.

    `targets` gives host:port for `http`, `grpc` or both; each gets the full rates of `stages`. `clients` is how many
    connections a protocol has at first, each kept alive as its server allows; they grow to `most_clients`. `host` is
    what requests say that they come for; empty: the address. Answers other than `expected`, if given, are wrong.
    """

    targets: Mapping[str, str]
    model: str
    features: int
    stages: Sequence[Stage]
    folder: Path
    clients: int = 20
    most_clients: int = 1000
    host: str = ""
    expected: float | None = None
    _answers: Answers = field(default_factory=Answers)
    _read: int = 0
    _process: "subprocess.Popen[bytes] | None" = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        protoset, plan = self.folder / "triton.protoset", self.folder / "load.json"
        protoset.write_bytes(triton_protoset())
        plan.write_text(json.dumps({**self._plan(), "protoset": str(protoset)}))
        # Those of an earlier run would be taken for the beginning of this one until k6 writes its own.
        self._samples.unlink(missing_ok=True)
        k6 = gobuild.build(gobuild.K6, Progress()) / "k6"
        # Several may run at once: none gets the port at which k6 can be asked.
        quiet = ["--quiet", "--no-usage-report", "--summary-mode=disabled", "--address="]
        command = [str(k6), "run", *quiet, "-e", f"PLAN={plan}"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--out", f"csv={self._samples}", str(HERE / "load.js")],
                stdout=log,
                stderr=log,
                env=os.environ | {"K6_CSV_SAVE_INTERVAL": "1s", "K6_CSV_TIME_FORMAT": "unix_milli"},
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self._told.send_signal(signal.SIGINT)
        code = self._told.wait(END_SECONDS_MAX)
        if code not in {0, K6_STOPPED}:
            raise DevclusterError(f"k6 ended with {code}: {self.problems()}")

    @property
    def running(self) -> bool:
        """Whether stages are left."""
        return self._told.poll() is None

    def wait(self, timeout_seconds: float) -> None:
        """Wait until every stage is over; raises subprocess.TimeoutExpired."""
        self._told.wait(timeout_seconds)

    def answers(self) -> Answers:
        """Return all that is known now; while it runs, about the last second is missing."""
        if self._samples.exists():
            with self._samples.open("rb") as lines:
                lines.seek(self._read)
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self._read += len(line)
                    self._answers.read(line.decode())
        return self._answers

    def problems(self) -> str:
        """Return the last that k6 printed: it says of each failed request why."""
        return self._log.read_text(errors="replace")[-2000:]

    @property
    def _told(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise DevclusterError("the load has not begun: enter it first")
        return self._process

    @property
    def _samples(self) -> Path:
        return self.folder / "samples.csv"

    @property
    def _log(self) -> Path:
        return self.folder / "k6.log"

    def _plan(self) -> dict[str, object]:
        stages = [
            {"duration": f"{stage.seconds:g}s", "target": round(stage.rate_per_second * RATE_UNIT_SECONDS)}
            for stage in self.stages
        ]
        return {
            "targets": dict(self.targets),
            "model": self.model,
            "features": self.features,
            "stages": stages,
            "clients": self.clients,
            "mostClients": self.most_clients,
            "host": self.host,
            "expected": self.expected,
        }


def triton_protoset() -> bytes:
    """Return the compiled protocol that tritonclient carries, as k6 reads it."""
    files = FileDescriptorSet()
    for module in (model_config_pb2, service_pb2):
        description = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(description)
        files.file.append(description)
    return files.SerializeToString()
