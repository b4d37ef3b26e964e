"""`tritonfleet validate` finds in files what a cluster would refuse, and says where."""

import io
import json
import sys

import pytest

VALID = """\
apiVersion: tritonfleet.dev/v1alpha1
kind: ModelDeployment
metadata:
  name: recommender
spec:
  model:
    uri: s3://models/recommender/7
    backend: onnxruntime
  batching:
    maxBatchSize: 32
"""
OTHER = """\
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {spec: "replicas: -1"}
"""


@pytest.fixture
def validate(tritonfleet, tmp_path):
    """Runs `tritonfleet validate` on the text of a file."""

    def run(text, *options):
        path = tmp_path / "models.yaml"
        path.write_text(text)
        return tritonfleet("validate", path, *options)

    return run


def test_a_valid_manifest_is_valid(validate):
    said = validate(VALID + OTHER)

    assert (said.status, said.out, said.err) == (0, "", "1 ModelDeployment: all valid\n")


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("maxBatchSize: 32", "maxBatchSize: many", 10, "spec.batching.maxBatchSize: must be a whole number"),
        ("maxBatchSize: 32", "maxBatch: 32", 10, "spec.batching.maxBatch: unknown field"),
        ("s3://models/recommender/7", "models/recommender", 7, "spec.model.uri: must "),
        (
            "backend: onnxruntime",
            "backend: tensorrt\n  server: {gpu: {count: 0}}\n  instances: [{kind: GPU}]",
            10,
            "GPU",
        ),
        ("name: recommender", "name: Recommender", 4, "must start with a letter"),
        ("v1alpha1", "v1beta9", 1, "apiVersion: must be tritonfleet.dev/v1alpha1"),
        ("    uri: s3://models/recommender/7\n", "", 6, "spec.model.uri: must be set"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(validate, old, new, line, message):
    said = validate(VALID.replace(old, new))

    assert said.status == 1
    assert f"models.yaml:{line}: error: default/" in said.out
    assert message in said.out
    assert "1 of them invalid" in said.err


def test_what_only_the_operator_refuses_is_found_as_well(validate):
    said = validate(VALID + "    dynamic: {preferredBatchSizes: [64]}\n  modelConfig: {no_such_field: 1}\n")

    assert said.status == 1
    assert "no_such_field" in said.out or "preferred" in said.out


def test_every_violation_of_every_object_is_listed(validate):
    wrong = VALID.replace("maxBatchSize: 32", "maxBatchSize: -3") + "  replicas: -1\n"

    said = validate(f"{wrong}---\n{VALID}---\n{wrong.replace('name: recommender', 'name: detector')}")

    assert said.out.count("spec.replicas") == said.out.count("spec.batching.maxBatchSize") == 2
    assert "default/detector" in said.out
    assert said.err == "3 ModelDeployments: 2 of them invalid\n"


def test_a_list_and_standard_input_are_read(tritonfleet, monkeypatch):
    item = json.dumps({"apiVersion": "tritonfleet.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "a"}})
    text = f'{{"apiVersion": "v1", "kind": "List",\n"items": [\n{item}]}}'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    said = tritonfleet("validate", "-")

    assert said.out.startswith("standard input:3: error: default/a: spec: must be set")


def test_a_folder_is_read_with_what_is_below_it(tritonfleet, tmp_path):
    (tmp_path / "teams" / "shop").mkdir(parents=True)
    (tmp_path / "teams" / "shop" / "model.yml").write_text(VALID)
    (tmp_path / "notes.txt").write_text("not: [yaml")

    assert tritonfleet("validate", tmp_path).err == "1 ModelDeployment: all valid\n"


def test_a_file_that_cannot_be_read_is_another_failure(tritonfleet, tmp_path):
    said = tritonfleet("validate", tmp_path / "absent.yaml")

    assert said.status == 2
    assert "no such file" in said.err


def test_an_outdated_image_is_a_warning_and_an_error_when_asked_for(validate):
    text = VALID + "  server: {image: {tag: 26.06-py3}}\n"

    said = validate(text)
    strict = validate(text, "--strict")

    assert (said.status, strict.status) == (0, 1)
    assert "warning: default/recommender: spec.server.image.tag: Triton 26.06 has known faults" in said.out


def test_github_is_told_file_line_and_message(validate):
    said = validate(VALID.replace("maxBatchSize: 32", "maxBatchSize: 3.5"), "-o", "github")

    assert said.out.startswith("::error file=")
    assert ",line=10,title=default/recommender::spec.batching.maxBatchSize: must be a whole number" in said.out


def test_json_and_sarif_hold_the_same_findings(validate):
    text = VALID.replace("maxBatchSize: 32", "maxBatchSize: 3.5")

    found = json.loads(validate(text, "-o", "json").out)
    log = json.loads(validate(text, "-o", "sarif").out)

    (result,) = log["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert log["version"] == "2.1.0"
    assert [each["field"] for each in found] == ["spec.batching.maxBatchSize"]
    assert result["level"] == found[0]["severity"] == "error"
    assert found[0]["message"] in result["message"]["text"]
    assert (place["region"]["startLine"], place["artifactLocation"]["uri"]) == (found[0]["line"], found[0]["file"])


def test_json_of_valid_objects_is_an_empty_list(validate):
    assert json.loads(validate(VALID, "-o", "json").out) == []


def test_a_line_of_the_manifest_cannot_forge_a_finding(validate):
    said = validate(VALID.replace("s3://models/recommender/7", '"s3://models/\\n::error file=x::y"'), "-o", "github")

    assert said.status == 1
    assert len(said.out.strip().splitlines()) == 1
