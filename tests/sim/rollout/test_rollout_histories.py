"""Whatever happens, and in whatever order: what must hold holds after every single write of the operator."""

import contextlib
import gc
from collections.abc import Callable, Iterator

import pytest

from tests.sim.rollout.chance import FRESH, History
from tests.sim.rollout.checkpoints import SPECS, beginnings
from tests.sim.rollout.invariants import EDGES
from tritonfleet.plan.rollout import Phase

HISTORIES = 10_000
"""Before a release; `make test` plays the first AT_A_TIME, which take nearly every transition already."""
AT_A_TIME = 2_500
MENDED = 200
TURNS = 8
SELDOM_MAX = 2
"""Transitions that need three things at once, and that tests of their own take."""


@pytest.fixture(autouse=True)
def few_collections() -> Iterator[None]:
    """Collect garbage seldom: a fifth of the time would go into it."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 50, 50)
    yield
    gc.set_threshold(*before)


def story(seed: int, after: Callable[[History], None] = lambda _history: None) -> str:
    """Play a history once more, and return what was done and what came of it."""
    history = History(seed, is_told=True)
    with contextlib.suppress(Exception):
        history.play(TURNS)
        after(history)
    return f"history {seed}: {', '.join(history.did)}\n{history.scene.story()}"


@pytest.mark.parametrize(
    "first",
    [0, *(pytest.param(first, marks=pytest.mark.acceptance) for first in range(AT_A_TIME, HISTORIES, AT_A_TIME))],
)
def test_the_invariants_hold_in_random_histories_that_take_nearly_every_transition(first: int) -> None:
    taken = {(each.source, each.target) for number in range(len(SPECS)) for each in beginnings(number)}
    for seed in range(first, first + AT_A_TIME):
        history = History(seed)
        try:
            history.play(TURNS)
        except Exception as error:
            raise AssertionError(story(seed)) from error
        taken |= {(each.source, each.target) for each in history.scene.passages()}
    missed = sorted(f"{source} -> {target}" for source, target in EDGES - taken)
    assert len(missed) <= SELDOM_MAX, missed


def mend(history: History) -> None:
    """End all trouble, and do what a person would until a good version serves alone."""
    history.heal()
    scene = history.scene
    for _ in range(200):
        scene.run(5, 5)
        if scene.phase in (Phase.HELD, Phase.AWAITING_APPROVAL):
            history.help_on()
        if scene.phase is Phase.STABLE and scene.version(scene.state.stable) == FRESH:
            scene.run(120, 10)
            break


@pytest.mark.parametrize("first", range(0, MENDED, 50))
def test_when_all_trouble_is_over_a_good_version_serves_in_the_end(first: int) -> None:
    for seed in range(first, first + 50):
        history = History(seed)
        history.play(TURNS)
        mend(history)
        scene = history.scene
        assert (scene.phase, scene.version(scene.state.stable)) == (Phase.STABLE, FRESH), story(seed, mend)
        assert (scene.asked(), scene.shares()) == ({FRESH: 2}, {FRESH: 100}), story(seed, mend)
