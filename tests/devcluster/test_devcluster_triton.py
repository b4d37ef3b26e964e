"""The Triton image serves ONNX models as a GPU image would: names, types, batches and refusals are the model's."""

import json
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, checker, helper, save
from tritonclient.utils import InferenceServerException

from devcluster import cluster, images
from devcluster.progress import Progress

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def graph(nodes, inputs, outputs, constants=()):
    made = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, list(constants)), opset_imports=[helper.make_opsetid("", 17)]
    )
    made.ir_version = 9
    checker.check_model(made)
    return made


def classifier():
    weights = helper.make_tensor("W", FLOAT, WEIGHTS.shape, WEIGHTS.ravel())
    nodes = [
        helper.make_node("MatMul", ["X", "W"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [value("scores", FLOAT, ["N", 3]), value("label", INT64, ["N"])]
    return graph(nodes, [value("X", FLOAT, ["N", 4])], outputs, [weights])


def adder_of_two_and_a_string():
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Identity", ["word"], ["echo"])]
    inputs = [value("a", FLOAT, ["N", "M"]), value("b", FLOAT, ["N", "M"]), value("word", STRING, ["N"])]
    return graph(nodes, inputs, [value("sum", FLOAT, ["N", "M"]), value("echo", STRING, ["N"])])


def fixed_shape():
    nodes = [helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)]
    return graph(nodes, [value("x", FLOAT, [2, 3])], [value("total", FLOAT, [])])


class Server:
    """Triton in a pod, with model folders of its own."""

    def __init__(self, name, models):
        self.name = name
        self.local = cluster.ensure()
        self.local.load_image(images.triton(Progress()).path)
        self.folder = Path(tempfile.mkdtemp(prefix="tritonfleet-models-"))
        self.folder.chmod(0o755)
        for model, (onnx, config) in models.items():
            version = self.folder / model / "1"
            version.mkdir(parents=True)
            if onnx:
                save(onnx, version / "model.onnx")
            if config:
                (self.folder / model / "config.pbtxt").write_text(config)
        loads = [f"--load-model={model}" for model in models]
        self.kubectl("apply", "-f", "-", stdin=json.dumps(self.pod(loads)))

    def pod(self, loads):
        container = {
            "name": "triton",
            "image": images.TRITON_IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["tritonserver"],
            "args": ["--model-repository=/models", "--model-control-mode=explicit", "--exit-on-error=true", *loads],
            "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": 8000}, "periodSeconds": 1},
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "runAsUser": 1000,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": "models", "mountPath": "/models", "readOnly": True},
                {"name": "memory", "mountPath": "/dev/shm"},
                {"name": "scratch", "mountPath": "/tmp"},
            ],
        }
        volumes = [
            {"name": "models", "hostPath": {"path": str(self.folder)}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},
            {"name": "scratch", "emptyDir": {}},
        ]
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": volumes,
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name}, "spec": spec}

    def kubectl(self, *arguments, stdin=None):
        return subprocess.run(
            [self.local.kubectl, "--kubeconfig", self.local.kubeconfig, "-n", "default", *arguments],
            input=stdin, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    def client(self):
        self.kubectl("wait", f"pod/{self.name}", "--for=condition=Ready", "--timeout=600s")
        address = self.kubectl("get", "pod", self.name, "-o", "jsonpath={.status.podIP}")
        return triton.InferenceServerClient(f"{address}:8001")

    def last_words(self):
        query = "jsonpath={.status.containerStatuses[0].state.terminated.message}"
        deadline = time.monotonic() + 600
        while not (said := self.kubectl("get", "pod", self.name, "-o", query)):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return said

    def close(self):
        self.kubectl("delete", "pod", self.name, "--grace-period=0", "--force")
        shutil.rmtree(self.folder)


CONFIGURED = """
backend: "onnxruntime"
max_batch_size: 64
dynamic_batching { max_queue_delay_microseconds: 20000 }
input [{ name: "X" data_type: TYPE_FP32 dims: [4] }]
output [{ name: "scores" data_type: TYPE_FP32 dims: [-1] }, { name: "label" data_type: TYPE_INT64 dims: [1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""


@pytest.fixture(scope="module")
def server():
    made = Server(
        "onnx-backend",
        {
            "bare": (classifier(), None),
            "configured": (classifier(), CONFIGURED),
            "adder": (adder_of_two_and_a_string(), 'backend: "onnxruntime"\nmax_batch_size: 8'),
            "fixed": (fixed_shape(), None),
        },
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(server):
    return server.client()


def ask(client, model, arrays, outputs=None):
    inputs = []
    for name, array in arrays.items():
        kind = "BYTES" if array.dtype == object else "FP32"
        made = triton.InferInput(name, array.shape, kind)
        made.set_data_from_numpy(array)
        inputs.append(made)
    wanted = [triton.InferRequestedOutput(name) for name in outputs] if outputs else None
    return client.infer(model, inputs, outputs=wanted)


def test_a_bare_model_gets_its_names_types_and_batching_from_the_file(client):
    config = client.get_model_config("bare").config

    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [("X", 11, [4])]
    assert [(each.name, list(each.dims)) for each in config.output] == [("scores", [3]), ("label", [1])]
    assert config.max_batch_size == 4
    assert config.HasField("dynamic_batching")


def test_a_model_of_fixed_shape_is_not_batched(client):
    answer = ask(client, "fixed", {"x": np.ones((2, 3), np.float32)})

    assert client.get_model_config("fixed").config.max_batch_size == 0
    assert answer.as_numpy("total").tolist() == [6.0]


def test_answers_are_the_models_own(client):
    rows = np.array([[1, 0, 0, 0], [0, 0, 0, -1]], np.float32)

    answer = ask(client, "bare", {"X": rows})

    np.testing.assert_allclose(answer.as_numpy("scores"), rows @ WEIGHTS)
    assert answer.as_numpy("label").ravel().tolist() == [2, 0]


def test_only_the_outputs_asked_for_come_back(client):
    answer = ask(client, "bare", {"X": np.ones((1, 4), np.float32)}, outputs=["label"])

    assert answer.as_numpy("scores") is None
    assert answer.as_numpy("label").tolist() == [[2]]


def test_several_inputs_and_strings_pass_through(client):
    ones, words = np.ones((2, 5), np.float32), np.array([["hé".encode()], [b"yo"]], dtype=object)

    answer = ask(client, "adder", {"a": ones, "b": ones, "word": words})

    assert answer.as_numpy("sum").tolist() == [[2.0] * 5] * 2
    assert answer.as_numpy("echo").ravel().tolist() == ["hé".encode(), b"yo"]


def test_requests_that_run_together_each_get_their_own_rows(server, client):
    before = client.get_inference_statistics("configured").model_stats[0]
    wrong = []

    def work(seed):
        own = server.client()
        random = np.random.default_rng(seed)
        for _ in range(20):
            rows = random.random((int(random.integers(1, 6)), 4), dtype=np.float32)
            if not np.allclose(ask(own, "configured", {"X": rows}).as_numpy("scores"), rows @ WEIGHTS, atol=1e-4):
                wrong.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    after = client.get_inference_statistics("configured").model_stats[0]
    requests = after.inference_stats.success.count - before.inference_stats.success.count
    assert wrong == []
    assert requests == 160
    assert after.execution_count - before.execution_count < requests


def test_an_input_the_model_cannot_take_fails_with_its_own_words(client):
    one, words = np.ones((1, 2), np.float32), np.array([[b"x"]], dtype=object)

    with pytest.raises(InferenceServerException, match="Attempting to broadcast"):
        ask(client, "adder", {"a": one, "b": np.ones((1, 3), np.float32), "word": words})


@pytest.mark.parametrize(
    ("onnx", "config", "words"),
    [
        (None, 'backend: "onnxruntime"', "no model.onnx in /models/wrong/1 (it holds nothing)"),
        (
            classifier(),
            'backend: "onnxruntime" input [{name: "X" data_type: TYPE_INT64 dims: [4]}]',
            "configuration expects datatype TYPE_INT64 for input 'X', model provides TYPE_FP32",
        ),
        (
            classifier(),
            'backend: "onnxruntime" input [{name: "X" data_type: TYPE_FP32 dims: [5]}]',
            "the model expects dims [4] but the model configuration specifies dims [5]",
        ),
        (
            classifier(),
            'backend: "onnxruntime" input [{name: "Y" data_type: TYPE_FP32 dims: [4]}]',
            "unexpected input 'Y', the model has: X",
        ),
        (
            fixed_shape(),
            'backend: "onnxruntime" max_batch_size: 8',
            "model does not support batching while non-zero max_batch_size is specified",
        ),
    ],
)
def test_a_configuration_that_contradicts_the_model_is_refused(onnx, config, words):
    server = Server("onnx-refused", {"wrong": (onnx, config)})
    try:
        assert words in server.last_words()
    finally:
        server.close()
