"""Whole rollouts as a log that a person can read, each write of the operator in it.

After a wanted change run with WRITE_GOLDEN=1, look at the difference, and run again.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sim.rollout.behavior import Behavior
from tests.sim.rollout.scene import EIGHT_GPUS, FOUR_GPUS, Scene, spec_of
from tests.sim.rollout.watching import Metrics
from tritonfleet.plan.rollout import Phase

GOLDEN = Path(__file__).parent / "golden"
END = (Phase.STABLE, Phase.ROLLED_BACK)


def good_canary() -> Scene:
    scene = Scene().serve().roll("2")
    return scene.run_to_stable("2").run(90)


def errors() -> Scene:
    scene = Scene(behaviors={"2": Behavior(errors=0.05)}).serve().roll("2").run(2)
    return scene.run_to(*END).run(10)


def rejects_everything() -> Scene:
    golden = {"verification": {"contract": "Off", "golden": {"configMapName": "golden"}}}
    scene = Scene(spec_of(canary=golden)).serve().roll("2").run_to(Phase.ANALYZING)
    scene.say("cluster", "the canary's pods begin to refuse every request")
    for pod in scene.cluster.pods(scene.revision("2")):
        pod.behavior = Behavior(rejects=True)
    return scene.run_to(*END).run(10)


def contract_break() -> Scene:
    scene = Scene(behaviors={"2": Behavior(breaks_contract=True)}).serve().roll("2").run(2)
    return scene.run_to(*END).run(10)


def in_place_on_a_full_pool() -> Scene:
    scene = Scene(spec_of(mode="InPlace"), gpus=FOUR_GPUS).serve().roll("2")
    return scene.run_to_stable("2").run(90)


def surge_waits_for_capacity() -> Scene:
    scene = Scene(spec_of(mode="Surge"), gpus=FOUR_GPUS).serve().roll("2").run(60)
    scene.say("cluster", "a node with 4 GPUs joins")
    scene.cluster.pool.gpus["node-e"] = 4
    return scene.run_to_stable("2").run(90)


def another_version_in_the_midst() -> Scene:
    scene = Scene(behaviors={"2": Behavior(slow=0.1)}).serve().roll("2").run_to(Phase.ANALYZING).run(3)
    scene.roll("3").run(2)
    return scene.run_to_stable("3").run(90)


def back_to_stable_in_the_midst() -> Scene:
    scene = Scene().serve().roll("2").run_to(Phase.ANALYZING).run(3)
    return scene.roll("1").run_to_stable("1").run(60)


def held_and_resumed() -> Scene:
    scene = Scene().serve().roll("2").run_to(Phase.ANALYZING).run(3)
    scene.ask("pause", f"m-{scene.revision('2')} by=ann").run(30)
    scene.ask("resume", f"m-{scene.revision('2')} by=ann")
    return scene.run_to_stable("2").run(5)


def approval() -> Scene:
    scene = Scene(spec_of(steps=({"weight": 25, "pause": {}},))).serve().roll("2")
    scene.run_to(Phase.AWAITING_APPROVAL).run(60)
    scene.ask("approve", f"m-{scene.revision('2')}:1 by=ann")
    return scene.run_to_stable("2").run(5)


def rollback_within_retention() -> Scene:
    return Scene().serve().roll("2").run_to_stable("2").run(20).roll("1").run_to_stable("1").run(90)


def to_an_older_revision() -> Scene:
    scene = Scene().serve().roll("2").run_to_stable("2").run(90)
    return scene.edit(rollback={"toRevision": "1"}).run_to_stable("1").run(90)


def node_lost_at_half() -> Scene:
    scene = Scene(gpus=EIGHT_GPUS).serve().roll("2").run_to(Phase.ANALYZING)
    while scene.shares().get("2") != 50:
        scene.run(1)
    node = scene.cluster.pods(scene.revision("2"))[0].node
    scene.say("cluster", f"{node} is lost with its pods")
    scene.cluster.pool.lose_node(node)
    return scene.run(240)


def prometheus_away() -> Scene:
    spec = spec_of(analysis={"metricsTimeout": "1m"})
    scene = Scene(spec).serve().roll("2").run_to(Phase.ANALYZING).run(3)
    scene.say("cluster", "no counters can be read")
    scene.cluster.metrics = Metrics(away="no pod answers")
    scene.run(90)
    scene.say("cluster", "counters can be read again")
    scene.cluster.metrics = Metrics()
    scene.run(30)
    if scene.phase is Phase.HELD:
        scene.ask("resume", f"m-{scene.revision('2')} by=ann")
    return scene.run_to_stable("2").run(5)


def stable_lost() -> Scene:
    scene = Scene(gpus={**EIGHT_GPUS, "node-e": 4}).serve().roll("2").run_to(Phase.ANALYZING)
    scene.say("cluster", "every pod of stable crashes")
    for pod in scene.cluster.pods(scene.revision("1")):
        pod.crash(scene.cluster.now)
        pod.behavior = Behavior(ready_after_seconds=60)
    return scene.run(60).run_to(*END)


def autoscaler_doubles_in_the_midst() -> Scene:
    scene = Scene(gpus={"node-a": 20}).serve().roll("2").run_to(Phase.ANALYZING).run(3)
    scene.edit(replicas=8).run_until(lambda: scene.shares() == {"2": 100})
    return scene.edit(replicas=4).run_to_stable("2").run(90)


def without_a_gateway() -> Scene:
    scene = Scene(spec_of(gateway=False)).serve().roll("2")
    return scene.run_to_stable("2").run(90)


def recreate_on_one_gpu() -> Scene:
    spec = spec_of(steps=(), mode="Recreate", replicas=1)
    return Scene(spec, gpus={"node-a": 1}).serve().roll("2").run_to_stable("2").run(30)


STORIES: tuple[Callable[[], Scene], ...] = (
    good_canary,
    errors,
    rejects_everything,
    contract_break,
    in_place_on_a_full_pool,
    surge_waits_for_capacity,
    another_version_in_the_midst,
    back_to_stable_in_the_midst,
    held_and_resumed,
    approval,
    rollback_within_retention,
    to_an_older_revision,
    node_lost_at_half,
    prometheus_away,
    stable_lost,
    autoscaler_doubles_in_the_midst,
    without_a_gateway,
    recreate_on_one_gpu,
)


@pytest.mark.parametrize("tell", STORIES, ids=lambda tell: tell.__name__)
def test_the_story_is_the_one_on_record(tell: Callable[[], Scene]) -> None:
    golden, found = GOLDEN / f"{tell.__name__}.txt", tell().story()
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(found)

    assert found == golden.read_text()


def test_every_golden_log_belongs_to_a_test() -> None:
    assert {path.stem for path in GOLDEN.glob("*")} == {tell.__name__ for tell in STORIES}
