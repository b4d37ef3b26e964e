"""The alerts ask for metrics that the operator has, with labels that they have."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tritonfleet.adapters.store import Key
from tritonfleet.api.conditions import Reason
from tritonfleet.plan.autoscale import Attainment, Memory, ScaleReason, Verdict
from tritonfleet.plan.rollout import Attempt, Phase, State
from tritonfleet.runtime import Telemetry

ALERTS = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "alerts.md"
SELECTOR = re.compile(r"([a-z_]+)\{([^}]*)\}")
FROM_THE_SCRAPE = {"namespace"}
VERDICT = Verdict(
    replicas=2,
    wanted=2,
    reason=ScaleReason.DEMAND,
    explain=str,
    fresh=True,
    rate=10.0,
    capacity_per_replica=5.0,
    forecast=None,
    ready_seconds=None,
    metrics_age_seconds=1.0,
    attainment=Attainment(True, None, 0.04, "Gateway", 0.999, 20.0, 3600.0, burn_1h=0.1, burn_6h=0.1),
    memory=Memory(),
)


@pytest.fixture
async def exposed():
    """Return the names of all samples of the operator, with the names of their labels."""
    telemetry = Telemetry()
    telemetry.leader.labels("tritonfleet").set(1)
    telemetry.reconciles.labels("modeldeployment", "success").inc()
    telemetry.errors.labels("modeldeployment", "Conflict").inc()
    telemetry.scaling.failures.labels("decide").inc()
    telemetry.scaling.verdicts[Key("shop", "demo")] = VERDICT
    telemetry.rollouts.saw(Key("shop", "demo"), State(phase=Phase.HELD, attempt=Attempt(applied_weight=10)))
    telemetry.rollouts.saw(Key("shop", "other"), State(phase=Phase.ROLLED_BACK))
    failed = {"type": "Ready", "status": "False", "reason": "FetchFailed"}
    telemetry.readiness.saw(Key("shop", "demo"), {"conditions": [failed]}, 1)
    families = text_string_to_metric_families(telemetry.exposition().decode())
    exposed: dict = {}
    for family in families:
        for sample in family.samples:
            exposed.setdefault(sample.name, []).append(sample.labels)
    return exposed


def rules(rendered):
    return [rule for group in rendered.one("PrometheusRule")["spec"]["groups"] for rule in group["rules"]]


async def test_every_metric_and_label_of_an_alert_exists(with_everything, exposed):
    asked = [pair for rule in rules(with_everything) for pair in SELECTOR.findall(rule["expr"])]

    assert len(asked) >= 6
    for metric, selector in asked:
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', selector))
        assert any(asks_for(wanted, labels) for labels in exposed[metric])


def asks_for(wanted, labels):
    of_the_operator = {name: value for name, value in wanted.items() if name not in FROM_THE_SCRAPE - labels.keys()}
    return of_the_operator.items() <= labels.items()


async def test_what_an_alert_groups_by_is_a_label(with_everything, exposed):
    grouped = {rule["alert"]: rule for rule in rules(with_everything) if "sum by" in rule["expr"]}

    assert grouped.keys() == {"TritonfleetReconcileErrors", "TritonfleetScalingFails"}
    for rule in grouped.values():
        label, metric = re.findall(r"sum by \((\w+)\) \(rate\((\w+)", rule["expr"])[0]
        assert all(label in labels for labels in exposed[metric])
        assert f"{{{{ $labels.{label} }}}}" in rule["annotations"]["summary"]


async def test_an_alert_on_a_modeldeployment_names_it(with_everything, exposed):
    named = [rule for rule in rules(with_everything) if "$labels.modeldeployment" in rule["annotations"]["summary"]]

    assert {rule["alert"] for rule in named} == {
        "TritonfleetSLOBurnsFast",
        "TritonfleetSLOBurnsSlowly",
        "TritonfleetMetricsStale",
        "TritonfleetCanaryUnwatched",
        "TritonfleetRolloutHeld",
        "TritonfleetRolledBack",
        "TritonfleetFetchFailed",
        "TritonfleetWaitingForGPU",
        "TritonfleetStalled",
    }
    for rule in named:
        metric = re.findall(r"tritonfleet_\w+", rule["expr"])[0]
        assert all({"namespace", "modeldeployment"} <= labels.keys() for labels in exposed[metric])


def test_every_alert_says_what_is_the_matter(with_everything):
    for rule in rules(with_everything):
        assert rule["for"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "description", "runbook_url"} == set(rule["annotations"])


def test_without_an_address_of_the_runbooks_no_alert_links_to_a_page_that_is_not_there(helm):
    found = rules(helm.render({"prometheusRule": {"enabled": True}}))

    assert found
    assert all({"summary", "description"} == set(rule["annotations"]) for rule in found)


def test_every_alert_has_a_section_of_the_page_on_alerts_and_every_section_an_alert(with_everything):
    sections = re.findall(r"^## (Tritonfleet\w+)$", ALERTS.read_text(), re.MULTILINE)

    assert sorted(sections) == sorted(rule["alert"] for rule in rules(with_everything))
    for rule in rules(with_everything):
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page.endswith("/how-to/alerts")
        assert anchor == rule["alert"].lower()


def test_runbooks_are_where_the_administrator_publishes_them(helm):
    rendered = helm.render({"prometheusRule": {"enabled": True, "runbookUrl": "https://wiki.example.com/alerts"}})

    assert {rule["annotations"]["runbook_url"].partition("#")[0] for rule in rules(rendered)} == {
        "https://wiki.example.com/alerts"
    }


def test_an_alert_on_a_reason_names_one_that_exists(with_everything):
    asked = {
        reason
        for rule in rules(with_everything)
        for words in re.findall(r'tritonfleet_modeldeployment_ready\{reason=~?"([^"]*)"', rule["expr"])
        for reason in words.split("|")
    }

    assert asked == {Reason.FETCH_FAILED, Reason.WAITING_FOR_GPU, Reason.WAITING_FOR_CAPACITY}
