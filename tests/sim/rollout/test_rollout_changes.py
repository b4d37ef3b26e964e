"""What people and other programs change in the midst of a rollout, and what becomes of it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.sim.rollout.behavior import Behavior
from tests.sim.rollout.gateway import ROUTE, route_weights
from tests.sim.rollout.scene import Scene, model, spec_of
from tritonfleet.plan.rollout import Phase
from tritonfleet.plan.world import ChildId, Defaults, Manifest

APPROVAL = spec_of(steps=({"weight": 25, "pause": {}},))
PHASES = {
    "Provisioning": lambda: Scene().serve().roll("2").run_to(Phase.PROVISIONING),
    "WaitingForCapacity": lambda: Scene(gpus={"node-a": 4}).serve().roll("2").run_to(Phase.WAITING_FOR_CAPACITY).run(2),
    "Verifying": lambda: Scene().serve().roll("2").run_to(Phase.VERIFYING, every=0.5),
    "Shifting": lambda: Scene().serve().roll("2").run_to(Phase.SHIFTING, every=0.5),
    "Analyzing": lambda: Scene().serve().roll("2").run_to(Phase.ANALYZING).run(3),
    "AwaitingApproval": lambda: Scene(APPROVAL).serve().roll("2").run_to(Phase.AWAITING_APPROVAL),
    "Held": lambda: Scene().serve().roll("2").run_to(Phase.ANALYZING).rollout(paused=True).run_to(Phase.HELD),
    "RollingBack": lambda: (
        Scene(behaviors={"2": Behavior(errors=0.5)}).serve().roll("2").run_to(Phase.ROLLING_BACK, every=0.5)
    ),
    "RolledBack": lambda: Scene(behaviors={"2": Behavior(errors=0.5)}).serve().roll("2").run_to(Phase.ROLLED_BACK),
}


def stable_of(scene: Scene) -> str:
    """Return the version that is stable."""
    return scene.version(scene.state.stable)


@pytest.mark.parametrize("arrive", PHASES.values(), ids=PHASES)
def test_a_third_version_is_compared_with_stable_in_whichever_phase_it_is_asked_for(
    arrive: Callable[[], Scene],
) -> None:
    scene = arrive()
    scene.cluster.pool.gpus["node-z"] = 8
    scene.roll("3")
    if scene.state.phase is Phase.HELD or scene.cluster.api.body["spec"]["rollout"].get("paused"):
        scene.rollout(paused=False)
    scene.run(2)
    for _ in range(600):
        if scene.phase is Phase.AWAITING_APPROVAL and scene.version(scene.state.canary) == "3":
            scene.ask("approve", f"m-{scene.revision('3')}:1")
        if scene.phase is Phase.STABLE and stable_of(scene) == "3":
            break
        assert stable_of(scene) == "1"
        scene.run(1)

    assert (stable_of(scene), scene.phase) == ("3", Phase.STABLE)
    assert scene.cluster.traffic.unserved == 0


@pytest.mark.parametrize("arrive", [PHASES[name] for name in PHASES if name != "RolledBack"])
def test_asking_for_stable_again_rolls_the_canary_back_without_a_rejection(arrive: Callable[[], Scene]) -> None:
    scene = arrive()
    rejected = scene.phase is Phase.ROLLING_BACK
    scene.cluster.edit(model=model("1"))
    scene.run(2).run_to(Phase.STABLE)

    assert stable_of(scene) == "1"
    assert scene.shares() == {"1": 100}
    assert bool(scene.state.rejected) == rejected


def test_a_rejected_version_is_not_retried_until_a_retry_is_asked_for() -> None:
    scene = PHASES["RolledBack"]()
    attempt = scene.state.attempts
    scene.edit(traffic={**scene.cluster.api.body["spec"]["traffic"], "service": {"annotations": {"team": "a"}}})
    scene.run(60)
    assert (scene.phase, scene.state.attempts) == (Phase.ROLLED_BACK, attempt)
    scene.roll("1").run_to(Phase.STABLE).roll("2").run(60)
    assert stable_of(scene) == "1"
    assert scene.state.attempts == attempt
    scene.cluster.behaviors.clear()
    scene.rollout(retry="again").run(3).run_to(Phase.STABLE)

    assert stable_of(scene) == "2"


@pytest.mark.parametrize(
    "change",
    [
        {"traffic": {"gateway": {"parentRefs": [{"name": "gw"}]}, "service": {"annotations": {"team": "a"}}}},
        {"replicas": 5},
        {"rollout": {"strategy": "Canary", "canary": {"steps": [{"weight": 5}]}}},
    ],
    ids=["labels", "replicas", "steps"],
)
def test_what_pods_are_not_made_of_starts_no_rollout(change: dict[str, Any]) -> None:
    scene = Scene().serve()
    scene.edit(**change).run(30)

    assert scene.phase is Phase.STABLE
    assert scene.state.attempts == 0
    assert list(scene.asked()) == ["1"]


def test_a_newer_operator_with_other_defaults_starts_no_rollout_and_disturbs_none() -> None:
    for scene in (Scene().serve(), Scene().serve().roll("2").run_to(Phase.ANALYZING)):
        before = (scene.phase, scene.state.attempts, scene.asked())
        scene.cluster.defaults = Defaults("nvcr.io/nvidia/tritonserver:27.01-py3", False, "operator:2")
        scene.operator = scene.start_operator()
        scene.run(5)
        assert (scene.phase, scene.state.attempts, scene.asked()) == before


def test_steps_that_are_edited_apply_to_the_next_rollout() -> None:
    scene = PHASES["Analyzing"]()
    canary = scene.cluster.api.body["spec"]["rollout"]["canary"]
    scene.rollout(canary={**canary, "steps": [{"weight": 90}]}).run(2)
    assert scene.shares() == {"1": 75, "2": 25}
    seen = set()
    while scene.phase is not Phase.STABLE:
        seen.add(scene.shares().get("2", 0))
        scene.run(1)

    assert {25, 50} <= seen
    assert 90 not in seen


@pytest.mark.parametrize("replicas", [8, 2])
def test_a_scaler_during_a_rollout_moves_stable_up_and_never_down(replicas: int) -> None:
    scene = Scene(gpus={"node-a": 20}).serve().roll("2").run_to(Phase.ANALYZING).run(2)
    canary = scene.asked()["2"]
    scene.edit(replicas=replicas).run(3)
    assert scene.asked()["1"] == max(4, replicas)
    assert scene.asked()["2"] >= canary
    scene.run_until(lambda: scene.shares() == {"2": 100})
    assert scene.ready("2") >= max(4, replicas)
    scene.run_to(Phase.STABLE).run(90)

    assert scene.asked() == {"2": replicas}
    assert scene.cluster.traffic.unserved == 0


def reverted(route: Manifest) -> Manifest:
    rules = [
        {
            **rule,
            "backendRefs": [{**each, "weight": 100 * (index == 0)} for index, each in enumerate(rule["backendRefs"])],
        }
        for rule in route["spec"]["rules"]
    ]
    return {**route, "spec": {**route["spec"], "rules": rules}}


def test_a_rollout_is_held_if_the_weights_keep_being_changed() -> None:
    scene = PHASES["Analyzing"]()
    written = []
    for _ in range(10):
        scene.cluster.api.edit(ROUTE, reverted, scene.cluster.now)
        scene.run(5)
        written.append(route_weights(scene.cluster.api.children[ROUTE])[-1][scene.revision("2")] > 0)

    assert scene.phase is Phase.HELD
    assert scene.state.reason == "RouteConflict"
    assert sum(written) <= 4


def test_a_route_that_was_deleted_is_made_again_with_the_same_weights() -> None:
    scene = PHASES["Analyzing"]()
    weights = route_weights(scene.cluster.api.children[ROUTE])
    scene.cluster.api.delete(ROUTE, scene.cluster.api.children[ROUTE]["metadata"]["uid"])
    scene.run(3)

    assert route_weights(scene.cluster.api.children[ROUTE]) == weights


def test_a_route_that_the_gateway_does_not_admit_holds_the_rollout_in_its_words() -> None:
    scene = Scene().serve().roll("2").run_to(Phase.SHIFTING, every=0.5)
    scene.cluster.gateway.admits = False
    scene.run_to(Phase.HELD)
    assert "no listener of the Gateway admits this route" in scene.state.message
    assert scene.shares() == {"1": 100}
    scene.cluster.gateway.admits = True
    scene.run(5)
    if scene.phase is Phase.HELD:
        scene.ask("resume", f"m-{scene.revision('2')}").run(2)

    assert stable_of(scene.run_to(Phase.STABLE)) == "2"


@pytest.mark.parametrize("verb", ["approve", "promote", "abort", "resume", "pause"])
def test_a_request_about_another_revision_is_refused_once_and_changes_nothing(verb: str) -> None:
    scene = PHASES["Analyzing"]()
    before = (scene.phase, scene.attempt.weight)
    scene.ask(verb, "m-0123456789" + (":1" if verb == "approve" else "")).run(3)
    refusals = [event for event in scene.cluster.events if "RequestRefused" in event]

    assert (scene.phase, scene.attempt.weight) == before
    assert len(refusals) == 1
    assert len(scene.state.consumed) == 1


def test_a_request_that_was_carried_out_is_not_carried_out_again() -> None:
    scene = PHASES["Analyzing"]()
    scene.ask("abort", f"m-{scene.revision('2')}").run_to(Phase.ROLLED_BACK)
    scene.rollout(retry="once").run_to(Phase.ANALYZING).run(3)

    assert scene.phase is Phase.ANALYZING
    assert "Aborted" not in [record.reason for record in scene.passages()[-3:]]


def test_promote_goes_on_to_everything_at_once_and_a_pause_does_not_ignore_it() -> None:
    scene = PHASES["Analyzing"]()
    scene.ask("promote", f"m-{scene.revision('2')}")

    assert stable_of(scene.run_to(Phase.STABLE, within=120)) == "2"


def test_an_older_revision_whose_image_was_exchanged_is_not_used_without_a_person() -> None:
    scene = Scene().serve().run(5).roll("2").run(2)
    scene.run_to(Phase.STABLE).run(90)
    scene.edit(rollback={"toRevision": "1"})
    for _ in range(60):
        for pod in scene.cluster.pods(scene.revision("1")):
            pod.image_digest = "sha256:another"
        scene.run(1)

    assert scene.phase is Phase.HELD
    assert scene.state.reason == "RollbackUnsafe"
    assert scene.shares() == {"2": 100}


def test_a_suspended_rollout_has_no_pods_and_continues_when_resumed() -> None:
    scene = PHASES["Analyzing"]()
    scene.edit(suspend=True).run(30)
    assert sum(scene.asked().values()) == 0
    scene.edit(suspend=None).run(3)
    for _ in range(400):
        if scene.phase is Phase.HELD:
            scene.ask("resume", f"m-{scene.revision('2')}")
        if scene.phase is Phase.STABLE:
            break
        scene.run(1)

    assert stable_of(scene) == "2"
    assert ChildId("Deployment", f"m-{scene.revision('2')}") in scene.cluster.api.children
