"""Trouble beside the straight way: revisions that half serve, linger, hang or fail where nobody compares them."""

from datetime import timedelta

import pytest

from tests.sim.rollout.behavior import Behavior
from tests.sim.rollout.scene import FOUR_GPUS, Scene, model, spec_of
from tritonfleet.plan.reconcile import reconcile
from tritonfleet.plan.rollout import Phase
from tritonfleet.plan.world import ChildId

FAST = {"windows": 1, "bakeTime": "10s"}


def stable_of(scene: Scene) -> str:
    """Return the version that is stable."""
    return scene.version(scene.state.stable)


def test_a_first_revision_that_serves_with_some_of_its_pods_is_not_taken_away_for_the_next() -> None:
    scene = Scene(gpus={"a": 3}).run(20)
    assert (scene.phase, scene.ready("1")) == (Phase.INITIALIZING, 3)
    scene.cluster.traffic.unserved = 0.0
    scene.roll("2").run(30)
    assert scene.shares() == {"1": 100}
    scene.cluster.pool.gpus["b"] = 6

    assert stable_of(scene) == "1"
    scene.run_to_stable("2")
    assert scene.cluster.traffic.unserved == 0


def test_a_first_revision_that_never_served_is_replaced_by_the_next() -> None:
    scene = Scene(behaviors={"1": Behavior(waits_with="ImagePullBackOff")}).run(20)
    scene.roll("2").run_to(Phase.STABLE)

    assert stable_of(scene) == "2"
    assert scene.state.attempts == 0


@pytest.mark.parametrize("mode", ["Recreate", "Auto"])
def test_a_canary_without_a_stable_to_ask_is_not_held_for_its_contract(mode: str) -> None:
    scene = Scene(spec_of(mode=mode), gpus={"a": 4}).serve()
    if mode == "Auto":
        scene.cluster.behaviors[model("1")["uri"]] = Behavior(fails_with="the driver is gone")
        for pod in scene.cluster.pods(scene.revision("1")):
            pod.behavior = scene.cluster.behaviors[model("1")["uri"]]
            pod.crash(scene.cluster.now)
        scene.run(30)
    scene.roll("2").run_to_stable("2", within=200)

    assert Phase.HELD not in scene.path()


def test_a_promoted_revision_that_hangs_is_looked_at_again_before_its_minute_is_over() -> None:
    scene = Scene(spec_of(rollout={"stableRetention": "600s"})).serve().roll("2").run_to_stable("2").run(3)
    for pod in scene.cluster.pods(scene.revision("2")):
        pod.hangs = True
    scene.run(2)
    plan = reconcile(scene.operator.observe(), scene.cluster.now)
    assert plan.requeue_after_seconds is not None
    assert plan.requeue_after_seconds <= 5

    assert stable_of(scene.run_to(Phase.ROLLED_BACK, within=90)) == "1"


def test_what_ended_while_a_canary_was_starting_is_not_held_against_it_though_it_is_asked_nothing() -> None:
    scene = Scene(spec_of(steps=(50,), analysis=FAST)).serve().roll("2").run_to_stable("2").run(90)
    canary = scene.cluster.api.body["spec"]["rollout"]["canary"]
    scene.rollout(canary={**canary, "verification": {"contract": "Off"}}).roll("3").run_to(Phase.PROVISIONING).run(3)
    scene.cluster.pods(scene.revision("3"))[0].crash(scene.cluster.now)

    scene.run_to_stable("3", within=200)


def test_a_rejected_revision_does_not_come_back_all_at_once_when_the_steps_are_taken_away() -> None:
    scene = Scene(behaviors={"2": Behavior(errors=0.5)}).serve().roll("2").run_to(Phase.ANALYZING)
    scene.edit(rollout={}).run(120)
    assert (scene.phase, scene.shares()) == (Phase.ROLLED_BACK, {"1": 100})

    scene.roll("3")
    scene.run_until(lambda: scene.shares() == {"3": 100}, within=120)


def test_no_canary_starts_while_the_pods_of_an_earlier_revision_still_serve() -> None:
    server = {"gpu": {"count": 1}, "grpcMaxConnectionAge": "10m"}
    spec = spec_of(steps=(50,), gateway=False, capacity={"waitTimeout": "10s"}, server=server, analysis=FAST)
    scene = Scene(spec, gpus={"a": 12}).serve().roll("2").run_to_stable("2").run(2).roll("3")
    while scene.version(scene.state.stable) != "3":
        assert set(scene.shares()) != {"1", "2", "3"}
        assert scene.attempt.canary_replicas == 0 or not scene.cluster.pods(scene.revision("1"))
        scene.run(5, 5)


def test_a_canary_that_waits_for_more_pods_is_still_watched_for_its_failures() -> None:
    scene = Scene(spec_of(steps=(25, 75)), gpus={"a": 8}).serve().roll("2").run_to(Phase.ANALYZING)
    scene.cluster.pool.gpus["a"] -= scene.cluster.pool.free()["a"]
    scene.run_to(Phase.WAITING_FOR_CAPACITY)
    for pod in scene.cluster.pods(scene.revision("2")):
        pod.behavior = Behavior(errors=0.6)
    scene.run_to(Phase.ROLLING_BACK, within=45)

    assert scene.state.reason in ("HardLimit", "Worse")


@pytest.mark.parametrize("phase", ["Stable", "RolledBack"])
@pytest.mark.parametrize("lost", ["stable", "reason"])
def test_a_damaged_status_stops_nothing(phase: str, lost: str) -> None:
    bad = phase == "RolledBack"
    scene = Scene(behaviors={"2": Behavior(errors=0.5)} if bad else {}).serve()
    scene.roll("2").run_to(Phase(phase)).run(5)
    serving = stable_of(scene)
    api = scene.cluster.api
    rollout = {key: value for key, value in api.body["status"]["rollout"].items() if key != lost}
    api.write_status(api.body, {**api.body["status"], "rollout": rollout}, guarded=False)
    scene.run(5)

    assert stable_of(scene) == serving
    assert scene.cluster.traffic.unserved == 0


def test_a_bad_canary_goes_away_though_it_holds_the_place_that_stable_needs() -> None:
    spec = spec_of(capacity={"maxSurge": 2})
    scene = Scene(spec, gpus={"a": 6}, behaviors={"2": Behavior(errors=0.3)}).serve()
    scene.roll("2").run_to(Phase.ANALYZING).run(2)
    scene.edit(replicas=8).run_to(Phase.ROLLED_BACK, within=90)
    scene.run(30)

    assert scene.shares() == {"1": 100}
    assert scene.ready("1") == 6
    assert scene.cluster.traffic.unserved == 0


def test_a_rollback_on_a_shrunken_pool_removes_one_canary_pod_at_a_time() -> None:
    scene = Scene(spec_of(steps=(50,), analysis={"windows": 20}), gpus={"a": 4, "b": 2, "c": 2}).serve()
    scene.roll("2").run_to(Phase.ANALYZING).run(2)
    while scene.ready("1") + scene.ready("2") > 4:
        scene.cluster.pool.lose_node(next(node for node in ("c", "b") if node in scene.cluster.pool.gpus))
        scene.run(30)
    scene.ask("abort", f"m-{scene.revision('2')}")
    least = 4
    while scene.phase is not Phase.ROLLED_BACK:
        scene.run(1)
        least = min(least, scene.ready("1") + scene.ready("2"))
    scene.run(30)

    assert least >= 3
    assert scene.asked() == {"1": 4}
    assert scene.ready("1") == 4


def test_stable_is_not_lost_any_longer_when_the_peak_that_it_had_too_few_pods_for_is_over() -> None:
    scene = Scene(spec_of(capacity={"maxSurge": 2}), gpus={"a": 6}).serve().roll("2").run_to(Phase.ANALYZING).run(2)
    scene.edit(replicas=8).run_to(Phase.STABLE_LOST, within=30)
    scene.edit(replicas=4).run(10)

    assert scene.phase is not Phase.STABLE_LOST


def test_stable_gets_its_pods_back_after_its_record_was_deleted() -> None:
    scene = Scene(spec_of(steps=(50,), mode="InPlace", analysis={"windows": 20}), gpus=FOUR_GPUS).serve()
    scene.roll("2").run_to(Phase.ANALYZING)
    stable = scene.revision("1")
    record = scene.cluster.api.children[ChildId("ControllerRevision", f"m-{stable}")]
    scene.cluster.api.delete(ChildId("ControllerRevision", f"m-{stable}"), record["metadata"]["uid"])
    scene.ask("abort", f"m-{scene.revision('2')}")
    for _ in range(120):
        scene.cluster.pass_time(1)
        scene.operator.reconcile()
        scene.cluster.settle()

    assert scene.phase is Phase.ROLLED_BACK
    assert scene.invariants.asked() == {stable: 4}
    assert len(scene.cluster.pool.serving(stable)) == 4
    assert scene.cluster.traffic.unserved == 0


def test_a_clock_that_was_an_hour_ahead_and_is_right_again_keeps_no_rollout_waiting() -> None:
    scene = Scene().serve().roll("2").run_to(Phase.SHIFTING, every=0.5)
    scene.operator.skew = timedelta(hours=1)
    scene.run_to(Phase.ANALYZING)
    scene.operator = scene.start_operator()

    scene.run_to(Phase.PROVISIONING, within=45)
