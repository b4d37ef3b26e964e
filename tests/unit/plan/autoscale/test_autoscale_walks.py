"""Whoever follows one scaling decision through the source passes through few files, and seldom goes back and forth.

`tests.walks` says how files and moves are counted.
"""

from collections import defaultdict
from dataclasses import replace

import pytest

from tests.walks import walk
from tritonfleet.plan.autoscale import History, ScaleReason, decide

FILES, MOVES = 7, 35
LIFE = ((120.0, 600), (30.0, 900), (400.0, 60), (1500.0, 60), (0.0, 600), (100.0, 100))
"""Requests per second, and for how many seconds: learning, a slow fall, a burst, too much, nothing, and again some."""


@pytest.fixture
def explained():
    """Return the walks of every explanation in the life of a fleet."""
    return []


@pytest.fixture
def walks(new_fleet, explained):
    """Return the walks of every decision in the life of a fleet, by its reason."""
    found = defaultdict(list)
    fleet = new_fleet(4)

    def followed(*arguments):
        verdict = decide(*arguments)
        found[verdict.reason].append(walk(decide, *arguments))
        explained.append(walk(verdict.explain))
        return verdict

    fleet.decide = followed
    for rate, seconds in LIFE:
        fleet.play(rate, seconds)
    return found


def test_every_decision_leads_through_few_files(walks):
    expected = {
        ScaleReason.BURST,
        ScaleReason.DEMAND_FELL,
        ScaleReason.SCALE_DOWN_STABILIZED,
        ScaleReason.AT_MAX_REPLICAS,
    }
    assert walks.keys() >= expected
    for passes in walks.values():
        assert_short(*passes)


def test_the_message_of_a_decision_is_written_in_the_file_that_decides(walks, explained):
    assert len(explained) == sum(map(len, walks.values()))
    assert {file for each in explained for file in each.files} == {"plan/autoscale/autoscaler.py", "api/quantities.py"}


def test_a_decision_with_everything_to_consider_leads_through_few_files(new_fleet):
    """Two revisions serve, and last week's rates have just been read."""
    fleet = new_fleet(4)
    fleet.play(120.0, 600.0)
    for pod in fleet.pods[:2]:
        pod.state = replace(pod.state, revision="two")
    fleet.play(120.0, 30.0)
    followed = []

    def decide_and_follow(*arguments):
        followed.append(walk(decide, *arguments))
        return decide(*arguments)

    fleet.decide = decide_and_follow
    fleet.tick(120.0, history=History(0.0, 300.0, (100.0,) * 288))

    assert_short(*followed)


def assert_short(*walks):
    for each in walks:
        assert len(each.files) <= FILES, f"{each}: {sorted(each.files)}"
        assert each.moves <= MOVES, each
