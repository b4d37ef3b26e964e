"""The tick asks pods, decides for everybody, and lets a reconcile see what is new; nobody holds up anybody."""

import asyncio
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.runtime.fleet import KEY, OTHER, SPEC, exposed, fleet, page, sample
from tritonfleet.adapters.store import Key
from tritonfleet.errors import Transient
from tritonfleet.plan.autoscale import History, LatencyReading, Memory, ScaleReason
from tritonfleet.runtime import Observer, autoscaler
from tritonfleet.triton import metrics


async def test_everybody_with_an_slo_gets_a_verdict_from_what_its_ready_pods_say(monkeypatch):
    async with fleet(monkeypatch) as world:
        world.deploy(KEY, pods=2)
        world.deploy(OTHER, pods=1)
        world.deploy(Key("shop", "plain"), pods=1, spec={"model": SPEC["model"]})
        world.pod(KEY, "starting", "127.0.0.77", ready="False")
        await world.tick()
        assert {key: verdict.replicas for key, verdict in world.verdicts.items()} == {KEY: 2, OTHER: 1}
        assert await world.enqueued() == [KEY, OTHER]
        policy, _, observation, now = world.law.shown[0]
        assert (policy.latency_target_seconds, policy.max_replicas, now) == (0.05, 9, world.now.timestamp())
        assert len(observation.pods) == 3
        assert {sample.counters.success for sample in observation.samples} == {5}


async def test_a_verdict_that_says_nothing_new_stays_as_it_was_shown(monkeypatch):
    async with fleet(monkeypatch) as world:
        world.deploy(KEY, pods=1)
        await world.tick()
        shown = world.verdicts[KEY]
        await world.enqueued()
        world.law.rate = 2.0
        await world.tick()
        assert world.verdicts[KEY] is shown
        assert await world.enqueued() == []


async def test_other_replicas_or_another_reason_are_shown_at_once(monkeypatch):
    async with fleet(monkeypatch) as world:
        world.deploy(KEY, pods=1)
        await world.tick()
        await world.enqueued()
        for world.law.replicas, world.law.reason in ((3, ScaleReason.DEMAND), (3, ScaleReason.BURST)):
            await world.tick()
            assert (world.verdicts[KEY].replicas, world.verdicts[KEY].reason) == (3, world.law.reason)
            assert await world.enqueued() == [KEY]


async def test_after_a_minute_numbers_that_moved_are_shown_and_those_that_did_not_cost_nothing(monkeypatch):
    async with fleet(monkeypatch) as world:
        world.deploy(KEY, pods=1)
        world.deploy(OTHER, pods=1)
        await world.tick()
        await world.enqueued()
        monkeypatch.setattr(autoscaler, "REFRESH_SECONDS", 0.0)
        await world.tick()
        assert await world.enqueued() == []
        world.law.rate = 2.0
        await world.tick()
        assert await world.enqueued() == [KEY, OTHER]


async def test_a_pod_whose_metrics_are_beyond_the_limits_is_told_so_until_they_are_not(monkeypatch):
    async with fleet(monkeypatch) as world:
        world.deploy(KEY, pods=2)
        world.deploy(OTHER, pods=1)
        await world.tick()
        await world.enqueued()
        fine = world.pages["127.0.0.2"]
        world.pages["127.0.0.2"] = fine + b"#" * 300_000 + b"\n"
        for _ in range(2):
            await world.tick()
        told = "metrics of the pod at 127.0.0.2 are not read: more than 262,144 bytes"
        assert world.unread == {"ModelDeployment-demo": told}
        assert await world.enqueued() == [KEY]
        world.pages["127.0.0.2"] = fine
        for _ in range(2):
            await world.tick()
            await asyncio.sleep(0.1)
        assert world.unread == {}
        assert KEY in await world.enqueued()


async def test_a_failing_decision_keeps_its_last_verdict_and_delays_no_other(monkeypatch):
    async with fleet(monkeypatch) as world:
        world.deploy(KEY, pods=1, spec={**SPEC, "autoscaling": {"maxReplicas": 7}})
        world.deploy(OTHER, pods=1)
        await world.tick()
        world.law.fails_for, world.law.replicas = frozenset({7}), 5
        await world.tick()
        assert (world.verdicts[KEY].replicas, world.verdicts[OTHER].replicas) == (1, 5)
        assert sample(world, "tritonfleet_scaling_failures_total", step="decide") == 1
        assert exposed(world) == {"other"}


async def test_an_unreadable_spec_keeps_the_last_readable_one_in_force(monkeypatch):
    async with fleet(monkeypatch) as world:
        world.deploy(KEY, pods=1)
        world.deploy(OTHER, pods=1)
        await world.tick()
        world.deploy(KEY, spec={**SPEC, "slo": {"latency": {"target": "soon"}}})
        world.deploy(OTHER, spec={**SPEC, "model": "odd"})
        world.law.replicas = 4
        await world.tick()
        assert [world.verdicts[key].replicas for key in (KEY, OTHER)] == [4, 4]


async def test_one_that_could_not_be_read_for_a_moment_is_read_again_though_nothing_changed(monkeypatch):
    async with fleet(monkeypatch) as world:
        world.deploy(KEY, pods=1)
        observe = Observer.observe

        async def stumble(observer, key):
            monkeypatch.setattr(Observer, "observe", observe)
            raise Transient("the nodes could not be listed")

        monkeypatch.setattr(Observer, "observe", stumble)
        await world.tick()
        assert world.verdicts == {}
        assert sample(world, "tritonfleet_scaling_failures_total", step="read") == 1
        await world.tick()
        assert world.verdicts[KEY].replicas == 1


async def test_what_is_gone_or_has_no_slo_any_more_is_forgotten_with_its_metrics(monkeypatch):
    async with fleet(monkeypatch) as world:
        body = world.deploy(KEY, pods=1)
        world.deploy(OTHER, pods=1)
        await world.tick()
        assert exposed(world) == {"demo", "other"}
        world.store.remove(body)
        world.deploy(OTHER, spec={"model": SPEC["model"]})
        await world.tick()
        assert world.by_uid == {}
        assert exposed(world) == set()


async def test_a_namesake_starts_with_its_own_memory(monkeypatch):
    restored = []
    restore = Memory.restore

    def watched(document, now):
        restored.append(document)
        return restore(document, now)

    monkeypatch.setattr(Memory, "restore", watched)
    async with fleet(monkeypatch) as world:
        body = world.deploy(KEY, status={"autoscaling": {"memory": {"version": -1}}})
        await world.tick()
        world.deploy(KEY, spec={**SPEC, "autoscaling": {"maxReplicas": 3}})
        await world.tick()
        assert restored == [{"version": -1}]
        world.store.remove(body)
        world.version += 1
        world.store.put({**body, "metadata": {**body["metadata"], "uid": "new", "resourceVersion": str(world.version)}})
        await world.tick()
        assert len(restored) == 2


async def test_limits_of_a_schedule_change_with_time_alone(monkeypatch):
    schedule = {"name": "day", "timeZone": "UTC", "from": "12:00", "to": "13:00", "minReplicas": 4}
    async with fleet(monkeypatch) as world:
        world.deploy(KEY, spec={**SPEC, "autoscaling": {"maxReplicas": 9, "schedules": [schedule]}})
        world.now = datetime(2026, 5, 1, 11, 59, 58, tzinfo=UTC)
        for _ in range(2):
            await world.tick()
            world.now += timedelta(seconds=5)
        assert [policy.min_replicas for policy, *_ in world.law.shown] == [1, 4]


class Told:
    """A gateway that saw something, so many seconds ago."""

    def __init__(self, at_seconds: float, past: Iterable[Key] = ()) -> None:
        self.seen = LatencyReading("Gateway", at_seconds, 0.04, 0.99, 10.0)
        self.past = set(past)

    def reading(self, _key, _policy):
        return self.seen

    def history(self, key, _model):
        if key not in self.past:
            return None
        self.past.remove(key)
        return History(0.0, 900.0, (1.0, 2.0))


async def test_history_is_passed_once_to_targets_without_memory_a_few_per_tick(monkeypatch):
    keys = [Key("shop", f"m{number}") for number in range(autoscaler.PASTS_AT_ONCE + 2)]
    async with fleet(monkeypatch, gateway=Told(0.0, {*keys, OTHER})) as world:
        for key in keys:
            world.deploy(key)
        world.deploy(OTHER, status={"autoscaling": {"memory": {"version": -1}}})
        told = []
        for _ in range(3):
            world.law.shown.clear()
            await world.tick()
            told.append(sum(observation.history is not None for _, _, observation, _ in world.law.shown))
        assert told == [autoscaler.PASTS_AT_ONCE, 2, 0]
        assert world.autoscaler._gateway.past == {OTHER}


async def test_history_is_learned_off_the_event_loop_and_kept_by_what_was_read_anew_meanwhile(monkeypatch):
    async with fleet(monkeypatch, gateway=Told(0.0, {KEY})) as world:
        world.deploy(KEY, pods=1)
        world.deploy(OTHER, pods=1)
        threads = {}
        loop = asyncio.get_running_loop()

        def threaded(policy, memory, observation, now):
            threads[observation.history is not None] = threading.current_thread()
            if observation.history is not None:
                world.deploy(KEY, pods=1)
                asyncio.run_coroutine_threadsafe(world.autoscaler._refresh_targets(), loop).result(30)
            return world.law(policy, memory, observation, now)

        monkeypatch.setattr(autoscaler, "decide", threaded)
        await world.tick()
        assert threads[True] is not threading.main_thread()
        assert threads[False] is threading.main_thread()
        target = world.autoscaler._targets[KEY]
        assert target.memory is world.telemetry.scaling.verdicts[KEY].memory


def histogram(within: float, total: float) -> bytes:
    rows = (("50", within), ("100", total), ("+Inf", total))
    return "".join(
        f'{metrics.FIRST_RESPONSE_BUCKET}{{model="demo",le="{le}"}} {count}\n' for le, count in rows
    ).encode()


@pytest.mark.parametrize(
    ("source", "age_seconds", "expected"),
    [
        ("Auto", 10, "Gateway"), ("Auto", 100, "Triton"), ("Triton", 10, "Triton"), ("Gateway", 10, "Gateway"),
        ("Gateway", 100, None),
    ],
)  # fmt: skip
async def test_latency_comes_from_the_gateway_then_from_triton_unless_one_is_asked_for(
    monkeypatch, source, age_seconds, expected
):
    began = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
    async with fleet(monkeypatch, gateway=Told(began.timestamp() + 5 - age_seconds)) as world:
        world.deploy(KEY, pods=1, spec={**SPEC, "metrics": {"source": source}})
        for within, total in ((0, 0), (90, 100)):
            world.pages["127.0.0.1"] = page("demo", 5) + histogram(within, total)
            await world.tick()
            world.now += timedelta(seconds=5)
        latency = world.law.shown[-1][2].latency
        assert (latency.source if latency is not None else None) == expected
        if expected == "Triton":
            assert latency.within == pytest.approx(0.9)
            assert latency.requests_per_second == pytest.approx(20)


async def test_a_tick_that_takes_too_long_makes_the_next_fall_out_instead_of_piling_up(monkeypatch):
    async with fleet(monkeypatch, interval_seconds=0.1) as world:
        begun = at_once = most_at_once = 0
        enough = asyncio.Event()

        async def slow():
            nonlocal begun, at_once, most_at_once
            begun, at_once = begun + 1, at_once + 1
            most_at_once = max(most_at_once, at_once)
            if begun == 3:
                enough.set()
            await asyncio.sleep(0.25)
            at_once -= 1

        monkeypatch.setattr(world.autoscaler, "tick", slow)
        running = asyncio.create_task(world.autoscaler.run())
        await asyncio.wait_for(enough.wait(), 60)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert most_at_once == 1
        # A busy machine makes them longer yet, and then more fall out.
        assert sample(world, "tritonfleet_ticks_missed_total") >= 4


async def test_a_tick_that_fails_is_not_the_last(monkeypatch):
    async with fleet(monkeypatch, interval_seconds=0.05) as world:
        begun = 0
        again = asyncio.Event()

        async def failing():
            nonlocal begun
            begun += 1
            if begun == 2:
                again.set()
            raise RuntimeError("a bug in the tick")

        monkeypatch.setattr(world.autoscaler, "tick", failing)
        running = asyncio.create_task(world.autoscaler.run())
        await asyncio.wait_for(again.wait(), 60)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert sample(world, "tritonfleet_scaling_failures_total", step="tick") == begun
