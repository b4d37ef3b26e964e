"""The plan follows the law of scaling: who owns the number of pods, and what is done without a verdict."""

from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.plan.verdicts import SCALED, SLO, says
from tritonfleet.api import names
from tritonfleet.plan.world import ChildId


def test_before_the_first_verdict_a_new_model_gets_the_fewest_pods(world):
    world.edit(**SCALED)
    world.settle()
    assert world.replicas() == [2]


def test_after_a_restart_the_replicas_stay_until_there_is_a_verdict(world):
    world.edit(**SCALED)
    world.scaling = says(7)
    world.settle()
    before = world.status
    world.scaling = None
    world.wait(minutes=5)
    assert [plan.applies for plan in world.settle()] == [()]
    assert (world.replicas(), world.status) == ([7], before)


def test_a_deleted_deployment_comes_back_with_the_replicas_of_the_last_decision(world):
    world.edit(**SCALED)
    world.scaling = says(7)
    world.settle()
    world.scaling = None
    (revision,) = world.revisions()
    del world.children[ChildId("Deployment", names.revision_name("m", revision))]
    world.settle()
    assert world.replicas() == [7]


def test_a_suspended_model_has_no_pods_and_resumes_with_the_last_decision(world):
    world.edit(**SCALED)
    world.scaling = says(5)
    world.settle()
    world.edit(suspend=True)
    world.settle()
    assert world.replicas() == [0]
    assert world.condition("ScalingActive")[:2] == ("False", "Suspended")
    assert world.condition("SLOMet")[:2] == ("Unknown", "Suspended")
    world.scaling = None
    world.edit(suspend=False)
    world.settle()
    assert world.replicas() == [5]


def test_limits_that_change_bind_at_once_even_without_a_new_verdict(world):
    world.edit(**SCALED)
    world.scaling = says(8)
    world.settle()
    world.edit(autoscaling={"minReplicas": 1, "maxReplicas": 3})
    world.settle()
    assert (world.replicas(), world.status["autoscaling"]["desiredReplicas"]) == ([3], 3)
    world.edit(autoscaling={"minReplicas": 9, "maxReplicas": 12})
    world.settle()
    assert world.replicas() == [9]


def test_a_schedule_binds_while_it_lasts(world):
    sale = {"name": "sale", "from": "13:00", "to": "14:00", "minReplicas": 6}
    world.edit(slo=SLO, autoscaling={"maxReplicas": 10, "schedules": [sale]})
    world.scaling = says(2)
    world.settle()
    assert world.replicas() == [2]
    world.wait(minutes=90)
    world.settle()
    assert (world.replicas(), world.status["autoscaling"]["minReplicas"]) == ([6], 6)
    world.wait(minutes=60)
    world.settle()
    assert world.replicas() == [2]


def test_a_time_zone_that_does_not_exist_stalls_the_object_and_moves_nothing(world):
    world.edit(**SCALED)
    world.scaling = says(5)
    world.settle()
    nowhere = {"name": "x", "timeZone": "Mars/Base", "from": "13:00", "to": "14:00", "minReplicas": 6}
    world.edit(autoscaling={"maxReplicas": 3, "schedules": [nowhere]})
    world.settle()
    assert world.replicas() == [5]
    status, reason, message = world.condition("ConfigValid")
    assert (status, reason) == ("False", "ConfigInvalid")
    assert "spec.autoscaling.schedules[0].timeZone: 'Mars/Base' is not a time zone" in message
    assert world.condition("Stalled")[:2] == ("True", "ConfigInvalid")


def test_a_new_revision_gets_as_many_pods_as_the_old_one(world):
    world.edit(**SCALED)
    world.scaling = says(5)
    world.settle()
    world.make_ready(world.revisions()[0])
    world.settle()
    world.edit(model={"uri": "s3://models/m/2", "backend": "onnxruntime"})
    world.settle()
    assert world.replicas() == [5, 5]
    world.scaling = says(6)
    world.settle()
    assert world.replicas() == [6, 6]


def test_an_advisory_decision_is_reported_and_not_applied(world):
    world.edit(slo=SLO, replicas=3, autoscaling={"maxReplicas": 10, "advisory": True})
    world.scaling = says(7)
    world.settle()
    assert (world.replicas(), world.status["autoscaling"]["desiredReplicas"]) == ([3], 7)
    assert world.condition("ScalingActive")[2].endswith("(advisory: `replicas` applies)")
    world.wait(minutes=2)
    world.scaling = says(8)
    world.settle()
    assert world.status["autoscaling"]["history"][0]["to"] == 8
    assert not [line for line in world.events if "Scaled" in line]


def test_without_autoscaling_the_slo_is_watched_and_replicas_decides(world):
    world.edit(slo=SLO, replicas=2)
    world.scaling = says(9)
    world.settle()
    assert world.replicas() == [2]
    assert world.condition("SLOMet")[:2] == ("True", "Met")
    assert world.condition("ScalingActive")[:2] == ("False", "NotAutoscaled")


def test_what_is_promised_without_pods_cannot_be_measured(world):
    world.edit(slo=SLO, replicas=0)
    world.settle()
    assert world.condition("SLOMet") == ("Unknown", "Suspended", "no pods run: replicas is 0")


def test_without_an_slo_there_is_no_status_of_scaling(world):
    world.settle()
    assert world.condition("SLOMet") == ("Unknown", "NoSLO", "`slo` is not set")
    assert "autoscaling" not in world.status


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    verdicts=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    lowest=st.integers(1, 9),
    more=st.integers(0, 20),
    foreign=st.integers(0, 50),
)
def test_the_number_of_pods_is_absolute_within_limits_and_settles(new_world, verdicts, lowest, more, foreign):
    world = new_world()
    world.edit(slo=SLO, autoscaling={"minReplicas": lowest, "maxReplicas": lowest + more})
    world.settle()
    for replicas in verdicts:
        name = names.revision_name("m", world.revisions()[0])
        world.children[ChildId("Deployment", name)]["spec"]["replicas"] = foreign
        world.scaling = says(replicas)
        world.now += timedelta(seconds=5)
        world.settle()
        assert world.replicas() == [min(lowest + more, max(lowest, replicas))]
        rest = world.plan()
        assert (rest.applies, rest.deletes, rest.events, rest.status) == ((), (), (), world.status)
