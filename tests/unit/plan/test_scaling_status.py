"""What the status says of scaling, and how seldom it is written."""

from dataclasses import replace

import pytest

from tests.unit.plan.verdicts import MET, SCALED, SLO, VERDICT, says
from tritonfleet.plan.autoscale import Memory, ScaleReason


def test_the_verdict_is_applied_and_fully_reported(world):
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
        "uncappedReplicas": 4,
        "minReplicas": 2,
        "maxReplicas": 10,
        "observedRate": 118.0,
        "capacityPerReplica": 32.4,
        "p99": "41.2ms",
        "latencySource": "Triton",
        "sloAttainment": 0.9953,
        "podStartupSeconds": 62.0,
        "metricsAge": "4s",
        "reason": "Demand",
        "message": VERDICT.explain(),
        "lastScaleTime": "2026-01-01T12:02:00Z",
    }
    assert world.status["autoscaling"]["memory"] == Memory().document()
    assert world.status["autoscaling"]["history"] == [
        {"at": "2026-01-01T12:02:00Z", "from": 2, "to": 4, "reason": "Demand", "message": VERDICT.explain()}
    ]
    assert world.events[-1] == f"Normal ScaledUp: from 2 to 4 (Demand): {VERDICT.explain()}"
    assert world.condition("ScalingActive") == ("True", "Demand", VERDICT.explain())
    assert world.condition("SLOMet") == (
        "True",
        "Met",
        "p99 41.2ms, target 50ms (Triton); 99.53% of requests within the target over 300s",
    )


@pytest.mark.parametrize("percentile", [50, 90, 95, 99, 99.9])
def test_the_latency_is_reported_in_the_field_of_its_percentile(world, percentile):
    world.edit(slo={"latency": {"percentile": percentile, "target": "50ms"}}, autoscaling={"maxReplicas": 10})
    world.scaling = VERDICT
    world.settle()
    field = f"p{percentile}".replace(".", "")
    assert world.status["autoscaling"][field] == "41.2ms"
    assert world.condition("SLOMet")[2].startswith(f"p{percentile} 41.2ms, target 50ms (Triton)")


def test_the_status_of_scaling_is_removed_with_the_slo(world):
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
    world.scaling = says(4, reason, fresh=False, explain=lambda: "no metrics for 61s", attainment=blind)
    world.settle()
    assert world.condition("ScalingActive") == ("False", reason, "no metrics for 61s")
    assert world.condition("SLOMet") == ("Unknown", reason, "no metrics for 61s")


def test_an_slo_that_no_replica_can_keep_is_reported_as_infeasible(world):
    world.edit(**SCALED)
    slow = replace(MET, met=False, reason=ScaleReason.SLO_INFEASIBLE, percentile_seconds=0.0731, within=0.2)
    world.scaling = says(4, ScaleReason.SLO_INFEASIBLE, attainment=slow)
    world.settle()
    status, reason, message = world.condition("SLOMet")
    assert (status, reason) == ("False", "SLOInfeasible")
    assert message.startswith("p99 73.1ms, target 50ms (Triton)")
    assert message.endswith("speed up the model, lower `maxQueueDelay`, or raise the target")


def test_queue_time_and_availability_are_reported_where_they_are_promised(world):
    world.edit(slo={"queueTime": "5ms", "availability": 99.9}, autoscaling={"maxReplicas": 10})
    missed = replace(MET, met=False, percentile_seconds=None, available=0.99712, queue_seconds=0.00321)
    world.scaling = says(4, attainment=missed)
    world.settle()
    scaling = world.status["autoscaling"]
    assert (scaling["queueTime"], scaling["availability"]) == ("3.21ms", 0.99712)
    assert world.condition("SLOMet") == (
        "False",
        "Missed",
        "mean queue time 3.21ms, limit 5ms; 99.712% of requests answered, objective 99.9%",
    )


def test_a_steady_fleet_is_not_written_about(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.settle()
    before = world.status
    for second in range(60):
        world.wait(seconds=5)
        world.scaling = replace(
            VERDICT, rate=118 + second % 8, explain=lambda second=second: f"{second}", metrics_age_seconds=float(second)
        )
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


@pytest.mark.parametrize(
    "attainment",
    [
        replace(MET, source="Gateway"),
        replace(MET, within=0.99),
        replace(MET, percentile_seconds=0.049),
        replace(MET, met=False),
    ],
)
def test_another_attainment_is_written_after_a_minute(world, attainment):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.settle()
    before = world.status
    world.scaling = replace(VERDICT, attainment=attainment)
    world.wait(seconds=30)
    assert world.plan().status == before
    world.wait(seconds=30)
    world.settle()
    assert world.status["autoscaling"]["at"] != before["autoscaling"]["at"]
    assert world.condition("SLOMet")[1] == ("Met" if attainment.met else "Missed")


def test_another_reason_is_written_at_once(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.settle()
    world.wait(seconds=5)
    world.scaling = says(4, ScaleReason.SCALE_DOWN_STABILIZED)
    world.settle()
    assert world.condition("ScalingActive")[1] == "ScaleDownStabilized"


@pytest.mark.parametrize(
    "other",
    [
        ScaleReason.SCALE_DOWN_STABILIZED,
        ScaleReason.AT_MIN_REPLICAS,
        ScaleReason.AT_MAX_REPLICAS,
        ScaleReason.NO_TRAFFIC,
    ],
)
def test_a_fleet_at_a_border_is_written_about_once_a_minute(world, other):
    world.edit(**SCALED)
    world.scaling = says(4, ScaleReason.STEADY)
    world.settle()
    written = 0
    for tick in range(60):
        world.wait(seconds=5)
        world.scaling = says(4, (other, ScaleReason.STEADY)[tick % 2])
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


def test_an_edited_latency_in_the_status_is_replaced(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.settle()
    world.status["autoscaling"]["p99"] = "fast"
    world.wait(minutes=2)
    world.settle()
    assert world.status["autoscaling"]["p99"] == "41.2ms"


def test_metrics_beyond_the_limits_are_told_and_the_replicas_stay(world):
    world.edit(**SCALED)
    world.scaling = VERDICT
    world.settle()
    replicas = world.replicas()
    world.unread = "metrics of the pod at 10.0.0.7 are not read: more than 262,144 bytes"
    world.settle()
    assert world.condition("ScalingActive") == ("False", "MetricsRefused", world.unread)
    assert world.condition("SLOMet") == ("Unknown", "MetricsRefused", world.unread)
    assert world.replicas() == replicas
    world.unread = ""
    world.wait(minutes=2)
    world.settle()
    assert world.condition("ScalingActive")[1] == "Demand"
    assert world.condition("SLOMet")[1] == "Met"
