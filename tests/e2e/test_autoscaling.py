"""Replicas follow real traffic: the SLO holds again soon after a step, and nothing is lost."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devcluster.addons import gateway
from devcluster.load import Load, steady
from devcluster.progress import Progress
from tests.e2e.witness import Witness

FEATURES = 4
TARGET_MS = 500.0
LOW, MORE = 7.5, 22.5
"""Requests per second of each protocol: one replica carries the first, none carries both."""
BEFORE_SECONDS, LONGEST_SECONDS = 60, 900
AGAIN_SECONDS = 60.0
"""After a step, and the time that a pod takes to be ready, the SLO must hold again."""
SLOW_WINDOW_SECONDS = 60.0
"""The law's longer window: for so long after traffic falls its rate still shows some of the peak."""
HOLD_SECONDS = 15.0
LAST_HOLDS = 4
"""A fall by a single replica may be noise: it waits for so many holds."""
TICKS_SECONDS = 30.0
"""Replicas go one by one here, each at a tick of its own, which are 5 s apart."""
GATEWAY_SECONDS = 100
STRETCHES, STRETCH_SECONDS = 5, 10.0
"""The p99 is that of each such stretch, and one may be spoiled by the machine standing still for a moment."""


def targets(address: str) -> dict[str, str]:
    return {"http": f"{address}:8000", "grpc": f"{address}:8001"}


@pytest.mark.parametrize(
    "falls", [False, pytest.param(True, marks=pytest.mark.acceptance)], ids=["which stays", "which is over in the end"]
)
def test_after_a_fourfold_step_the_slo_is_met_again(place: Any, ranker: Any, tmp_path: Path, falls: bool) -> None:
    ranker["autoscaling"]["behavior"] = {"scaleDown": {"stabilizationWindow": f"{HOLD_SECONDS:.0f}s"}}
    place.apply("ranker", ranker)
    place.wait_ready("ranker")
    where = targets(place.address("ranker"))
    always = Load(where, "ranker", FEATURES, steady(LONGEST_SECONDS, LOW), tmp_path / "always", clients=100)
    peak = Load(where, "ranker", FEATURES, steady(LONGEST_SECONDS, MORE), tmp_path / "peak", clients=100)
    with Witness(place.cluster, place.namespace, "ranker") as witness, always:
        started = began(always)
        time.sleep(BEFORE_SECONDS)
        with peak:
            step = began(peak)
            time.sleep(AGAIN_SECONDS)
            assert witness.replicas >= 2, witness.story(step)
            again = step + witness.ready_seconds(step) + AGAIN_SECONDS
            time.sleep(again + STRETCHES * STRETCH_SECONDS - time.time())
            fall = time.time()
        if falls:
            longest = SLOW_WINDOW_SECONDS + LAST_HOLDS * HOLD_SECONDS + TICKS_SECONDS
            place.wait("one replica is asked for", lambda: witness.replicas == 1, longest)
    for load in (always, peak):
        assert (load.answers().failed, load.answers().sent) == (0, True), load.problems()
    assert {moment.replicas for moment in witness.since(started, step)} == {1}, witness.story(started)
    answers = peak.answers()
    assert answers.percentile(99, step, step + 20) > TARGET_MS, "the step was no burden"
    starts = again + STRETCH_SECONDS * np.arange(STRETCHES)
    stretches = sorted(answers.percentile(99, start, start + STRETCH_SECONDS) for start in starts)
    assert stretches[-2] <= TARGET_MS, stretches
    if falls:
        assert {new - old for _, old, new in witness.changes(fall)} == {-1}, witness.story(fall)


def began(load: Load) -> float:
    """Wait until the first answer and return about when k6 sent it, in seconds since the epoch."""
    while not load.answers().at:
        assert load.running, load.problems()
        time.sleep(0.2)
    return float(load.answers().at[0])


@pytest.mark.acceptance
def test_latency_at_a_gateway_is_what_the_slo_is_measured_by(place: Any, ranker: Any, tmp_path: Path) -> None:
    gateway.start(place.cluster, Progress())
    place.apply("ranker", ranker)
    place.wait_ready("ranker")
    address = through_gateway(place, "ranker")
    with Load({"http": address}, "ranker", FEATURES, steady(GATEWAY_SECONDS, LOW), tmp_path) as load:
        load.wait(GATEWAY_SECONDS + 60)
        place.wait("the gateway is the source", lambda: scaling(place).get("latencySource") == "Gateway", 90)
        shown = float(scaling(place)["p99"].removesuffix("ms"))
    answers = load.answers()
    assert (answers.failed, answers.sent) == (0, True), load.problems()
    assert shown == pytest.approx(float(np.percentile(answers.milliseconds, 99)), rel=0.5)
    assert "(Gateway)" in place.condition("ranker", "SLOMet")["message"]


def scaling(place: Any) -> dict[str, Any]:
    return dict(place.get("mdep", "ranker")["status"].get("autoscaling", {}))


def through_gateway(place: Any, name: str) -> str:
    """Route a gateway of this namespace to the front Service; return its host:port once it answers."""
    rule = {"backendRefs": [{"name": name, "port": 8000}]}
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    api = "gateway.networking.k8s.io/v1"
    for kind, spec in (
        ("Gateway", {"gatewayClassName": gateway.CLASS, "listeners": [listener]}),
        ("HTTPRoute", {"parentRefs": [{"name": name}], "rules": [rule]}),
    ):
        manifest = {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}
        place.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    place.kubectl("wait", f"gateway/{name}", "--for=condition=Programmed", "--timeout=120s")
    return f"{place.get('gateway', name)['status']['addresses'][0]['value']}:80"
