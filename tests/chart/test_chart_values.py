"""A value that would have no effect, or the wrong one, is refused before anything reaches the cluster."""

import json
from pathlib import Path

import pytest
import yaml

CHARTS = Path(__file__).resolve().parents[2] / "charts"
KUBERNETES_OWN = {
    *("nodeAffinity", "podAffinity", "podAntiAffinity"),
    *("extraObjects", "metadata", "objects", "valueFrom", "global"),
}
"""Objects of which the API server, and not the chart, says what may be in them."""
MAPS = {"gatewayLabels", "headers", "limits", "requests"}


def schema(chart):
    return json.loads((CHARTS / chart / "values.schema.json").read_text())


def values(chart):
    return yaml.safe_load((CHARTS / chart / "values.yaml").read_text())


def closed_objects(node, path=()):
    """Yield the path of every object of a values file whose keys are fixed."""
    yield path
    for name, child in node.items():
        if isinstance(child, dict) and child and name not in MAPS:
            yield from closed_objects(child, (*path, name))


def open_nodes(node, name=""):
    """Yield every object of a schema that would take a key which it does not know."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "additionalProperties" not in node:
            yield name
        for key, child in node.items():
            yield from open_nodes(child, name if key in ("items", "properties", "anyOf", "allOf") else key)
    elif isinstance(node, list):
        for child in node:
            yield from open_nodes(child, name)


@pytest.mark.parametrize("path", sorted(closed_objects(values("tritonfleet"))))
def test_a_misspelled_value_is_refused_wherever_it_stands(helm, path):
    misspelled: dict = {"mispeled": "x"}
    for name in reversed(path):
        misspelled = {name: misspelled}
    refusal = helm.refusal(misspelled)

    assert "mispeled" in refusal
    assert all(name in refusal for name in path)


@pytest.mark.parametrize("chart", ["tritonfleet", "tritonfleet-crds"])
def test_every_object_of_the_schema_is_closed(chart):
    assert set(open_nodes(schema(chart))) <= KUBERNETES_OWN


@pytest.mark.parametrize("chart", ["tritonfleet", "tritonfleet-crds"])
def test_the_schema_knows_every_value_and_no_other(chart):
    known = set(schema(chart)["properties"]) - {"global"}

    assert known == set(values(chart))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"replicaCount": "2"}, "/replicaCount"),
        ({"replicaCount": -1}, "/replicaCount"),
        ({"workers": 0}, "/workers"),
        ({"resyncSeconds": 0}, "/resyncSeconds"),
        ({"logLevel": "verbose"}, "/logLevel"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"watchNamespaces": "shop"}, "/watchNamespaces"),
        ({"watchNamespaces": ["Shop"]}, "/watchNamespaces/0"),
        ({"watchNamespaces": ["shop", "shop"]}, "/watchNamespaces"),
        ({"fetch": {"allowedSchemes": ["http"]}}, "/fetch/allowedSchemes/0"),
        ({"fetch": {"allowedSchemes": []}}, "/fetch/allowedSchemes"),
        ({"fetch": {"allowedHosts": ["a.example.com,b.example.com"]}}, "/fetch/allowedHosts/0"),
        ({"fetch": {"allowPrivateAddresses": "yes"}}, "/fetch/allowPrivateAddresses"),
        ({"triton": {"image": ""}}, "/triton/image"),
        ({"extraEnv": [{"name": "TRITONFLEET_WORKERS", "value": "1"}]}, "/extraEnv/0/name"),
        ({"fullnameOverride": "Fleet"}, "/fullnameOverride"),
        ({"podDisruptionBudget": {"maxUnavailable": 0}}, "/podDisruptionBudget/maxUnavailable"),
        ({"commonLabels": {"team": 1}}, "/commonLabels/team"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm, wrong, told):
    assert f"'{told}'" in helm.refusal(wrong)
