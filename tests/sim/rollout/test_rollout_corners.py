"""What seldom comes together in a rollout: people, scalers and clusters that do two things at once."""

from collections.abc import Callable

import pytest

from tests.sim.rollout.behavior import Behavior
from tests.sim.rollout.scene import EIGHT_GPUS, Scene, model, spec_of
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


@pytest.mark.parametrize("version", ["2", "3"])
def test_a_canary_that_was_scaled_to_zero_in_its_midst_is_held_and_judged_once_there_are_replicas(version: str) -> None:
    scene = Scene(behaviors={"3": Behavior(errors=0.05)}).serve().roll(version).run_to(Phase.ANALYZING).run(3)
    scene.edit(replicas=0).run(120)
    assert (scene.phase, scene.state.reason, sum(scene.asked().values())) == (Phase.HELD, "NoReplicas", 0)
    assert scene.cluster.api.body["status"]["rollout"]["message"].startswith("replicas is 0: held")

    scene.edit(replicas=4).run_to(Phase.STABLE, Phase.ROLLED_BACK)
    assert stable_of(scene) == ("2" if version == "2" else "1")
    assert "Analyzing" in scene.path()[scene.path().index("Held") :]


@pytest.mark.parametrize("version", ["2", "3"])
def test_a_version_that_was_asked_for_at_zero_replicas_is_compared_with_stable_once_there_are_some(
    version: str,
) -> None:
    scene = Scene(behaviors={"3": Behavior(errors=0.05)}).serve().edit(replicas=0).run(20).roll(version).run(20)
    assert (scene.phase, scene.state.reason, sum(scene.asked().values())) == (Phase.STABLE, "NoReplicas", 0)

    scene.edit(replicas=4).run_to(Phase.ANALYZING)
    assert (scene.ready("1"), scene.shares()) == (4, {"1": 75, version: 25})
    assert stable_of(scene.run_to(Phase.STABLE, Phase.ROLLED_BACK)) == ("2" if version == "2" else "1")


@pytest.mark.parametrize("errors", [0.1, 0.6])
def test_a_bad_version_that_is_recreated_is_rolled_back_by_what_stable_was_before(errors: float) -> None:
    spec = spec_of(steps=(), mode="Recreate", replicas=2, analysis={"bakeTime": "60s"})
    scene = Scene(spec, gpus={"a": 2}, behaviors={"2": Behavior(errors=errors)}).serve().roll("2")
    scene.run_to(Phase.ROLLED_BACK)

    assert stable_of(scene) == "1"
    assert scene.ready("1") == 2


def test_what_is_recreated_in_a_shared_incident_is_not_blamed_for_it() -> None:
    spec = spec_of(steps=(), mode="Recreate", replicas=2, analysis={"bakeTime": "60s"})
    scene = Scene(spec, gpus={"a": 2}).serve()
    scene.cluster.traffic.incident = 60.0

    assert stable_of(scene.roll("2").run_to_stable("2")) == "2"


@pytest.mark.parametrize("max_surge", [4, 2, 1])
@pytest.mark.parametrize("gateway", [True, False], ids=["gateway", "service"])
def test_a_promoted_version_that_begins_to_fail_while_the_previous_stands_by_is_taken_back(
    max_surge: int, gateway: bool
) -> None:
    spec = spec_of(gateway=gateway, capacity={"maxSurge": max_surge}, rollout={"stableRetention": "600s"})
    scene = Scene(spec).serve().roll("2").run_to_stable("2").run(60)
    assert scene.phase is Phase.STABLE
    for pod in scene.cluster.pods(scene.revision("2")):
        pod.behavior = Behavior(errors=0.6)
    scene.run_to(Phase.ROLLING_BACK, within=30).run_to(Phase.ROLLED_BACK)

    assert (stable_of(scene), scene.shares(), scene.ready("1")) == ("1", {"1": 100}, 4)
    assert scene.version(scene.state.rejected[-1].revision) == "2"
    assert scene.cluster.traffic.unserved == 0


def test_a_promotion_starts_no_pod_and_copies_nothing_so_that_none_can_fail() -> None:
    scene = Scene(gpus=EIGHT_GPUS).serve().roll("2")
    scene.run_until(lambda: scene.state.applied_weight == 100)
    carrying = [(pod.name, pod.started) for pod in scene.cluster.pods(scene.revision("2"))]
    # From here on no pod could be started, nor any image be pulled.
    scene.cluster.pool.gpus = dict.fromkeys(scene.cluster.pool.gpus, 0)
    scene.cluster.behaviors = {uri["uri"]: Behavior(waits_with="ImagePullBackOff") for uri in map(model, "123")}
    scene.operator.dies_after = 1
    scene.run_to(Phase.STABLE).run(90)

    assert (stable_of(scene), scene.shares()) == ("2", {"2": 100})
    assert [(pod.name, pod.started) for pod in scene.cluster.pods(scene.revision("2"))] == carrying
    assert scene.cluster.traffic.unserved == 0


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
