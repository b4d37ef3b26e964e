import pytest

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.errors import InvalidSpec

METADATA = {"name": "recommender", "namespace": "shop", "uid": "u-1", "generation": 4}


def parse(spec, **metadata):
    return ModelDeployment.parse({"metadata": METADATA | metadata, "spec": {"model": {"uri": "s3://m"}} | spec})


def test_a_spec_that_only_names_its_model_gets_the_defaults():
    spec = parse({}).spec
    assert (spec.declared_replicas, spec.suspend, spec.batching, spec.instances) == (1, False, None, ())
    assert (spec.server.gpu.count, spec.server.gpu.resource_name) == (1, "nvidia.com/gpu")
    assert (spec.server.startup_timeout, spec.rollout.progress_deadline) == ("10m", "15m")


def test_the_model_is_named_after_the_object_unless_it_says_otherwise():
    assert parse({}).model_name == "recommender"
    assert parse({"model": {"uri": "s3://m", "name": "other"}}).model_name == "other"


def test_what_a_newer_release_added_is_passed_over():
    assert parse({"costCenter": {"name": "shop"}}).spec == parse({}).spec


def test_quantities_may_be_written_as_numbers():
    resources = parse({"server": {"resources": {"requests": {"cpu": 4, "memory": "16Gi"}}}}).spec.server.resources
    assert resources.requests == {"cpu": "4", "memory": "16Gi"}


def test_durations_and_quantities_are_kept_as_written():
    spec = parse({"server": {"drainTimeout": "90s", "sharedMemory": "1024Mi"}}).spec
    assert (spec.server.drain_timeout, spec.server.shared_memory) == ("90s", "1024Mi")


def test_an_empty_reshape_is_not_the_same_as_none():
    tensor = {"name": "x", "dataType": "FP32", "dims": [1]}
    with_reshape, without = parse(
        {"model": {"uri": "s3://m", "inputs": [tensor | {"reshape": []}, tensor]}}
    ).spec.model.inputs
    assert (with_reshape.reshape, without.reshape) == ((), None)


def test_a_model_deployment_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        parse({}).spec.replicas = 2


def test_the_raw_model_config_is_kept_whatever_it_holds():
    raw = {"model_warmup": [{"name": "zero", "inputs": {"x": {"dims": [1], "zero_data": True}}}]}
    assert parse({"modelConfig": raw}).spec.raw_model_config == raw


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"model": {}}, "spec.model.uri: field required"),
        ({"model": {"uri": True}}, "spec.model.uri: input should be a valid string, got True"),
        (
            {"slo": {"latency": {"percentile": 98, "target": "50ms"}}},
            "spec.slo.latency.percentile: value error, must be 50, 90, 95, 99 or 99.9, got 98",
        ),
        ({"replicas": -1}, "spec.replicas: input should be greater than or equal to 0, got -1"),
        (
            {"instances": [{"kind": "TPU"}]},
            "spec.instances[0].kind: input should be 'Auto', 'GPU', 'CPU' or 'Model', got 'TPU'",
        ),
        (
            {"server": {"resources": {"limits": {"cpu": True}}}},
            "spec.server.resources.limits.cpu: input should be a valid string, got True",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_field_value_and_remedy(spec, message):
    with pytest.raises(InvalidSpec) as refusal:
        parse(spec)
    assert str(refusal.value) == message
    assert refusal.value.reason == "ConfigInvalid"


def test_a_long_value_is_quoted_in_part():
    with pytest.raises(InvalidSpec) as refusal:
        parse({"model": {"uri": "s3://" + "x" * 5000}})
    assert len(str(refusal.value)) < 200


def test_many_faults_are_told_at_once_but_not_without_end():
    with pytest.raises(InvalidSpec) as refusal:
        parse({"instances": [{"count": 0}] * 9})
    assert str(refusal.value).count("; ") == 4
