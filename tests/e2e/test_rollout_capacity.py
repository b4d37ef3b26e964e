"""Where GPUs are few, while replicas change, without a gateway, and to a revision whose pods are long gone."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from devcluster.load import Load, steady
from tests.e2e.chronicle import Snapshot
from tests.e2e.shop import (
    ANALYSIS,
    CLIENTS,
    FEATURES,
    INTERVAL_SECONDS,
    NAME,
    SERVER,
    SUM,
    WEIGHT,
    Shop,
    replaced,
    rollout,
)
from tests.e2e.witness import ready_seconds

pytestmark = pytest.mark.alone
Open = Callable[..., AbstractContextManager[Shop]]
GPUS = 8
POOL = 4
"""Pods that fill the node, each with two of its eight GPUs."""
RATE = 25.0
LEAVING_SECONDS = 12.0
"""After so long nobody asks a pod that is leaving: here it need not wait for clients that are slow to notice."""
QUICK = ANALYSIS | {"windows": 2, "bakeTime": "0s", "minRequests": 50}
LONG = ANALYSIS | {"windows": 10}
OLDER_SECONDS = 15.0
"""On top of the time that pods take to become ready, when a revision without pods is asked for again."""


@pytest.fixture(scope="module")
def full(open_shop: Open) -> Iterator[Shop]:
    """Four replicas that have every GPU there is."""
    with open_shop(
        replicas=POOL, server={**SERVER, "gpu": {"count": GPUS // POOL}}, rollout=rollout(analysis=QUICK)
    ) as shop:
        shop.wait_for("Stable")
        yield shop


def promoted(moment: Snapshot) -> bool:
    return moment.phase == "Stable" and sum(moment.ready.values()) == POOL and len(+moment.existing) == 1


@pytest.mark.acceptance
def test_without_a_free_gpu_a_surge_waits_and_says_how_many_are_short(full: Shop) -> None:
    stable, served = full.stable, full.version
    surge = rollout(analysis=QUICK, capacity={"mode": "Surge"})
    asked = full.change("best", rollout=surge)
    waiting = full.wait_for("WaitingForCapacity", since=asked)
    time.sleep(INTERVAL_SECONDS)
    assert "2 nvidia.com/gpu" in waiting.rollout["message"]
    assert "0 free" in waiting.rollout["message"]
    assert {moment.ready[stable] for moment in full.chronicle.since(asked)} == {POOL}
    back = full.change(served)
    full.wait_until("stable is alone", promoted, since=back)
    assert full.status.get("rejected", []) == []


@pytest.mark.parametrize(
    ("mode", "version"), [("Auto", "better"), pytest.param("InPlace", "best", marks=pytest.mark.acceptance)]
)
def test_in_a_full_pool_pods_change_places_one_at_a_time(full: Shop, mode: str, version: str) -> None:
    before = full.stable
    with full.traffic(RATE) as load:
        asked = full.change(version, rollout=rollout(analysis=QUICK, capacity={"mode": mode}))
        deadline = time.monotonic() + 600
        while not (promoted(full.chronicle.snapshots[-1]) and not full.chronicle.snapshots[-1].ready[before]):
            assert time.monotonic() < deadline, full.chronicle.story(asked)
            full.forget_leavers(LEAVING_SECONDS)
            time.sleep(1)
    assert load.answers().failed == 0, load.problems()
    seen = full.chronicle.since(asked)
    assert min(sum(moment.ready.values()) for moment in seen) >= POOL - 1, full.chronicle.story(asked)
    assert max(sum(moment.existing.values()) for moment in seen) <= POOL
    assert {moment.rollout["mode"] for moment in seen if "mode" in moment.rollout} >= {"InPlace"}


@pytest.mark.acceptance
def test_when_replicas_double_stable_grows_and_the_canary_keeps_its_step_and_when_they_halve_nothing_goes(
    shop: Shop,
) -> None:
    stable = shop.stable
    with shop.traffic(RATE) as load:
        asked = shop.change("better", rollout=rollout(analysis=LONG))
        step = shop.wait_until("the canary has traffic", lambda moment: moment.applied == WEIGHT, since=asked)
        canary = step.rollout["canary"].rpartition("-")[2]
        shop.place.kubectl("scale", "mdep", NAME, "--replicas=6")
        doubled = shop.wait_until("stable has six", lambda moment: moment.ready[stable] == 6, since=asked)
        assert doubled.ready[canary] <= 2
        shop.place.kubectl("scale", "mdep", NAME, "--replicas=2")
        halved = time.time()
        promoted = shop.wait_until("the canary is stable", replaced(stable), since=halved)
        shop.wait_until("two are left", lambda moment: moment.ready == {canary: 2}, since=promoted.at)
    assert load.answers().failed == 0, load.problems()
    during = shop.chronicle.since(halved, promoted.at)
    assert max(moment.ready[canary] for moment in during) == 6
    assert min(moment.ready[stable] + moment.ready[canary] for moment in during) >= 6


@pytest.mark.acceptance
def test_without_a_gateway_the_share_is_that_of_the_pods_and_is_measured(open_shop: Open) -> None:
    with open_shop(traffic={}, rollout=rollout(analysis=LONG)) as shop:
        shop.wait_for("Stable")
        address = shop.place.address(NAME)
        targets = {"http": f"{address}:8000", "grpc": f"{address}:8001"}
        load = Load(targets, NAME, FEATURES, steady(600, RATE), shop.folder / "direct", clients=CLIENTS, expected=SUM)
        stable = shop.stable
        with load:
            asked = shop.change("better")
            shop.wait_until("it is stable", replaced(stable), since=asked)
        answers = load.answers()
        assert (answers.failed, answers.sent, answers.wrong_at) == (0, True, []), load.problems()
        seen = shop.chronicle.since(asked)
        stepping = [moment for moment in seen if moment.phase == "Analyzing" and moment.applied == WEIGHT]
        weights = [moment.rollout["weights"] for moment in stepping]
        shares = [each["measured"] for each in weights if "measured" in each]
        assert shares[-1] == pytest.approx(WEIGHT, rel=0.5)
        assert {tuple(sorted(moment.ready.values())) for moment in stepping} == {(1, 3)}


@pytest.mark.acceptance
def test_an_older_revision_is_served_again_as_soon_as_its_pods_can_be(open_shop: Open) -> None:
    short = {**rollout(analysis=QUICK), "stableRetention": "0s"}
    with open_shop(rollout=short) as shop:
        shop.wait_for("Stable")
        first = shop.stable
        with shop.traffic(RATE) as load:
            asked = shop.change("better")
            shop.wait_until(
                "only the better one has pods",
                lambda moment: moment.phase == "Stable" and not moment.existing[first],
                since=asked,
            )
            left = time.time()
            shop.place.patch(NAME, {"rollback": {"toRevision": "1"}})
            shop.wait_until(
                "the first serves again", lambda moment: moment.rollout["stable"].endswith(first), since=left
            )
            time.sleep(1)
        answers = load.answers()
        assert answers.failed == 0, load.problems()
        ready = max(ready_seconds(pod) for pod in shop.place.list("pods", f"tritonfleet.dev/revision={first}"))
        last = max(at for at, name in zip(answers.at, answers.revisions, strict=True) if not name.endswith(first))
        assert last - left <= ready + OLDER_SECONDS, shop.chronicle.story(left)
