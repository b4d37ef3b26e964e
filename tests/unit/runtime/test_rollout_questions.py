"""What is asked beside the counters: the gateway, golden requests, a user's queries; and what no answer comes to."""

import asyncio
import math

import pytest

from tests.unit.runtime.canaries import CANARY, GATEWAY, GOLDEN, KEY, PLAN, STABLE, START, canaries, sample
from tritonfleet.errors import Refused, Rejected, Transient
from tritonfleet.plan.rollout import Phase
from tritonfleet.plan.rollout.analysis import AnalysisPolicy, Outcome, Progress, Why, analyze

BY_GATEWAY = {"traffic": {"gateway": GATEWAY}}
WITH_GOLDEN = {**PLAN, "verification": {"golden": {"configMapName": "golden"}}}
QUERY = 'max(gpu_seconds{pod=~"demo-.*"})'


def with_queries(*queries):
    return {**PLAN, "analysis": {**PLAN["analysis"], "queries": list(queries)}}


async def split(world, *, spec=BY_GATEWAY, **state):
    """Bring up one pod of each revision behind a gateway that has counted before."""
    stable, canary = world.pod("s1", STABLE), world.pod("c1", CANARY)
    world.be(spec=spec, **state)
    world.route()
    for revision in (STABLE, CANARY):
        world.prometheus.count(revision, 1000, slow=100, failed=50, refused=50)
    await world.until(10)
    return stable, canary


async def test_latencies_are_the_gateways_and_errors_the_pods_own():
    async with canaries() as world:
        stable, canary = await split(world)
        world.prometheus.count(STABLE, 90, slow=0)
        world.prometheus.count(CANARY, 6, slow=4)
        stable.serve(90)
        canary.serve(8, BACKEND=2)
        await world.until(30)
        window = world.window
        (gateway,) = window.canary.gateways.values()
        assert (gateway.timed, dict(gateway.within)) == (10, {0.1: 6})
        assert [counts.errors for counts in window.canary.pods.values()] == [2]
        assert (window.intervals, window.untimed, window.canary.refused) == (None, "", 0)


async def test_both_ends_of_every_window_of_the_fleet_are_one_query_each():
    async with canaries() as world:
        await split(world)
        await world.until(50)
        asked = [(what, at.timestamp() - START.timestamp()) for what, _, at in world.prometheus.asked]
        assert asked == [("canary", 10), ("canary", 30), ("canary", 50)]


async def test_a_proxy_that_restarts_counts_from_zero_and_one_that_was_not_scraped_is_left_out():
    async with canaries() as world:
        await split(world)
        world.prometheus.counters = dict.fromkeys(world.prometheus.counters, 0)
        world.prometheus.count(CANARY, 7, slow=1)
        world.prometheus.count(CANARY, 9000, refused=900, proxy="envoy-2")
        await world.until(30)
        assert [each.timed for each in world.window.canary.gateways.values()] == [8]
        assert world.window.canary.refused == 0


async def test_what_the_gateway_saw_fail_and_no_pod_did_are_errors():
    async with canaries() as world:
        stable, canary = await split(world)
        for end in (30, 50):
            world.prometheus.count(STABLE, 100)
            world.prometheus.count(CANARY, 60, refused=60)
            stable.serve(100)
            await world.until(end)
            assert world.window.canary.refused == 60
        verdict = analyze(AnalysisPolicy(), Progress(), world.window)
        assert (verdict.outcome, verdict.why) == (Outcome.FAILED, Why.HARD_LIMIT)
        assert canary.success == 0


async def test_failures_that_a_pod_counted_too_are_not_counted_twice():
    async with canaries() as world:
        _, canary = await split(world)
        world.prometheus.count(CANARY, 80, failed=10)
        canary.serve(65, BACKEND=15)
        await world.until(30)
        world.prometheus.count(CANARY, 80, failed=5)
        canary.serve(80)
        await world.until(50)
        assert world.window.canary.refused == 0
        world.prometheus.count(CANARY, 80, failed=5)
        canary.serve(80)
        await world.until(70)
        assert world.window.canary.refused == 5


async def test_a_canary_alone_is_not_blamed_for_what_clients_send():
    async with canaries() as world:
        await split(world, weight=100, step=1)
        world.prometheus.count(CANARY, 400, refused=200)
        await world.until(30)
        assert world.window.canary.refused == 0
        world.prometheus.count(CANARY, 400, failed=200)
        await world.until(50)
        assert world.window.canary.refused == 200


async def test_while_prometheus_is_away_latencies_are_unknown_and_nothing_passes():
    async with canaries() as world:
        stable, canary = await split(world)
        world.prometheus.problem = "Prometheus at http://p: connection refused"
        progress, policy = Progress(), AnalysisPolicy(windows=1, min_requests=10)
        for end in (30, 50):
            stable.serve(100)
            canary.serve(100)
            await world.until(end)
            verdict = analyze(policy, progress, world.window)
            progress = verdict.progress
            assert (verdict.outcome, verdict.why) == (Outcome.ERROR, Why.UNREACHABLE)
        assert world.window.untimed == "Prometheus at http://p: connection refused"
        assert sample(world, "tritonfleet_rollout_windows_total", outcome="Untimed") == 2


async def test_a_revision_without_series_at_the_gateway_is_an_error_and_not_a_fast_one():
    async with canaries() as world:
        stable, canary = await split(world)
        series = world.prometheus.counters
        world.prometheus.counters = {each: n for each, n in series.items() if "backend/0" in str(dict(each))}
        world.prometheus.count(STABLE, 100)
        stable.serve(100)
        canary.serve(100)
        await world.until(30)
        (slow,) = (
            each for each in analyze(AnalysisPolicy(), Progress(), world.window).results if each.check == "latency"
        )
        assert (slow.outcome, slow.why) == (Outcome.ERROR, Why.NO_SERIES)


async def test_an_unscraped_gateway_leaves_the_pods_own_counts():
    async with canaries() as world:
        world.pod("s1", STABLE)
        world.pod("c1", CANARY)
        world.be(spec=BY_GATEWAY)
        world.route()
        await world.until(30)
        assert (world.window.untimed, len(world.window.intervals)) == ("", 5)


async def test_series_that_end_within_a_window_are_missed():
    async with canaries() as world:
        await split(world)
        world.prometheus.counters = {}
        await world.until(30)
        assert world.window.untimed == "Prometheus had no series of HTTPRoute 'shop/demo' at the window's end"


async def test_the_pods_own_latencies_can_be_asked_for():
    async with canaries() as world:
        await split(world, spec={**BY_GATEWAY, "metrics": {"source": "Triton"}})
        await world.until(30)
        assert world.window.intervals is not None
        assert world.prometheus.asked == []


async def test_golden_requests_are_sent_once_in_every_window():
    async with canaries() as world:
        world.golden(GOLDEN)
        world.pod("s1", STABLE)
        first, second = world.pod("c1", CANARY), world.pod("c2", CANARY)
        world.labels[second.address] = 3
        world.be(plan=WITH_GOLDEN)
        await world.until(30)
        assert sorted(world.infers) == [(first.address, "seven"), (second.address, "seven")]
        assert (world.window.probe.right, world.window.probe.wrong, world.window.probe_expected) == (1, 1, True)
        assert "seven" in world.window.probe.first_wrong
        await world.until(55)
        assert len(world.infers) == 4


@pytest.mark.parametrize("label", [7, 3, Rejected("no"), Transient("no")], ids=["right", "wrong", "failed", "away"])
@pytest.mark.parametrize("routed", [True, False], ids=["with a gateway", "without"])
async def test_golden_requests_are_never_counted_as_those_of_users(label, routed):
    async with canaries() as world:
        world.golden(GOLDEN)
        world.pod("s1", STABLE)
        canary = world.pod("c1", CANARY)
        world.labels[canary.address] = label
        if routed:
            world.route()
        world.be(plan=WITH_GOLDEN, spec={"traffic": {"gateway": GATEWAY}} if routed else {})
        seen = {}

        def look():
            if world.window is not None:
                counts = world.window.canary
                seen[world.window.end_seconds] = counts.requests, sum(pod.errors for pod in counts.pods.values())

        await world.until(130, look)
        assert len(seen) >= 3
        assert set(seen.values()) == {(0, 0)}
        assert len(world.infers) >= 3
        # The autoscaler subtracts those that Triton counted.
        assert world.probed == ({canary.address: len(world.infers)} if label in (7, 3) else {})


async def test_users_requests_beside_golden_ones_are_counted_exactly():
    async with canaries() as world:
        world.golden(GOLDEN)
        world.pod("s1", STABLE)
        canary = world.pod("c1", CANARY)
        world.be(plan=WITH_GOLDEN)
        await world.until(30)
        for _ in range(3):
            await world.glance()
            canary.serve(90, OTHER=10)
            await world.tick(20.0)
            counts = world.window.canary.pods["Pod-c1/" + f"{canary.started.timestamp():.0f}"]
            assert (counts.requests, counts.errors) == (100, 10)


@pytest.mark.parametrize("config_map", [None, {"data": {}}, {"data": {"golden.json": "{"}}, Refused(403, "no")])
async def test_golden_requests_that_cannot_be_read_are_expected_all_the_same(config_map):
    async with canaries() as world:
        world.config_maps["golden"] = config_map
        world.pod("s1", STABLE)
        world.pod("c1", CANARY)
        world.be(plan=WITH_GOLDEN)
        await world.until(30)
        assert (world.window.probe, world.window.probe_expected) == (None, True)


async def test_before_traffic_every_ready_canary_is_asked_once():
    async with canaries() as world:
        world.golden(GOLDEN)
        world.pod("s1", STABLE)
        canary = world.pod("c1", CANARY)
        world.be(Phase.VERIFYING, weight=0, plan=WITH_GOLDEN, verified=False)
        for _ in range(4):
            await world.tick()
        assert world.infers == [(canary.address, "seven")]
        assert (world.verification.outcome, world.verification.pods) == (Outcome.PASSED, 1)
        assert await world.enqueued() == [KEY]
        late = world.pod("c2", CANARY)
        world.labels[late.address] = 3
        await world.tick()
        assert (world.verification.outcome, world.verification.pods) == (Outcome.FAILED, 2)


async def test_a_canary_that_cannot_be_reached_is_asked_again(monkeypatch):
    monkeypatch.setattr("tritonfleet.runtime.canary_monitor.AGAIN_SECONDS", 0.0)
    async with canaries() as world:
        world.pod("s1", STABLE)
        canary = world.pod("c1", CANARY)
        world.contracts[canary.address] = Transient("connection refused")
        world.be(Phase.VERIFYING, weight=0, verified=False)
        await world.tick()
        assert world.verification.outcome is Outcome.ERROR
        del world.contracts[canary.address]
        await world.tick()
        assert world.verification.outcome is Outcome.PASSED


async def test_a_canary_that_never_answers_is_not_waited_for_forever(monkeypatch):
    monkeypatch.setattr("tritonfleet.runtime.probes.VERIFY_SECONDS", 0.05)
    async with canaries() as world:
        world.pod("s1", STABLE)
        world.pod("c1", CANARY)
        world.be(Phase.VERIFYING, weight=0, verified=False)
        monkeypatch.setattr("tritonfleet.runtime.probes.verify", lambda *_, **__: asyncio.sleep(60))
        await world.tick()
        assert world.verification.outcome is Outcome.ERROR
        assert world.verification.checks[0].message == "verification timed out"


async def test_verification_results_are_kept_only_with_their_attempt():
    async with canaries() as world:
        world.pod("s1", STABLE)
        world.pod("c1", CANARY)
        world.be(Phase.VERIFYING, weight=0, verified=False)
        await world.tick()
        said = world.verification
        assert said.outcome is Outcome.PASSED
        world.be(Phase.VERIFYING, weight=0, verified=False, attempt=2, plan={"verification": {"contract": "Off"}})
        await world.tick()
        assert world.verification.checks == ()


async def test_a_result_that_arrives_after_the_rollout_moved_on_is_dropped(monkeypatch):
    async with canaries() as world:
        world.pod("s1", STABLE)
        world.pod("c1", CANARY)
        world.be(plan=with_queries({"name": "gpu", "query": QUERY, "max": 1}))
        entered, go_on = asyncio.Event(), asyncio.Event()

        async def slow(*_):
            entered.set()
            await go_on.wait()
            return ()

        monkeypatch.setattr("tritonfleet.runtime.probes.CanaryProber.answers", slow)
        while not entered.is_set():
            world.now = world.now.fromtimestamp(world.now.timestamp() + 5, world.now.tzinfo)
            await world.rollouts.tick()
            await asyncio.sleep(0)
        world.be(weight=50, step=1)
        go_on.set()
        await world.rollouts.settled()
        assert not world.looked


async def test_the_users_queries_are_confined_and_answered():
    async with canaries(custom_queries=True) as world:
        world.pod("s1", STABLE)
        world.pod("c1", CANARY)
        query = {"name": "gpu", "query": QUERY, "baseline": QUERY, "maxRatio": 2}
        ours = 'max(gpu_seconds{{namespace="shop",pod=~"demo-.*",revision="{}"}})'
        world.prometheus.results = {ours.format(CANARY): (3.0, math.nan), ours.format(STABLE): (2.0,)}
        world.be(plan=with_queries(query))
        await world.until(30)
        (answer,) = world.window.answers
        assert (answer.name, answer.error, answer.baseline) == ("gpu", "", (2.0,))
        assert answer.values[0] == 3
        assert math.isnan(answer.values[1])


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (Transient("Prometheus at http://p: HTTP Status Code 429"), "429"),
        (Transient("Prometheus did not answer within 15s"), "15s"),
        (Transient("the query returns a range"), "range"),
    ],
)
async def test_a_query_without_an_answer_says_why(problem, said):
    async with canaries(custom_queries=True) as world:
        world.pod("s1", STABLE)
        world.pod("c1", CANARY)
        world.prometheus.results = {"problem": problem}
        world.be(plan=with_queries({"name": "gpu", "query": QUERY, "max": 1}))
        await world.until(30)
        assert said in world.window.answers[0].error


async def test_queries_of_ones_own_need_the_administrators_leave():
    async with canaries() as world:
        world.pod("s1", STABLE)
        world.pod("c1", CANARY)
        world.be(plan=with_queries({"name": "gpu", "query": QUERY, "max": 1}))
        await world.until(30)
        assert "custom queries are disabled" in world.window.answers[0].error
        assert world.prometheus.asked == []


async def test_all_queries_together_are_given_up_in_time(monkeypatch):
    monkeypatch.setattr("tritonfleet.runtime.probes.QUERIES_SECONDS", 0.05)
    async with canaries(custom_queries=True) as world:
        world.pod("s1", STABLE)
        world.pod("c1", CANARY)
        monkeypatch.setattr(world.prometheus, "values", lambda *_: asyncio.sleep(60))
        queries = [{"name": name, "query": QUERY, "max": 1} for name in ("one", "two")]
        world.be(plan=with_queries(*queries))
        await world.until(30)
        assert [(each.name, "did not answer all queries" in each.error) for each in world.window.answers] == [
            ("one", True),
            ("two", True),
        ]


async def test_an_error_of_our_own_at_the_end_of_a_window_is_no_pass(monkeypatch):
    async with canaries() as world:
        world.pod("s1", STABLE)
        world.pod("c1", CANARY)
        world.be()
        monkeypatch.setattr("tritonfleet.runtime.probes.CanaryProber.answers", lambda *_: 1 / 0)
        await world.until(30)
        assert world.window.unreachable == "the window could not be completed: ZeroDivisionError"
        assert sample(world, "tritonfleet_rollout_failures_total", step="window") == 1


async def test_what_a_canary_rejects_is_an_answer_of_its():
    async with canaries() as world:
        world.golden(GOLDEN)
        world.pod("s1", STABLE)
        canary = world.pod("c1", CANARY)
        world.labels[canary.address] = Rejected("unexpected shape for input 'X'")
        world.be(plan=WITH_GOLDEN)
        await world.until(30)
        assert (world.window.probe.right, world.window.probe.wrong) == (0, 1)
        assert "unexpected shape" in world.window.probe.first_wrong
