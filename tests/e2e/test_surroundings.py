"""Models in namespaces and clusters that have rules of their own."""

import json
from typing import Any

import pytest

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.plan.objects import build_revision
from tritonfleet.plan.world import Defaults

LIMITED = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
EVERY_CONTAINER = {"resources": LIMITED, "fetchResources": LIMITED, "proxyResources": LIMITED}


def test_a_model_fits_a_namespace_whose_quota_demands_limits_of_every_container(place: Any, digits: Any) -> None:
    quota = {"requests.cpu": "2", "limits.cpu": "4", "requests.memory": "2Gi", "limits.memory": "4Gi"}
    place.kubectl("create", "quota", "team", "--hard", ",".join(f"{name}={amount}" for name, amount in quota.items()))
    digits["server"] |= EVERY_CONTAINER

    place.apply("digits", digits)

    place.wait_ready("digits")
    assert place.get("quota", "team")["status"]["used"]["limits.cpu"] != "0"


def test_the_server_sees_the_volumes_variables_and_labels_that_the_spec_gives_it(place: Any, digits: Any) -> None:
    place.kubectl("create", "configmap", "settings", "--from-literal=LEVEL=high", "--from-literal=vocabulary=a b c")
    place.kubectl("create", "secret", "generic", "hub", "--from-literal=TOKEN=secret")
    digits["server"] |= {
        "podLabels": {"example.com/queue": "gpus"},
        "envFrom": [{"prefix": "HUB_", "secretRef": {"name": "hub"}}, {"configMapRef": {"name": "settings"}}],
        "volumes": [
            {"name": "words", "configMap": {"name": "settings", "items": [{"key": "vocabulary", "path": "en/words"}]}},
            {"name": "scratch", "emptyDir": {"sizeLimit": "1024Ki"}},
        ],
        "volumeMounts": [
            {"name": "words", "mountPath": "/opt/words", "readOnly": True},
            {"name": "scratch", "mountPath": "/home/triton/scratch"},
        ],
    }

    place.apply("digits", digits)
    place.wait_ready("digits")

    (pod,) = place.list("pods", "example.com/queue=gpus")
    inside = ["exec", pod["metadata"]["name"], "-c", "triton", "--", "sh", "-c"]
    asked = "echo $LEVEL $HUB_TOKEN; cat /opt/words/en/words; touch /home/triton/scratch/file && echo; echo written"
    assert place.kubectl(*inside, asked).split() == ["high", "secret", "a", "b", "c", "written"]


@pytest.mark.parametrize("families", [("IPv6",), ("IPv4", "IPv6")], ids=" and ".join)
def test_a_pod_answers_on_every_family_of_its_addresses(place: Any, digits: Any, families: tuple[str, ...]) -> None:
    """The local cluster gives pods IPv4 alone: what is rendered for others is asked over the pod's loopback."""
    (running,) = place.list("pods", "app.kubernetes.io/name=tritonfleet", everywhere=True)[:1]
    settings = {each["name"]: each.get("value") for each in running["spec"]["containers"][0]["env"]}
    defaults = Defaults(
        triton_image=settings["TRITONFLEET_TRITON_IMAGE"],
        allow_unsafe_image=True,
        fetch_image=settings["TRITONFLEET_FETCH_IMAGE"],
        fetch_allow_private_addresses=True,
        ip_families=families,
    )
    owner = {"name": "digits", "namespace": place.namespace, "uid": "0", "generation": 1}
    body = {"apiVersion": "tritonfleet.dev/v1alpha1", "kind": "ModelDeployment", "metadata": owner, "spec": digits}
    revision = build_revision(ModelDeployment.parse(body), defaults)
    spec = revision.template["spec"]
    for container in spec["containers"]:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            container.pop(probe, None)
    files = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": revision.name}, "data": revision.config}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "digits"}, "spec": spec}
    for manifest in (files, pod):
        place.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    place.kubectl("wait", "pod/digits", "--for=condition=Ready", "--timeout=90s")

    ports = {"[::1]:8000": "/v2/models/digits/ready", "127.0.0.1:8000": "/v2/models/digits/ready"}
    if families[0] == "IPv6":
        ports |= {"[::1]:8010": "/v2/health/live", "[::1]:8002": "/metrics"}
    script = (
        "import socket, time, urllib.request as web\n"
        "def ask(url):\n"
        "    for _ in range(60):\n"
        "        try:\n"
        "            return web.urlopen(url, timeout=5).status\n"
        "        except OSError as error:\n"
        "            last = error; time.sleep(0.5)\n"
        "    return f'{url}: {last}'\n"
        f"print(*[ask(url) for url in {[f'http://{address}{path}' for address, path in ports.items()]!r}])\n"
        "socket.create_connection(('::1', 8001), 5).close()\n"
    )
    found = place.kubectl("exec", "digits", "-c", "triton", "--", "python3", "-c", script)
    assert found.split() == ["200"] * len(ports)
