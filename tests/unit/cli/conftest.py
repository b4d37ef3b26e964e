"""A manifest, a place for files, and the command as a person runs it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tritonfleet.cli import main

MANIFEST = """
apiVersion: tritonfleet.dev/v1alpha1
kind: ModelDeployment
metadata: {name: recommender, namespace: shop}
spec:
  model: {uri: "s3://models/recommender/7", backend: onnxruntime}
  batching: {maxBatchSize: 16, dynamic: {maxQueueDelay: 2ms}}
  slo: {latency: {percentile: 99, target: 750ms}}
  autoscaling: {minReplicas: 1, maxReplicas: 4}
"""


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "model.yaml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def tritonfleet(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs `tritonfleet` with arguments, in this process."""

    def run(*arguments: object) -> Said:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            status = int(ended.code or 0)
        printed = capsys.readouterr()
        return Said(status, printed.out, printed.err)

    return run


@pytest.fixture
def simulate(tritonfleet: Callable[..., Said], manifest: Path, tmp_path: Path) -> Callable[..., Said]:
    """Runs `tritonfleet simulate` on a trace given as the text of a CSV, its name, or a path."""

    def run(trace: str, *options: object) -> Said:
        source: object = trace
        if "\n" in trace:
            source = tmp_path / "trace.csv"
            source.write_text(trace)
        return tritonfleet("simulate", "-f", manifest, "--trace", source, "--jobs", 1, *options)

    return run
