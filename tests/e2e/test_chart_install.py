"""The chart on a real cluster: installed with its least rights, tested, taken over by a standby, and gone again."""

import json
import os
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.alone
ROOT = Path(__file__).resolve().parents[2]
OPERATOR = "app.kubernetes.io/component=operator"


@dataclass(frozen=True)
class Release:
    """One operator that watches its own namespace and has no right outside of it."""

    name: str
    environment: dict[str, str]

    @property
    def account(self):
        return f"system:serviceaccount:{self.name}:{self.name}-tritonfleet"

    def run(self, *command, stdin=None):
        result = subprocess.run(
            command, env=os.environ | self.environment, input=stdin, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def kubectl(self, *arguments, stdin=None):
        return self.run("kubectl", "--namespace", self.name, *arguments, stdin=stdin)

    def helm(self, verb, *arguments):
        return self.run("helm", verb, self.name, *arguments, "--namespace", self.name)

    def get(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    def install(self, verb="install", **values):
        settings = {
            "image.tag": "dev",
            "crds.enabled": "false",
            "rbac.aggregateClusterRoles": "false",
            "watchNamespaces": f"{{{self.name}}}",
            **values,
        }
        pairs = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        self.helm(verb, str(ROOT / "charts" / "tritonfleet"), "--wait", "--timeout", "5m", *pairs)

    def pods(self):
        """Return the operators that are not about to end."""
        pods = self.get("pods", "--selector", OPERATOR)["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def leader(self):
        return self.get("lease", f"{self.name}-tritonfleet")["spec"].get("holderIdentity")

    def may(self, verb, resource, namespace):
        """Ask the API server what the operator's account may do."""
        kind, _, subresource = resource.partition("/")
        question = ["auth", "can-i", verb, kind, "--subresource", subresource, "--namespace", namespace]
        command = ["kubectl", *question, "--as", self.account]
        answer = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        return {"yes": True, "no": False}[answer.stdout.strip()]

    def create_suspended(self, name):
        """Create a ModelDeployment that is carried out in full, but for its pods."""
        manifest = {
            "apiVersion": "tritonfleet.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name},
            "spec": {"model": {"uri": "https://models.example.com/m"}, "suspend": True},
        }
        self.kubectl("create", "--filename", "-", stdin=json.dumps(manifest))
        self.kubectl("wait", f"mdep/{name}", "--for=jsonpath={.status.observedGeneration}=1", "--timeout=180s")


@pytest.fixture(scope="module")
def environment(local, operator_at_rest):
    return local.environment()


@pytest.fixture(scope="module")
def new_release(environment):
    """Return a function that makes a namespace and installs an operator there."""
    made = []

    def make():
        release = Release(f"chart-{uuid.uuid4().hex[:8]}", environment)
        release.run("kubectl", "create", "namespace", release.name)
        release.run("kubectl", "label", "namespace", release.name, "pod-security.kubernetes.io/enforce=restricted")
        made.append(release)
        release.install()
        return release

    yield make
    for release in made:
        release.run("kubectl", "delete", "namespace", release.name, "--timeout=180s")


@pytest.fixture(scope="module")
def release(new_release):
    return new_release()


def test_the_installation_test_of_the_chart_passes(release):
    assert "Phase:          Succeeded" in release.helm("test")


def test_the_operator_is_not_root_and_cannot_write_to_its_own_files(release):
    attempt = (
        "import errno, os, pathlib, tritonfleet\n"
        "print(os.getuid())\n"
        "for folder in ('/', '/tmp', pathlib.Path(tritonfleet.__file__).parent):\n"
        "    try: pathlib.Path(folder, 'x').write_text('')\n"
        "    except OSError as error: print(errno.errorcode[error.errno])\n"
    )
    (pod, *_) = release.pods()

    output = release.kubectl("exec", pod["metadata"]["name"], "--", "python", "-c", attempt)

    assert output.split() == ["65532", "EROFS", "EROFS", "EROFS"]


def test_the_operator_does_its_work_with_the_rights_of_the_chart(release):
    release.create_suspended("worked-on")

    pods = {pod["metadata"]["name"]: pod for pod in release.pods()}
    leader = pods[release.leader()]
    with urlopen(f"http://{leader['status']['podIP']}:8080/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    kinds = {
        child["kind"] for child in release.get("all,configmaps,pdb", "-l", "tritonfleet.dev/modeldeployment")["items"]
    }
    assert {"Deployment", "Service", "ConfigMap"} <= kinds
    assert any(line.startswith("tritonfleet_writes_total{") for line in samples)
    assert [line for line in samples if line.startswith("rest_client_requests_total{") and 'code="403"' in line] == []
    assert "forbidden" not in release.kubectl("logs", leader["metadata"]["name"]).lower()


@pytest.mark.parametrize(
    ("verb", "resource", "elsewhere"),
    [
        ("get", "secrets", False),
        ("patch", "modeldeployments.tritonfleet.dev", False),
        ("update", "deployments.apps", False),
        ("delete", "pods", False),
        ("create", "pods", False),
        ("get", "pods/log", False),
        ("create", "pods/exec", False),
        ("create", "leases.coordination.k8s.io", False),
        ("create", "rolebindings.rbac.authorization.k8s.io", False),
        ("list", "configmaps", True),
        ("list", "modeldeployments.tritonfleet.dev", True),
        ("list", "nodes", True),
    ],
)
def test_its_account_may_do_nothing_else(release, verb, resource, elsewhere):
    assert release.may("list", "modeldeployments.tritonfleet.dev", release.name)
    assert not release.may(verb, resource, "default" if elsewhere else release.name)


def test_a_standby_takes_over_when_the_leader_goes(release):
    release.install("upgrade", replicaCount=2)
    before = leader_other_than(release, None)

    release.kubectl("delete", "pod", before, "--wait=false")

    leader_other_than(release, before)
    release.create_suspended("taken-over")


def leader_other_than(release, former):
    """Wait until a pod other than the former leader leads, and return its name; between two leaders there is none."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        pods = {pod["metadata"]["name"] for pod in release.pods()} - {former}
        if (leader := release.leader()) in pods:
            return leader
        time.sleep(0.5)
    raise AssertionError(f"nobody took over from {former}: the Lease names {release.leader()!r}")


def test_uninstalling_leaves_the_models_and_nothing_of_the_operator(new_release):
    release = new_release()
    release.create_suspended("left-behind")
    kinds = release.run("kubectl", "api-resources", "--verbs=list", "--output", "name").split()

    release.helm("uninstall", "--wait")

    everything = ",".join(kind for kind in kinds if "metrics" not in kind)
    listing = ["kubectl", "get", everything, "--all-namespaces", "--output", "name", "--ignore-not-found"]
    selector = f"app.kubernetes.io/instance={release.name}"
    # Its pods are given their time to end, and what Kubernetes derives from the Service goes after it.
    deadline = time.monotonic() + 180
    while (left := release.run(*listing, "--selector", selector)) and time.monotonic() < deadline:
        time.sleep(1)
    assert left == ""
    assert release.get("mdep", "left-behind")["metadata"].get("finalizers") is None
    assert release.get("deployments", "--selector", "tritonfleet.dev/modeldeployment=left-behind")["items"] != []
