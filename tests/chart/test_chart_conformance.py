"""Helm's own check, and every object against the API of the Kubernetes that the local cluster runs."""

import json
import subprocess
from pathlib import Path

import pytest

from devcluster import gobuild
from devcluster.host import go_binary
from devcluster.progress import Progress
from tests.chart.conftest import EVERYTHING, KUBE_VERSION, ROOT

OF_PROMETHEUS = "PodMonitor,PrometheusRule"


def kubernetes_source() -> Path:
    module = gobuild.KUBERNETES.source
    download = [str(go_binary(Progress())), "mod", "download", "-json", "k8s.io/kubernetes"]
    answer = subprocess.run(download, cwd=module, capture_output=True, text=True, check=True)
    return Path(json.loads(answer.stdout)["Dir"])


def strict(definition):
    """Let an object of the API have no other fields than its own; numbers may stand for quantities and ports."""
    if definition.get("format") == "int-or-string" or definition.get("description", "").startswith("Quantity is"):
        return {"type": ["string", "number"]}
    if "properties" in definition:
        return definition | {"additionalProperties": False}
    return definition


@pytest.fixture(scope="module")
def schemas(tmp_path_factory):
    """Return a folder with a JSON schema for every kind of the API, from Kubernetes' own description of it."""
    folder = tmp_path_factory.mktemp("schemas")
    description = json.loads((kubernetes_source() / "api" / "openapi-spec" / "swagger.json").read_text())
    definitions = {name: strict(each) for name, each in description["definitions"].items()}
    everything = folder / "definitions.json"
    everything.write_text(json.dumps({"definitions": definitions}))
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            # kubeconform takes the version of the core API for its group.
            group = kind["group"] or kind["version"]
            file = folder / f"{kind['kind'].lower()}_{group}_{kind['version']}.json"
            file.write_text(json.dumps({"$ref": f"{everything.as_uri()}#/definitions/{name}"}))
    return folder


@pytest.fixture(scope="module")
def kubeconform(schemas):
    program = gobuild.build(gobuild.KUBECONFORM, Progress()) / "kubeconform"
    location = f"{schemas}/{{{{.ResourceKind}}}}_{{{{.Group}}}}_{{{{.ResourceAPIVersion}}}}.json"

    def check(text):
        result = subprocess.run(
            [program, "-strict", "-output", "json", "-skip", OF_PROMETHEUS, "-schema-location", location, "-"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        return [f"{each['kind']} {each['name']}: {each['msg']}" for each in json.loads(result.stdout)["resources"]]

    return check


@pytest.mark.parametrize("chart", ["tritonfleet", "tritonfleet-crds"])
@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["by-default", "with-everything"])
def test_helm_finds_no_fault_with_the_charts(helm, chart, values):
    if chart == "tritonfleet-crds":
        values = {name: value for name, value in values.items() if name == "commonLabels"}

    result = helm.run("lint", str(ROOT / "charts" / chart), "--strict", "--kube-version", KUBE_VERSION, values=values)

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("mode", ["by_default", "with_everything", "namespaced"])
def test_every_object_is_one_that_kubernetes_knows(request, kubeconform, mode):
    assert kubeconform(request.getfixturevalue(mode).text) == []


def test_an_object_with_a_field_that_kubernetes_does_not_know_is_found(kubeconform, by_default):
    misspelled = by_default.text.replace("terminationGracePeriodSeconds", "terminationGraceSeconds")

    (complaint,) = kubeconform(misspelled)

    assert complaint.startswith("Deployment tritonfleet: ")
    assert "terminationGraceSeconds" in complaint
