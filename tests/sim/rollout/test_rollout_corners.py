"""What seldom comes together in a rollout: people, scalers and clusters that do two things at once."""

from collections.abc import Callable

import pytest

from tests.sim.rollout.scene import Scene, spec_of
from tritonfleet.plan.rollout import Phase

FAST = {"windows": 1, "bakeTime": "10s"}


def stable_of(scene: Scene) -> str:
    """Return the version that is stable."""
    return scene.version(scene.state.stable)


def held() -> Scene:
    """Return a rollout that a person has paused at its first step."""
    scene = Scene().serve().roll("2").run_to(Phase.ANALYZING).run(3)
    return scene.ask("pause", f"m-{scene.revision('2')}").run_to(Phase.HELD)


def without_stable() -> Scene:
    """Return a rollout whose stable answers nobody."""
    scene = Scene().serve().roll("2").run_to(Phase.ANALYZING).run(3)
    for pod in scene.cluster.pods(scene.revision("1")):
        pod.hangs = True
    return scene.run_to(Phase.STABLE_LOST)


@pytest.mark.parametrize("arrive", [held, without_stable], ids=["Held", "StableLost"])
def test_a_rollout_that_was_suspended_does_not_blame_the_canary_for_having_no_pods(
    arrive: Callable[[], Scene],
) -> None:
    scene = arrive()
    scene.edit(suspend=True).run(30)
    scene.edit(suspend=None).run(20)
    assert not scene.state.rejected
    if scene.phase is Phase.HELD:
        scene.ask("resume", f"m-{scene.revision('2')}")

    assert stable_of(scene.run_to(Phase.STABLE)) == "2"


def test_a_canary_that_was_suspended_when_it_had_everything_is_promoted() -> None:
    scene = Scene(spec_of(steps=(50,), analysis={"bakeTime": "0s"})).serve().roll("2")
    scene.run_until(lambda: scene.phase is Phase.SHIFTING and scene.attempt.weight == 100)
    scene.cluster.pool.pods.remove(scene.cluster.pods(scene.revision("2"))[0])
    scene.run_until(lambda: scene.phase is Phase.PROMOTING, every=0.5)
    scene.edit(suspend=True).run(20)
    scene.edit(suspend=None).run(40)

    assert (stable_of(scene), scene.state.rejected) == ("2", ())
    assert scene.asked()["2"] == 4
    assert scene.shares() == {"2": 100}


@pytest.mark.parametrize("how", ["suspended", "promoted"])
def test_a_rollout_without_capacity_takes_none_from_stable(how: str) -> None:
    spec = spec_of(steps=(), mode="Auto", replicas=1, capacity={"waitTimeout": "10s"})
    scene = Scene(spec, gpus={"a": 1}).serve().roll("2").run_to(Phase.HELD)
    if how == "suspended":
        scene.cluster.pool.gpus["a"] = 0
        scene.edit(suspend=True).run(10)
        scene.edit(suspend=None)
        scene.cluster.pool.gpus["a"] = 1
    else:
        scene.ask("promote", f"m-{scene.revision('2')}")
    scene.run(60)

    assert scene.asked()["1"] == 1
    assert scene.ready("1") == 1


def test_a_scaler_that_wants_more_than_there_is_room_for_does_not_keep_a_canary_from_its_promotion() -> None:
    scene = Scene(spec_of(steps=(50,), analysis=FAST)).serve().roll("2")
    scene.run_until(lambda: scene.state.applied_weight == 100)
    scene.edit(replicas=8).run_to(Phase.STABLE)
    scene.run(30)

    assert stable_of(scene) == "2"
    assert scene.ready("2") == 8
    assert scene.cluster.traffic.unserved == 0


def test_a_canary_that_carries_everything_for_a_lost_stable_grows_with_the_scaler_and_never_shrinks() -> None:
    spec = spec_of(steps=(50,), gateway=False, analysis={"windows": 20})
    scene = Scene(spec, gpus={"node-a": 20}).serve().roll("2").run_to(Phase.ANALYZING).run(3)
    for pod in scene.cluster.pods(scene.revision("1")):
        pod.hangs = True
    scene.run_until(lambda: scene.phase is Phase.STABLE_LOST and scene.state.applied_weight == 100)
    assert scene.asked()["2"] == 4
    scene.edit(replicas=5).run(30)

    assert scene.phase is Phase.STABLE_LOST
    assert scene.asked()["2"] == scene.ready("2") == 5
    for pod in scene.cluster.pods(scene.revision("1")):
        pod.hangs = False
    scene.run_until(lambda: scene.phase is Phase.ANALYZING)

    assert 40 <= scene.shares()["2"] <= 60
    assert scene.cluster.traffic.unserved < 5 * scene.cluster.traffic.per_second


def test_what_a_canary_was_given_for_a_lost_stable_counts_as_in_force_when_stable_comes_back() -> None:
    spec = spec_of(steps=(50,), replicas=1, analysis={"windows": 20})
    scene = Scene(spec).serve().roll("2").run_to(Phase.ANALYZING).run(3)
    (stable,) = scene.cluster.pods(scene.revision("1"))
    stable.hangs = True
    scene.run_until(lambda: scene.attempt.weight == 100)
    assert (scene.phase, scene.state.applied_weight) == (Phase.STABLE_LOST, 50)
    stable.hangs = False
    scene.run_to(Phase.PROVISIONING, within=5)

    assert (scene.attempt.weight, scene.state.applied_weight) == (50, 100)
