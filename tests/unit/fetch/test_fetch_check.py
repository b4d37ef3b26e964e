"""The fetch step refuses what Triton would not load, in the words of the rule that is broken."""

import json

import pytest

from tritonfleet.triton.images import Image, server_context

CPU = server_context(Image.parse("nvcr.io/nvidia/tritonserver:26.11-py3"), gpus=0, server_has_cache=False)
TENSORS = 'input { name: "IN" data_type: TYPE_FP32 dims: 4 } output { name: "OUT" data_type: TYPE_FP32 dims: 4 }'


@pytest.fixture
def served(tmp_path, fetch):
    """Fetch a Python model with this configuration and these files, under a spec that says this."""

    def run(config, overlay="", files=None, server=CPU):
        folder = tmp_path / "claim" / "m"
        (folder / "1").mkdir(parents=True)
        (folder / "1" / "model.py").write_text("...")
        for path, content in (files or {}).items():
            (folder / path).parent.mkdir(exist_ok=True, parents=True)
            (folder / path).write_bytes(content)
        (folder / "config.pbtxt").write_bytes(config if isinstance(config, bytes) else config.encode())
        (tmp_path / "overlay.pbtxt").write_text(f'name: "resnet" backend: "python" {overlay}')
        return fetch("pvc://claim/m", TRITONFLEET_FETCH_SERVER=server)

    return run


def test_a_broken_rule_is_named_before_triton_starts(served):
    outcome = served(f"max_batch_size: 4 {TENSORS} dynamic_batching {{ preferred_batch_size: 8 }}")
    assert outcome.code == 1
    assert outcome.message == (
        "FetchFailed: Triton would not load pvc://claim/m as its config.pbtxt and the spec have it: "
        "spec.batching.dynamic.preferredBatchSizes is 8: must be from 1 to spec.batching.maxBatchSize (4)"
    )
    assert not outcome.model.exists()


def test_the_spec_can_make_right_what_the_artifact_has_wrong(served):
    outcome = served(f"max_batch_size: 4 {TENSORS} dynamic_batching {{ preferred_batch_size: 8 }}", "max_batch_size: 8")
    assert outcome.code == 0
    assert "max_batch_size: 8\n" in outcome.config


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ('output { name: "O" data_type: TYPE_FP32 dims: 1 label_filename: "l.txt" }', "labelFile is 'l.txt'"),
        ("version_policy { specific { versions: 3 } }", "versionPolicy.specific is 3"),
        ('default_model_filename: "serve.py"', "no 1/serve.py"),
        ("instance_group { kind: KIND_GPU }", "spec.instances[0].kind is GPU: needs spec.server.gpu.count"),
        ("response_cache { enable: true }", "set spec.server.responseCache, such as {local: {size: 64Mi}}"),
        ('metric_tags { key: "a b" value: "c" }', "spec.model.metricTags is for 'a b'"),
    ],
)
def test_files_and_server_are_known_to_the_rules(served, config, problem):
    outcome = served(config)
    assert outcome.code == 1
    assert problem in outcome.message


LIMITED = "instance_group { kind: KIND_CPU rate_limiter { priority: 2 } }"


def test_a_rate_limit_that_only_the_artifact_sets_is_refused_since_the_server_would_ignore_it(served):
    outcome = served(LIMITED)
    assert outcome.code == 1
    assert "spec.instances[0].rateLimiter is set by config.pbtxt alone: limits nothing unless the server does" in (
        outcome.message
    )


def test_a_rate_limit_of_the_artifact_is_taken_where_the_server_limits(served):
    image = Image.parse("nvcr.io/nvidia/tritonserver:26.11-py3")
    limiting = server_context(image, gpus=0, server_has_cache=False, rate_limited=True)
    assert served(LIMITED, server=limiting).code == 0


def test_pods_that_an_older_operator_started_keep_a_rate_limit_without_effect(served):
    known = json.loads(CPU)
    del known["rate_limited"]
    assert served(LIMITED, server=json.dumps(known)).code == 0


def test_warm_up_data_of_the_artifact_is_measured(served):
    sample = 'inputs { key: "IN" value { data_type: TYPE_FP32 dims: 4 input_data_file: "x" } }'
    config = f"{TENSORS} model_warmup {{ batch_size: 1 {sample} }}"
    assert "'x' of 8 bytes: must have 16 bytes for dims [4]" in served(config, files={"warmup/x": bytes(8)}).message


def test_sequences_of_the_artifact_are_not_replaced_without_a_word(served):
    outcome = served("sequence_batching { }", "dynamic_batching { max_queue_delay_microseconds: 2000 }")
    assert "spec.batching.dynamic would replace the `sequence_batching` of config.pbtxt" in outcome.message


def test_a_configuration_need_not_be_utf_8(served):
    outcome = served(b'# caf\xe9\nparameters { key: "x" value { string_value: "\\377" } }')
    assert json.loads(outcome.message)["digest"]
    assert 'string_value: "\\377"' in outcome.config


def test_the_pods_of_an_older_operator_are_not_checked(served):
    assert served('metric_tags { key: "a b" value: "c" }', server="").code == 0


def test_how_the_model_is_batched_is_reported_also_when_it_is_in_place_already(served, fetch):
    first = served("max_batch_size: 32 dynamic_batching { } instance_group { count: 3 }")
    second = fetch("pvc://claim/m", TRITONFLEET_FETCH_SERVER=CPU)
    for outcome in (first, second):
        report = json.loads(outcome.message)
        assert (report["largestBatch"], report["concurrentBatches"]) == (32, 3)
