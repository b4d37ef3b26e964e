import pytest

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.errors import InvalidSpec

IMAGE = "{repository: nvcr.io/nvidia/tritonserver, tag: 26.11-py3}"
TOLERATION = "`key`, `operator`, `value`, `effect`, `tolerationSeconds`"
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


def test_the_raw_model_config_is_kept_verbatim():
    raw = {"model_warmup": [{"name": "zero", "inputs": {"x": {"dims": [1], "zero_data": True}}}]}
    assert parse({"modelConfig": raw}).spec.raw_model_config == raw


def nested(levels):
    value: object = 1
    for _ in range(levels + 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize("field", ["modelConfig", "podAffinity", "podAntiAffinity"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (nested(9), "must not be nested more than"),
        (nested(5000), "must not be nested more than"),
        ({"a": list(range(5000))}, "must not have more than 4,096 values"),
        ({"a": ["x" * 70_000]}, "must not have more than 65,536 characters"),
        ({"a": [{"x" * 70_000: 1}]}, "must not have more than 65,536 characters"),
    ],
    ids=["deep", "deeper than Python", "many values", "a long text", "a long name"],
)
def test_fields_that_others_define_have_a_depth_and_a_size(field, value, message):
    spec = {field: value} if field == "modelConfig" else {"server": {"affinity": {field: value}}}
    with pytest.raises(InvalidSpec, match=message):
        parse(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"model": {}}, "spec.model.uri: must be set"),
        (
            {"model": {"uri": True}},
            "spec.model.uri: must be a string: write it in quotes, got True",
        ),
        (
            {"slo": {"latency": {"percentile": 98, "target": "50ms"}}},
            "spec.slo.latency.percentile: must be 50, 90, 95, 99 or 99.9, got 98",
        ),
        (
            {"slo": {"latency": {"target": 50}}},
            "spec.slo.latency.target: must be a duration from 1ms to 1h, such as 1m30s, got 50",
        ),
        (
            {"slo": {"latency": "50ms"}},
            "spec.slo.latency: must be an object, such as {percentile: 99, target: 50ms}, got '50ms'",
        ),
        ({"slo": {"throughput": "100rps"}}, "spec.slo.throughput: must be a number, without a unit, got '100rps'"),
        (
            {"server": {"image": "repo:tag"}},
            f"spec.server.image: must be an object, such as {IMAGE}, got 'repo:tag'",
        ),
        ({"server": {"gpu": 1}}, "spec.server.gpu: must be an object, such as {count: 1}, got 1"),
        (
            {"server": {"gpu": {"count": "one"}}},
            "spec.server.gpu.count: must be a whole number, without a unit, got 'one'",
        ),
        (
            {"server": {"sharedMemory": 2}},
            "spec.server.sharedMemory: must be a quantity from 1Mi to 1Ti, such as 1Gi, got 2",
        ),
        (
            {"server": {"args": "--log-verbose=1"}},
            "spec.server.args: must be a list, such as [--log-verbose=1], got '--log-verbose=1'",
        ),
        (
            {"server": {"tolerations": [1]}},
            f"spec.server.tolerations[0]: must be an object with fields such as {TOLERATION}, got 1",
        ),
        (
            {"server": {"env": [{"name": "A", "value": 1}]}},
            "spec.server.env[0].value: must be a string: write it in quotes, got 1",
        ),
        (
            {"rollout": {"canary": {"steps": [10]}}},
            "spec.rollout.canary.steps[0]: must be an object, such as {weight: 10}, got 10",
        ),
        (
            {"autoscaling": {"minReplicas": 0, "maxReplicas": 2}},
            "spec.autoscaling.minReplicas: must be at least 1: to run no pods, set `suspend: true`, got 0",
        ),
        ({"suspend": "off the air"}, "spec.suspend: must be true or false, got 'off the air'"),
        ({"replicas": -1}, "spec.replicas: must be at least 0, got -1"),
        (
            {"instances": [{"kind": "TPU"}]},
            "spec.instances[0].kind: must be 'Auto', 'GPU', 'CPU' or 'Model', got 'TPU'",
        ),
        (
            {"server": {"resources": {"limits": {"cpu": True}}}},
            "spec.server.resources.limits.cpu: must be a quantity of at least 0, such as 500m, 4 or 16Gi, got True",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_field_value_and_remedy(spec, message):
    with pytest.raises(InvalidSpec) as refusal:
        parse(spec)
    assert str(refusal.value) == message
    assert refusal.value.reason == "ConfigInvalid"


def test_a_wrong_item_does_not_make_a_list_too_short():
    inputs = [{"name": "X", "dataType": "FP32", "dims": [-5]}]
    with pytest.raises(InvalidSpec) as refusal:
        parse({"model": {"uri": "s3://models/demo", "inputs": inputs}})

    said = "spec.model.inputs[0].dims[0]: must be at least 1, or -1 for a variable dimension, got -5"
    assert str(refusal.value) == said


def test_a_long_value_is_quoted_in_part():
    with pytest.raises(InvalidSpec) as refusal:
        parse({"model": {"uri": "s3://" + "x" * 5000}})
    assert len(str(refusal.value)) < 200


def test_many_problems_are_listed_at_once_up_to_a_limit():
    with pytest.raises(InvalidSpec) as refusal:
        parse({"instances": [{"count": 0}] * 9})
    assert str(refusal.value).count("; ") == 4
