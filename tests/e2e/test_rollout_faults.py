"""Whatever fails beside a rollout holds it or takes it back, says so, and never leaves clients without an answer."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from devcluster.addons import prometheus
from devcluster.progress import Progress
from tests.e2e import sabotage
from tests.e2e.chronicle import Snapshot, is_ready, revision_of
from tests.e2e.shop import ANALYSIS, INTERVAL_SECONDS, NAME, WEIGHT, Shop, replaced, rollout

pytestmark = pytest.mark.acceptance
RATE = 25.0
OUTAGE_SECONDS = 20.0
LONG = ANALYSIS | {"windows": 8}


def exposed(moment: Snapshot) -> bool:
    return moment.phase == "Analyzing" and moment.applied == WEIGHT


def said(shop: Shop, since: float, *words: str) -> Callable[[], bool]:
    """Return what tells whether the status has said all of the words at once since then."""

    def known() -> bool:
        texts = (json.dumps(moment.rollout) for moment in shop.chronicle.since(since))
        return any(all(word in text for word in words) for text in texts)

    return known


def canary_pod(shop: Shop) -> dict[str, Any]:
    """Return the canary's one pod, which is ready."""
    (pod,) = [pod for pod in shop.place.list("pods") if revision_of(pod) != shop.stable and is_ready(pod)]
    return dict(pod)


def test_while_prometheus_is_down_the_weight_stays_and_then_the_step_goes_on(shop: Shop) -> None:
    cluster, stable = shop.place.cluster, shop.stable
    with shop.traffic(RATE) as load:
        asked = shop.change("better", rollout=rollout(analysis=LONG))
        shop.wait_until("the canary has traffic", exposed, since=asked)
        cluster.registry.stop(prometheus.NAME)
        down = time.time()
        try:
            time.sleep(OUTAGE_SECONDS)
        finally:
            back = time.time()
            prometheus.start(cluster, Progress())
        shop.wait_until("it is stable", replaced(stable), since=back)
    outage = shop.chronicle.since(down + INTERVAL_SECONDS, back)
    assert {(moment.phase, moment.applied) for moment in outage} == {("Analyzing", WEIGHT)}
    assert said(shop, down, '"outcome": "Error"', "Prometheus at")(), shop.chronicle.story(asked)
    assert load.answers().failed == 0, load.problems()


def test_a_canary_without_series_is_held_for_that_and_not_for_an_outage(shop: Shop) -> None:
    stable = shop.stable
    with shop.traffic(RATE) as load:
        asked = shop.change("better", rollout=rollout(analysis=LONG))
        shop.wait_until("the canary has traffic", exposed, since=asked)
        with sabotage.impostor(shop.place.cluster, canary_pod(shop), "nothing-of-the-model"):
            hidden = time.time()
            time.sleep(OUTAGE_SECONDS)
            seen = shop.chronicle.since(hidden + 2 * INTERVAL_SECONDS)
        assert {(moment.phase, moment.applied) for moment in seen} == {("Analyzing", WEIGHT)}
        texts = {json.dumps(moment.rollout.get("results", ())) for moment in seen}
        assert all("NoSeries" in text or "PodsMissing" in text for text in texts), texts
        shop.wait_until("it is stable", replaced(stable), since=hidden)
    assert load.answers().failed == 0, load.problems()


def test_a_route_that_is_deleted_comes_back_and_one_that_is_reverted_again_and_again_is_left(shop: Shop) -> None:
    # It is rejected in the end, so no other test of this module asks for it.
    asked = shop.change("best", rollout=rollout(analysis=LONG | {"windows": 30, "maxWindows": 60}))
    shop.wait_until("the canary has its weight", exposed, since=asked)
    shop.place.kubectl("delete", "httproute", NAME)
    shop.place.wait("the route is back", lambda: bool(weights_of(shop)), 20)
    assert WEIGHT in weights_of(shop)
    deadline = time.monotonic() + 60
    reverted = time.time()
    while shop.status["phase"] != "Held":
        assert time.monotonic() < deadline, shop.chronicle.story(asked)
        if WEIGHT in weights_of(shop):
            revert(shop)
        time.sleep(1)
    held = shop.wait_for("Held", since=reverted)
    assert held.rollout["reason"] == "RouteConflict", shop.chronicle.story(asked)
    left = shop.place.get("httproute", NAME)["metadata"]["generation"]
    time.sleep(INTERVAL_SECONDS)
    assert shop.place.get("httproute", NAME)["metadata"]["generation"] - left <= 1
    shop.place.kubectl("annotate", "mdep", NAME, f"tritonfleet.dev/abort={held.rollout['canary']}")
    shop.wait_for("RolledBack", since=reverted)


def weights_of(shop: Shop) -> set[int]:
    """Return every weight in the route; nothing while it is not there."""
    routes = [route for route in shop.place.list("httproutes") if route["metadata"]["name"] == NAME]
    rules = routes[0]["spec"]["rules"] if routes else []
    return {backend["weight"] for rule in rules for backend in rule["backendRefs"]}


def revert(shop: Shop) -> None:
    """Write the weights as they were before the rollout, as a tool that knows the route from Git does."""
    body = shop.place.get("httproute", NAME)
    for rule in body["spec"]["rules"]:
        if len(rule["backendRefs"]) > 1:
            for backend in rule["backendRefs"]:
                backend["weight"] = {100 - WEIGHT: 100, WEIGHT: 0}[backend["weight"]]
    body["metadata"].pop("managedFields", None)
    shop.place.kubectl("replace", "-f", "-", stdin=json.dumps(body))


def test_what_is_deleted_in_the_middle_of_a_rollout_leaves_nothing(
    open_shop: Callable[..., AbstractContextManager[Shop]],
) -> None:
    with open_shop(replicas=1) as shop:
        shop.wait_for("Stable")
        asked = shop.change("better")
        shop.wait_until("the canary has its weight", lambda moment: moment.applied == WEIGHT, since=asked)
        shop.place.kubectl("delete", "mdep", NAME, "--wait=true", "--timeout=30s")
        shop.place.wait("every child is gone", lambda: not children(shop), 60)
        shop.place.wait("every pod is gone", lambda: not shop.place.list("pods"), 60)


def children(shop: Shop) -> list[str]:
    kinds = "deployments,services,configmaps,controllerrevisions,poddisruptionbudgets,httproutes"
    items = shop.place.list(kinds, "app.kubernetes.io/managed-by=tritonfleet")
    return [f"{item['kind']}/{item['metadata']['name']}" for item in items]


def test_a_canary_whose_node_is_lost_gives_its_traffic_back(
    open_shop: Callable[..., AbstractContextManager[Shop]],
) -> None:
    half = rollout(steps=[{"weight": 50}], analysis=LONG | {"windows": 60, "maxWindows": 90})
    with open_shop(replicas=2, rollout=half) as shop:
        shop.wait_for("Stable")
        stable = shop.stable
        with shop.traffic(RATE) as load:
            asked = shop.change("better")
            shop.wait_until("it has half of the traffic", lambda moment: moment.applied == 50, since=asked)
            time.sleep(2)
            shop.place.kubectl("cordon", "node-0")
            try:
                lost = lose_canary(shop, stable)
                shop.wait_until("it has none", lambda moment: moment.applied == 0, since=lost, timeout_seconds=90)
                time.sleep(1)
                safe = time.time()
                time.sleep(INTERVAL_SECONDS)
            finally:
                shop.place.kubectl("uncordon", "node-0")
        assert load.answers().failed_between(safe, float("inf")) == 0, load.problems()
        ready = {moment.ready[stable] for moment in shop.chronicle.since(lost) if moment.applied == 0}
        assert ready == {2}


def lose_canary(shop: Shop, stable: str) -> float:
    """End the canary's pods as the loss of their node does; return when."""
    lost = time.time()
    pods = [pod["metadata"]["name"] for pod in shop.place.list("pods") if revision_of(pod) != stable]
    shop.place.kubectl("delete", "pod", *pods, "--grace-period=0", "--force")
    return lost


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "image": (
        {"server": {"image": {"repository": "registry.invalid/tritonserver", "tag": "26.11-py3"}}},
        "registry.invalid/tritonserver:26.11-py3",
    ),
    "download": ({"model": {"uri": "s3://nobody-made-this-bucket/model"}}, "nobody-made-this-bucket"),
    "crash": ({"model": {"parameters": {"seconds": "never"}}}, "could not convert string to float"),
    "unready": ({"model": {"parameters": {"load_seconds": "600"}}}, "0/1 pods ready after 30s"),
}


def test_a_canary_that_does_not_become_ready_is_rolled_back_with_the_reason_and_stable_is_untouched(
    open_shop: Callable[..., AbstractContextManager[Shop]],
) -> None:
    quick = {**rollout(), "progressDeadline": "30s"}
    with open_shop(replicas=1, rollout=quick) as shop:
        shop.wait_for("Stable")
        for name in BROKEN:
            shop.place.apply(name, {**shop.spec(replicas=1, rollout=quick), "traffic": {}, "model": own_model(shop)})
        for name in BROKEN:
            shop.place.wait_ready(name)
        before = {pod["metadata"]["uid"] for pod in shop.place.list("pods")}
        for name, (change, _) in BROKEN.items():
            shop.place.patch(name, change)
        for name, (_, words) in BROKEN.items():
            shop.place.wait(f"{name} is taken back", lambda name=name: phase_of(shop, name) == "RolledBack", 120)
            rejected = shop.place.get("mdep", name)["status"]["rollout"]["rejected"][-1]
            assert words in rejected["message"], rejected
            assert shop.place.condition(name, "Available")["status"] == "True"
        after = {pod["metadata"]["uid"]: pod for pod in shop.place.list("pods") if is_ready(pod)}
        assert before <= after.keys()
        assert {one["restartCount"] for uid in before for one in after[uid]["status"]["containerStatuses"]} == {0}


def own_model(shop: Shop) -> dict[str, Any]:
    """Return the good version by the name that each of several ModelDeployments may give it."""
    return dict(shop.spec()["model"])


def phase_of(shop: Shop, name: str) -> str:
    return str(shop.place.get("mdep", name)["status"].get("rollout", {}).get("phase"))
