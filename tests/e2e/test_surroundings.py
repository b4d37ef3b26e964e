"""Models in namespaces and clusters that have rules of their own."""

import json
from typing import Any

import pytest
import requests

from tests.e2e.shop import GATEWAY, GATEWAY_NAMESPACE
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.plan.objects import build_revision
from tritonfleet.plan.world import Defaults

GATEWAY_HASH = {"header": "X-Sequence-Id"}
SUMS_CONFIG = """
backend: "python"
max_batch_size: 8
input { name: "X" data_type: TYPE_INT32 dims: 1 }
output { name: "SUM" data_type: TYPE_INT32 dims: 1 }
output { name: "POD" data_type: TYPE_INT32 dims: 1 }
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  oldest { max_candidate_sequences: 64 }
  control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] } }
  control_input { name: "CORRID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
}
instance_group { kind: KIND_CPU count: 1 }
"""
SUMS_MODEL = """
import os, zlib
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        self.sums, self.pod = {}, zlib.crc32(os.uname().nodename.encode()) >> 1

    def execute(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request):
        given = (pb.get_input_tensor_by_name(request, name) for name in ("START", "CORRID", "X"))
        start, sequence, x = (tensor.as_numpy().flat[0] for tensor in given)
        self.sums[sequence] = x if start else self.sums[sequence] + x
        shown = {"SUM": self.sums[sequence], "POD": self.pod}
        return pb.InferenceResponse([pb.Tensor(n, np.array([[v]], np.int32)) for n, v in shown.items()])
"""
STEPS = 5
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
            {"name": "words", "configMap": {"name": "settings"}},
            {"name": "scratch", "emptyDir": {"sizeLimit": "1024Ki"}},
        ],
        "volumeMounts": [
            {"name": "words", "mountPath": "/opt/words/en", "subPath": "vocabulary", "readOnly": True},
            {"name": "scratch", "mountPath": "/home/triton/scratch"},
        ],
    }

    place.apply("digits", digits)
    place.wait_ready("digits")

    (pod,) = place.list("pods", "example.com/queue=gpus")
    inside = ["exec", pod["metadata"]["name"], "-c", "triton", "--", "sh", "-c"]
    asked = "echo $LEVEL $HUB_TOKEN; cat /opt/words/en; touch /home/triton/scratch/file && echo; echo written"
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


@pytest.fixture
def sums(place: Any) -> dict[str, Any]:
    """A spec that serves a model that adds up the numbers of each sequence; only the artifact says so."""
    files = {"config.pbtxt": SUMS_CONFIG.encode(), "1/model.py": SUMS_MODEL.encode()}
    model = {"uri": place.upload("sums/1", files), "credentialsSecretName": "model-store"}
    return {"model": model, "server": {"gpu": {"count": 0}}, "replicas": 2}


def test_a_gateway_keeps_each_sequence_in_one_pod_of_several(
    place: Any, sums: dict[str, Any], gateway_address: str
) -> None:
    parent = {"name": GATEWAY, "namespace": GATEWAY_NAMESPACE}
    host = f"sums.{place.namespace}.example.com"
    gateway = {"parentRefs": [parent], "hostnames": [host], "consistentHash": GATEWAY_HASH}
    place.apply("sums", {**sums, "traffic": {"gateway": gateway}})
    assert place.wait_ready("sums")["status"]["gatewayUrl"] == f"http://{host}"

    def ask(sequence: int, step: int, steps: int = STEPS) -> tuple[int, int]:
        """Send a number of a sequence; return its sum so far and the pod that answered."""
        number = {"name": "X", "datatype": "INT32", "shape": [1, 1], "data": [sequence + step]}
        about = {"sequence_id": sequence, "sequence_start": step == 0, "sequence_end": step == steps - 1}
        headers = {"Host": host, "X-Sequence-Id": str(sequence)}
        address = f"http://{gateway_address}/v2/models/sums/infer"
        body: Any = {"inputs": [number], "parameters": about}
        answer = requests.post(address, json=body, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        found = {each["name"]: each["data"][0] for each in answer.json()["outputs"]}
        return found["SUM"], found["POD"]

    def asked_alone() -> list[int]:
        """Return the pods that answer twenty sequences of one request each."""
        return [ask(sequence, 0, steps=1)[1] for sequence in range(100, 120)]

    place.wait("the gateway knows the route", lambda: routed(gateway_address, host))
    # The gateway learns of pods and policies after `Ready`: then it uses both pods, and the same ones again.
    place.wait("the gateway knows both pods", lambda: len(set(asked_alone())) == 2 and asked_alone() == asked_alone())
    pods: dict[int, set[int]] = {sequence: set() for sequence in range(1, 41)}
    for step in range(STEPS):
        for sequence, answered in pods.items():
            total, pod = ask(sequence, step)
            answered.add(pod)
            assert total == sum(sequence + earlier for earlier in range(step + 1))
    assert all(len(answered) == 1 for answered in pods.values())
    assert len(set().union(*pods.values())) == 2


def test_a_model_that_keeps_state_gets_one_pod_where_nothing_keeps_its_sequences_together(
    place: Any, sums: dict[str, Any]
) -> None:
    place.apply("sums", sums)

    place.wait("the spec is refused", lambda: place.condition("sums", "ConfigValid")["status"] == "False")
    assert "spec.replicas: must be 1, got 2" in place.condition("sums", "ConfigValid")["message"]
    place.wait("one pod is left", lambda: len(place.list("pods")) == 1)


def routed(address: str, host: str) -> bool:
    try:
        ready = f"http://{address}/v2/models/sums/ready"
        return requests.get(ready, headers={"Host": host, "X-Sequence-Id": "0"}, timeout=5).status_code == 200
    except requests.RequestException:
        return False


def test_a_model_whose_gateway_does_not_exist_or_has_no_room_for_it_is_not_ready(place: Any, digits: Any) -> None:
    place.apply("digits", {**digits, "traffic": {"gateway": {"parentRefs": [{"name": "nowhere"}]}}})

    place.wait_reason("digits", "GatewayNotFound")
    place.wait("the Service has a ready pod", lambda: place.condition("digits", "Available")["status"] == "True")
    closed = {"name": GATEWAY, "namespace": GATEWAY_NAMESPACE, "sectionName": "closed"}
    place.patch("digits", {"traffic": {"gateway": {"parentRefs": [closed]}}})
    place.wait_reason("digits", "GatewayRefused")
