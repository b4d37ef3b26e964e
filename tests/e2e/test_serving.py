"""A ModelDeployment becomes a real Triton that gives the model's own answers, and changes without anybody noticing."""

import json
import runpy
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2

from devcluster import gobuild
from devcluster.demo.inference import TOLERANCE, directly, over_grpc, over_http
from devcluster.progress import Progress

HERE = Path(__file__).parent
RATE_PER_SECOND = 50
UPDATES = 5


def held_out() -> np.ndarray:
    return np.asarray(runpy.run_path(str(HERE.parents[1] / "examples" / "quickstart" / "train.py"))["digits"]()[1][:32])


def test_answers_over_both_protocols_are_the_models_own(place: Any, digits: Any, digits_model: Path) -> None:
    place.apply("digits", {**digits, "replicas": 2})
    body = place.wait_ready("digits")
    assert place.condition("digits", "ModelLoaded")["status"] == "True"
    assert body["status"]["revisions"][0]["modelDigest"].startswith("sha256:")
    images = held_out()
    expected = directly(digits_model)(images)
    for predict in (over_http(place.address("digits")), over_grpc(place.address("digits"))):
        answers = np.concatenate([predict(images[row : row + 4]) for row in range(0, len(images), 4)])
        np.testing.assert_allclose(answers, expected, atol=TOLERANCE)


def test_five_updates_under_load_fail_no_request(place: Any, digits: Any, tmp_path: Path) -> None:
    place.apply("digits", digits)
    place.wait_ready("digits")
    load = start_load(place.address("digits"), "digits", tmp_path, seconds=600)
    try:
        for update in range(UPDATES):
            generation = place.patch("digits", {"batching": {"dynamic": {"maxQueueDelay": f"{update + 2}ms"}}})
            place.wait_ready("digits", generation)
            place.wait("only the new pods are left", lambda: len(place.list("deployments")) == 1)
            place.wait("the old pods have ended", lambda: len(place.list("pods")) == 1)
    finally:
        load.send_signal(2)
        _, problems = load.communicate(timeout=60)
    metrics = json.loads((tmp_path / "summary.json").read_text())
    failed = metrics.get("requests_failed", {}).get("values", {}).get("count", 0)
    answered = metrics["requests_answered"]["values"]["count"]
    assert (failed, "") == (0, "" if failed == 0 else problems[-2000:])
    assert answered > UPDATES * 2 * RATE_PER_SECOND


def start_load(host: str, model: str, folder: Path, *, seconds: int) -> "subprocess.Popen[str]":
    """Start k6 against one model: HTTP and gRPC, each at `RATE_PER_SECOND`."""
    protoset = folder / "triton.protoset"
    protoset.write_bytes(triton_protoset())
    environment = {
        "TARGET_HOST": host,
        "MODEL": model,
        "DURATION": f"{seconds}s",
        "RATE": str(RATE_PER_SECOND),
        "FEATURES": "64",
        "PROTOSET": str(protoset),
        "SUMMARY": str(folder / "summary.json"),
    }
    k6 = gobuild.build(gobuild.K6, Progress()) / "k6"
    settings = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
    return subprocess.Popen(
        [str(k6), "run", "--quiet", "--no-usage-report", *settings, str(HERE / "load.js")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def triton_protoset() -> bytes:
    """Return the compiled protocol that tritonclient carries, as k6 reads it."""
    files = FileDescriptorSet()
    for module in (model_config_pb2, service_pb2):
        description = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(description)
        files.file.append(description)
    return files.SerializeToString()


def test_suspending_frees_the_pods_and_resuming_brings_them_back(place: Any, digits: Any) -> None:
    place.apply("digits", digits)
    place.wait_ready("digits")
    place.patch("digits", {"suspended": True})
    place.wait_reason("digits", "Suspended")
    place.wait("no pod is left", lambda: not place.list("pods"))
    generation = place.patch("digits", {"suspended": False})
    place.wait_ready("digits", generation)


@pytest.mark.parametrize("restarts", [2])
def test_after_ready_restarts_of_the_operator_change_nothing(place: Any, digits: Any, restarts: int) -> None:
    place.apply("digits", digits)
    place.wait_ready("digits")
    before = versions(place)
    for _ in range(restarts):
        system = ["-n", "tritonfleet-system"]
        place.kubectl(*system, "rollout", "restart", "deployment/tritonfleet")
        place.kubectl(*system, "rollout", "status", "deployment/tritonfleet", "--timeout=120s")
    place.patch("digits", {"traffic": {"service": {"annotations": {"seen": "yes"}}}})
    place.wait("the restarted operator works", lambda: "seen" in str(place.get("service", "digits")["metadata"]))
    after = versions(place)
    assert {name: after[name] for name in after if name != "Service/digits"} == {
        name: before[name] for name in before if name != "Service/digits"
    }


def versions(place: Any) -> dict[str, str]:
    kinds = "deployments,services,configmaps,controllerrevisions,poddisruptionbudgets"
    items = place.list(kinds, "app.kubernetes.io/managed-by=tritonfleet")
    return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in items}


def test_deleting_it_leaves_nothing(place: Any, digits: Any) -> None:
    place.apply("digits", digits)
    place.wait_ready("digits")
    place.kubectl("delete", "mdep", "digits", "--wait=true")
    place.wait("every child is gone", lambda: not versions(place))
    place.wait("every pod is gone", lambda: not place.list("pods"), timeout_seconds=120)
