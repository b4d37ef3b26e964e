import math
from dataclasses import replace

import pytest

from tritonfleet.plan.autoscale import (
    Bursts,
    Counters,
    Growth,
    Memory,
    PodSample,
    ScaleReason,
    forget_pods,
    startup_of,
    update_growth,
)
from tritonfleet.plan.autoscale.arrivals import PodCounters, track
from tritonfleet.plan.autoscale.bursts import STEP_SECONDS
from tritonfleet.plan.autoscale.demand import Readiness

MINUTES = 60.0


def lost(number, sample):
    return None


def half_lost(number, sample):
    return None if number % 2 else sample


def not_a_number(number, sample):
    return replace(sample, counters=replace(sample.counters, success=math.nan))


def infinite(number, sample):
    return replace(sample, counters=replace(sample.counters, compute_us=math.inf))


def negative(number, sample):
    return replace(sample, counters=replace(sample.counters, failure=-1.0))


def without_the_model(number, sample):
    return replace(sample, counters=None)


@pytest.mark.parametrize("broken", [lost, half_lost, not_a_number, infinite, negative, without_the_model])
def test_nothing_is_taken_away_while_data_is_missing_or_nonsense_however_long(fleet, broken):
    before = fleet.replicas
    verdicts = fleet.play(0.0, 30 * MINUTES, broken=broken)
    assert all(verdict.replicas >= before for verdict in verdicts)
    blind = [verdict for verdict in verdicts[12:] if not verdict.fresh]
    assert len(blind) == len(verdicts) - 12
    assert all(verdict.explain() for verdict in verdicts)


def test_a_fleet_that_is_not_seen_is_held_and_after_five_minutes_raised_to_its_recent_high(fleet):
    fleet.play(400.0, 2 * MINUTES)
    fleet.play(120.0, 20 * MINUTES)
    high = max(verdict.wanted for verdict in fleet.verdicts)
    before = fleet.replicas
    assert before < high
    verdicts = fleet.play(120.0, 10 * MINUTES, broken=lost)
    assert verdicts[58].replicas == before
    assert verdicts[58].reason is ScaleReason.METRICS_STALE
    assert verdicts[-1].replicas == high


def test_half_the_pods_stand_for_all_of_them(fleet):
    seen = fleet.play(120.0, MINUTES)[-1].rate
    assert fleet.play(120.0, 3 * MINUTES, broken=half_lost)[-1].rate == pytest.approx(seen, rel=0.02)


def test_a_real_zero_takes_replicas_away_down_to_the_minimum(fleet):
    verdict = fleet.play(0.0, 40 * MINUTES)[-1]
    assert verdict.replicas == 1
    assert verdict.reason is ScaleReason.NO_TRAFFIC


def test_a_pod_that_counts_nothing_while_others_do_keeps_every_replica(fleet):
    stuck: dict[int, Counters] = {}

    def first_stuck(number, sample):
        return replace(sample, counters=stuck.setdefault(number, sample.counters)) if number == 0 else sample

    fleet.replicas = 4
    fleet.resize(4)
    verdicts = fleet.play(40.0, 20 * MINUTES, broken=first_stuck)
    assert min(verdict.replicas for verdict in verdicts) == fleet.verdicts[-1].replicas
    assert verdicts[-1].reason is ScaleReason.METRICS_PARTIAL
    assert "idle while others serve" in verdicts[-1].explain()


def test_servers_that_answer_without_the_model_are_named(fleet):
    verdict = fleet.play(120.0, 2 * MINUTES, broken=without_the_model)[-1]
    assert verdict.reason is ScaleReason.SERIES_MISSING


def test_counters_that_begin_again_change_nothing(fleet):
    wanted = fleet.verdicts[-1].replicas
    for pod in fleet.pods:
        pod.counters = Counters(0, 0, 0, 0, 0, 0, 0, 0)
    verdicts = fleet.play(120.0, 2 * MINUTES)
    assert {verdict.replicas for verdict in verdicts} == {wanted}


def test_golden_requests_are_no_demand_and_their_number_may_be_forgotten(fleet):
    probes = {"pod-1": 0}

    def probed(_number, sample):
        return replace(sample, counters=replace(sample.counters, probes=probes.get(sample.uid, 0)))

    rate, replicas = fleet.verdicts[-1].rate, fleet.replicas
    for _ in range(24):
        # As a canary gets them: a hundred at once between two scrapes, on one pod.
        counters = fleet.pods[0].counters
        fleet.pods[0].counters = replace(counters, success=counters.success + 100, inferences=counters.inferences + 100)
        probes["pod-1"] += 100
        verdict = fleet.tick(120.0, broken=probed)
        assert (verdict.rate, verdict.replicas) == (pytest.approx(rate, rel=0.01), replicas)
    probes.clear()
    verdicts = fleet.play(120.0, MINUTES, broken=probed)
    assert {verdict.replicas for verdict in verdicts} == {replicas}
    assert verdicts[-1].rate == pytest.approx(rate, rel=0.01)


def test_a_pod_that_answers_golden_requests_alone_is_not_taken_for_a_broken_one():
    idle = PodCounters(0.0, 0.0, Counters(0, 0, 0, 0, 0, 0, 0, 0), None, counted_clock=0.0)
    sample = PodSample("a", 0.0, "r", 5.0, Counters(9, 0, 9, 9, 0, 0, 0, 0, probes=9))
    pod, _ = track(idle, sample, None, clock=40.0)
    assert (pod.rate, pod.counted_clock) == (0.0, 40.0)
    # Another process counts them from zero.
    assert PodCounters.restore(pod.document(40.0), 40.0).counters.probes == 0.0


@pytest.mark.parametrize("step", [300.0, -300.0, 35.0, -35.0])
def test_a_step_of_the_clock_takes_nothing_away_and_adds_nothing(fleet, step):
    before, seen = fleet.replicas, fleet.verdicts[-1].rate
    fleet.clock_error = step
    verdicts = fleet.play(120.0, 5 * MINUTES)
    assert {verdict.replicas for verdict in verdicts} == {before}
    assert all(verdict.rate is None or 0.8 * seen < verdict.rate < 1.2 * seen for verdict in verdicts)


@pytest.mark.parametrize("step", [300.0, -300.0])
def test_samples_from_before_the_clock_stepped_are_not_believed(fleet, step):
    before = fleet.replicas
    verdict = fleet.verdicts[-1]
    for _ in range(3):
        fleet.now += 5.0
        fleet.clock_error = step
        verdict = fleet.tick(120.0, broken=lost)
        assert verdict.replicas >= before
    assert verdict.rate is None


def test_nothing_is_taken_away_while_a_rollout_is_in_progress(fleet):
    before = fleet.replicas
    verdicts = fleet.play(10.0, 20 * MINUTES, rolling=True)
    assert verdicts[-1].replicas == before
    assert verdicts[-1].reason is ScaleReason.ROLLING_OUT


def test_pods_that_are_long_overdue_are_not_followed_by_more(fleet):
    fleet.follow = False
    late = replace(fleet.pods[0].state, uid="late", created_seconds=fleet.now - 3600, ready_seconds=None)
    for _ in range(12):
        pods = (*(pod.state for pod in fleet.pods), late)
        verdict = fleet.tick(900.0, pods=pods)
    assert verdict.wanted > fleet.replicas
    assert verdict.replicas == fleet.replicas
    assert verdict.reason is ScaleReason.PODS_NOT_READY


def test_pods_that_fail_take_no_others_with_them_though_clients_ask_less_of_those_that_are_left(fleet):
    fleet.follow = False
    before = fleet.replicas
    failed = tuple(replace(pod.state, ready_seconds=None) for pod in fleet.pods[1:])
    del fleet.pods[1:]
    verdicts = fleet.play(10.0, 30 * MINUTES, pods=(fleet.pods[0].state, *failed))
    assert min(verdict.replicas for verdict in verdicts) == before
    assert verdicts[-1].reason is ScaleReason.PODS_NOT_READY


def test_a_hold_of_hours_lasts_for_hours(fleet):
    fleet.policy = replace(fleet.policy, stabilization_seconds=3 * 3600.0)
    fleet.play(400.0, 5 * MINUTES)
    high = fleet.replicas
    verdicts = fleet.play(100.0, 170 * MINUTES)
    assert min(verdict.replicas for verdict in verdicts) == high


@pytest.mark.parametrize("ahead", [2.0, 300.0])
def test_what_a_leader_learned_whose_clock_was_ahead_is_not_lost(fleet, ahead):
    memory = Memory.restore(fleet.memory.document(), fleet.now - ahead)
    assert set(memory.fits) == {"one"}


def test_a_pod_that_had_failed_when_we_came_is_not_taken_to_have_counted_everything_since(fleet):
    fleet.memory = replace(fleet.memory, signals=forget_pods(fleet.memory.signals))
    fleet.follow = False
    before = fleet.replicas
    failed = replace(fleet.pods[0].state, ready_seconds=None)
    others = tuple(pod.state for pod in fleet.pods[1:])
    for _ in range(3):
        fleet.tick(120.0, pods=(failed, *others), broken=lambda number, sample: sample if number else None)
    again = replace(failed, ready_seconds=fleet.now + 4.0)
    verdicts = fleet.play(120.0, MINUTES, pods=(again, *others))
    assert {verdict.replicas for verdict in verdicts} == {before}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("ticks", [[0, 5, 1e308], [5, 5, 1e308]]), ("ledger", [[0, "inf", 1]]), ("upOnly", "nan"), ("at", "inf"),
        ("growth", {"standings": [99] * 10}), ("growth", {"steps": ["nan"] * 10}), ("hold", [[0, 10**30]]),
    ],
)  # fmt: skip
def test_an_edited_memory_is_discarded_and_fails_no_decision(fleet, part, value):
    document = fleet.memory.document()
    document[part] = document[part] | value if isinstance(value, dict) else value
    fleet.memory = Memory.restore(document, fleet.now)
    assert fleet.memory == Memory()
    before = fleet.replicas
    assert fleet.tick(120.0).replicas == before


def test_a_rate_after_next_to_none_counts_as_the_largest_growth() -> None:
    growth, bursts, startup = Growth(), Bursts(usual=1.0), startup_of(Readiness((10.0,)), (), 0.0)
    for step, rate in enumerate((0.0, 2.2e-313, 0.0, 1.0, 1.0, 1.0)):
        growth, bursts = update_growth(growth, bursts, rate, STEP_SECONDS, startup, 1.0, step * STEP_SECONDS)
    assert any(bins[-1] > 0 for bins in growth.seen)


def test_a_memory_of_the_first_version_keeps_what_can_be_read_and_begins_the_rest_anew(fleet):
    document = fleet.memory.document()
    fits = {revision: fit[:7] for revision, fit in document["fits"].items()}
    old = {key: value for key, value in document.items() if key not in ("bursts", "headroom")}
    old |= {"version": 1, "margin": 2.197, "season": {}, "fits": fits, "growth": {"usual": 120.0, "seen": []}}
    old["hold"] = {"peaks": document["hold"]["peaks"], "bursts": [30]}
    fleet.memory = Memory.restore(old, fleet.now)
    assert set(fleet.memory.fits) == {"one"}
    assert fleet.memory.readiness.seconds
    before = fleet.replicas
    assert {verdict.replicas for verdict in fleet.play(120.0, 5 * MINUTES)} == {before}
