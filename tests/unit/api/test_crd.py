import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from tritonfleet.api import schema
from tritonfleet.api.base import structural
from tritonfleet.api.crd import definition, root_schema
from tritonfleet.api.modeldeployment import ModelDeploymentSpec
from tritonfleet.api.status import ModelDeploymentStatus

ROOT = Path(__file__).parents[3]
VERSION = definition()["spec"]["versions"][0]
METADATA = "metadata"
OPEN = "preserve-unknown-fields"


def nodes(schema, path="", *, of_map=False):
    """Every node of the schema with its path, but those within an open one.

    `metadata` is described by Kubernetes itself.
    """
    if path != f".{METADATA}":
        yield path, schema
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


NODES = dict(nodes(root_schema()))


def breaking(rule):
    return sorted(path for path, node in NODES.items() if not rule(node))


def rules():
    for path, node in NODES.items():
        for rule in node.get("x-kubernetes-validations", ()):
            yield path, rule


def test_the_definition_fits_into_the_annotation_of_a_client_side_apply():
    assert len(schema.crd_yaml()) < 200_000
    as_kubectl_keeps_it = json.dumps(definition(), separators=(",", ":"))
    assert len(as_kubectl_keeps_it) < 200_000, "the API server takes 262,144"


def test_the_definition_can_be_compared_line_by_line():
    written = schema.crd_yaml()
    events = list(yaml.parse(written, Loader=yaml.SafeLoader))
    starts = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
    ends = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
    flowing = [
        event.start_mark.line + 1
        for event, following in pairwise(events)
        if isinstance(event, starts)
        and event.flow_style
        and not isinstance(following, ends)
        # Lists of names, such as those of required fields.
        and not (isinstance(event, yaml.SequenceStartEvent) and isinstance(following, yaml.ScalarEvent))
    ]
    assert flowing == []
    assert max(map(len, written.splitlines())) <= 180


def test_every_node_is_described():
    assert breaking(lambda node: node.get("description", "").rstrip().endswith((".", ")"))) == []


def test_every_node_has_one_type():
    assert breaking(lambda node: (node.get("type") is not None) != bool(node.get("x-kubernetes-int-or-string"))) == []


def test_every_string_has_a_longest_form():
    assert breaking(lambda node: node.get("type") != "string" or "enum" in node or node["maxLength"] <= 4096) == []


def test_every_number_has_bounds():
    assert (
        breaking(lambda node: node.get("type") not in {"integer", "number"} or {"minimum", "maximum"} <= set(node))
        == []
    )


def test_every_list_has_a_length_and_a_way_to_merge():
    assert breaking(lambda node: "items" not in node or {"maxItems", "x-kubernetes-list-type"} <= set(node)) == []
    assert breaking(lambda node: node.get("type") != "array" or "items" in node) == []


def test_every_map_has_a_size():
    assert breaking(lambda node: "additionalProperties" not in node or node["maxProperties"] <= 64) == []


def test_only_what_others_define_or_the_operator_remembers_is_open():
    is_open = sorted(path for path, node in NODES.items() if node.get("x-kubernetes-preserve-unknown-fields"))
    assert is_open == [
        ".spec.companions[].modelConfig",
        ".spec.modelConfig",
        ".spec.server.affinity.podAffinity",
        ".spec.server.affinity.podAntiAffinity",
        ".status.autoscaling.memory",
        ".status.rollout.analysis",
        ".status.rollout.plan",
    ]


def test_the_open_parts_of_the_spec_end_at_a_depth():
    """A schema has no recursion: where its nodes end, nothing more may be nested."""

    def ends(node):
        inner = [node[way] for way in ("additionalProperties", "items") if way in node]
        if not inner:
            return node.get("maxItems") == 0 and node.get("maxProperties") == 0
        return ("items" in node or node.get("type") == "object" or node["maxItems"] == 0) and all(map(ends, inner))

    opened = [path for path, node in NODES.items() if path.startswith(".spec") and node.get(f"x-kubernetes-{OPEN}")]
    assert opened
    assert [path for path in opened if not ends(NODES[path])] == []


def test_every_enumerated_word_starts_with_a_capital():
    assert breaking(lambda node: all(re.fullmatch("[A-Z][A-Za-z0-9]*", word) for word in node.get("enum", ()))) == []


def test_every_rule_says_what_must_be():
    assert [path for path, rule in rules() if "must " not in rule["message"]] == []


def test_every_rule_that_quotes_a_value_says_the_same_without_it():
    quoting = [rule for _, rule in rules() if "messageExpression" in rule]
    assert len(quoting) > 50
    for rule in quoting:
        assert rule["messageExpression"].startswith(f"\"{rule['message']}, got '%s'\".format([")


def test_the_definition_says_it_once_where_a_value_is_quoted():
    written = dict(nodes(VERSION["schema"]["openAPIV3Schema"]))
    for path, node in NODES.items():
        short = {"message": "must be one line"} if node.get("type", "string") == "string" else {}
        both = [one.get("x-kubernetes-validations", ()) for one in (node, written[path])]
        for meant, rule in zip(*both, strict=True):
            quoting = "messageExpression" in meant
            rest = {key: value for key, value in meant.items() if key != "message"}
            assert rule == ({**rest, **short} if quoting else meant), "the message is read where the value has no place"


def test_every_rule_blames_a_field_that_exists():
    blamed = [f"{path}{rule['fieldPath']}" for path, rule in rules() if "fieldPath" in rule]
    assert [path for path in blamed if path not in NODES] == []


def test_every_pattern_is_one_that_re2_knows():
    patterns = [
        pattern for _, rule in rules() for pattern in re.findall(r"(?:matches|find)\(r?'(.*?)'\)", rule["rule"])
    ]
    assert len(patterns) > 30
    assert [pattern for pattern in patterns if re.search(r"\(\?|\\[1-9]", pattern)] == []


def test_nothing_is_left_of_what_kubernetes_does_not_take():
    foreign = {"$ref", "$defs", "anyOf", "oneOf", "const", "title", "nullable", "propertyNames", "uniqueItems"}
    assert breaking(lambda node: not foreign & set(node)) == []


@pytest.mark.parametrize("model", [ModelDeploymentSpec, ModelDeploymentStatus])
def test_the_schema_fills_in_what_the_models_would(model):
    required = {"model": {"uri": "s3://m"}} if model is ModelDeploymentSpec else {}
    filled = filled_in(structural(model), required)
    assert model.model_validate(filled) == model.model_validate(required)
    written = model.model_validate(required).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert without_empty(written) == without_empty(filled)


def filled_in(schema, value):
    """Do what the API server does with defaults."""
    for name, child in schema.get("properties", {}).items():
        if name not in value and "default" in child:
            value = value | {name: child["default"]}
        if isinstance(value.get(name), dict):
            value = value | {name: filled_in(child, value[name])}
    return value


def without_empty(value):
    if isinstance(value, dict):
        return {key: without_empty(child) for key, child in value.items() if child not in ([], {})}
    return value


def test_a_fresh_object_counts_as_unseen():
    assert root_schema()["properties"]["status"]["default"] == {"observedGeneration": -1}


def test_the_status_holds_every_field_of_this_release():
    assert sorted(root_schema()["properties"]["status"]["properties"]) == [
        "autoscaling",
        "conditions",
        "gatewayUrl",
        "gpu",
        "model",
        "observedGeneration",
        "readyReplicas",
        "replicas",
        "revision",
        "revisions",
        "rollout",
        "selector",
        "url",
    ]


def test_autoscalers_find_what_they_scale():
    assert VERSION["subresources"]["scale"] == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    assert {".spec.replicas", ".status.replicas", ".status.selector"} <= set(NODES)
    assert "default" not in NODES[".spec.replicas"], "a default would be a second owner beside the autoscaler"


def test_a_list_shows_readiness_first_and_details_on_demand():
    columns = VERSION["additionalPrinterColumns"]
    assert [one["name"] for one in columns if not one.get("priority")] == [
        "Ready",
        "Reason",
        "Replicas",
        "Stable",
        "Canary",
        "Weight",
        "P99",
        "Age",
    ]
    wide = [one["name"] for one in columns if one.get("priority")]
    assert wide == ["SLO", "Rate", "Model", "Image", "URL", "Message"]


def test_the_generated_files_are_what_the_schema_says():
    assert schema.stale_files(ROOT) == []


def test_the_yaml_is_the_definition():
    assert yaml.safe_load(schema.crd_yaml()) == definition()


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["schema", *arguments])
    code = schema.main()
    return code, capsys.readouterr()


def test_the_command_prints_the_definition_or_the_reference(monkeypatch, capsys):
    assert run(monkeypatch, capsys)[1].out == schema.crd_yaml()
    code, printed = run(monkeypatch, capsys, "--markdown")
    assert (code, printed.out) == (0, (ROOT / "docs/reference/modeldeployment.md").read_text(encoding="utf-8"))


def test_stale_files_are_named_and_writing_them_helps(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, printed = run(monkeypatch, capsys, "--check")
    assert code == 1
    assert "docs/reference/modeldeployment.md is stale" in printed.err
    assert run(monkeypatch, capsys, "--write")[0] == 0
    assert run(monkeypatch, capsys, "--check")[0] == 0
    (tmp_path / "crds/tritonfleet.dev_modeldeployments.yaml").write_text("old")
    assert schema.stale_files(tmp_path) == [Path("crds/tritonfleet.dev_modeldeployments.yaml")]
