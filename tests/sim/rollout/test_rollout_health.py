"""Argo CD's own Lua and Flux's own kstatus, on objects that the operator wrote in every phase of a rollout."""

import copy
import json
import re
import subprocess
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import lua51

from devcluster import gobuild
from devcluster.progress import Progress
from tests.sim.rollout.behavior import Behavior
from tests.sim.rollout.scene import FOUR_GPUS, Scene, spec_of
from tests.sim.rollout.watching import Metrics
from tritonfleet.plan.rollout import Phase
from tritonfleet.plan.world import Manifest

ARGOCD = yaml.safe_load((Path(__file__).parents[3] / "integrations/argocd/argocd-cm.yaml").read_text())["data"]
HEALTH = ARGOCD["resource.customizations.health.tritonfleet.dev_ModelDeployment"]
ACTIONS = yaml.safe_load(ARGOCD["resource.customizations.actions.tritonfleet.dev_ModelDeployment"])
ACTION = {each["name"]: each["action.lua"] for each in ACTIONS["definitions"]}
END = (Phase.STABLE, Phase.ROLLED_BACK)
WORK, PERSON, WELL, WAITS = "Progressing", "Degraded", "Healthy", "Suspended"
FLUX = {WELL: "Current", WORK: "InProgress", WAITS: "InProgress", PERSON: "Failed"}
"""What kstatus says where Argo CD says this."""
EXPECTED = {
    ("Initializing", "Provisioning"): WORK,
    ("Stable", "Ready"): WELL,
    ("Stable", "Paused"): WAITS,
    ("Stable", "Overridden"): PERSON,
    ("Stable", "Suspended"): WAITS,
    ("Stable", "ConfigInvalid"): PERSON,
    ("Admitting", "CanaryProgressing"): WORK,
    ("Provisioning", "CanaryProgressing"): WORK,
    ("WaitingForCapacity", "WaitingForCapacity"): WORK,
    ("Verifying", "CanaryProgressing"): WORK,
    ("Shifting", "CanaryProgressing"): WORK,
    ("Analyzing", "CanaryProgressing"): WORK,
    ("AwaitingApproval", "AwaitingApproval"): WAITS,
    ("Held", "Paused"): WAITS,
    ("Held", "Held"): PERSON,
    ("Held", "Suspended"): WAITS,
    ("Promoting", "CanaryProgressing"): WORK,
    ("RollingBack", "RollingBack"): WORK,
    ("RolledBack", "RolledBack"): PERSON,
    ("StableLost", "StableLost"): PERSON,
}
"""The terminal matrix, by phase and the reason of `Ready`."""


class Recording(Scene):
    """A scene that keeps the object as it is after every write of the operator."""

    objects: list[Manifest]

    def _wrote(self, observed: Any) -> None:
        super()._wrote(observed)
        self.objects = [*getattr(self, "objects", []), copy.deepcopy(self.cluster.api.body)]


def approved_by_hand() -> Recording:
    scene = Recording(spec_of(steps=({"weight": 25, "pause": {}},)))
    scene.serve().roll("2").run_to(Phase.AWAITING_APPROVAL).run(3)
    scene.ask("approve", f"m-{scene.revision('2')}:1").run_to_stable("2").run(3)
    return scene


def taken_back() -> Recording:
    scene = Recording(behaviors={"2": Behavior(errors=0.2)})
    scene.serve().roll("2").run(2).run_to(*END).run(3)
    return scene


def without_room() -> Recording:
    scene = Recording(spec_of(mode="Surge"), gpus=FOUR_GPUS)
    scene.serve().roll("2").run_to(Phase.WAITING_FOR_CAPACITY).run(3)
    return scene


def paused() -> Recording:
    scene = Recording()
    scene.serve().roll("2").run_to(Phase.ANALYZING)
    scene.ask("pause", f"m-{scene.revision('2')}").run_to(Phase.HELD).run(3)
    return scene


def paused_before_it_began() -> Recording:
    scene = Recording()
    scene.serve().rollout(paused=True).roll("2").run(5)
    return scene


def without_metrics() -> Recording:
    scene = Recording(spec_of(analysis={"metricsTimeout": "1m"}))
    scene.serve().roll("2").run_to(Phase.ANALYZING)
    scene.cluster.metrics = Metrics(away="no pod answers")
    scene.run_to(Phase.HELD).run(3)
    return scene


def stable_crashes() -> Recording:
    scene = Recording(gpus={"node-a": 12})
    scene.serve().roll("2").run_to(Phase.ANALYZING)
    for pod in scene.cluster.pods(scene.revision("1")):
        pod.crash(scene.cluster.now)
        pod.behavior = Behavior(ready_after_seconds=60)
    scene.run_to(Phase.STABLE_LOST).run(3)
    return scene


def overridden() -> Recording:
    scene = Recording()
    scene.serve().roll("2").run_to_stable("2").run(90)
    scene.ask("rollback-to", f"m-{scene.revision('1')}").run(2).run_to(Phase.STABLE).run(3)
    return scene


def suspended_midway() -> Recording:
    scene = Recording()
    scene.serve().roll("2").run_to(Phase.ANALYZING)
    scene.edit(suspend=True).run(5)
    return scene


def suspended_at_rest() -> Recording:
    scene = Recording()
    scene.serve().edit(suspend=True).run(5)
    return scene


def with_an_impossible_spec() -> Recording:
    scene = Recording()
    scene.serve().edit(modelConfig={"max_batch_size": "many"}).run(5)
    return scene


STORIES: tuple[Callable[[], Recording], ...] = (
    approved_by_hand,
    taken_back,
    without_room,
    paused,
    paused_before_it_began,
    without_metrics,
    stable_crashes,
    overridden,
    suspended_midway,
    suspended_at_rest,
    with_an_impossible_spec,
)


def condition(body: Manifest, kind: str) -> Manifest:
    return next(each for each in body["status"]["conditions"] if each["type"] == kind)


@cache
def recorded() -> dict[tuple[str, str], Manifest]:
    """Return the last object of each phase and each reason of `Ready` in it, once its generation has been seen."""
    objects = [body for story in STORIES for body in story().objects]
    seen = [body for body in objects if body["status"].get("observedGeneration") == body["metadata"]["generation"]]
    return {
        (body["status"]["rollout"]["phase"], condition(body, "Ready")["reason"]): body
        for body in seen
        if "rollout" in body["status"]
    }


def lua(script: str, body: Manifest) -> Any:
    """Run a script as Argo CD does: `obj` is the object, and what it returns is the answer."""
    runtime = lua51.LuaRuntime()
    runtime.globals().obj = runtime.table_from(copy.deepcopy(body), recursive=True)
    return runtime.execute(script)


def argo_health(body: Manifest) -> str:
    return str(lua(HEALTH, body)["status"])


def kstatus(bodies: Iterable[Manifest]) -> list[str]:
    program = gobuild.build(gobuild.KSTATUS, Progress()) / "kstatus"
    given = "\n".join(json.dumps(body) for body in bodies)
    done = subprocess.run([program], input=given, capture_output=True, text=True, check=True)
    return [json.loads(line)["status"] for line in done.stdout.splitlines()]


def test_every_phase_was_recorded() -> None:
    assert {phase for phase, _ in recorded()} == {phase.value for phase in Phase}
    assert set(recorded()) == set(EXPECTED)


def test_argo_cd_reads_every_phase_as_the_matrix_says() -> None:
    assert {key: argo_health(body) for key, body in recorded().items()} == EXPECTED


def test_flux_reads_every_phase_as_argo_cd_does() -> None:
    objects = recorded()

    assert dict(zip(objects, kstatus(objects.values()), strict=True)) == {
        key: FLUX[expected] for key, expected in EXPECTED.items()
    }


def test_a_model_is_available_while_any_revision_serves() -> None:
    nobody = {key for key, body in recorded().items() if condition(body, "Available")["status"] != "True"}

    assert nobody == {("Initializing", "Provisioning"), ("Held", "Suspended"), ("Stable", "Suspended")}


def test_in_place_the_canary_serves_alone_at_last_and_the_model_stays_available() -> None:
    scene = Recording(spec_of(mode="InPlace"), gpus=FOUR_GPUS)
    scene.serve()
    scene.objects.clear()
    scene.roll("2").run_to_stable("2").run(3)

    assert {condition(body, "Available")["status"] for body in scene.objects} == {"True"}


def test_a_transition_emits_one_event() -> None:
    events = taken_back().cluster.events
    told = [re.sub(r"^\w+ \w+: (\w+ to \w+: )?", "", event) for event in events]

    assert len(told) > 5
    assert len(set(told)) == len(told)


def test_what_argo_cd_shows_beside_the_health_is_what_ready_says() -> None:
    for body in recorded().values():
        assert lua(HEALTH, body)["message"] == condition(body, "Ready")["message"]


def test_an_unprocessed_spec_is_in_progress_in_every_phase() -> None:
    edited = []
    for body in recorded().values():
        unseen = copy.deepcopy(body)
        unseen["metadata"]["generation"] += 1
        edited.append(unseen)
    fresh = {**edited[0], "status": {"observedGeneration": -1}}

    assert {argo_health(body) for body in (*edited, fresh)} == {WORK}
    assert set(kstatus([*edited, fresh])) == {"InProgress"}


def test_room_that_never_comes_is_degraded_once_the_deadline_has_passed() -> None:
    scene = Recording(spec_of(capacity={"waitTimeout": "1h"}, rollout={"progressDeadline": "1m"}), gpus=FOUR_GPUS)
    scene.serve().roll("2").run_to(Phase.WAITING_FOR_CAPACITY).run(90)
    body = scene.cluster.api.body

    assert body["status"]["rollout"]["phase"] == "WaitingForCapacity"
    assert (argo_health(body), kstatus([body])) == (PERSON, ["Failed"])


def offered(body: Manifest) -> set[str]:
    """Return the actions that a person can choose in Argo CD."""
    actions = lua(ACTIONS["discovery.lua"], body)
    return {name for name, action in actions.items() if not action["disabled"]}


def choose(scene: Scene, action: str) -> None:
    """Do what Argo CD does: run the action and write back what it changed."""
    body = scene.cluster.api.body
    assert action in offered(body)
    changed = lua(ACTION[action], body)
    key = f"tritonfleet.dev/{action}"
    scene.cluster.annotate(action, changed["metadata"]["annotations"][key])


def test_every_action_that_argo_cd_offers_is_one_that_is_defined() -> None:
    assert set(lua(ACTIONS["discovery.lua"], {"metadata": {}}).keys()) == set(ACTION)


def test_nothing_can_be_asked_of_a_model_deployment_without_a_rollout() -> None:
    assert offered({"metadata": {"name": "m"}}) == set()
    assert offered(recorded()[("Stable", "Ready")]) == set()


@pytest.mark.parametrize(("phase", "reason"), sorted(EXPECTED))
def test_what_argo_cd_offers_is_carried_out_and_not_refused(phase: str, reason: str) -> None:
    body = recorded()[(phase, reason)]
    expected = {
        "Admitting": {"abort"},
        "Held": {"resume", "promote", "abort"},
        "StableLost": {"promote", "abort"},
        "AwaitingApproval": {"approve", "pause", "promote", "abort"},
        "RolledBack": {"retry"},
    }
    running = {"Provisioning", "WaitingForCapacity", "Verifying", "Shifting", "Analyzing"}

    assert offered(body) == ({"pause", "promote", "abort"} if phase in running else expected.get(phase, set()))


def test_a_rollout_can_be_led_from_argo_cd() -> None:
    scene = Scene(spec_of(steps=({"weight": 25, "pause": {}}, 50))).serve().roll("2").run_to(Phase.ANALYZING)
    choose(scene, "pause")
    scene.run_to(Phase.HELD)
    choose(scene, "resume")
    scene.run_to(Phase.AWAITING_APPROVAL)
    choose(scene, "approve")
    scene.run_to(Phase.ANALYZING)
    choose(scene, "promote")
    scene.run_to_stable("2")

    assert [event for event in scene.cluster.events if "RequestRefused" in event] == []


def test_a_canary_can_be_aborted_and_retried_from_argo_cd() -> None:
    scene = Scene().serve().roll("2").run_to(Phase.ANALYZING)
    choose(scene, "abort")
    scene.run_to(Phase.ROLLED_BACK)
    choose(scene, "retry")
    scene.run_to_stable("2")

    assert [event for event in scene.cluster.events if "RequestRefused" in event] == []
