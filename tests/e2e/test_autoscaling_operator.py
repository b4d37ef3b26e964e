"""Nothing is taken away when an operator is killed, meets conflicts or has its clock stepped, or a server crashes.

The operators here run outside of the cluster, each for a namespace of its own, all at the same time: what is done to
one could not be done to a pod. They read real Triton pods, whose traffic ends when the harm is done.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from devcluster.cluster import Cluster
from devcluster.release import OPERATOR_IMAGE, TRITON_IMAGE
from tests.cluster.harness import RunningOperator
from tests.e2e import sabotage
from tests.e2e.scene import RATE, Scene
from tritonfleet.errors import Conflict
from tritonfleet.runtime import utc_now

pytestmark = pytest.mark.acceptance

SETTLE_SECONDS = 60.0
"""From the moment that all have two replicas, and one loses a server, to the end of the traffic."""
UP_ONLY_SECONDS = 100.0
"""Two minutes after a start or a step of the clock nothing is taken away; we look for a little less."""
DOWN_SECONDS = 240.0
KILLED, AHEAD, BEHIND, CONFLICTS = "killed", "clock-ahead", "clock-behind", "conflicts"
CRASHED = "crashed-server"
STEPS = {AHEAD: timedelta(minutes=5), BEHIND: timedelta(minutes=-5)}


@dataclass
class Trouble:
    """One operator's clock and the trouble it has."""

    name: str
    offset: timedelta = timedelta()
    struck: Counter[str] = field(default_factory=Counter)
    operator: RunningOperator | None = None

    def now(self) -> datetime:
        return utc_now() + self.offset

    def start(self, cluster: Cluster, namespace: str, identity: str) -> None:
        self.operator = RunningOperator(
            cluster.kubeconfig,
            namespace,
            identity=identity,
            lease=identity,
            now=self.now,
            before=self.refuse if self.name == CONFLICTS else None,
            after=self.die if (self.name, identity) == (KILLED, "first") else None,
            triton_image=TRITON_IMAGE,
            allow_unsafe_image=True,
            fetch_image=OPERATOR_IMAGE,
            fetch_allow_private_addresses=True,
        ).start()

    def refuse(self, _method: str, kind: str, number: int) -> None:
        """Refuse every other write of all, so that each succeeds only when it is tried again."""
        if number % 2 == 0:
            self.struck[kind] += 1
            raise Conflict("made by the test")

    def die(self, _method: str, kind: str, _number: int) -> Awaitable[object] | None:
        """Let the second write of the Deployment, which asks for two replicas, be the last that leaves."""
        self.struck[kind] += 1
        if self.struck["Deployment"] >= 2:
            self.operator.cluster.dead = True
        return None

    @property
    def dead(self) -> bool:
        return self.operator.cluster.dead


@pytest.fixture(scope="module")
def story(
    operator_at_rest: None, local: Cluster, new_place: Any, ranker_spec: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Scene, Trouble]]]:
    """Let everything happen once; the tests look at what was seen."""
    found = {}
    with ExitStack() as stack:
        for name in (KILLED, AHEAD, BEHIND, CONFLICTS, CRASHED):
            place, trouble = new_place(), Trouble(name)
            trouble.start(local, place.namespace, "first")
            stack.callback(lambda trouble=trouble: trouble.operator.kill())
            scene = Scene.begin(place, ranker_spec(place), tmp_path_factory.mktemp(name), stack.enter_context)
            stack.callback(place.clear)
            found[name] = (scene, trouble)
        for scene, _ in found.values():
            scene.place.wait_ready("ranker", timeout_seconds=240)
        play(found)
        yield found


def play(found: dict[str, tuple[Scene, Trouble]]) -> None:
    """Bring everything to two replicas, do the harm, and wait until all is small again."""
    killed, victim = found[KILLED]
    with ExitStack() as traffic:
        for scene, _ in found.values():
            traffic.enter_context(scene.load(RATE, "before"))
        for scene, _ in found.values():
            scene.wait_for_two()
        assert victim.dead, "it was to die of its second write of the Deployment"
        victim.operator.kill()
        victim.start(killed.place.cluster, killed.place.namespace, "heir")
        crashed, _ = found[CRASHED]
        sabotage.kill_server(crashed.place.cluster, crashed.ready_pods()[0])
        crashed.harmed = time.time()
        time.sleep(SETTLE_SECONDS)
        assert crashed.restarts() == 1
    for name, (scene, trouble) in found.items():
        trouble.offset += STEPS.get(name, timedelta())
        scene.quiet = time.time()
    deadline = time.monotonic() + DOWN_SECONDS
    while any(scene.witness.replicas > 1 for scene, _ in found.values()) and time.monotonic() < deadline:
        time.sleep(1)


@pytest.mark.parametrize("name", [AHEAD, BEHIND])
def test_a_clock_that_steps_by_five_minutes_takes_no_replica_away(
    story: dict[str, tuple[Scene, Trouble]], name: str
) -> None:
    scene, _ = story[name]
    soon = scene.witness.since(scene.quiet, scene.quiet + UP_ONLY_SECONDS)
    assert {moment.replicas for moment in soon} == {2}
    assert "Restarted" in {moment.reason for moment in soon}
    assert all(moment.reason and moment.message for moment in soon)


def test_an_operator_killed_while_it_scales_leaves_what_its_heir_goes_on_with(
    story: dict[str, tuple[Scene, Trouble]],
) -> None:
    scene, trouble = story[KILLED]
    assert trouble.struck["Deployment"] == 2
    assert [(old, new) for _, old, new in scene.witness.changes()] == [(1, 2), (2, 1)]
    up = scene.witness.changes()[0][0]
    assert {moment.replicas for moment in scene.witness.since(up, up + UP_ONLY_SECONDS)} == {2}


def test_conflicts_at_every_write_delay_what_is_decided_and_change_nothing_else(
    story: dict[str, tuple[Scene, Trouble]],
) -> None:
    scene, trouble = story[CONFLICTS]
    assert min(trouble.struck["Deployment"], trouble.struck["ModelDeployment"]) >= 1
    assert [(old, new) for _, old, new in scene.witness.changes()] == [(1, 2), (2, 1)]
    assert all(moment.reason and moment.message for moment in scene.witness.since(scene.quiet))


def test_a_server_that_counts_from_zero_again_takes_no_replica_away(story: dict[str, tuple[Scene, Trouble]]) -> None:
    scene, _ = story[CRASHED]
    seen = scene.witness.since(scene.harmed, scene.quiet)
    assert {moment.replicas for moment in seen} == {2}
    assert all(moment.reason and moment.message for moment in seen)


@pytest.mark.parametrize("name", [KILLED, AHEAD, BEHIND, CONFLICTS, CRASHED])
def test_in_the_end_what_is_not_needed_goes(story: dict[str, tuple[Scene, Trouble]], name: str) -> None:
    scene, _ = story[name]
    assert scene.witness.replicas == 1
