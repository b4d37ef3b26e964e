from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from tritonfleet.plan.autoscale import PodState
from tritonfleet.sim import (
    Blackout,
    CounterReset,
    Distribution,
    Fixed,
    ForeignWrite,
    Metrics,
    NodesFull,
    Plant,
    PodLoss,
    PrometheusDown,
    RateTrace,
    Routing,
    Run,
    Scheduled,
    ServerModel,
    SilentPods,
    Slo,
    Slower,
    SlowStart,
    Unscraped,
    simulate,
)

SLO = Slo(0.75)
SERVER = ServerModel(0.060, 0.015, max_batch_size=16, noise=0.05, queue_timeout_seconds=0.45)
STEADY = RateTrace("steady", 60.0, np.full(10, 80.0), seed=3)
WAVES = RateTrace("waves", 60.0, np.array([50.0, 100, 300, 200, 50, 20] * 2), seed=1)


@dataclass
class Follower:
    """Scales on the arrivals that Prometheus shows."""

    name: str = "follower"
    interval_seconds: float = 5.0

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:  # noqa: ARG002
        rate = metrics.arrival_rate(60.0)
        return replicas if rate is None else max(1, int(np.ceil(rate / 40.0)))


@dataclass
class Watcher:
    """Leaves the replicas alone and notes one thing at every turn."""

    note: Callable[[float, tuple[PodState, ...], Metrics], object]
    name: str = "watcher"
    interval_seconds: float = 5.0
    seen: dict[float, object] = field(default_factory=dict)

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:
        self.seen[now] = self.note(now, pods, metrics)
        return replicas


def watch(note: Callable[[float, tuple[PodState, ...], Metrics], object], *faults, trace=STEADY, pods=4, **plant):
    watcher = Watcher(note)
    run = simulate(trace, watcher, SERVER, Plant(initial_replicas=pods, **plant), slo=SLO, faults=faults)
    return watcher.seen, run


def same(first: Run, second: Run) -> bool:
    return (
        first.changes == second.changes
        and (first.good, first.rejected, first.gpu_hours) == (second.good, second.rejected, second.gpu_hours)
        and np.array_equal(first.sample.latency_seconds, second.sample.latency_seconds, equal_nan=True)
    )


def test_a_run_does_not_depend_on_how_its_arrivals_are_fetched():
    runs = [
        simulate(WAVES, Follower(), SERVER, Plant(), slo=SLO, record=True, chunk_seconds=chunk)
        for chunk in (60.0, 7.0, 1.3)
    ]

    assert same(runs[0], runs[1])
    assert same(runs[0], runs[2])


def test_a_seed_gives_the_same_run_again_and_another_seed_another_run():
    runs = [simulate(WAVES, Follower(), SERVER, Plant(), slo=SLO, seed=seed, record=True) for seed in (4, 4, 5)]

    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_every_request_is_good_or_late_or_refused_or_lost():
    run = simulate(WAVES, Follower(), SERVER, Plant(), slo=SLO, faults=[PodLoss(150.0)], record=True)
    answered = int(np.sum(~np.isnan(run.sample.latency_seconds)))

    assert run.requests == answered + run.rejected + run.lost
    assert run.good == int(np.sum(run.sample.latency_seconds <= SLO.latency_seconds))
    assert run.minutes.arrivals.sum() == run.requests
    assert run.minutes.good.sum() == run.good


def test_starting_pods_are_billed_and_serve_only_when_ready():
    plant = Plant(ready=Distribution.always(90.0), drain_seconds=0.0)
    run = simulate(STEADY, Scheduled("step", [(0.0, 1), (120.0, 2)]), SERVER, plant, slo=SLO)

    assert run.minutes.wanted.tolist() == [1, 1, 2, 2, 2, 2, 2, 2, 2, 2]
    assert run.minutes.ready.tolist() == [1, 1, 1, 1.5, 2, 2, 2, 2, 2, 2]
    assert run.gpu_hours == pytest.approx((120 + 2 * 480) / 3600)


def test_a_deleted_pod_is_billed_until_it_is_empty_and_loses_nothing():
    plant = Plant(initial_replicas=2, drain_seconds=20.0)
    run = simulate(STEADY, Scheduled("down", [(0.0, 2), (300.0, 1)]), SERVER, plant, slo=SLO)

    assert run.lost == 0
    assert run.gpu_hours == pytest.approx((2 * 320 + 280) / 3600)


def test_a_pod_that_does_not_empty_in_time_is_killed_with_what_it_holds():
    slow = ServerModel(50.0, 0.0)
    plant = Plant(initial_replicas=2, grace_seconds=15.0, routing=Routing.ROUND_ROBIN)
    run = simulate(STEADY, Scheduled("down", [(0.0, 2), (300.0, 1)]), slow, plant, slo=SLO)

    assert run.lost > 0


def test_pods_beyond_what_the_nodes_hold_wait_unscheduled_and_unbilled():
    shown: list[list[bool]] = []

    class Greedy(Fixed):
        def desired(self, now, replicas, pods, metrics):
            shown.append([pod.schedulable for pod in pods])
            return super().desired(now, replicas, pods, metrics)

    run = simulate(STEADY, Greedy(5), SERVER, Plant(schedulable=2), slo=SLO)

    assert shown[0] == [True]
    assert shown[1] == [True, True, False, False, False]
    assert run.minutes.ready.max() == pytest.approx(2)
    assert run.minutes.billed.max() == pytest.approx(2)


def test_full_nodes_take_the_waiting_pods_once_there_is_room():
    plant = Plant(ready=Distribution.always(30.0))
    run = simulate(STEADY, Fixed(3), SERVER, plant, slo=SLO, faults=[NodesFull(0.0, 300.0, 1)])

    assert run.minutes.ready[:5].max() == 1
    assert run.minutes.ready[6] == 3


def test_a_lost_pod_is_replaced():
    plant = Plant(initial_replicas=3, ready=Distribution.always(60.0))
    run = simulate(STEADY, Fixed(3), SERVER, plant, slo=SLO, faults=[PodLoss(180.0)])

    assert run.lost > 0
    assert run.minutes.ready[[2, 3, 5]].tolist() == [3, 2, 3]


def test_a_foreign_write_holds_until_the_scaler_decides_otherwise():
    run = simulate(STEADY, Fixed(1), SERVER, Plant(), slo=SLO, faults=[ForeignWrite(190.0, 4)])

    assert run.minutes.wanted[3] == pytest.approx((10 + 50 * 4) / 60)
    assert run.minutes.wanted[4] == 1


def test_a_slow_start_stretches_the_time_to_ready():
    plant = Plant(ready=Distribution.always(60.0), initial_replicas=0, min_replicas=0)
    run = simulate(STEADY, Fixed(1), SERVER, plant, slo=SLO, faults=[SlowStart(0.0, factor=3.0)])

    assert run.minutes.ready.tolist()[:6] == [0, 0, 0, 0, 1, 1]
    assert run.rejected >= run.minutes.arrivals[:4].sum()


def test_a_slower_model_takes_its_time_as_long_as_the_fault_lasts():
    compute: dict[float, float] = {}

    def note(now: float, _: object, metrics: Metrics) -> None:
        compute[now] = sum(sample.counters.compute_us for sample in metrics.samples())

    light = RateTrace("light", 60.0, np.full(10, 4.0), seed=3)
    watch(note, Slower(200.0, 400.0, 1.6), trace=light)
    before, during, after = (compute[end] - compute[end - 150.0] for end in (200.0, 390.0, 595.0))

    assert during / before == pytest.approx(1.6, rel=0.1)
    assert after / before == pytest.approx(1.0, rel=0.1)


def test_samples_are_as_old_as_the_interval_and_the_lag_make_them():
    seen, _ = watch(lambda now, _, metrics: [now - sample.at_seconds for sample in metrics.samples()], lag_seconds=1.0)
    ages = [age for time, found in seen.items() if time > 20 for age in found]

    assert len(ages) == 4 * sum(time > 20 for time in seen)
    assert 3.0 < min(ages) <= max(ages) <= 4.0


def test_lost_scrapes_leave_older_samples():
    seen, _ = watch(lambda now, _, metrics: [now - one.at_seconds for one in metrics.samples()], loss=0.5)
    ages = [age for time, found in seen.items() if time > 60 for age in found]

    assert np.mean(np.array(ages) > 5.0) == pytest.approx(0.5, abs=0.1)


def test_prometheus_sees_the_arrivals_of_the_fleet_and_not_only_its_answers():
    flood = RateTrace("flood", 60.0, np.full(10, 150.0), seed=2)
    seen, _ = watch(
        lambda _, __, metrics: (metrics.arrival_rate(60.0), metrics.success_rate(60.0)), trace=flood, pods=2
    )
    arrivals, successes = seen[300.0]

    assert arrivals == pytest.approx(150.0, rel=0.1)
    assert successes < 0.85 * arrivals


def test_what_the_gateway_saw_is_the_percentile_of_the_requests():
    seen, run = watch(lambda _, __, metrics: metrics.latency(99.0, 120.0))

    assert seen[595.0] == pytest.approx(np.median(run.minutes.percentile_seconds), rel=0.1)


def test_concurrency_follows_from_the_rate_and_the_latency():
    watcher = Watcher(lambda _, __, metrics: metrics.concurrency(60.0))
    run = simulate(STEADY, watcher, SERVER, Plant(initial_replicas=4), slo=SLO, record=True)
    held = 80.0 * float(np.nanmean(run.sample.latency_seconds))

    assert np.mean([value for value in watcher.seen.values() if value is not None]) == pytest.approx(held, rel=0.05)


def test_utilization_is_the_share_of_time_with_an_execution_in_progress():
    trace = RateTrace("light", 60.0, np.full(10, 4.0), seed=3)
    seen, _ = watch(lambda _, __, metrics: metrics.per_pod("utilization", 300.0), trace=trace, pods=1)

    assert seen[595.0] == {"pod-0": pytest.approx(4 * 0.075, rel=0.15)}


def test_in_a_blackout_nothing_can_be_measured_and_samples_grow_old():
    def note(now: float, _: object, metrics: Metrics) -> tuple[object, ...]:
        oldest = max((now - sample.at_seconds for sample in metrics.samples()), default=0.0)
        return metrics.arrival_rate(60.0), metrics.concurrency(6.0), metrics.latency(99.0, 60.0), oldest

    seen, _ = watch(note, Blackout(200.0, 400.0))

    assert None not in seen[195.0]
    assert seen[390.0][:3] == (None, None, None)
    assert seen[390.0][3] > 185.0
    assert None not in seen[500.0]


def test_without_prometheus_pods_can_still_be_read():
    seen, _ = watch(
        lambda now, _, metrics: (metrics.arrival_rate(60.0), [now - one.at_seconds for one in metrics.samples()]),
        PrometheusDown(200.0, 400.0),
    )

    assert seen[390.0][0] is None
    assert max(seen[390.0][1]) < 6.0


def test_half_the_pods_can_go_unread():
    seen, _ = watch(
        lambda now, _, metrics: sum(now - one.at_seconds < 10 for one in metrics.samples()), Unscraped(200.0, 400.0)
    )

    assert [seen[time] for time in (195.0, 390.0, 450.0)] == [4, 2, 4]


def test_a_silent_pod_answers_with_zeros_and_serves_on():
    seen, run = watch(lambda _, __, metrics: [one.counters.success for one in metrics.samples()], SilentPods(0.0))

    assert seen[595.0][0] == 0.0
    assert min(seen[595.0][1:]) > 0.0
    assert run.attainment == 1.0


def test_reset_counters_begin_again_under_the_same_identity():
    seen, _ = watch(
        lambda _, __, metrics: [(one.uid, one.started_seconds, one.counters.success) for one in metrics.samples()],
        CounterReset(302.0),
    )
    (uid, started, before), (same_uid, same_start, after) = seen[300.0][0], seen[310.0][0]

    assert (uid, started) == (same_uid, same_start)
    assert 0 < after < before / 10


def test_flips_and_minutes_over_the_slo_are_counted():
    steps = [(0.0, 4), (120.0, 1), (300.0, 4), (420.0, 6), (540.0, 4)]
    run = simulate(STEADY, Scheduled("up and down", steps), SERVER, Plant(initial_replicas=4), slo=SLO)
    bad = set(np.flatnonzero(run.minutes.good < 0.99 * run.minutes.arrivals).tolist())

    assert (run.scale_events, run.direction_flips) == (4, 2)
    assert run.minutes_over_slo == len(bad) > 0
    assert set(run.worst_minutes(len(bad))) == bad
