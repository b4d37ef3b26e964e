"""The replica calculator against the tables of Kubernetes' pkg/controller/podautoscaler/replica_calculator_test.go."""

import pytest

from tritonfleet.sim.baselines import NoMetric, replicas_from_average, replicas_from_pods, replicas_from_value


def by_pod(*levels):
    return {f"pod-{number}": level for number, level in enumerate(levels)}


@pytest.mark.parametrize(
    ("upstream", "current", "levels", "target", "wanted"),
    [
        ("TestReplicaCalcScaleUpCM", 3, (20, 10, 30), 15, 4),
        ("TestReplicaCalcScaleDownCM", 5, (12, 12, 12, 12, 12), 20, 3),
        ("TestReplicaCalcToleranceCM", 3, (20, 21, 21), 20, 3),
        ("TestReplicaCalcMissingMetrics", 4, (0.400, 0.095), 1.0, 3),
        ("TestPlainMetricReplicaCalcMissingMetricsNoChangeEq", 5, (20, 19, 21), 20, 5),
        ("TestReplicaCalcMissingMetricsNoChangeEq", 2, (1.0,), 1.0, 2),
        ("TestReplicaCalcMissingMetricsNoChangeGt", 2, (1.9,), 1.0, 2),
        ("TestReplicaCalcMissingMetricsNoChangeLt", 2, (0.6,), 1.0, 2),
    ],
)
def test_a_pods_metric_gives_the_replicas_of_the_upstream_table(pods, upstream, current, levels, target, wanted):
    assert replicas_from_pods(current, target, by_pod(*levels), pods(current)) == wanted


@pytest.mark.parametrize(
    ("upstream", "ready", "levels", "wanted"),
    [
        ("TestReplicaCalcScaleUpCMUnreadyHotCpuNoLessScale", 2, (50, 10, 30), 6),
        ("TestReplicaCalcScaleUpCMUnreadyHotCpuScaleWouldScaleDown", 1, (50, 15, 30), 7),
    ],
)
def test_running_pods_that_are_not_ready_count_with_what_they_report(pods, upstream, ready, levels, wanted):
    assert replicas_from_pods(3, 15, by_pod(*levels), pods(ready, starting=3 - ready)) == wanted


def test_a_surge_pod_without_a_metric_never_turns_down_into_up(pods):
    """TestReplicaCalcDuringRollingUpdateWithMaxSurgeCM: two replicas, three pods."""
    assert replicas_from_pods(2, 17, by_pod(10, 10), pods(3)) == 2


def test_unscheduled_pods_are_ignored_for_scale_in(pods):
    """TestReplicaCalcScaleDown, "scale down: exclude unscheduled pods"."""
    assert replicas_from_pods(5, 0.5, by_pod(0.1), pods(1, unscheduled=4)) == 1


def test_unscheduled_pods_count_as_idle_for_scale_out(pods):
    assert replicas_from_pods(3, 10, by_pod(30), pods(1, unscheduled=2)) == 3
    assert replicas_from_pods(3, 10, by_pod(45), pods(1, unscheduled=2)) == 5


def test_starting_pods_without_a_metric_count_as_idle_for_scale_out(pods):
    assert replicas_from_pods(2, 10, by_pod(30), pods(1, starting=1)) == 3


def test_without_a_metric_of_any_running_pod_there_is_no_proposal(pods):
    """TestReplicaCalcEmptyMetrics, and TestReplicaCalcDisjointResourcesMetrics for pods of the past."""
    with pytest.raises(NoMetric):
        replicas_from_pods(4, 1.0, {}, pods(4))
    with pytest.raises(NoMetric):
        replicas_from_pods(1, 1.0, {"an-older-pod": 1.0}, pods(1))


@pytest.mark.parametrize(
    ("upstream", "current", "value", "target", "ready", "wanted"),
    [
        ("TestReplicaCalcScaleUpCMObject", 3, 20.0, 15.0, 3, 4),
        ("TestReplicaCalcScaleUpCMObjectIgnoresUnreadyPods", 3, 50.0, 10.0, 1, 5),
        ("TestReplicaCalcScaleUpCMExternalIgnoresUnreadyPods", 3, 8.6, 4.4, 1, 2),
        ("TestReplicaCalcScaleDownCMObject", 5, 12.0, 20.0, 5, 3),
        ("TestReplicaCalcScaleDownCMExternal", 5, 8.6, 14.334, 5, 3),
        ("TestReplicaCalcToleranceCMObject", 3, 20.666, 20.0, 3, 3),
        ("TestReplicaCalcToleranceCMExternal", 3, 8.6, 8.888, 3, 3),
    ],
)
def test_a_value_target_gives_the_replicas_of_the_upstream_table(upstream, current, value, target, ready, wanted):
    assert replicas_from_value(current, value, target, ready) == wanted


@pytest.mark.parametrize(
    ("upstream", "existing", "value", "target", "wanted"),
    [
        ("TestReplicaCalcScaleUpCMPerPodObject", 3, 20.0, 5.0, 4),
        ("TestReplicaCalcScaleUpPerPodCMExternal", 3, 8.6, 2.15, 4),
        ("TestReplicaCalcScaleDownPerPodCMObject", 5, 6.0, 2.0, 3),
        ("TestReplicaCalcScaleDownPerPodCMExternal", 5, 8.6, 2.867, 3),
        ("TestReplicaCalcTolerancePerPodCMObject", 4, 20.166, 5.0, 4),
        ("TestReplicaCalcTolerancePerPodCMExternal", 3, 8.6, 2.9, 3),
    ],
)
def test_an_average_target_gives_the_replicas_of_the_upstream_table(upstream, existing, value, target, wanted):
    assert replicas_from_average(existing, value, target) == wanted


@pytest.mark.parametrize(
    ("upstream", "function", "arguments", "wanted"),
    [
        ("TestReplicaCalcConfigurableToleranceCMObject", replicas_from_value, (3, 20.666, 20.0, 3), 4),
        ("TestReplicaCalcConfigurableTolerancePerPodCMObject", replicas_from_average, (4, 20.208, 5.0), 5),
        ("TestReplicaCalcConfigurableToleranceCMExternal", replicas_from_value, (3, 8.9, 8.8, 3), 4),
        ("TestReplicaCalcConfigurableTolerancePerPodCMExternal", replicas_from_average, (3, 8.6, 2.8), 4),
    ],
)
def test_a_tolerance_of_one_percent_lets_small_changes_through(upstream, function, arguments, wanted):
    assert function(*arguments, tolerance=0.01) == wanted
