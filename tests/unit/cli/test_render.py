"""`tritonfleet render` shows what the operator makes of a manifest, and `tritonfleet diff` what a change does."""

import json

import pytest
import yaml

from tritonfleet.plan.objects import CONFIG_KEY
from tritonfleet.triton import schema

BASE = """
apiVersion: tritonfleet.dev/v1alpha1
kind: ModelDeployment
metadata: {name: recommender, namespace: shop}
spec:
  model: {uri: "s3://models/recommender/7", backend: onnxruntime}
  batching: {maxBatchSize: 16}
  server: {startupTimeout: 30s}
  slo: {latency: {percentile: 99, target: 750ms}}
  autoscaling: {minReplicas: 2, maxReplicas: 4}
  traffic: {gateway: {parentRefs: [{name: public}]}}
"""


@pytest.fixture
def written(tmp_path):
    """Writes a manifest and returns its path."""

    def write(name, text=BASE):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return path

    return write


def test_the_objects_are_those_that_the_operator_would_write(tritonfleet, written):
    said = tritonfleet("render", written("model"))

    objects = {each["kind"]: each for each in yaml.safe_load_all(said.out)}
    assert said.status == 0
    assert set(objects) == {"ConfigMap", "Deployment", "HTTPRoute", "PodDisruptionBudget", "Service"}
    assert objects["Deployment"]["spec"]["replicas"] == 2
    assert "max_batch_size: 16" in objects["ConfigMap"]["data"][CONFIG_KEY]
    assert all("ownerReferences" not in each["metadata"] for each in objects.values())


def test_json_is_a_list_that_kubectl_reads(tritonfleet, written):
    found = json.loads(tritonfleet("render", written("model"), "-o", "json").out)

    assert (found["kind"], len(found["items"])) == ("List", 6)


def test_the_configuration_of_the_model_is_shown_alone(tritonfleet, written):
    said = tritonfleet("render", "--config", written("model"))

    assert said.out.startswith("# recommender\n")
    assert "max_batch_size: 16" in said.out
    assert "kind:" not in said.out


def test_the_settings_of_the_operator_come_from_the_environment(tritonfleet, written, monkeypatch):
    monkeypatch.setenv("TRITONFLEET_TRITON_IMAGE", "registry.example.com/triton:26.11-py3")

    assert "image: registry.example.com/triton:26.11-py3" in tritonfleet("render", written("model")).out


def test_an_invalid_manifest_is_refused_with_its_line(tritonfleet, written):
    said = tritonfleet("render", written("model", BASE.replace("maxBatchSize: 16", "maxBatchSize: no")))

    assert said.status == 2
    assert "model.yaml:7: spec.batching.maxBatchSize: must be a whole number" in said.err


ARTIFACT = """
backend: "python"
max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: 4 }
dynamic_batching { preserve_ordering: true }
parameters { key: "a" value { string_value: "1" } }
"""
LAID_OVER = """
apiVersion: tritonfleet.dev/v1alpha1
kind: ModelDeployment
metadata: {name: recommender, namespace: shop}
spec:
  model: {uri: "s3://models/recommender/7", parameters: {b: "2"}}
  batching: {dynamic: {maxQueueDelay: 2ms}}
  server: {gpu: {count: 0}}
  slo: {loadShedding: true, latency: {percentile: 99, target: 750ms}}
  modelConfig: {max_batch_size: 4}
"""


@pytest.fixture
def artifact(tmp_path):
    """The folder of a Python model with a configuration of its own."""
    folder = tmp_path / "artifact"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text("...")
    (folder / "config.pbtxt").write_text(ARTIFACT)
    return folder


def test_each_value_of_the_effective_configuration_has_its_origin(tritonfleet, written, artifact):
    said = tritonfleet("render", written("model", LAID_OVER), "--effective", artifact, "-o", "json")

    assert {each["field"]: (each["value"], each["origin"]) for each in json.loads(said.out)} == {
        "name": ('"recommender"', "metadata.name"),
        "backend": ('"python"', "config.pbtxt"),
        "version_policy.latest.num_versions": ("1", "Triton's default"),
        "max_batch_size": ("4", "spec.modelConfig"),
        "input.0.name": ('"X"', "config.pbtxt"),
        "input.0.data_type": ("TYPE_FP32", "config.pbtxt"),
        "input.0.dims.0": ("4", "config.pbtxt"),
        "dynamic_batching.max_queue_delay_microseconds": ("2000", "spec.batching.dynamic"),
        "dynamic_batching.preserve_ordering": ("true", "config.pbtxt"),
        "dynamic_batching.default_queue_policy.timeout_action": ("REJECT", "spec.slo.loadShedding"),
        "dynamic_batching.default_queue_policy.default_timeout_microseconds": ("375000", "spec.slo.loadShedding"),
        "dynamic_batching.default_queue_policy.max_queue_size": ("1024", "Tritonfleet's default"),
        "optimization.input_pinned_memory.enable": ("true", "Triton's default"),
        "optimization.output_pinned_memory.enable": ("true", "Triton's default"),
        "parameters.a.string_value": ('"1"', "config.pbtxt"),
        "parameters.b.string_value": ('"2"', "spec.model.parameters"),
    }


def test_the_effective_configuration_is_text_that_triton_reads(tritonfleet, written, artifact):
    said = tritonfleet("render", written("model", LAID_OVER), "--effective", artifact)

    config = schema.parse_text(said.out, "the output")
    assert (config.name, config.max_batch_size, config.backend) == ("recommender", 4, "python")
    assert "max_batch_size: 4                         # spec.modelConfig" in said.out
    assert "# output: Triton asks the backend" in said.out


def test_the_backend_that_triton_tells_by_the_models_file_is_shown(tritonfleet, written, tmp_path):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "net.onnx").write_text("...")
    text = BASE.replace(", backend: onnxruntime", "").replace("startupTimeout: 30s", "gpu: {count: 0}")

    said = tritonfleet("render", written("model", text), "--effective", tmp_path / "bare")

    assert [line.split() for line in said.out.splitlines() if line.startswith(("backend", "platform"))] == [
        ["platform:", '"onnxruntime_onnx"', "#", "Triton's", "default"],
        ["backend:", '"onnxruntime"', "#", "Triton's", "default"],
    ]


def test_what_the_fetch_step_would_refuse_is_refused_with_its_message(tritonfleet, written, artifact):
    (artifact / "config.pbtxt").write_text(ARTIFACT + "instance_group { kind: KIND_CPU rate_limiter { priority: 2 } }")

    said = tritonfleet("render", written("model", LAID_OVER), "--effective", artifact)

    assert said.status == 2
    assert "spec.instances[0].rateLimiter is set by config.pbtxt alone" in said.err


def test_no_change_is_no_output(tritonfleet, written):
    said = tritonfleet("diff", written("old"), written("new"))

    assert (said.status, said.out) == (0, "")


def test_a_change_of_the_model_starts_new_pods(tritonfleet, written):
    new = written("new", BASE.replace("maxBatchSize: 16", "maxBatchSize: 32"))

    said = tritonfleet("diff", written("old"), new)

    assert said.status == 1
    assert "spec.batching.maxBatchSize  16   32   new pods" in said.out
    assert "New pods, by a rolling update: revision recommender-" in said.out
    assert "-max_batch_size: 16\n+max_batch_size: 32" in said.out


def test_a_change_of_the_objective_replaces_no_pod(tritonfleet, written):
    said = tritonfleet("diff", written("old"), written("new", BASE.replace("750ms", "500ms")))

    assert "spec.slo.latency.target  750ms  500ms  at once" in said.out
    assert "No pod is replaced: 1 field at once." in said.out


SHEDDING = BASE.replace("  slo: {", "  slo: {loadShedding: true, ").replace(
    "maxBatchSize: 16", "maxBatchSize: 16, dynamic: {}"
)


def test_the_objective_is_part_of_the_pods_where_load_is_shed_by_it(tritonfleet, written):
    said = tritonfleet("diff", written("old", SHEDDING), written("new", SHEDDING.replace("750ms", "500ms")))

    assert "spec.slo.latency.target  750ms  500ms  new pods" in said.out


def test_a_change_that_needs_another_has_the_effect_of_both(tritonfleet, written):
    said = tritonfleet("diff", written("old"), written("new", SHEDDING.replace("750ms", "500ms")))

    assert [line.split("  ")[0].strip() for line in said.out.splitlines() if line.endswith("new pods")] == [
        "spec.batching.dynamic",
        "spec.slo.latency.target",
        "spec.slo.loadShedding",
    ]


def test_another_way_to_write_the_same_replaces_no_pod(tritonfleet, written):
    said = tritonfleet("diff", written("old"), written("new", BASE.replace("30s", "30000ms")))

    assert "none: it means the same" in said.out
    assert "No pod is replaced" in said.out


def test_a_change_beside_one_of_the_model_has_its_own_effect(tritonfleet, written):
    text = BASE.replace("maxBatchSize: 16", "maxBatchSize: 32").replace("maxReplicas: 4", "maxReplicas: 9")

    said = tritonfleet("diff", written("old"), written("new", text))

    assert "spec.autoscaling.maxReplicas  4    9    at once" in said.out


def test_two_models_are_not_compared(tritonfleet, written):
    said = tritonfleet("diff", written("old"), written("new", BASE.replace("name: recommender", "name: detector")))

    assert said.status == 2
    assert "must be the same, since clients use these names" in said.err
