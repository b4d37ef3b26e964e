"""A good version gets all the traffic and a bad one none for long, over HTTP and gRPC through a real gateway."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from devcluster.load import Answers, Load
from tests.e2e.shop import (
    ANALYSIS,
    INTERVAL_SECONDS,
    RATE,
    REACTION_SECONDS,
    WEIGHT,
    Shop,
    replaced,
    rollout,
    share_of,
)

FLIP_SECONDS = 5.0
"""From the decision to go back until nobody is answered by the revision left."""
LOOK_SECONDS = 8
"""Longer than the other tests' looks: what a gateway takes to obey is no part of them."""
GOLDEN = {"golden": {"configMapName": "golden"}}


def seen(load: Load) -> Answers:
    """Return what the clients saw; there must have been nearly as many as asked for, over both protocols alike."""
    answers = load.answers()
    assert answers.sent, load.problems()
    begun, ended = answers.at[0], answers.at[-1]
    assert len(answers.at) + answers.failed >= 0.9 * 2 * RATE * (ended - begun)
    assert {*answers.protocols} == {"http", "grpc"}
    return answers


def served(answers: Answers, revision: str) -> list[float]:
    """Return when a revision answered."""
    return [at for at, name in zip(answers.at, answers.revisions, strict=True) if name.endswith(revision)]


def stable_is(revision: str) -> Callable[[Any], bool]:
    """Return what tells whether a revision is stable and nothing goes on."""
    return lambda moment: moment.phase == "Stable" and moment.rollout.get("stable", "").endswith(revision)


def test_a_good_canary_is_promoted_and_can_be_left_again_at_once_and_no_request_fails(shop: Shop) -> None:
    good = shop.stable
    with shop.traffic() as load:
        asked = shop.change("better")
        promoted = shop.wait_until("the better one is stable", replaced(good), since=asked)
        better = promoted.rollout["stable"].rpartition("-")[2]
        time.sleep(INTERVAL_SECONDS)
        left = shop.change("good")
        shop.wait_until("the good one is stable again", stable_is(good), since=left)
        time.sleep(INTERVAL_SECONDS)
    answers = seen(load)
    assert (answers.failed, answers.wrong_at) == (0, []), load.problems()
    assert Counter(answers.protocols)["grpc"] == pytest.approx(len(answers.at) / 2, rel=0.05)
    assert [weight for weight in shop.chronicle.weights(asked) if weight][:2] == [WEIGHT, 100]
    step = shop.chronicle.first(lambda moment: moment.applied == WEIGHT, asked).at
    shares = answers.by_revision(step + 1, shop.chronicle.first(lambda moment: moment.desired == 100, asked).at)
    assert 100 * sum(n for name, n in shares.items() if name.endswith(better)) / shares.total() == pytest.approx(
        WEIGHT, abs=5
    )
    assert max(served(answers, better)) - left <= FLIP_SECONDS
    assert answers.at[-1] > left + FLIP_SECONDS


@pytest.mark.parametrize(
    ("version", "check", "verification"),
    [
        pytest.param("failing", "error rate", {}, marks=pytest.mark.acceptance),
        ("slow", "requests above", {}),
        pytest.param("renamed", "error rate", {"contract": "Off"}, marks=pytest.mark.acceptance),
    ],
)
def test_a_bad_canary_is_without_traffic_after_two_windows(
    shop: Shop, version: str, check: str, verification: dict[str, Any]
) -> None:
    good = shop.stable
    with shop.traffic() as load:
        windows = ANALYSIS | {"interval": f"{LOOK_SECONDS}s", "podWarmup": "0s"}
        asked = shop.change(version, rollout=rollout(analysis=windows, verification=verification))
        over = shop.wait_for("RolledBack", since=asked)
        time.sleep(2)
    answers = seen(load)
    rejected = over.rollout["rejected"][-1]
    bad = rejected["revision"].rpartition("-")[2]
    harm = sorted(served(answers, bad) + [at for at, _ in answers.failures])
    assert harm[-1] - harm[0] <= 2 * LOOK_SECONDS + REACTION_SECONDS, shop.chronicle.story(asked)
    assert answers.failed <= share_of(2 * RATE, WEIGHT, 2 * LOOK_SECONDS)
    assert max(shop.chronicle.weights(asked)) == WEIGHT
    assert check in rejected["message"]
    assert over.rollout["stable"].endswith(good)


@pytest.mark.acceptance
def test_a_canary_that_begins_to_answer_wrongly_is_without_traffic_after_two_windows(shop: Shop) -> None:
    long = ANALYSIS | {"windows": 10}
    with shop.traffic() as load:
        asked = shop.change("turning-wrong", rollout=rollout(verification=GOLDEN, analysis=long))
        over = shop.wait_for("RolledBack", since=asked)
        time.sleep(2)
    answers = seen(load)
    exposure = 2 * INTERVAL_SECONDS + REACTION_SECONDS
    assert 0 < len(answers.wrong_at) <= share_of(2 * RATE, WEIGHT, exposure)
    assert answers.wrong_at[-1] - answers.wrong_at[0] <= exposure
    assert answers.failed == 0, load.problems()
    assert "golden requests failed" in over.rollout["rejected"][-1]["message"]


@pytest.mark.parametrize(
    ("version", "found"),
    [("wrong", "a row of ones"), pytest.param("reshaped", "X", marks=pytest.mark.acceptance)],
    ids=["an answer that is wrong", "an input of another shape"],
)
def test_what_is_found_before_traffic_never_reaches_a_user(shop: Shop, version: str, found: str) -> None:
    with shop.traffic() as load:
        asked = shop.change(version, rollout=rollout(verification=GOLDEN))
        over = shop.wait_for("RolledBack", since=asked)
    answers = seen(load)
    assert (answers.failed, answers.wrong_at) == (0, [])
    assert {moment.desired for moment in shop.chronicle.since(asked)} == {0}
    assert len(answers.by_revision()) == 1
    assert found in over.rollout["rejected"][-1]["message"]


@pytest.mark.acceptance
def test_a_canary_that_is_slow_only_while_it_is_cold_is_promoted(shop: Shop) -> None:
    good, patient = shop.stable, ANALYSIS | {"warmup": "25s"}
    with shop.traffic() as load:
        asked = shop.change("cold", rollout=rollout(analysis=patient))
        shop.wait_until("it is stable", replaced(good), since=asked)
    assert seen(load).failed == 0, load.problems()
    assert "RollingBack" not in shop.chronicle.phases(asked)


@pytest.mark.acceptance
def test_a_spec_that_goes_back_takes_the_canary_away_and_does_not_reject_it(shop: Shop) -> None:
    good = shop.stable
    before = shop.status.get("rejected", [])
    with shop.traffic() as load:
        asked = shop.change("better")
        shop.wait_until("the canary has traffic", lambda moment: moment.applied == WEIGHT, since=asked)
        back = shop.change("good")
        shop.wait_until("stable is alone", stable_is(good), since=back)
        time.sleep(1)
    answers = seen(load)
    assert answers.failed == 0, load.problems()
    canary = next(name for name in answers.by_revision() if not name.endswith(good))
    assert max(served(answers, canary)) - back <= FLIP_SECONDS
    assert shop.status.get("rejected", []) == before


@pytest.mark.acceptance
def test_a_spec_that_changes_again_starts_anew_beside_the_same_stable(shop: Shop) -> None:
    good = shop.stable
    with shop.traffic() as load:
        asked = shop.change("better")
        first = shop.wait_until("the canary has traffic", lambda moment: moment.applied == WEIGHT, since=asked)
        again = shop.change("best")
        second = shop.wait_until(
            "the other canary has traffic",
            lambda moment: moment.applied == WEIGHT and moment.rollout["canary"] != first.rollout["canary"],
            since=again,
        )
    assert seen(load).failed == 0, load.problems()
    assert second.rollout["stable"].endswith(good)
    assert shop.chronicle.weights(asked) == [0, WEIGHT, 0, WEIGHT]
    assert second.ready[good] == 3
