"""Both charts carry the CustomResourceDefinition that the API's models generate, untouched."""

import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = "tritonfleet.dev_modeldeployments.yaml"
CHARTS = ("tritonfleet", "tritonfleet-crds")
KEEP_VALUES = {"tritonfleet": lambda keep: {"crds": {"keep": keep}}, "tritonfleet-crds": lambda keep: {"keep": keep}}


@pytest.mark.parametrize("chart", CHARTS)
def test_the_copy_in_the_chart_is_fresh(chart):
    generated = (ROOT / "crds" / FILE).read_text()

    assert (ROOT / "charts" / chart / "crd" / FILE).read_text() == generated, "run `make crds`"


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.parametrize("keep", [True, False])
def test_the_definition_is_installed_as_generated_but_for_labels_and_the_wish_to_be_kept(helm, chart, keep):
    generated = yaml.safe_load((ROOT / "crds" / FILE).read_text())

    installed = helm.render(KEEP_VALUES[chart](keep), chart).one("CustomResourceDefinition")

    metadata = installed["metadata"]
    assert metadata.pop("annotations", None) == ({"helm.sh/resource-policy": "keep"} if keep else None)
    assert metadata.pop("labels")["app.kubernetes.io/managed-by"] == "Helm"
    assert installed == generated


def test_the_crd_can_be_installed_separately(helm):
    assert helm.render({"crds": {"enabled": False}}).of_kind("CustomResourceDefinition") == []


def test_the_chart_of_the_definitions_holds_nothing_else(helm):
    assert helm.render(chart="tritonfleet-crds").kinds == {"CustomResourceDefinition"}


def test_both_charts_have_the_version_of_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for chart in CHARTS:
        about = yaml.safe_load((ROOT / "charts" / chart / "Chart.yaml").read_text())
        assert (about["version"], about["appVersion"]) == (version, version)
