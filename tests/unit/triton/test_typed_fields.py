"""Which fields of Triton's ModelConfig the API has, and what they become."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.refusals import COMPLETE
from tritonfleet.api import names
from tritonfleet.api.admission import violations
from tritonfleet.api.modeldeployment import ModelDeployment, ModelDeploymentSpec
from tritonfleet.plan.objects import build_revision
from tritonfleet.plan.world import Defaults
from tritonfleet.triton import schema
from tritonfleet.triton.config import RAW_ONLY, TYPED, model_config, render
from tritonfleet.triton.validation import problems

MOST_RAW_ONLY = 10


def spec(**fields: Any) -> ModelDeploymentSpec:
    body = {"metadata": {"name": "demo", "namespace": "shop"}, "spec": {"model": {"uri": "s3://models/demo"}, **fields}}
    return ModelDeployment.parse(body, strict=True).spec


def is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def known_paths(descriptor: Any, prefix: str = "") -> Iterator[str]:
    for field in descriptor.fields:
        path = f"{prefix}{field.name}"
        message = field.message_type.fields_by_name["value"].message_type if is_map(field) else field.message_type
        yield path
        if message is not None:
            yield from known_paths(message, f"{path}.")


def set_paths(config: Any, prefix: str = "") -> Iterator[str]:
    for field, value in config.ListFields():
        path = f"{prefix}{field.name}"
        yield path
        if is_map(field):
            inner = list(value.values()) if field.message_type.fields_by_name["value"].message_type else []
        else:
            inner = list(value) if field.is_repeated else [value]
        for message in inner if field.message_type is not None else ():
            yield from set_paths(message, f"{path}.")


def test_every_field_of_triton_is_typed_or_on_the_list_of_those_that_are_not() -> None:
    configs = []
    for manifest in COMPLETE:
        fields = {name: value for name, value in manifest["spec"].items() if name != "modelConfig"}
        body = {"metadata": {"name": "demo", "namespace": "shop"}, "spec": fields}
        configs.append(model_config(ModelDeployment.parse(body).spec, "demo"))
    typed = {path for config in configs for path in set_paths(config)} - {"name"}

    missing = {path for path in known_paths(schema.empty().DESCRIPTOR) if path not in typed}
    unlisted = {path for path in missing if not any(f"{path}.".startswith(f"{listed}.") for listed in RAW_ONLY)}

    assert unlisted == set()
    assert set(RAW_ONLY) <= missing
    assert set(TYPED) | set(RAW_ONLY) >= {field.name for field in schema.empty().DESCRIPTOR.fields}
    assert len(RAW_ONLY) <= MOST_RAW_ONLY
    assert all(RAW_ONLY.values())


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "a slot for each sequence": (
        {"batching": {"sequence": {"direct": {"maxQueueDelay": "1ms", "minimumSlotUtilization": 0.5}}}},
        "sequence_batching { direct { max_queue_delay_microseconds: 1000 minimum_slot_utilization: 0.5 } }",
    ),
    "no strategy": ({"batching": {"sequence": {}}}, "sequence_batching {}"),
    "the oldest first": (
        {"batching": {"sequence": {"oldest": {"maxCandidateSequences": 4}, "maxSequenceIdle": "5s"}}},
        "sequence_batching { max_sequence_idle_microseconds: 5000000 oldest { max_candidate_sequences: 4 } }",
    ),
    "two controls in one input": (
        {
            "batching": {
                "sequence": {
                    "controls": [
                        {"kind": "Start", "input": "FLAGS", "dataType": "BOOL"},
                        {"kind": "CorrelationID", "input": "ID", "dataType": "STRING"},
                        {"kind": "End", "input": "FLAGS", "dataType": "FP32", "falseTrue": [-1, 0.5]},
                    ]
                }
            }
        },
        """
        sequence_batching {
          control_input {
            name: "FLAGS"
            control { kind: CONTROL_SEQUENCE_START bool_false_true: [false, true] }
            control { kind: CONTROL_SEQUENCE_END fp32_false_true: [-1, 0.5] }
          }
          control_input { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } }
        }
        """,
    ),
    "a state that begins with zeros": (
        {
            "batching": {
                "sequence": {
                    "states": [
                        {
                            "inputName": "IN",
                            "outputName": "OUT",
                            "dataType": "INT32",
                            "dims": [2],
                            "initialState": {"zeroData": True},
                        }
                    ]
                }
            }
        },
        """
        sequence_batching {
          state {
            input_name: "IN" output_name: "OUT" data_type: TYPE_INT32 dims: 2
            initial_state { name: "IN" data_type: TYPE_INT32 dims: 2 zero_data: true }
          }
        }
        """,
    ),
    "a batch input": (
        {
            "batching": {
                "batchInputs": [
                    {"kind": "MaxElementCountAsShape", "targetNames": ["N"], "dataType": "INT32", "sourceInput": "X"}
                ]
            }
        },
        """
        batch_input {
          kind: BATCH_MAX_ELEMENT_COUNT_AS_SHAPE target_name: "N" data_type: TYPE_INT32 source_input: "X"
        }
        """,
    ),
    "a response cache": ({"server": {"responseCache": {"local": {"size": "1Mi"}}}}, "response_cache { enable: true }"),
    "a rate limiter": (
        {"instances": [{"kind": "CPU", "rateLimiter": {"priority": 2, "resources": [{"name": "m", "count": 4}]}}]},
        """
        instance_group {
          count: 1 kind: KIND_CPU rate_limiter { priority: 2 resources { name: "m" count: 4 } }
        }
        """,
    ),
    "pinned memory that is switched off": (
        {"model": {"uri": "s3://models/demo", "optimization": {"inputPinnedMemory": False, "priority": "Min"}}},
        "optimization { priority: PRIORITY_MIN input_pinned_memory { enable: false } }",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_typed_field_becomes_the_field_of_triton(name: str) -> None:
    fields, expected = CASES[name]

    assert model_config(spec(**fields), "demo") == schema.parse_text(f'name: "demo" {expected}', "the test")


def test_a_whole_configuration_of_typed_fields_reads_back_the_same() -> None:
    for manifest in COMPLETE:
        text = render(ModelDeployment.parse({**manifest, "metadata": {"name": "x", "namespace": "y"}}).spec, "x")
        assert schema.to_text(schema.parse_text(text, "rendered")) == text


def test_the_manifests_of_the_guide_are_such_that_the_operator_takes_them() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "configure-triton.md").read_text()
    manifests = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert len(manifests) == 5

    defaults = Defaults("nvcr.io/nvidia/tritonserver:26.11-py3", allow_unsafe_image=False, fetch_image="op:1")
    for manifest in manifests:
        body = {"metadata": {"name": "demo", "namespace": "shop"}, **manifest}
        assert violations({"apiVersion": names.API_VERSION, "kind": names.KIND, **body}) == []
        build_revision(ModelDeployment.parse(body), defaults)


def test_each_line_of_a_configuration_has_a_path_that_leads_to_its_value() -> None:
    for manifest in COMPLETE:
        spec_of_it = ModelDeployment.parse({**manifest, "metadata": {"name": "x", "namespace": "y"}}).spec
        config = model_config(spec_of_it, "x")
        values = [
            line for line in schema.to_text(config).splitlines() if not line.endswith("{") and line.strip() != "}"
        ]
        paths = list(schema.leaves(config))

        assert len(paths) == len(values)
        assert all(schema.says(config, path) for path in paths)
        assert not any(schema.says(schema.empty(), path) for path in paths)


def said(**fields: Any) -> list[str]:
    return [str(each) for each in problems(model_config(spec(**fields), "demo"), model_name="demo", gpus=0)]


def test_the_rules_judge_typed_fields_in_their_own_words() -> None:
    state = {"inputName": "IN", "outputName": "OUT", "dataType": "INT32", "dims": [2]}
    sequence = {"states": [{**state, "initialState": {"dims": [3], "zeroData": True}}]}
    assert said(batching={"maxBatchSize": 1, "sequence": sequence}) == [
        "spec.batching.sequence.states[0].initialState.dims is [3]: must fit dims [2] of the state"
    ]
    warm = {
        "name": "zero",
        "batchSize": 4,
        "inputs": [{"name": "X", "dataType": "FP32", "dims": [1], "zeroData": True}],
    }
    assert said(model={"uri": "s3://models/demo", "warmup": [warm]})[0].startswith(
        "spec.model.warmup[0].batchSize is 4:"
    )
    histogram = {"family": "nv_inference_first_response_histogram_ms", "buckets": [2, 1]}
    assert said(model={"uri": "s3://models/demo", "metrics": [histogram]}) == [
        "spec.model.metrics[0].buckets is [2.0, 1.0]: must be in ascending order"
    ]


def test_the_documentation_lists_what_has_no_typed_form() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "model-configuration.md").read_text()
    section = page.partition("## Fields without a typed form\n")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `([a-z_.]+)` \|", section, re.MULTILINE) == list(RAW_ONLY)
