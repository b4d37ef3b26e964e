"""The pod autoscaler against Knative serving's pkg/autoscaler/scaling/autoscaler_test.go."""

import pytest

from tritonfleet.sim.baselines import Decider, PodAutoscaler


def autoscaler(target=10.0, up=10.0, down=10.0, **options):
    """Make one as `newTestAutoscaler` does: panic threshold 2, stable window 60 s, rates of 10."""
    options = {"max_replicas": 2000} | options
    return PodAutoscaler("kpa", Decider(target, max_scale_up_rate=up, max_scale_down_rate=down, **options))


@pytest.mark.parametrize(
    ("upstream", "target", "stable", "panic", "ready", "wanted"),
    [
        ("AutoscalerNoDataAtZeroNoAutoscale", 10, 0, 0, 1, 0),
        ("AutoscalerStableModeUnlimitedTBC", 181, 21, 26, 1, 1),
        ("Autoscaler0TBC", 10, 50, 49, 1, 5),
        ("AutoscalerStableModeNoChange", 10, 50, 50, 1, 5),
        ("AutoscalerStableModeNoChangeAlreadyScaled", 10, 50, 50, 5, 5),
        ("AutoscalerPanicModeDoublePodCount", 10, 50, 100, 1, 10),
        ("TestAutoscalerStableModeIncreaseWithConcurrencyDefault", 10, 100, 10, 1, 10),
        ("TestAutoscalerStableModeNoTrafficScaleToZero", 10, 1, 0, 1, 1),
        ("TestAutoscalerRateLimitScaleUp, first", 10, 1000, 1001, 1, 10),
        ("TestAutoscalerRateLimitScaleUp, second", 10, 1000, 1001, 10, 100),
        ("TestAutoscalerRateLimitScaleDown, first", 10, 1, 1, 100, 10),
        ("TestAutoscalerRateLimitScaleDown, second", 10, 1, 1, 10, 1),
        ("TestAutoscalerUseOnePodAsMinimumIfEndpointsNotFound", 10, 1000, 888, 0, 10),
    ],
)
def test_one_look_gives_the_pods_of_the_upstream_table(upstream, target, stable, panic, ready, wanted):
    """TestAutoscalerScale and the tests beside it."""
    assert autoscaler(target).scale(0.0, ready, stable, panic) == wanted


def test_a_small_scale_up_rate_still_lets_one_pod_more():
    """TestAutoscalerScale, "AutoscalerStableModeIncreaseWithSmallScaleUpRate"."""
    assert autoscaler(1, up=1.1).scale(0.0, 2, 3, 3.1) == 3


def test_a_small_scale_down_rate_still_lets_some_go():
    """TestAutoscalerScale, "AutoscalerStableModeDecreaseWithSmallScaleDownRate"."""
    assert autoscaler(10, down=1.1).scale(0.0, 100, 1, 1) == 90


@pytest.mark.parametrize(("stable", "panic", "wanted"), [(50, 30, 50), (20, 30, 30)])
def test_in_panic_the_larger_window_decides(stable, panic, wanted):
    """TestAutoscalerScale, "AutoscalerPanicStableLargerThanPanic" and "...LessThanPanic"."""
    scaler = autoscaler(1)
    assert scaler.scale(0.0, 2, 5, 5) == 5
    assert scaler.scale(5.0, 5, stable, panic) == wanted


def test_panic_ends_once_the_surge_has_reached_the_stable_window():
    """TestAutoscalerUnpanicAfterSlowIncrease."""
    scaler = autoscaler(1)
    assert scaler.scale(0.0, 10, 11, 25) == 25
    assert scaler.scale(30.0, 40, 30, 41) == 41
    assert scaler.panicking
    assert scaler.scale(62.0, 55, 50, 56) == 50
    assert not scaler.panicking


def test_a_surge_that_goes_on_prolongs_the_panic():
    """TestAutoscalerExtendPanicWindow."""
    scaler = autoscaler(1)
    assert scaler.scale(0.0, 10, 11, 25) == 25
    assert scaler.scale(30.0, 40, 30, 80) == 80
    assert scaler.scale(89.0, 80, 30, 80) == 80
    assert scaler.panicking


def test_exponential_growth_is_followed_step_by_step():
    """TestAutoscalerPanicModeExponentialTrackAndStabilize."""
    scaler = autoscaler(1)
    ready, seen = 1, []
    for turn, load in enumerate((6, 36, 216, 1296, 1296)):
        ready = scaler.scale(float(turn), ready, load, load)
        seen.append(ready)
    assert seen == [6, 36, 216, 1296, 1296]


def test_nothing_is_taken_away_in_panic():
    """TestAutoscalerPanicThenUnPanicScaleDown."""
    scaler = autoscaler(10)
    assert scaler.scale(0.0, 1, 100, 100) == 10
    assert scaler.scale(0.0, 10, 100, 1000) == 100
    assert scaler.scale(30.0, 10, 1, 1) == 100
    assert scaler.scale(61.0, 10, 1, 1) == 1


def test_a_stable_decrease_is_taken_at_once():
    """TestAutoscalerStableModeDecrease."""
    scaler = autoscaler(10)
    assert scaler.scale(0.0, 8, 100, 100) == 10
    assert scaler.scale(0.0, 8, 50, 50) == 5


def delayed(answers, pods, plan):
    """Play (minutes, seconds, concurrency) against `TestAutoscalerScaleDownDelay`'s decider; no bounds."""
    scaler = autoscaler(10, panic_threshold=100, scale_down_delay_seconds=300.0, min_replicas=0)
    return [
        scaler.desired(60.0 * minutes + seconds, 0, pods(0), answers(in_flight=load)) for minutes, seconds, load in plan
    ]


def test_a_delay_keeps_the_most_of_its_window(answers, pods):
    """TestAutoscalerScaleDownDelay, "simple" and "gradual"."""
    assert delayed(answers, pods, [(0, 2, 40), (5, 0, 0), (5, 2, 0)]) == [4, 4, 0]
    gradual = [(9, 0, 40), (10, 0, 30), (11, 0, 0), (14, 0, 0), (15, 0, 0)]
    assert delayed(answers, pods, gradual) == [4, 4, 4, 3, 0]


def test_without_a_delay_fewer_are_asked_for_at_once(answers, pods):
    """TestAutoscalerScaleDownDelayZero."""
    scaler = autoscaler(10, panic_threshold=100, min_replicas=0)
    assert scaler.desired(0.0, 0, pods(0), answers(in_flight=40)) == 4
    assert scaler.desired(0.5, 0, pods(0), answers(in_flight=20)) == 2


def test_no_data_no_decision(answers, pods):
    """TestAutoscalerNoDataNoAutoscale."""
    assert autoscaler().desired(0.0, 7, pods(7), answers()) == 7


def test_a_restart_with_more_than_one_pod_begins_in_panic_and_keeps_the_scale(answers, pods):
    """TestStartInPanicMode."""
    single, several = autoscaler(), autoscaler()
    assert single.desired(0.0, 1, pods(1), answers(in_flight=1.0)) == 1
    assert not single.panicking
    assert several.desired(0.0, 5, pods(5), answers(in_flight=1.0)) == 5
    assert several.panicking
    assert several.desired(62.0, 5, pods(5), answers(in_flight=1.0)) == 1


def test_the_windows_are_a_minute_and_six_seconds(answers, pods):
    """config-autoscaler: stable-window 60s, panic-window-percentage 10."""
    scaler = PodAutoscaler("kpa", Decider(10.0, max_replicas=50))
    assert scaler.interval_seconds == 2.0
    assert scaler.desired(0.0, 1, pods(1), answers(in_flight={60.0: 30.0, 6.0: 70.0})) == 7


def test_the_bounds_hold(answers, pods):
    scaler = autoscaler(min_replicas=2, max_replicas=4)
    assert scaler.desired(0.0, 1, pods(1), answers(in_flight=1.0)) == 2
    assert scaler.desired(2.0, 3, pods(3), answers(in_flight=900.0)) == 4
