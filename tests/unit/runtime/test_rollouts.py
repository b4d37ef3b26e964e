"""Windows of a canary begin and end when they should, hold exact counts, and say what is missing."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.runtime.canaries import CANARY, KEY, STABLE, START, canaries, sample
from tritonfleet.plan.rollout import Phase, TransitionRecord


def counts(revision):
    return {pod.partition("/")[0]: (each.requests, each.errors) for pod, each in revision.pods.items()}


async def started(world):
    """Bring up two pods of stable and one canary, with traffic in the past, at 10%."""
    pods = [world.pod("s1", STABLE), world.pod("s2", STABLE), world.pod("c1", CANARY)]
    for pod in pods:
        pod.serve(1000, OTHER=50)
    world.be()
    return pods


async def test_a_window_holds_what_every_pod_counted_between_its_ends():
    async with canaries() as world:
        first, second, canary = await started(world)
        await world.until(10)
        assert not world.looked
        first.serve(90, OTHER=1)
        second.serve(80, CANCELED=5)
        canary.serve(16, BACKEND=4)
        await world.until(30)
        window = world.window
        assert window.end_seconds == (START + timedelta(seconds=30)).timestamp()
        assert counts(window.stable) == {"Pod-s1": (91, 1), "Pod-s2": (80, 0)}
        assert counts(window.canary) == {"Pod-c1": (20, 4)}
        assert (window.stable.missing, window.canary.missing, window.unreachable) == ((), (), "")
        assert await world.enqueued() == [KEY]
        assert sample(world, "tritonfleet_rollout_windows_total", outcome="Read") == 1


async def test_windows_follow_each_other_without_a_gap():
    async with canaries() as world:
        *_, canary = await started(world)
        seen = {}

        def serve():
            canary.serve(10)
            if world.window is not None:
                seen[world.window.end_seconds - START.timestamp()] = world.window.canary.requests

        await world.until(75, serve)
        assert seen == {30: 40, 50: 40, 70: 40}


async def test_the_warm_up_counts_from_when_the_weight_was_in_force():
    async with canaries() as world:
        await started(world)
        shifted = TransitionRecord(START + timedelta(seconds=15), Phase.SHIFTING, Phase.ANALYZING, "WeightInForce", "")
        world.be(entered_at=shifted.at, history=(shifted,))
        await world.until(40)
        assert not world.looked
        await world.until(45)
        assert world.window.end_seconds == (START + timedelta(seconds=45)).timestamp()


async def test_between_two_ticks_a_window_begins_as_soon_as_the_weight_is_in_force_and_ends_when_it_is_over():
    async with canaries() as world:
        *_, canary = await started(world)
        world.be(Phase.SHIFTING, applied_weight=0)
        await world.tick()
        plan = {"analysis": {"interval": "20s", "warmup": "0s"}}
        world.be(plan=plan, step_entered_at=START + timedelta(seconds=6))
        await world.glance(1.0)
        canary.serve(7)
        await world.glance(19.0)
        assert not world.looked
        await world.glance(0.8)
        assert world.window.end_seconds - START.timestamp() == pytest.approx(25.8)
        assert world.window.canary.requests == 7


async def test_between_two_ticks_only_rollouts_with_due_windows_are_scraped():
    async with canaries() as world:
        await started(world)
        await world.until(15)
        assert sample(world, "tritonfleet_pod_scrapes_total", outcome="Read") == 9
        await world.glance()
        assert sample(world, "tritonfleet_pod_scrapes_total", outcome="Read") == 9


async def test_after_a_restart_of_the_operator_a_window_begins_anew():
    async with canaries() as world:
        *_, canary = await started(world)
        world.be(looked=START + timedelta(seconds=300))
        world.now = START + timedelta(seconds=310)
        await world.tick()
        canary.serve(7)
        await world.until(330)
        assert not world.looked
        await world.until(335)
        assert (world.window.end_seconds - START.timestamp(), world.window.canary.requests) == (335, 7)


async def test_no_window_reaches_from_one_weight_into_another():
    async with canaries() as world:
        *_, canary = await started(world)
        await world.until(25)
        canary.serve(500)
        world.be(weight=50, step=1, step_entered_at=START + timedelta(seconds=25))
        await world.until(50)
        assert not world.looked
        canary.serve(3)
        await world.until(60)
        assert world.window.canary.requests == 3
        assert world.evidence["ModelDeployment-demo"].step == 1


async def test_a_container_that_restarts_loses_none_of_its_counts():
    async with canaries() as world:
        *_, canary = await started(world)
        await world.until(10)
        canary.serve(10, BACKEND=2)
        await world.tick()
        canary.restart(world.now)
        canary.serve(5, BACKEND=1)
        world.pod("c1", CANARY)
        await world.until(30)
        assert world.window.canary.requests == 18
        assert sum(pod.errors for pod in world.window.canary.pods.values()) == 3


async def test_a_pod_that_starts_within_a_window_is_counted_from_its_first_request():
    async with canaries() as world:
        await started(world)
        await world.until(12)
        late = world.pod("c2", CANARY, started=world.now)
        late.serve(9, OTHER=1)
        await world.until(30)
        assert counts(world.window.canary)["Pod-c2"] == (10, 1)


async def test_a_pod_that_becomes_ready_within_a_window_is_counted_from_then():
    async with canaries() as world:
        await started(world)
        late = world.pod("c2", CANARY, ready=False)
        late.serve(4000)
        await world.until(15)
        world.pod("c2", CANARY)
        await world.tick()
        late.serve(6)
        await world.until(30)
        assert counts(world.window.canary)["Pod-c2"] == (6, 0)
        assert world.window.canary.missing == ()


async def test_a_pod_deleted_within_a_window_is_counted_until_its_last_scrape():
    async with canaries() as world:
        first, *_ = await started(world)
        await world.until(10)
        first.serve(30)
        await world.tick()
        world.pod("s1", STABLE, ready=False)
        await world.until(30)
        assert counts(world.window.stable)["Pod-s1"] == (30, 0)
        assert world.window.stable.missing == ()


async def test_a_pod_that_does_not_answer_is_missing_and_not_idle():
    async with canaries() as world:
        first, *_ = await started(world)
        await world.until(10)
        first.serve(30)
        await world.tick()
        first.answers = False
        await world.until(30)
        assert set(counts(world.window.stable)) == {"Pod-s2"}
        assert [pod.partition("/")[0] for pod in world.window.stable.missing] == ["Pod-s1"]
        assert world.window.unreachable == ""


async def test_a_pod_that_was_silent_when_the_window_began_is_missing_from_it():
    async with canaries() as world:
        first, *_ = await started(world)
        first.answers = False
        await world.until(10)
        first.answers = True
        first.serve(30)
        await world.until(30)
        assert len(world.window.stable.missing) == 1
        first.serve(11)
        await world.until(50)
        assert counts(world.window.stable)["Pod-s1"] == (11, 0)


@pytest.mark.parametrize("role", ["canary", "stable"])
async def test_a_revision_none_of_whose_pods_answers_is_unreachable(role):
    async with canaries() as world:
        first, second, canary = await started(world)
        for pod in (canary,) if role == "canary" else (first, second):
            pod.answers = False
        await world.until(30)
        assert f"no metrics from the {role}: scrapes of" in world.window.unreachable
        assert sample(world, "tritonfleet_rollout_windows_total", outcome="Unreachable") == 1


async def test_a_pod_whose_metrics_are_beyond_the_limits_is_named_with_the_limit():
    async with canaries() as world:
        *_, canary = await started(world)
        canary.failures = {f"REASON-{number}": 0 for number in range(40)}
        await world.until(30)
        assert f"metrics of the pod at {canary.address} are not read: 41 reasons of failure" in world.window.unreachable


async def test_a_pod_that_answers_without_the_model_has_no_series_and_is_not_unreachable():
    async with canaries() as world:
        *_, canary = await started(world)
        canary.knows_model = False
        await world.until(30)
        assert (world.window.unreachable, dict(world.window.canary.pods)) == ("", {})
        assert len(world.window.canary.missing) == 1


async def test_without_a_gateway_the_share_is_that_of_the_ready_pods():
    async with canaries() as world:
        await started(world)
        await world.until(30)
        assert world.window.desired_share == pytest.approx(1 / 3)


async def test_with_a_gateway_the_share_is_its_weight():
    async with canaries(prometheus=False) as world:
        await started(world)
        world.be(weight=25, spec={"traffic": {"gateway": {"parentRefs": [{"name": "public"}]}}})
        await world.until(30)
        assert world.window.desired_share == 0.25


async def test_means_between_scrapes_come_with_a_window_where_nothing_keeps_a_histogram():
    async with canaries() as world:
        first, _, canary = await started(world)

        def serve():
            first.serve(100, each=0.010)
            canary.serve(20, each=0.015)

        await world.until(30, serve)
        assert [interval.canary for interval in world.window.intervals[1:]] == [20, 20, 20, 20]
        last = world.window.intervals[-1]
        assert last.canary_seconds / last.canary == pytest.approx(0.015)
        assert last.stable_seconds / last.stable == pytest.approx(0.010)


async def test_before_traffic_stable_alone_is_watched():
    async with canaries() as world:
        first, *_ = await started(world)
        world.be(Phase.PROVISIONING, weight=0, history=())
        first.serve(10)
        await world.tick()
        first.serve(10)
        await world.until(30)
        assert (world.window.desired_share, world.window.stable.requests) == (0, 10)


@pytest.mark.parametrize("phase", [Phase.AWAITING_APPROVAL, Phase.HELD, Phase.SHIFTING, Phase.STABLE_LOST])
async def test_a_canary_with_traffic_is_looked_at_wherever_the_rollout_waits(phase):
    async with canaries() as world:
        await started(world)
        world.be(phase, resume=Phase.ANALYZING)
        await world.until(30)
        assert world.looked


@pytest.mark.parametrize(
    ("phase", "weight"), [(Phase.HELD, 0), (Phase.STABLE, 0), (Phase.ROLLING_BACK, 10), (Phase.PROMOTING, 100)]
)
async def test_nothing_is_looked_at_where_no_look_is_due(phase, weight):
    async with canaries() as world:
        pods = await started(world)
        world.be(phase, weight=weight, resume=Phase.VERIFYING if phase is Phase.HELD else None)
        await world.until(40)
        assert world.evidence == {}
        assert sample(world, "tritonfleet_pod_scrapes_total", outcome="Read") is None
        assert len(pods) == 3


async def test_at_all_of_the_traffic_nothing_is_asked_of_stable():
    async with canaries() as world:
        first, second, canary = await started(world)
        first.answers = second.answers = False
        world.be(weight=100, step=1)
        await world.until(10)
        canary.serve(40)
        await world.until(30)
        assert (world.window.unreachable, world.window.canary.requests) == ("", 40)
        assert world.window.desired_share == 1


async def test_what_is_known_of_a_rollout_goes_with_it():
    async with canaries() as world:
        await started(world)
        await world.until(30)
        body = world.be()
        world.store.remove(body)
        await world.tick()
        assert world.evidence == {}
        assert sample(world, "tritonfleet_rollout_weight", namespace="shop", modeldeployment="demo") is None


async def test_a_clock_that_goes_back_begins_the_window_anew():
    async with canaries() as world:
        *_, canary = await started(world)
        await world.until(25)
        canary.serve(100)
        world.now -= timedelta(seconds=13)
        await world.tick()
        canary.serve(5)
        await world.until(32)
        assert not world.looked
        await world.until(37)
        assert world.window.canary.requests == 5


async def test_a_status_that_cannot_be_read_costs_its_own_rollout_alone(monkeypatch):
    async with canaries() as world:
        await started(world)
        monkeypatch.setattr("tritonfleet.runtime.canary_monitor.measurement_of", lambda *_: 1 / 0)
        await world.tick()
        assert sample(world, "tritonfleet_rollout_failures_total", step="read") == 1
        assert world.evidence == {}


async def test_transitions_are_counted_once_and_not_those_of_the_process_before():
    async with canaries() as world:
        await started(world)
        await world.tick()
        record = TransitionRecord(
            START + timedelta(seconds=40), Phase.ANALYZING, Phase.ROLLING_BACK, "Worse", "canary 5.0%"
        )
        world.be(
            Phase.ROLLING_BACK, history=(record, TransitionRecord(START, Phase.SHIFTING, Phase.ANALYZING, "x", ""))
        )
        for _ in range(3):
            await world.tick()
        labels = {"source": "Analyzing", "target": "RollingBack", "reason": "Worse"}
        assert sample(world, "tritonfleet_rollout_transitions_total", **labels) == 1
        assert sample(world, "tritonfleet_rollbacks_total", reason="Worse") == 1
        old = {"source": "Shifting", "target": "Analyzing", "reason": "WeightInForce"}
        assert sample(world, "tritonfleet_rollout_transitions_total", **old) is None
        where = {"namespace": "shop", "modeldeployment": "demo"}
        assert sample(world, "tritonfleet_rollout_phase", phase="RollingBack", **where) == 1


async def test_the_heartbeat_is_not_updated_while_ticks_fail(monkeypatch):
    async with canaries() as world:
        await started(world)
        ticked, beaten = asyncio.Event(), asyncio.Event()
        tick, beat, failing = world.rollouts.tick, world.telemetry.rollouts.ticked, True

        async def stumble():
            ticked.set()
            if failing:
                raise ZeroDivisionError
            await tick()

        def pulse(now):
            beat(now)
            beaten.set()

        monkeypatch.setattr(world.rollouts, "tick", stumble)
        monkeypatch.setattr(world.telemetry.rollouts, "ticked", pulse)
        world.rollouts._interval = 0.0
        running = asyncio.create_task(world.rollouts.run())
        await ticked.wait()
        await asyncio.sleep(0)
        assert sample(world, "tritonfleet_rollout_heartbeat_timestamp_seconds") == 0
        assert sample(world, "tritonfleet_rollout_failures_total", step="tick") == 1
        failing = False
        await beaten.wait()
        assert sample(world, "tritonfleet_rollout_heartbeat_timestamp_seconds") == START.timestamp()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert world.prometheus.closed


async def test_the_age_of_the_last_look_grows_while_nothing_is_judged():
    async with canaries() as world:
        await started(world)
        world.be(looked=START + timedelta(seconds=30))
        world.now = START + timedelta(seconds=90)
        await world.rollouts.tick()
        where = {"namespace": "shop", "modeldeployment": "demo"}
        age = sample(world, "tritonfleet_rollout_last_window_age_seconds", **where)
        assert age == pytest.approx((datetime.now(UTC) - START).total_seconds() - 30, abs=5)
