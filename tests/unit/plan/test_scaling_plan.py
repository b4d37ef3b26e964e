"""The plan follows the law of scaling: who owns the number of pods, what is done without a verdict, what is told."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.plan.verdicts import MET, VERDICT
from tritonfleet.api import names
from tritonfleet.plan.autoscale.memory import Memory
from tritonfleet.plan.autoscale.verdict import ScaleReason
from tritonfleet.plan.world import ChildId

SLO = {"latency": {"target": "50ms"}}
SCALED = {"slo": SLO, "autoscaling": {"minReplicas": 2, "maxReplicas": 10}}


def says(replicas, reason=ScaleReason.DEMAND, **changes):
    return replace(VERDICT, replicas=replicas, wanted=replicas, reason=reason, **changes)


def test_before_the_first_verdict_a_new_model_gets_the_fewest_pods(world):
    world.edit(**SCALED)
    world.settle()
    assert world.replicas() == [2]


def test_the_verdict_is_carried_out_and_told_in_full(world):
    world.edit(**SCALED)
    world.settle()
    world.scaling = says(2)
    world.settle()
    world.wait(minutes=2)
    world.scaling = VERDICT
    world.settle()
    assert world.replicas() == [4]
    told = {name: value for name, value in world.status["autoscaling"].items() if name not in ("memory", "history")}
    assert told == {
        "at": "2026-01-01T12:02:00Z",
        "desiredReplicas": 4,
        "wantedReplicas": 4,
        "minReplicas": 2,
        "maxReplicas": 10,
        "observedRate": 118.0,
        "capacityPerReplica": 32.4,
        "p99": "41.2ms",
        "p99Source": "Triton",
        "sloAttainment": 0.9953,
        "readySeconds": 62.0,
        "metricsAge": "4s",
        "reason": "Demand",
        "message": VERDICT.message,
        "lastScaleTime": "2026-01-01T12:02:00Z",
    }
    assert world.status["autoscaling"]["memory"] == Memory().document()
    assert world.status["autoscaling"]["history"] == [
        {"at": "2026-01-01T12:02:00Z", "from": 2, "to": 4, "reason": "Demand", "message": VERDICT.message}
    ]
    assert world.events[-1] == f"Normal ScaledUp: from 2 to 4 (Demand): {VERDICT.message}"
    assert world.condition("ScalingActive") == ("True", "Demand", VERDICT.message)
    assert world.condition("SLOMet") == (
        "True",
        "Met",
        "p99 41.2ms, target 50ms (Triton); 99.53 % of the requests within the target over 300 s",
    )


@pytest.mark.parametrize("percentile", [50, 90, 95, 99, 99.9])
def test_the_latency_is_told_under_the_name_of_its_percentile(world, percentile):
    world.edit(slo={"latency": {"percentile": percentile, "target": "50ms"}}, autoscaling={"maxReplicas": 10})
    world.scaling = VERDICT
    world.settle()
    field = f"p{percentile}".replace(".", "")
    assert world.status["autoscaling"][field] == "41.2ms"
    assert world.condition("SLOMet")[2].startswith(f"p{percentile} 41.2ms, target 50ms (Triton)")


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
    world.edit(suspended=True)
    world.settle()
    assert world.replicas() == [0]
    assert world.condition("ScalingActive")[:2] == ("False", "Suspended")
    assert world.condition("SLOMet")[:2] == ("Unknown", "Suspended")
    world.scaling = None
    world.edit(suspended=False)
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
    assert "spec.autoscaling.schedules[0].timeZone: 'Mars/Base' is no time zone" in message
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


def test_advice_is_told_and_moves_nothing(world):
    world.edit(slo=SLO, replicas=3, autoscaling={"maxReplicas": 10, "advisory": True})
    world.scaling = says(7)
    world.settle()
    assert (world.replicas(), world.status["autoscaling"]["desiredReplicas"]) == ([3], 7)
    assert world.condition("ScalingActive")[2].endswith("(advice only: `replicas` decides)")
    world.wait(minutes=2)
    world.scaling = says(8)
    world.settle()
    assert world.status["autoscaling"]["history"][0]["to"] == 8
    assert not [line for line in world.events if "Scaled" in line]


def test_another_scaler_has_its_way_through_replicas(world):
    world.edit(slo=SLO, replicas=3, autoscaling={"mode": "External"})
    world.scaling = says(9)
    world.settle()
    assert world.replicas() == [3]
    assert world.condition("ScalingActive") == (
        "Unknown",
        "ExternalScaler",
        "`replicas` is left to another scaler, and none is seen",
    )
    world.scalers = [scaler("ModelDeployment", "m")]
    world.settle()
    assert world.condition("ScalingActive")[2] == "HorizontalPodAutoscaler 'hpa' writes `replicas`"
    assert world.condition("SLOMet")[:2] == ("True", "Met")
    assert "desiredReplicas" not in world.status["autoscaling"]


def test_without_autoscaling_the_slo_is_watched_and_replicas_decides(world):
    world.edit(slo=SLO, replicas=2)
    world.scaling = says(9)
    world.settle()
    assert world.replicas() == [2]
    assert world.condition("SLOMet")[:2] == ("True", "Met")
    assert world.condition("ScalingActive")[:2] == ("False", "NotAutoscaled")


def test_without_an_slo_nothing_is_promised_and_nothing_told(world):
    world.settle()
    assert world.condition("SLOMet") == ("Unknown", "NoSLO", "`slo` is not set")
    assert "autoscaling" not in world.status


def test_what_is_told_goes_with_the_slo(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.settle()
    world.spec = {"model": world.spec["model"], "replicas": 4}
    world.generation += 1
    world.settle()
    assert "autoscaling" not in world.status


@pytest.mark.parametrize("reason", [ScaleReason.METRICS_STALE, ScaleReason.SERIES_MISSING])
def test_a_blind_autoscaler_is_not_active_and_the_slo_unknown(world, reason):
    blind = replace(MET, met=None, reason=reason, percentile_seconds=None, within=None)
    world.edit(**SCALED)
    world.scaling = says(4, reason, fresh=False, message="no pod has answered for 61 s", attainment=blind)
    world.settle()
    assert world.condition("ScalingActive") == ("False", reason, "no pod has answered for 61 s")
    assert world.condition("SLOMet") == ("Unknown", reason, "no pod has answered for 61 s")


def test_an_slo_that_no_replica_can_keep_is_called_infeasible(world):
    world.edit(**SCALED)
    slow = replace(MET, met=False, reason=ScaleReason.SLO_INFEASIBLE, percentile_seconds=0.0731, within=0.2)
    world.scaling = says(4, ScaleReason.SLO_INFEASIBLE, attainment=slow)
    world.settle()
    status, reason, message = world.condition("SLOMet")
    assert (status, reason) == ("False", "SLOInfeasible")
    assert message.startswith("p99 73.1ms, target 50ms (Triton)")
    assert message.endswith("make the model faster or the target longer")


def test_a_steady_fleet_is_not_written_about(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.settle()
    before = world.status
    for second in range(60):
        world.wait(seconds=5)
        world.scaling = replace(VERDICT, rate=118 + second % 8, message=f"{second}", metrics_age_seconds=float(second))
        assert world.plan().status == before or world.now.minute == 5


def test_numbers_that_move_are_written_once_a_minute(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.settle()
    written = []
    for tick in range(60):
        world.wait(seconds=5)
        world.scaling = replace(VERDICT, rate=100.0 + 30 * tick)
        before = world.status
        world.settle()
        written += [tick] if world.status != before else []
    assert 4 <= len(written) <= 5


def test_another_reason_is_written_at_once(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.settle()
    world.wait(seconds=5)
    world.scaling = says(4, ScaleReason.HOLDING)
    world.settle()
    assert world.condition("ScalingActive")[1] == "Holding"


def test_a_fleet_at_the_border_of_needing_fewer_is_written_about_once_a_minute(world):
    world.edit(**SCALED)
    world.scaling = says(4, ScaleReason.STEADY)
    world.settle()
    written = 0
    for tick in range(60):
        world.wait(seconds=5)
        world.scaling = says(4, (ScaleReason.HOLDING, ScaleReason.STEADY)[tick % 2])
        before = world.status
        world.settle()
        written += world.status != before
    assert 1 <= written <= 5


def test_an_idle_fleet_is_not_written_about_for_its_memory(world):
    world.edit(**SCALED)
    idle = says(2, ScaleReason.NO_TRAFFIC, rate=0.0, attainment=replace(MET, met=None, reason=ScaleReason.NO_TRAFFIC))
    world.scaling = idle
    world.settle()
    before = world.status
    for minutes in range(30):
        world.wait(minutes=1)
        world.scaling = replace(idle, memory=Memory(at_seconds=60.0 * minutes))
        assert world.plan().status == before


def test_the_memory_of_a_busy_fleet_is_kept_every_five_minutes(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.settle()
    saved = []
    for minute in range(1, 16):
        world.wait(minutes=1)
        world.scaling = replace(VERDICT, memory=Memory(at_seconds=float(minute)))
        world.settle()
        saved.append(world.status["autoscaling"]["memory"]["at"])
    assert sorted(set(filter(None, saved))) == [5.0, 10.0, 15.0]


def test_the_history_holds_the_ten_newest_changes(world):
    world.edit(slo=SLO, autoscaling={"maxReplicas": 100})
    for count in range(1, 15):
        world.scaling = says(count)
        world.settle()
        world.wait(minutes=1)
    history = world.status["autoscaling"]["history"]
    assert [(entry["from"], entry["to"]) for entry in history] == [(n - 1, n) for n in range(14, 4, -1)]


def scaler(kind, name, owner=None):
    references = [{"kind": "ScaledObject", "name": owner}] if owner else []
    return {
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "hpa", "namespace": "shop", "ownerReferences": references},
        "spec": {"scaleTargetRef": {"kind": kind, "name": name}},
    }


def test_a_scaler_on_our_deployment_is_reported_and_overruled(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.settle()
    name = names.revision_name("m", world.revisions()[0])
    world.scalers = [scaler("Deployment", name, owner="keda")]
    world.children[ChildId("Deployment", name)]["spec"]["replicas"] = 9
    world.settle()
    assert world.replicas() == [4]
    assert world.condition("ScalingActive") == (
        "False",
        "ForeignScaler",
        (
            f"HorizontalPodAutoscaler 'hpa' of ScaledObject 'keda' scales Deployment '{name}', "
            "whose replicas the operator writes: delete it"
        ),
    )
    assert world.events[-1].startswith("Warning ForeignScaler: HorizontalPodAutoscaler 'hpa'")
    world.scalers = []
    world.settle()
    assert world.condition("ScalingActive")[:2] == ("True", "Demand")


def test_a_scaler_on_a_model_that_follows_its_slo_is_told_the_remedy(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.scalers = [scaler("ModelDeployment", "m")]
    world.settle()
    assert world.condition("ScalingActive") == (
        "False",
        "ForeignScaler",
        (
            "HorizontalPodAutoscaler 'hpa' scales this ModelDeployment, whose replicas follow its SLO: "
            "delete it, or set `autoscaling.mode` to External"
        ),
    )


def test_a_scaler_on_the_deployment_of_a_fixed_model_is_pointed_at_the_model(world):
    world.settle()
    world.scalers = [scaler("Deployment", names.revision_name("m", world.revisions()[0]))]
    world.settle()
    assert world.condition("ScalingActive")[2].endswith(
        "point it at ModelDeployment 'm' and set `autoscaling.mode` to External"
    )


def test_a_scaler_on_somebody_elses_deployment_is_no_concern(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.scalers = [scaler("Deployment", "m-0123456789")]
    world.settle()
    assert world.condition("ScalingActive")[0] == "True"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    verdicts=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    lowest=st.integers(1, 9),
    more=st.integers(0, 20),
    foreign=st.integers(0, 50),
)
def test_the_number_of_pods_is_absolute_within_limits_and_comes_to_rest(new_world, verdicts, lowest, more, foreign):
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
