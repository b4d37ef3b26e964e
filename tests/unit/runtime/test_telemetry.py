"""Metrics under the names that dashboards know, and log lines that machines can read."""

import json
import logging
import sys

import pytest

from tritonfleet.adapters.store import Key
from tritonfleet.plan.autoscale import Attainment, Memory, ScaleReason, Verdict
from tritonfleet.runtime import Telemetry
from tritonfleet.runtime.telemetry import JsonFormatter

KEY = Key("shop", "demo")


async def test_only_writes_that_took_effect_are_counted_as_writes():
    telemetry = Telemetry()
    telemetry.requested("PATCH", "Deployment", "201")
    telemetry.requested("PATCH", "Deployment", "409")
    telemetry.requested("GET", "Deployment", "200")
    telemetry.requested("POST", "Event", "<error>")
    text = telemetry.exposition().decode()
    assert 'tritonfleet_writes_total{kind="Deployment",verb="apply"} 1.0' in text
    assert text.count("tritonfleet_writes_total{") == 1
    assert 'rest_client_requests_total{code="<error>",kind="Event",method="POST"} 1.0' in text


async def test_each_change_is_timed_once_to_its_first_write_and_once_to_ready():
    telemetry = Telemetry()
    telemetry.changed(KEY, 1)
    telemetry.wrote(KEY)
    telemetry.wrote(KEY)
    telemetry.ready(KEY, 1)
    telemetry.ready(KEY, 1)
    assert _count(telemetry, "first_write") == 1
    assert _count(telemetry, "ready") == 1


async def test_ready_for_an_older_generation_does_not_stop_the_clock():
    telemetry = Telemetry()
    telemetry.changed(KEY, 2)
    telemetry.ready(KEY, 1)
    assert _count(telemetry, "ready") == 0
    telemetry.forget(KEY)
    telemetry.ready(KEY, 2)
    assert _count(telemetry, "ready") == 0


def _count(telemetry, what):
    return telemetry.registry.get_sample_value(f"tritonfleet_change_to_{what}_seconds_count")


async def test_the_names_of_controller_runtime_are_used():
    names = Telemetry().exposition().decode()
    for name in (
        "controller_runtime_reconcile_total",
        "controller_runtime_reconcile_errors_total",
        "controller_runtime_reconcile_time_seconds",
        "workqueue_depth",
        "workqueue_retries_total",
        "workqueue_longest_running_processor_seconds",
        "leader_election_master_status",
        "rest_client_requests_total",
    ):
        assert f"# TYPE {name} " in names


async def test_a_verdict_is_shown_by_what_is_known_of_it_and_goes_with_its_modeldeployment():
    telemetry = Telemetry()
    attainment = Attainment(False, None, 0.063, "Gateway", 0.97, 20.0, 3600.0, burn_1h=3.0, burn_6h=None)
    telemetry.scaling.verdicts[KEY] = Verdict(
        replicas=3, wanted=5, reason=ScaleReason.AT_MAX_REPLICAS, explain=str, fresh=True, rate=40.0,
        capacity_per_replica=None, forecast=None, ready_seconds=None, metrics_age_seconds=2.0, attainment=attainment,
        memory=Memory(),
    )  # fmt: skip
    of = {"namespace": "shop", "modeldeployment": "demo"}
    found = telemetry.registry.get_sample_value
    assert found("tritonfleet_replicas_desired", of) == 3
    assert found("tritonfleet_replicas_uncapped", of) == 5
    assert found("tritonfleet_slo_met", of) == 0
    assert found("tritonfleet_latency_seconds", of | {"source": "Gateway"}) == 0.063
    assert found("tritonfleet_slo_error_budget_burn", of | {"window": "1h"}) == 3
    assert found("tritonfleet_slo_error_budget_burn", of | {"window": "6h"}) is None
    assert found("tritonfleet_replica_capacity_per_second", of) is None
    del telemetry.scaling.verdicts[KEY]
    assert "modeldeployment=" not in telemetry.exposition().decode()


async def test_readiness_is_a_metric_with_its_reason_and_goes_with_its_modeldeployment():
    telemetry = Telemetry()
    of = {"namespace": "shop", "modeldeployment": "demo"}
    found = telemetry.registry.get_sample_value

    def see(ready, reason, *, stalled, serving, wanted):
        conditions = [
            {"type": "Ready", "status": ready, "reason": reason},
            {"type": "Stalled", "status": str(stalled), "reason": reason},
        ]
        telemetry.readiness.saw(KEY, {"readyReplicas": serving, "conditions": conditions}, wanted)

    see("False", "FetchFailed", stalled=True, serving=0, wanted=3)
    assert found("tritonfleet_modeldeployment_ready", of | {"reason": "FetchFailed"}) == 0
    assert found("tritonfleet_modeldeployment_stalled", of) == 1
    assert found("tritonfleet_modeldeployment_replicas_wanted", of) == 3
    see("True", "Ready", stalled=False, serving=3, wanted=3)
    assert found("tritonfleet_modeldeployment_ready", of | {"reason": "FetchFailed"}) is None
    assert found("tritonfleet_modeldeployment_ready", of | {"reason": "Ready"}) == 1
    assert found("tritonfleet_modeldeployment_stalled", of) == 0
    assert found("tritonfleet_modeldeployment_replicas_ready", of) == 3
    see("Unknown", "ReconcileFailed", stalled=False, serving=3, wanted=None)
    assert found("tritonfleet_modeldeployment_ready", of | {"reason": "ReconcileFailed"}) == 0
    assert found("tritonfleet_modeldeployment_replicas_wanted", of) == 3
    telemetry.forget(KEY)
    assert "modeldeployment=" not in telemetry.exposition().decode()


def test_a_log_line_is_one_json_object_with_its_fields_beside_the_message():
    record = logging.makeLogRecord({"name": "x", "levelno": 20, "levelname": "INFO", "msg": "creating", "reason": "R"})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line).items() >= {"level": "info", "msg": "creating", "reason": "R"}.items()


def test_a_traceback_stays_within_its_line():
    try:
        pytest.fail("boom")
    except BaseException:  # noqa: BLE001
        record = logging.makeLogRecord({"levelname": "ERROR", "msg": "failed", "exc_info": sys.exc_info()})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "boom" in json.loads(line)["exception"]
