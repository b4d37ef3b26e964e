"""What goes wrong around a rollout, and what becomes of it: metrics, pods, nodes and capacity."""

import pytest

from tests.sim.rollout.behavior import Behavior
from tests.sim.rollout.scene import EIGHT_GPUS, FOUR_GPUS, Scene, seconds_between, spec_of
from tests.sim.rollout.watching import Metrics
from tritonfleet.api.canary import CapacityMode
from tritonfleet.plan.rollout import Phase
from tritonfleet.plan.rollout.analysis import QueryAnswer

END = (Phase.STABLE, Phase.ROLLED_BACK)
LONG_BAKE = {"windows": 3, "bakeTime": "60s"}
LOAD_FAILED = "error: creating server: Internal - unable to find backend library for backend 'x'"
GOLDEN = {"verification": {"golden": {"configMapName": "golden"}}}


def analyzing(spec=None, **given) -> Scene:
    """Return a scene in which a canary has just got its first traffic."""
    return Scene(spec, **given).serve().roll("2").run_to(Phase.ANALYZING)


def test_an_operator_that_was_away_for_half_an_hour_takes_up_the_step_where_it_was() -> None:
    scene = analyzing().run(3)
    before, shares, step = scene.state, scene.shares(), scene.attempt.step
    for _ in range(180):
        scene.cluster.pass_time(10)
    assert (scene.state, scene.shares()) == (before, shares)
    scene.operator = scene.start_operator()
    scene.run(2)

    assert (scene.phase, scene.attempt.step) == (Phase.ANALYZING, step)


@pytest.mark.parametrize("minutes", [5, 60])
def test_metrics_that_are_away_neither_promote_nor_roll_back(minutes: int) -> None:
    scene = analyzing()
    weight = scene.state.applied_weight
    scene.cluster.metrics = Metrics(away="no pod answers")
    scene.run(minutes * 60, 5)

    assert scene.state.applied_weight == weight
    assert scene.phase is (Phase.ANALYZING if minutes < 30 else Phase.HELD)
    assert scene.attempt.metrics_lost_since is not None
    if scene.phase is Phase.HELD:
        scene.cluster.metrics = Metrics()
        scene.ask("resume", f"m-{scene.revision('2')}")
    scene.cluster.metrics = Metrics()
    scene.run_to(Phase.STABLE)
    assert scene.version(scene.state.stable) == "2"


def test_metrics_that_stay_away_roll_back_where_that_is_asked_for() -> None:
    scene = analyzing(spec_of(analysis={"onMetricsError": "Rollback", "metricsTimeout": "1m"}))
    scene.cluster.metrics = Metrics(away="no pod answers")

    assert scene.run_to(*END).phase is Phase.ROLLED_BACK


def test_an_unscraped_canary_is_distinguished_from_a_metrics_outage() -> None:
    scene = analyzing(spec_of(analysis={"metricsTimeout": "1m"}))
    scene.cluster.metrics = Metrics(blind_to_canary=True)
    scene.run_to(Phase.HELD)

    assert "no metrics from canary pods" in scene.state.message


@pytest.mark.parametrize(
    "answer",
    [
        QueryAnswer("mine", (float("nan"),)),
        QueryAnswer("mine", (float("inf"),)),
        QueryAnswer("mine"),
        QueryAnswer("mine", error="500 from the server"),
    ],
    ids=["NaN", "infinity", "nothing", "an error"],
)
def test_an_answer_that_says_nothing_is_no_pass(answer: QueryAnswer) -> None:
    scene = analyzing(spec_of(analysis={"queries": [{"name": "mine", "query": "up", "max": 1}]}))
    scene.cluster.metrics = Metrics(answers=(answer,))
    scene.run(120, 5)

    assert scene.phase is Phase.ANALYZING
    assert scene.attempt.step == 0


def test_windows_that_never_end_keep_the_step() -> None:
    scene = analyzing()
    scene.cluster.metrics = Metrics(frozen=True)
    scene.run(600, 10)

    assert (scene.phase, scene.attempt.step) in {(Phase.ANALYZING, 0), (Phase.HELD, 0)}


def test_a_canary_that_crashes_under_traffic_goes_back_by_that_alone() -> None:
    scene = analyzing()
    scene.cluster.metrics = Metrics(away="no pod answers")
    scene.cluster.pods(scene.revision("2"))[0].crash(scene.cluster.now)
    scene.run_to(*END)

    assert scene.phase is Phase.ROLLED_BACK
    assert scene.shares() == {"1": 100}


def test_a_canary_that_is_not_ready_for_a_minute_goes_back() -> None:
    scene = analyzing(spec_of(analysis=LONG_BAKE))
    scene.cluster.metrics = Metrics(away="no pod answers")
    scene.cluster.pods(scene.revision("2"))[0].hangs = True

    assert scene.run_to(*END, within=120).phase is Phase.ROLLED_BACK


def test_without_any_traffic_the_step_is_held_with_its_numbers() -> None:
    scene = Scene(spec_of(analysis={"maxWindows": 4})).serve()
    scene.cluster.traffic.per_second = 0
    scene.roll("2").run_to(Phase.HELD)

    assert scene.version(scene.state.stable) == "1"
    assert scene.state.message


def test_without_any_traffic_golden_requests_decide_where_that_is_asked_for() -> None:
    analysis = {"maxWindows": 4, "onTooFewRequests": "PassOnProbe"}
    scene = Scene(spec_of(analysis=analysis, canary=GOLDEN)).serve()
    scene.cluster.traffic.per_second = 0
    scene.roll("2").run(2)
    scene.run_to(Phase.STABLE)

    assert scene.version(scene.state.stable) == "2"


@pytest.mark.parametrize("limit", [None, 2])
def test_an_incident_that_hits_both_alike_is_no_rollback(limit: float | None) -> None:
    analysis = {**LONG_BAKE, "maxWindows": 6} | ({"maxErrorRate": limit} if limit is not None else {})
    scene = analyzing(spec_of(analysis=analysis))
    scene.cluster.traffic.incident = 6.0
    scene.run(100)

    assert "RollingBack" not in scene.path()
    assert (scene.phase is Phase.HELD) == (limit is not None)


def test_a_slower_canary_goes_back() -> None:
    scene = Scene(spec_of(analysis=LONG_BAKE), behaviors={"2": Behavior(slow=0.1)}).serve().roll("2").run(2)

    assert scene.run_to(*END).phase is Phase.ROLLED_BACK


def test_a_canary_that_is_slow_only_while_it_is_cold_is_promoted() -> None:
    spec = spec_of(analysis={"warmup": "30s"})
    scene = Scene(spec, behaviors={"2": Behavior(slow=0.5)}).serve().roll("2").run_to(Phase.SHIFTING)
    for _ in range(2000):
        for pod in scene.cluster.pods(scene.revision("2")):
            cold = (scene.cluster.now - pod.created).total_seconds() < 35
            pod.behavior = Behavior(slow=0.5 if cold else 0.005)
        scene.run(1)
        if scene.phase in END:
            break

    assert scene.phase is Phase.STABLE
    assert scene.version(scene.state.stable) == "2"


@pytest.mark.parametrize(
    ("behavior", "reason"),
    [
        (Behavior(waits_with="ImagePullBackOff"), "ImagePullFailed"),
        (Behavior(ready_after_seconds=float("inf")), "ProgressDeadlineExceeded"),
        (Behavior(fails_with="FetchFailed: 403 from s3.example.com"), "FetchFailed"),
        (Behavior(fails_with=LOAD_FAILED), "ModelLoadFailed"),
    ],
    ids=["image", "never ready", "download", "load"],
)
def test_a_canary_that_does_not_start_goes_back_without_any_traffic(behavior: Behavior, reason: str) -> None:
    spec = spec_of(rollout={"progressDeadline": "2m"})
    scene = Scene(spec, behaviors={"2": behavior}).serve().roll("2").run(2)
    scene.run_to(*END, every=5)

    assert scene.phase is Phase.ROLLED_BACK
    assert scene.state.rejected[-1].reason == reason
    assert scene.cluster.traffic.unserved == 0
    assert not {"Shifting", "Analyzing"} & set(scene.path())
    assert scene.asked()["1"] == 4


@pytest.mark.parametrize(
    ("on_timeout", "phase"), [("Hold", Phase.HELD), ("Fail", Phase.ROLLED_BACK), ("InPlace", Phase.STABLE)]
)
def test_a_surge_without_room_waits_and_then_does_what_is_asked_for(on_timeout: str, phase: Phase) -> None:
    spec = spec_of(mode="Surge", capacity={"waitTimeout": "1m", "onTimeout": on_timeout})
    scene = Scene(spec, gpus=FOUR_GPUS).serve().roll("2").run_to(Phase.WAITING_FOR_CAPACITY)
    assert scene.asked()["1"] == scene.ready("1") == 4
    assert "nvidia.com/gpu" in scene.state.message
    scene.run(3).run_to(phase, every=5)

    assert scene.cluster.traffic.unserved == 0
    assert scene.ready("1" if phase is not Phase.STABLE else "2") == 4


def test_in_place_nothing_more_is_taken_away_while_a_pod_does_not_end() -> None:
    spec = spec_of(mode="InPlace", rollout={"progressDeadline": "2m"})
    scene = Scene(spec, gpus=FOUR_GPUS).serve()
    scene.cluster.pool.ending_seconds = 1e6
    scene.roll("2").run_to(Phase.HELD, every=5)
    assert (scene.asked()["1"], scene.ready("1")) == (3, 3)
    assert scene.state.reason == "StablePodsRemain"
    assert "1 pod of revision 1 still terminating" in scene.state.message
    scene.cluster.pool.ending_seconds = 5
    scene.cluster.pool.pods = [pod for pod in scene.cluster.pool.pods if pod.stays]

    assert scene.run_to_stable("2").cluster.traffic.unserved == 0


def test_a_full_pool_is_rolled_in_place_with_at_most_one_pod_missing_and_without_a_lost_request() -> None:
    for mode in ("InPlace", "Auto"):
        scene = Scene(spec_of(mode=mode), gpus=FOUR_GPUS).serve().roll("2")
        fewest, modes = 4, set[CapacityMode | None]()
        while scene.version(scene.state.stable) != "2":
            scene.run(1)
            fewest = min(fewest, sum(scene.ready(version) for version in scene.asked()))
            modes.add(scene.attempt.mode)
        assert (fewest, modes, scene.cluster.traffic.unserved) == (3, {None, CapacityMode.IN_PLACE}, 0)


def test_a_node_lost_with_canary_pods_costs_no_more_requests_than_its_pods_did() -> None:
    scene = analyzing(spec_of(steps=(50,), analysis=LONG_BAKE))
    scene.cluster.pool.lose_node(scene.cluster.pods(scene.revision("2"))[0].node)
    scene.run(120)

    assert scene.cluster.traffic.unserved == 0
    assert scene.ready("1") >= 2


def test_a_canary_that_is_lost_with_all_its_nodes_gives_its_traffic_back_at_once() -> None:
    scene = analyzing(spec_of(steps=(50,), analysis=LONG_BAKE), gpus={"node-a": 8, "node-b": 8})
    for version, node in (("1", "node-a"), ("2", "node-b")):
        for pod in scene.cluster.pods(scene.revision(version)):
            pod.node = node
    scene.cluster.pool.lose_node("node-b")
    scene.run(1)

    assert scene.phase is Phase.ROLLING_BACK
    assert scene.run(4).shares() == {"1": 100}
    assert scene.ready("1") == 4


@pytest.mark.parametrize("gone", ["evicted", "deleted", "with its node"])
def test_a_canary_whose_only_pod_is_taken_by_the_infrastructure_is_tried_again_and_promoted(gone: str) -> None:
    scene = analyzing(spec_of(steps=(25,), analysis=LONG_BAKE))
    pool, (pod,) = scene.cluster.pool, scene.cluster.pods(scene.revision("2"))
    if gone == "evicted":
        pod.evict()
    elif gone == "deleted":
        pool.end(pod, scene.cluster.now)
    else:
        pool.pods.remove(pod)
    scene.run_to(Phase.ROLLING_BACK, within=5)

    assert scene.state.reason == "CanaryEvicted"
    assert scene.run_to_stable("2").state.rejected == ()


def test_nothing_is_sent_to_a_stable_that_is_gone() -> None:
    scene = analyzing(spec_of(steps=(50,), analysis={"windows": 20, "bakeTime": "60s"}))
    for pod in scene.cluster.pods(scene.revision("1")):
        pod.crash(scene.cluster.now)
        pod.behavior = Behavior(ready_after_seconds=120)
    scene.run_to(Phase.STABLE_LOST, within=60)
    weight = scene.attempt.weight
    scene.run(60)

    assert scene.phase is Phase.STABLE_LOST
    assert scene.attempt.weight >= weight >= 50
    scene.run(90)
    assert scene.phase is not Phase.STABLE_LOST


def test_a_held_canary_that_turns_bad_still_goes_back() -> None:
    scene = analyzing(spec_of(steps=({"weight": 25, "pause": {}},))).run_to(Phase.AWAITING_APPROVAL)
    scene.run(7200, 60)
    assert scene.phase is Phase.AWAITING_APPROVAL
    scene.cluster.pods(scene.revision("2"))[0].crash(scene.cluster.now)
    scene.run_to(*END, within=60)

    assert scene.phase is Phase.ROLLED_BACK


def test_a_canary_that_fails_requests_while_it_awaits_an_approval_still_goes_back() -> None:
    scene = analyzing(spec_of(steps=({"weight": 25, "pause": {}},))).run_to(Phase.AWAITING_APPROVAL)
    for pod in scene.cluster.pods(scene.revision("2")):
        pod.behavior = Behavior(errors=0.5)
    scene.run_to(*END, within=120)

    assert scene.phase is Phase.ROLLED_BACK


def test_a_bad_canary_is_gone_within_two_windows() -> None:
    spec = spec_of(analysis={"interval": "60s", "windows": 10})
    scene = Scene(spec, behaviors={"2": Behavior(errors=0.05)}).serve().roll("2").run(2)
    scene.run_to(*END)

    assert seconds_between(scene.passages(), Phase.ANALYZING, Phase.ROLLING_BACK) <= 2 * 60 + 2


def test_eight_gpus_serve_every_request_of_a_good_rollout() -> None:
    for gateway in (True, False):
        scene = Scene(spec_of(gateway=gateway), gpus=EIGHT_GPUS).serve()
        failed = scene.cluster.traffic.unserved
        scene.roll("2").run(2)
        scene.run_to(Phase.STABLE).run(120)
        assert (scene.version(scene.state.stable), scene.cluster.traffic.unserved) == ("2", failed)
