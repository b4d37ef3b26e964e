"""The controller's loop: Kubernetes' pkg/controller/podautoscaler/horizontal.go, `reconcileAutoscaler`."""

import pytest

from tritonfleet.sim.baselines import ExternalMetric, HorizontalPodAutoscaler, PodsMetric


def hpa(*metrics, least=2, most=6, **options):
    return HorizontalPodAutoscaler("hpa", metrics, min_replicas=least, max_replicas=most, **options)


def broken(metrics):
    return None


def rate(metrics):
    return metrics.arrival_rate(60.0)


def test_it_looks_every_fifteen_seconds():
    assert hpa().interval_seconds == 15.0


def test_the_metric_that_wants_most_decides(answers, pods):
    scaler = hpa(PodsMetric("arrivals", 20.0), ExternalMetric(lambda _: 50.0, 10.0))
    assert scaler.desired(0.0, 3, pods(3), answers(pods={"pod-0": 20, "pod-1": 20, "pod-2": 20})) == 5


def test_one_broken_metric_does_not_keep_the_others_from_growing(answers, pods):
    """TestScaleUpOneMetricEmpty: levels 300, 400 and 500 for a target of 300."""
    scaler = hpa(ExternalMetric(broken, 100.0), PodsMetric("arrivals", 300.0))
    assert scaler.desired(0.0, 3, pods(3), answers(pods={"pod-0": 300, "pod-1": 400, "pod-2": 500})) == 4


def test_one_broken_metric_keeps_everything_from_shrinking(answers, pods):
    """TestNoScaleDownOneMetricEmpty: levels 100 to 500 for a target of 500."""
    scaler = hpa(ExternalMetric(broken, 1000.0), PodsMetric("arrivals", 500.0))
    levels = {f"pod-{number}": level for number, level in enumerate((100, 300, 500, 250, 250))}
    for now in range(0, 1200, 15):
        assert scaler.desired(float(now), 5, pods(5), answers(pods=levels)) == 5


def test_without_any_metric_the_replicas_stay(answers, pods):
    scaler = hpa(ExternalMetric(rate, 10.0))
    assert [scaler.desired(now, 5, pods(5), answers()) for now in (0.0, 400.0, 800.0)] == [5, 5, 5]


def test_fewer_are_asked_for_only_after_five_minutes_of_agreement(answers, pods):
    scaler = hpa(ExternalMetric(rate, 10.0))
    seen = [scaler.desired(float(now), 5, pods(5), answers(rate=30.0)) for now in range(0, 330, 15)]
    assert seen[:20] == [5] * 20
    assert seen[-1] == 3


@pytest.mark.parametrize(("replicas", "wanted"), [(9, 6), (1, 2), (0, 0)])
def test_replicas_out_of_bounds_are_mended_before_any_metric_is_read(pods, replicas, wanted):
    """A scale of zero means that somebody switched the workload off."""

    def unread(metrics):
        raise AssertionError

    assert hpa(ExternalMetric(unread, 1.0)).desired(0.0, replicas, pods(replicas), None) == wanted


def test_a_value_target_is_judged_by_ready_pods_and_an_average_by_all(answers, pods):
    by_value = hpa(ExternalMetric(rate, 10.0, average=False), most=40)
    by_average = hpa(ExternalMetric(rate, 10.0), most=40)
    assert by_value.desired(0.0, 4, pods(2, starting=2), answers(rate=40.0)) == 8
    assert by_average.desired(0.0, 4, pods(2, starting=2), answers(rate=40.0)) == 4


def test_the_documented_example_doubles_and_halves(answers, pods):
    """kubernetes.io, "Algorithm details": 200m for a target of 100m doubles, 50m halves."""
    assert (
        hpa(PodsMetric("arrivals", 100.0), most=40).desired(
            0.0, 3, pods(3), answers(pods=dict.fromkeys(("pod-0", "pod-1", "pod-2"), 200.0))
        )
        == 6
    )
    halving = hpa(PodsMetric("arrivals", 100.0), least=1)
    quiet = answers(pods=dict.fromkeys((f"pod-{number}" for number in range(4)), 50.0))
    assert [halving.desired(now, 4, pods(4), quiet) for now in (0.0, 301.0)] == [4, 2]
