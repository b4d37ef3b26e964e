"""Whatever happens, and in whatever order: what must hold holds after every single write of the operator."""

import pytest

from tests.sim.rollout.chance import History
from tritonfleet.plan.rollout.phase import Phase

HISTORIES = 10_000
CHUNK = 500
TURNS = 8


def told(history: History, seed: int) -> str:
    """Return how to see a history again."""
    return f"history {seed}: {', '.join(history.did)}\n{history.scene.story()}"


@pytest.mark.parametrize("first", range(0, HISTORIES, CHUNK))
def test_the_invariants_hold_in_random_histories(first: int) -> None:
    for seed in range(first, first + CHUNK):
        history = History(seed)
        try:
            history.play(TURNS)
        except Exception as error:
            raise AssertionError(told(history, seed)) from error


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_when_all_trouble_is_over_a_good_version_serves_in_the_end(first: int) -> None:
    for seed in range(first, first + 50):
        history = History(seed)
        history.play(TURNS)
        history.heal()
        scene = history.scene
        for _ in range(200):
            scene.run(5, 5)
            if scene.phase in (Phase.HELD, Phase.AWAITING_APPROVAL):
                history.help_on()
            if scene.phase is Phase.STABLE and scene.version(scene.state.stable) == "2":
                break
        assert (scene.phase, scene.version(scene.state.stable)) == (Phase.STABLE, "2"), told(history, seed)
        scene.run(120, 10)
        assert scene.asked() == {"2": 2}, told(history, seed)
        assert scene.shares() == {"2": 100}, told(history, seed)
