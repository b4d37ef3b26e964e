"""What the status says became of each revision."""

from tests.sim.rollout.behavior import Behavior
from tests.sim.rollout.scene import Scene
from tritonfleet.plan.rollout import Phase


def outcomes(scene: Scene) -> dict[str, str]:
    """Return what became of each version."""
    entries = scene.cluster.api.body["status"]["revisions"]
    return {scene.version(entry["name"][-10:]): entry["outcome"] for entry in entries}


def test_a_good_canary_serves_and_the_one_before_is_on_standby_and_then_retires() -> None:
    scene = Scene().serve().roll("2").run_to(Phase.ANALYZING).run(2)
    assert outcomes(scene) == {"1": "Serving", "2": "Canary"}
    scene.run_to_stable("2").run(2)
    assert outcomes(scene) == {"1": "StandingBy", "2": "Serving"}
    scene.run(240)
    assert outcomes(scene) == {"1": "Retired", "2": "Serving"}


def test_a_bad_canary_stays_rejected_when_another_takes_its_place() -> None:
    scene = Scene(behaviors={"2": Behavior(errors=0.5)}).serve().roll("2").run_to(Phase.ROLLED_BACK).run(2)
    assert outcomes(scene) == {"1": "Serving", "2": "Rejected"}
    scene.roll("3").run_to_stable("3").run(2)
    assert outcomes(scene) == {"1": "StandingBy", "2": "Rejected", "3": "Serving"}


def test_a_canary_that_was_superseded_is_no_failure() -> None:
    scene = Scene().serve().roll("2").run_to(Phase.ANALYZING).run(2).roll("3").run_to_stable("3").run(2)
    assert outcomes(scene) == {"1": "StandingBy", "2": "Superseded", "3": "Serving"}
