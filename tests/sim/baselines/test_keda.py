"""KEDA against its pkg/scalers/prometheus_scaler_test.go and pkg/fallback/fallback_test.go."""

import math

import pytest

from tritonfleet.sim.baselines import Fallback, FallbackBehavior, ScaledObject


def scaled_object(threshold=10.0, **options):
    return ScaledObject(
        "keda", lambda metrics: metrics.arrival_rate(60.0), threshold, min_replicas=1, max_replicas=20, **options
    )


def settled(scaler, replicas, pods, answers):
    """Ask long enough for every window to have passed."""
    return [scaler.desired(now, replicas, pods(replicas), answers) for now in (0.0, 15.0, 30.0, 400.0, 800.0)][-1]


@pytest.mark.parametrize("value", [None, math.inf, -math.inf, math.nan])
def test_what_is_no_number_is_zero_and_takes_the_fleet_down(answers, pods, value):
    """TestPrometheusScalerExecutePromQuery, "no values", "+Inf", "-Inf" with ignoreNullValues."""
    assert settled(scaled_object(), 8, pods, answers(rate=value)) == 1


@pytest.mark.parametrize("value", [None, math.inf, -math.inf, math.nan])
def test_what_is_no_number_is_an_error_where_it_is_not_ignored(answers, pods, value):
    """TestPrometheusScalerExecutePromQuery, "... but shouldn't ignore": the HPA does nothing then."""
    assert settled(scaled_object(ignore_null_values=False), 8, pods, answers(rate=value)) == 8


def test_a_value_goes_to_the_autoscaler_as_an_average(answers, pods):
    """prometheus.md: threshold 100 and a query result of 500 make five replicas."""
    assert settled(scaled_object(100.0), 3, pods, answers(rate=500.0)) == 5


def test_the_fallback_counts_failures_and_starts_beyond_the_threshold(answers, pods):
    """fallback_test.go, "should bump the number of failures" and "... beyond threshold": 3 failures, 10 replicas."""
    scaler = scaled_object(ignore_null_values=False, fallback=Fallback(3, 10))
    seen = [scaler.desired(15.0 * turn, 6, pods(6), answers()) for turn in range(4)]
    assert seen == [6, 6, 6, 10]


def test_one_good_answer_forgets_the_failures(answers, pods):
    """fallback_test.go, "should reset the health status when scaler metrics are available"."""
    scaler = scaled_object(ignore_null_values=False, fallback=Fallback(3, 10))
    rates = [None, None, None, 60.0, None, None, None]
    assert [scaler.desired(15.0 * turn, 6, pods(6), answers(rate=rate)) for turn, rate in enumerate(rates)] == [6] * 7


@pytest.mark.parametrize(
    ("behavior", "current", "stand_in"),
    [
        (FallbackBehavior.STATIC, 15, 10),
        (FallbackBehavior.CURRENT_REPLICAS, 15, 15),
        (FallbackBehavior.CURRENT_REPLICAS_IF_HIGHER, 15, 15),
        (FallbackBehavior.CURRENT_REPLICAS_IF_HIGHER, 5, 10),
        (FallbackBehavior.CURRENT_REPLICAS_IF_LOWER, 15, 10),
        (FallbackBehavior.CURRENT_REPLICAS_IF_LOWER, 5, 5),
    ],
)
def test_each_fallback_behavior_stands_in_with_its_own_number(behavior, current, stand_in):
    """fallback.go, `doFallback`."""
    assert Fallback(3, 10, behavior).stand_in(current) == stand_in


def test_a_static_fallback_may_lower_the_replicas(answers, pods):
    scaler = scaled_object(ignore_null_values=False, fallback=Fallback(0, 2))
    assert settled(scaler, 8, pods, answers()) == 2
