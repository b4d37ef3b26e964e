"""The alerts ask for metrics that the operator has, with labels that they have."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tritonfleet.runtime.telemetry import Telemetry

SELECTOR = re.compile(r"([a-z_]+)\{([^}]*)\}")
FROM_THE_SCRAPE = {"namespace"}


@pytest.fixture
async def exposed():
    """Return the names of all samples of the operator, with the names of their labels."""
    telemetry = Telemetry()
    telemetry.leader.labels("tritonfleet").set(1)
    telemetry.reconciles.labels("modeldeployment", "success").inc()
    telemetry.errors.labels("modeldeployment", "Conflict").inc()
    families = text_string_to_metric_families(telemetry.exposition().decode())
    return {sample.name: sample.labels for family in families for sample in family.samples}


def rules(rendered):
    (group,) = rendered.one("PrometheusRule")["spec"]["groups"]
    return group["rules"]


async def test_every_metric_and_label_of_an_alert_exists(with_everything, exposed):
    asked = [pair for rule in rules(with_everything) for pair in SELECTOR.findall(rule["expr"])]

    assert len(asked) >= 4
    for metric, selector in asked:
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', selector))
        labels = exposed[metric]
        assert set(wanted) <= {*labels, *FROM_THE_SCRAPE}
        assert {name: wanted[name] for name in labels if name in wanted}.items() <= labels.items()


async def test_what_an_alert_groups_by_is_a_label(with_everything, exposed):
    (rule,) = (each for each in rules(with_everything) if "sum by" in each["expr"])

    assert "reason" in exposed["controller_runtime_reconcile_errors_total"]
    assert "sum by (reason)" in rule["expr"]
    assert "{{ $labels.reason }}" in rule["annotations"]["summary"]


def test_every_alert_says_what_is_the_matter(with_everything):
    for rule in rules(with_everything):
        assert rule["for"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "description"} == set(rule["annotations"])
