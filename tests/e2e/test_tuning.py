"""A setting is found in a pod beside the deployment, which gets no traffic and is gone whatever happens."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

TRIAL = "tritonfleet.dev/trial-of=ranker"
ROOT = Path(__file__).parents[2]


def command(place: Any, folder: Path, *words: str) -> "subprocess.Popen[str]":
    where = [
        "--kubeconfig",
        str(place.cluster.kubeconfig),
        "-n",
        place.namespace,
        "--state",
        str(folder / "state.json"),
    ]
    least = ["--max-instances", "1", "--max-batch-size", "8"]
    return subprocess.Popen(
        [sys.executable, "-m", "tritonfleet", "tune", "ranker", *where, *least, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "operator")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left(place: Any) -> list[str]:
    return [item["metadata"]["name"] for item in place.list("pods,configmaps", TRIAL)]


def test_a_killed_search_leaves_nothing_and_goes_on_where_it_ended(place: Any, ranker: Any, tmp_path: Path) -> None:
    ranker["batching"]["maxBatchSize"] = 2
    place.apply("ranker", ranker)
    place.wait_ready("ranker")
    serving = {pod["status"]["podIP"] for pod in place.list("pods")}
    state = tmp_path / "state.json"

    with command(place, tmp_path, "--budget", "5m") as killed:
        place.wait("a trial was made in a pod", lambda: state.exists() and bool(left(place)), 240)
        endpoints = place.list("endpointslices", "kubernetes.io/service-name=ranker")
        assert {each for one in endpoints for part in one["endpoints"] for each in part["addresses"]} == serving
        killed.send_signal(signal.SIGTERM)
        _, said = killed.communicate(timeout=120)
    assert (killed.returncode, left(place)) == (143, []), said
    first = json.loads(state.read_text())["trials"]
    assert first

    with command(place, tmp_path, "--budget", "4m", "-o", "json", "--apply") as whole:
        printed, said = whole.communicate(timeout=600)
    assert (whole.returncode, left(place)) == (0, []), said
    result = json.loads(printed)
    assert result["trials"][: len(first)] == first
    assert result["best"]["setting"]["max_batch_size"] > 2, said
    assert (
        place.get("mdep", "ranker")["spec"]["batching"]["maxBatchSize"] == result["best"]["setting"]["max_batch_size"]
    )
