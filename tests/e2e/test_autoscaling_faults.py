"""Whatever becomes of the metrics, nothing is taken away on their account, and the status says why.

All faults happen at the same time, each to a ModelDeployment of its own, which would otherwise go from two replicas
to one: its traffic ends when the fault begins. Prometheus is stopped meanwhile.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from devcluster.addons import prometheus
from devcluster.cluster import Cluster
from devcluster.progress import Progress
from tests.e2e import sabotage
from tests.e2e.scene import RATE, Scene

pytestmark = pytest.mark.acceptance

REMAINDER = 2.5
"""Requests per second where the fault needs traffic to be one: plenty for a single replica."""
SETTLE_SECONDS = 30.0
FAULT_SECONDS = 150.0
"""Without a fault a replica goes within this: see the one that is unharmed."""
HEALED_SECONDS = 150.0
Pods = list[dict[str, Any]]
Apply = Callable[[Cluster, Pods], AbstractContextManager[object]]


@dataclass(frozen=True)
class Fault:
    """What is done, the reason that the status must give for keeping the replicas, and the traffic meanwhile."""

    apply: Apply
    reason: str
    rate_per_second: float = 0.0


def impostors(kind: str, share: float = 1.0) -> Apply:
    """Return what has impostors answer for this share of the pods."""

    def apply(cluster: Cluster, pods: Pods) -> AbstractContextManager[object]:
        stack = ExitStack()
        for pod in pods[: round(share * len(pods))]:
            stack.enter_context(sabotage.impostor(cluster, pod, kind))
        return stack

    return apply


def cut_off_one(cluster: Cluster, pods: Pods) -> AbstractContextManager[object]:
    return sabotage.unreachable(cluster, pods[0])


def nothing(_cluster: Cluster, _pods: Pods) -> AbstractContextManager[object]:
    return ExitStack()


BLINDING = {
    "errors": Fault(impostors("errors"), "MetricsStale"),
    "garbage": Fault(impostors("garbage"), "MetricsStale"),
    "not-a-number": Fault(impostors("not-a-number"), "MetricsStale"),
    "nothing-of-the-model": Fault(impostors("nothing-of-the-model"), "SeriesMissing"),
    "one-standing-still": Fault(impostors("standing-still", 0.5), "MetricsPartial", REMAINDER),
    "half-unreachable": Fault(cut_off_one, "MetricsPartial"),
}
UNHARMED = "unharmed"
FAULTS = {**BLINDING, UNHARMED: Fault(nothing, "")}


@pytest.fixture(scope="module")
def scenes(new_place: Any, ranker_spec: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Scene]]:
    """Let everything happen once; the tests look at what was seen."""
    with ExitStack() as stack:
        found = {}
        for name in FAULTS:
            place = new_place()
            found[name] = Scene.begin(place, ranker_spec(place), tmp_path_factory.mktemp(name), stack.enter_context)
            stack.callback(place.clear)
        for scene in found.values():
            scene.place.wait_ready("ranker", timeout_seconds=240)
        play(found)
        yield found


def play(scenes: dict[str, Scene]) -> None:
    """Bring everything to two replicas, do the harm, wait, heal it, and wait until all is small again."""
    with ExitStack() as traffic:
        for scene in scenes.values():
            traffic.enter_context(scene.load(RATE, "before"))
        for scene in scenes.values():
            scene.wait_for_two()
        time.sleep(SETTLE_SECONDS)
    cluster = scenes[UNHARMED].place.cluster
    with ExitStack() as harm:
        cluster.registry.stop(prometheus.NAME)
        harm.callback(prometheus.start, cluster, Progress())
        for name, scene in scenes.items():
            harm.enter_context(FAULTS[name].apply(cluster, scene.ready_pods()))
            scene.harmed = time.time()
            if FAULTS[name].rate_per_second:
                harm.enter_context(scene.load(FAULTS[name].rate_per_second, "meanwhile"))
        time.sleep(FAULT_SECONDS)
        for scene in scenes.values():
            scene.healed = time.time()
    deadline = time.monotonic() + HEALED_SECONDS
    while any(scene.witness.replicas > 1 for scene in scenes.values()) and time.monotonic() < deadline:
        time.sleep(1)


@pytest.mark.parametrize("name", BLINDING)
def test_nothing_is_taken_away_on_bad_data_and_the_status_says_why(scenes: dict[str, Scene], name: str) -> None:
    scene, reason = scenes[name], FAULTS[name].reason
    assert {moment.replicas for moment in scene.witness.since(scene.harmed, scene.healed)} == {2}
    # What was decided from good data may stand for as long as it is fresh.
    late = scene.witness.since(scene.healed - FAULT_SECONDS / 3, scene.healed)
    assert {moment.reason for moment in late} == {reason}, late[-1].message
    assert all(moment.message for moment in late)
    active = late[-1].conditions["ScalingActive"]
    assert (active["reason"], active["status"]) == (reason, "True" if reason == "MetricsPartial" else "False")


@pytest.mark.parametrize("name", BLINDING)
def test_once_the_metrics_are_good_again_what_is_not_needed_goes(scenes: dict[str, Scene], name: str) -> None:
    scene = scenes[name]
    assert [(old, new) for _, old, new in scene.witness.changes(scene.healed)] == [(2, 1)]


def test_without_prometheus_replicas_follow_the_traffic_all_the_same(scenes: dict[str, Scene]) -> None:
    scene = scenes[UNHARMED]
    assert [(old, new) for _, old, new in scene.witness.changes(scene.harmed, scene.healed)] == [(2, 1)]
    assert not scene.witness.reasons(scene.harmed, scene.healed) & {fault.reason for fault in BLINDING.values()}
    log = scene.place.kubectl("-n", "tritonfleet-system", "logs", "deployment/tritonfleet", "--since=600s")
    assert "Prometheus query failed" in log
