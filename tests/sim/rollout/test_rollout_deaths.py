"""An operator that dies after any one of its writes, and two that act at once, come to the same end as one."""

from collections.abc import Callable

import pytest

from tests.sim.rollout.behavior import Behavior
from tests.sim.rollout.gateway import ROUTE, route_weights
from tests.sim.rollout.scene import FOUR_GPUS, Scene, spec_of
from tritonfleet.api import names
from tritonfleet.plan.rollout import Phase

ENDS = (Phase.STABLE, Phase.ROLLED_BACK)
TICK_SECONDS = 5.0
SHORT = {"windows": 1, "bakeTime": "10s"}


def good() -> Scene:
    return Scene(spec_of(steps=(50,), analysis=SHORT))


def bad() -> Scene:
    return Scene(spec_of(steps=(50,), analysis=SHORT), behaviors={"2": Behavior(errors=0.5)})


def in_place() -> Scene:
    return Scene(spec_of(steps=(50,), mode="InPlace", analysis=SHORT), gpus=FOUR_GPUS)


def without_gateway() -> Scene:
    return Scene(spec_of(steps=(50,), gateway=False, analysis=SHORT))


def play(scene: Scene, dies_after: int | None = None) -> Scene:
    """Let version 2 be rolled out by an operator that dies once after so many writes."""
    scene.operator.dies_after = dies_after
    scene.tick()
    scene.run_to(Phase.STABLE, every=TICK_SECONDS).roll("2")
    scene.run_until(lambda: scene.phase in ENDS and scene.state.attempts > 0, every=TICK_SECONDS)
    return scene.run(120, 4 * TICK_SECONDS)


def end_of(scene: Scene) -> tuple[object, ...]:
    """Return what must be the same however often the operator died."""
    targets = sorted((target.kind, target.name) for target in scene.cluster.api.children)
    return scene.phase, scene.version(scene.state.stable), scene.asked(), scene.shares(), targets


@pytest.mark.parametrize("begin", [good, bad, in_place, without_gateway])
def test_after_a_crash_at_any_write_the_rollout_ends_in_the_same_way_by_the_same_steps(
    begin: Callable[[], Scene],
) -> None:
    whole = play(begin())
    writes = whole.writes
    assert writes > 30
    for dies_after in range(writes):
        scene = play(begin(), dies_after)
        assert scene.deaths == 1
        assert end_of(scene) == end_of(whole), f"died after write {dies_after}"
        assert scene.path() == whole.path(), f"died after write {dies_after}"


def test_a_second_operator_with_an_old_view_is_refused_and_moves_no_weight() -> None:
    scene = Scene().serve().roll("2")
    stale = scene.start_operator()
    refused = weights = 0
    while scene.phase is not Phase.STABLE or scene.version(scene.state.stable) != "2":
        stale.stale = stale.stale or scene.operator.observe()
        scene.run(1)
        before = scene.cluster.api.children.get(ROUTE), scene.cluster.api.body
        if scene.cluster.api.body["metadata"]["resourceVersion"] != stale.stale.body["metadata"]["resourceVersion"]:
            seen = stale.refusals
            stale.reconcile()
            refused += stale.refusals - seen
            weights += before[0] is not scene.cluster.api.children.get(ROUTE)
            stale.stale = None
        assert scene.cluster.api.body is before[1]
    assert refused > 3
    assert weights == 0


def test_the_weights_of_a_good_rollout_only_ever_rise() -> None:
    scene = Scene().serve().roll("2")
    seen = [0]
    while scene.phase is not Phase.STABLE or scene.version(scene.state.stable) != "2":
        scene.run(1)
        weights = route_weights(scene.cluster.api.children[ROUTE])[-1]
        new = next((weight for to, weight in weights.items() if scene.version(to) == "2"), 0)
        seen.append(new)

    assert seen == sorted(seen)
    assert seen[-1] == 100


@pytest.mark.parametrize("begin", [good, bad])
def test_status_writes_that_are_lost_cost_time_and_nothing_else(begin: Callable[[], Scene]) -> None:
    whole, scene = play(begin()), begin()
    scene.serve().roll("2")
    for second in range(400):
        scene.operator.loses_status = second % 2 == 0
        scene.run(1)

    assert end_of(scene) == end_of(whole)
    assert scene.path() == whole.path()


@pytest.mark.parametrize("lost", [("rollout",), ("rollout", "revision"), ()], ids=["rollout", "roles", "everything"])
@pytest.mark.parametrize("gateway", [True, False])
@pytest.mark.parametrize("mode", ["Surge", "InPlace"])
def test_a_rollout_that_is_forgotten_halfway_is_rolled_back_without_loss_and_begins_again(
    mode: str, gateway: bool, lost: tuple[str, ...]
) -> None:
    scene = Scene(spec_of(mode=mode, gateway=gateway, steps=(50,))).serve().roll("2")
    scene.run_until(lambda: scene.phase is Phase.ANALYZING and scene.attempt.applied_weight >= 25)
    api = scene.cluster.api
    kept = {key: value for key, value in api.body["status"].items() if lost and key not in lost}
    api.write_status(api.body, {"observedGeneration": -1, **kept}, guarded=False)
    scene.run(1)

    assert (scene.phase, scene.state.reason) == (Phase.ROLLING_BACK, "StateLost")
    assert scene.version(scene.state.stable) == "1"
    assert scene.run_to_stable("2").state.rejected == ()
    assert scene.cluster.traffic.unserved == 0


def test_a_status_that_was_lost_altogether_is_taken_from_where_clients_are_sent() -> None:
    scene = Scene().serve()
    status = {key: value for key, value in scene.cluster.api.body["status"].items() if key != "rollout"}
    scene.cluster.api.write_status(scene.cluster.api.body, status, guarded=False)
    scene.run(3)

    assert (scene.phase, scene.version(scene.state.stable)) == (Phase.STABLE, "1")
    front = scene.cluster.api.children[next(target for target in scene.cluster.api.children if target.name == "m")]
    assert front["metadata"]["labels"][names.OWNER_LABEL] == "m"
