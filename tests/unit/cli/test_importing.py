"""`tritonfleet import` turns models that are served by other means into ModelDeployments."""

import pytest
import yaml

from tritonfleet.api.admission import violations
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.triton.config import model_config
from tritonfleet.triton.schema import merge, parse_text

CONFIGS = {
    "densenet_onnx": """
        name: "densenet_onnx"
        platform: "onnxruntime_onnx"
        max_batch_size: 0
        input [{ name: "data_0" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [3, 224, 224]
                 reshape { shape: [1, 3, 224, 224] } }]
        output [{ name: "fc6_1" data_type: TYPE_FP32 dims: [1000] reshape { shape: [1, 1000, 1, 1] }
                  label_filename: "densenet_labels.txt" }]
    """,
    "recommender": """
        backend: "onnxruntime"
        max_batch_size: 32
        dynamic_batching { max_queue_delay_microseconds: 2000 preferred_batch_size: [8, 16] }
        instance_group [{ count: 2 kind: KIND_GPU }]
    """,
    "priorities": """
        backend: "pytorch"
        max_batch_size: 8
        dynamic_batching {
          priority_levels: 2 default_priority_level: 2
          priority_queue_policy { key: 1 value { max_queue_size: 10 } }
          default_queue_policy { max_queue_size: 100 default_timeout_microseconds: 50000 timeout_action: DELAY }
        }
    """,
    "simple_sequence": """
        backend: "python"
        max_batch_size: 4
        sequence_batching { max_sequence_idle_microseconds: 5000000
          control_input [{ name: "START" control [{ kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] }] }] }
        input [{ name: "INPUT" data_type: TYPE_INT32 dims: [1] }]
        output [{ name: "OUTPUT" data_type: TYPE_INT32 dims: [1] }]
        instance_group [{ kind: KIND_CPU }]
    """,
    "two_gpus": 'backend: "tensorrt" instance_group [{ kind: KIND_GPU gpus: [0, 1] }]',
}

INFERENCE_SERVICE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: torchscript-cifar10}
spec:
  predictor:
    minReplicas: 2
    maxReplicas: 6
    scaleMetric: concurrency
    canaryTrafficPercent: 20
    nodeSelector: {pool: gpu}
    serviceAccountName: models
    triton:
      storageUri: s3://models/torchscript
      runtimeVersion: 26.11-py3
      env: [{name: OMP_NUM_THREADS, value: "1"}]
      args: [--log-verbose=1, --model-store=/mnt/models]
      resources: {limits: {cpu: "2", memory: 8Gi, nvidia.com/gpu: "1"}}
"""

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: triton}
spec:
  replicas: 3
  template:
    spec:
      imagePullSecrets: [{name: ngc}]
      tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
      containers:
        - name: triton
          image: nvcr.io/nvidia/tritonserver:26.11-py3
          command: [/bin/sh, -c]
          args: ["tritonserver --model-repository=/models/prod --log-verbose=1 --http-port=8000"]
          resources: {limits: {nvidia.com/gpu: 1}}
          volumeMounts: [{name: models, mountPath: /models}]
      volumes: [{name: models, persistentVolumeClaim: {claimName: model-store}}]
"""


@pytest.fixture
def repository(tmp_path):
    """A model repository with every model of CONFIGS."""
    for name, config in CONFIGS.items():
        (tmp_path / "models" / name / "1").mkdir(parents=True)
        (tmp_path / "models" / name / "config.pbtxt").write_text(config)
    return tmp_path / "models"


@pytest.fixture
def imported(tritonfleet):
    """Runs `tritonfleet import` and returns the objects by name, and what was said of them."""

    def run(*arguments):
        said = tritonfleet("import", *arguments)
        found = [each for each in yaml.safe_load_all(said.out) if each]
        return {each["metadata"]["name"]: each for each in found}, said

    return run


def test_every_model_of_a_repository_becomes_a_valid_object(imported, repository):
    found, said = imported(repository, "--uri", "s3://models/prod/")

    assert said.status == 0
    assert set(found) == {"densenet-onnx", "recommender", "priorities", "simple-sequence", "two-gpus"}
    assert [violations(each) for each in found.values()] == [[]] * 5
    assert found["densenet-onnx"]["spec"]["model"] == {"uri": "s3://models/prod/densenet_onnx", "name": "densenet_onnx"}


@pytest.mark.parametrize("name", CONFIGS)
def test_triton_gets_what_it_got_before(imported, repository, name):
    found, _ = imported(repository / name, "--uri", "s3://models/x")
    (body,) = found.values()
    own = parse_text(CONFIGS[name], name)

    spec = ModelDeployment.parse({**body, "metadata": {"namespace": "default", **body["metadata"]}}).spec
    effective = merge(own, model_config(spec, own.name))

    defaults = (
        "max_queue_size",
        "timeout_action",
        "allow_timeout_override",
        "preserve_ordering",
        "count:",
        "name:",
        "default_queue_policy",
    )
    assert {line.strip() for line in str(own).splitlines()} - {
        line.strip() for line in str(effective).splitlines()
    } == set()
    added = {line.strip() for line in str(effective).splitlines()} - {line.strip() for line in str(own).splitlines()}
    assert [line for line in added if not line.startswith(defaults)] == []


def test_batching_and_instances_can_be_changed_in_the_manifest(imported, repository):
    found, _ = imported(repository / "recommender", "--uri", "s3://models/recommender")

    spec = found["recommender"]["spec"]
    assert spec["batching"] == {
        "maxBatchSize": 32,
        "dynamic": {"maxQueueDelay": "2ms", "preferredBatchSizes": [8, 16]},
    }
    assert spec["instances"] == [{"kind": "GPU", "count": 2}]


def test_a_model_on_the_cpu_asks_for_no_gpu_and_one_on_two_for_two(imported, repository):
    found, _ = imported(repository, "--uri", "s3://models/prod")

    assert found["simple-sequence"]["spec"]["server"]["gpu"] == {"count": 0}
    assert found["two-gpus"]["spec"]["server"]["gpu"] == {"count": 2}
    assert "server" not in found["recommender"]["spec"]


def test_without_a_uri_a_place_is_asked_for(imported, repository):
    found, said = imported(repository / "recommender" / "config.pbtxt")

    assert "set spec.model.uri" in said.err
    # A bucket cannot have this name, so that it is not fetched by chance.
    assert violations(found["recommender"]) != []
    assert said.status == 1


ENSEMBLE = (
    'name: "pipeline" platform: "ensemble" ensemble_scheduling { step { model_name: "first" model_version: -1 }'
    ' step { model_name: "second" model_version: -1 } }'
)


def test_the_members_of_an_ensemble_are_its_companions(imported, tmp_path):
    inner = (
        ENSEMBLE.replace("pipeline", "second")
        .replace("first", "third")
        .replace('name: "second" model', 'name: "third" model')
    )
    for name, config in {"pipeline": ENSEMBLE, "first": "", "second": inner, "third": ""}.items():
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(config)

    found, said = imported(tmp_path, "--uri", "s3://models/all")

    assert found["pipeline"]["spec"]["model"] == {"uri": "s3://models/all"}
    assert sorted(each["name"] for each in found["pipeline"]["spec"]["companions"]) == ["first", "second", "third"]
    assert "are companions in the same server" in said.err
    assert said.status == 0


def test_members_that_are_not_beside_their_ensemble_are_named(imported, tmp_path):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "config.pbtxt").write_text(ENSEMBLE)

    _, said = imported(tmp_path / "pipeline" / "config.pbtxt", "--uri", "s3://models/pipeline")

    assert said.status == 1
    assert "there is no folder of first, second beside it" in said.err


def test_an_inference_service_keeps_its_pods(imported, tmp_path):
    path = tmp_path / "isvc.yaml"
    path.write_text(INFERENCE_SERVICE)

    found, said = imported(path, "--model", "cifar10")

    spec = found["cifar10"]["spec"]
    assert violations(found["cifar10"]) == []
    assert spec["model"] == {"uri": "s3://models/torchscript/cifar10"}
    assert spec["replicas"] == 2
    assert spec["rollout"] == {"canary": {"steps": [{"weight": 20}]}}
    assert spec["server"] == {
        "gpu": {"count": 1},
        "resources": {"limits": {"cpu": "2", "memory": "8Gi"}},
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
        "args": ["--log-verbose=1"],
        "nodeSelector": {"pool": "gpu"},
        "serviceAccountName": "models",
        "image": {"tag": "26.11-py3"},
    }
    assert "`autoscaling: {minReplicas: 2, maxReplicas: 6}`" in said.err


def test_an_inference_service_of_another_runtime_is_passed_over(imported, tmp_path):
    path = tmp_path / "isvc.yaml"
    path.write_text(INFERENCE_SERVICE.replace("triton:", "sklearn:"))

    found, said = imported(path)

    assert (found, said.status) == ({}, 2)
    assert "found no model folder" in said.err


def test_a_deployment_with_a_claim_is_read_from_the_claim(imported, tmp_path):
    path = tmp_path / "triton.yaml"
    path.write_text(DEPLOYMENT)

    found, _ = imported(path, "--model", "detector", "--model", "reader")

    spec = found["reader"]["spec"]
    assert set(found) == {"detector", "reader"}
    assert violations(found["reader"]) == []
    assert spec["model"]["uri"] == "pvc://model-store/prod/reader"
    assert spec["server"]["args"] == ["--log-verbose=1"]
    assert spec["server"]["image"] == {"repository": "nvcr.io/nvidia/tritonserver", "tag": "26.11-py3"}
    assert spec["server"]["imagePullSecrets"] == ["ngc"]
    assert spec["replicas"] == 3


def test_the_models_of_a_deployment_must_be_named(imported, tmp_path):
    path = tmp_path / "triton.yaml"
    path.write_text(DEPLOYMENT)

    _, said = imported(path)

    assert said.status == 2
    assert "serves the repository pvc://model-store/prod: name each model in it with --model" in said.err


def test_a_configuration_that_cannot_be_read_is_refused_with_its_line(imported, tmp_path):
    (tmp_path / "config.pbtxt").write_text('name: "x"\nmax_batch: 3\n')

    _, said = imported(tmp_path / "config.pbtxt")

    assert said.status == 2
    assert "2:1" in said.err
