"""Rendering the charts with the helm that the local cluster uses."""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import gobuild
from devcluster.progress import Progress

Manifest = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
KUBE_VERSION = "1.36.0"
EVERYTHING: Manifest = {
    "replicaCount": 3,
    "imagePullSecrets": [{"name": "registry"}],
    "serviceAccount": {"annotations": {"example.com/role": "operator"}},
    "triton": {"allowUnsafeImage": True},
    "fetch": {"allowedHosts": ["s3.example.com", "*.models.example.com"], "allowPrivateAddresses": True},
    "workloads": {"networkPolicy": True, "podMonitor": {"enabled": True}},
    "gatewayApi": {"enabled": True},
    "apiPriority": {"enabled": True},
    "prometheus": {
        "url": "https://prometheus.monitoring:9090",
        "gatewayLabels": {"namespace": "envoy-gateway-system"},
        "secretName": "prometheus",
        "tokenKey": "token",
        "caKey": "ca.crt",
    },
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "system-cluster-critical",
    "podAnnotations": {"example.com/scrape": "yes"},
    "podLabels": {"team": "serving"},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "metrics": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "prometheusRule": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "runbookUrl": "https://wiki.example.com/how-to/alerts",
    },
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}]},
    "commonLabels": {"cost-center": "ml"},
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-extra"}, "data": {"a": "b"}}
    ],
}


@dataclass(frozen=True)
class Rendered:
    """What one chart comes to with some values."""

    objects: tuple[Manifest, ...]
    text: str

    def __iter__(self) -> Iterator[Manifest]:
        return iter(self.objects)

    def of_kind(self, *kinds: str) -> list[Manifest]:
        return [each for each in self.objects if each["kind"] in kinds]

    def one(self, kind: str, name: str | None = None) -> Manifest:
        (found,) = (each for each in self.of_kind(kind) if name in (None, each["metadata"]["name"]))
        return found

    @property
    def kinds(self) -> set[str]:
        return {each["kind"] for each in self.objects}


class Helm:
    """The helm program, without a cluster and without anybody's own configuration."""

    def __init__(self, program: Path, home: Path) -> None:
        self._program = program
        self._environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}

    def run(self, *arguments: str, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._program, *arguments, "--values", "-"],
            input=yaml.safe_dump(dict(values or {})),
            capture_output=True,
            text=True,
            check=False,
            env=self._environment,
        )

    def refusal(self, values: Mapping[str, Any], chart: str = "tritonfleet") -> str:
        """Return why helm will not render the chart with these values."""
        result = self._template(chart, values)
        assert result.returncode != 0, f"{values} was accepted"
        return result.stderr

    def render(
        self, values: Mapping[str, Any] | None = None, chart: str = "tritonfleet", *, apis: tuple[str, ...] = ()
    ) -> Rendered:
        result = self._template(chart, values, apis)
        assert result.returncode == 0, result.stderr
        objects = tuple(each for each in yaml.safe_load_all(result.stdout) if each is not None)
        return Rendered(objects, result.stdout)

    def _template(
        self, chart: str, values: Mapping[str, Any] | None, apis: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        where = ["--namespace", "tritonfleet-system", "--kube-version", KUBE_VERSION]
        where += [word for api in apis for word in ("--api-versions", api)]
        return self.run("template", "tritonfleet", str(ROOT / "charts" / chart), *where, values=values)


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    program = gobuild.build(gobuild.HELM, Progress()) / "helm"
    return Helm(program, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def by_default(helm: Helm) -> Rendered:
    return helm.render()


@pytest.fixture(scope="session")
def with_everything(helm: Helm) -> Rendered:
    return helm.render(EVERYTHING)


@pytest.fixture(scope="session")
def namespaced(helm: Helm) -> Rendered:
    return helm.render(
        {
            "watchNamespaces": ["shop", "search"],
            "crds": {"enabled": False},
            "rbac": {"aggregateClusterRoles": False},
        }
    )
