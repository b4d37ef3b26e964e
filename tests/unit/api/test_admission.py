"""A manifest gets the same verdict without a cluster as from the API server, which tests/cluster asks."""

import copy

import pytest
import yaml

from tests.refusals import COMPLETE, EXAMPLES, REFUSALS, SOURCES, VALID, put, wrong
from tritonfleet.api import names
from tritonfleet.api.admission import violations
from tritonfleet.api.crd import root_schema
from tritonfleet.api.renames import RENAMES


@pytest.mark.parametrize("entry", REFUSALS, ids=lambda entry: entry["name"])
def test_what_the_api_server_refuses_is_a_violation(entry):
    found = violations(wrong(entry))

    assert found != []
    assert all(violation.message for violation in found)


def rule_messages(schema):
    yield from (rule["message"] for rule in schema.get("x-kubernetes-validations", ()))
    inner = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for node in inner:
        if isinstance(node, dict):
            yield from rule_messages(node)


def test_a_rule_is_told_in_the_words_of_the_api_server():
    messages = list(rule_messages(root_schema()))
    compared = 0
    for entry in REFUSALS:
        text = "; ".join(f"{violation.path}: {violation.message}" for violation in violations(wrong(entry)))
        for words in entry["says"]:
            if len(str(words)) > 12 and any(str(words) in message for message in messages):
                assert words in text, entry["name"]
                compared += 1
    assert compared > 100


@pytest.mark.parametrize("manifest", [VALID, *COMPLETE], ids=lambda given: given["metadata"]["name"])
def test_what_the_api_server_takes_has_no_violation(manifest):
    assert violations(copy.deepcopy(manifest)) == []


@pytest.mark.parametrize("uri", SOURCES)
def test_every_kind_of_source_is_taken(uri):
    manifest = copy.deepcopy(VALID)
    put(manifest, "spec.model.uri", uri)

    assert violations(manifest) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name + "/" + path.name)
def test_the_examples_have_no_violation(path):
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if document and document["kind"] == names.KIND:
            assert violations(document) == []


@pytest.mark.parametrize("rename", RENAMES, ids=lambda rename: rename.old)
def test_a_former_name_is_refused_once_with_the_new_one(rename):
    manifest = copy.deepcopy(VALID)
    put(manifest, rename.path, rename.default if rename.default is not None else 5)

    found = [violation for violation in violations(manifest) if violation.path == rename.path]

    assert len(found) == 1
    assert f"it was renamed to `{rename.new}`" in found[0].message


def test_a_number_in_quotes_is_no_number():
    manifest = copy.deepcopy(VALID)
    put(manifest, "spec.replicas", "3")

    assert [violation.path for violation in violations(manifest)] == ["spec.replicas"]


def test_defaults_count_as_the_api_server_fills_them_in():
    manifest = copy.deepcopy(VALID)
    put(manifest, "spec.server.startupTimeout", "2h")

    # `rollout.progressDeadline` is not in the manifest; its default is shorter.
    assert [violation.path for violation in violations(manifest)] == ["spec.server.startupTimeout"]
