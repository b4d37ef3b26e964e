from tritonfleet.api.crd import root_schema
from tritonfleet.api.reference import reference

PAGE = reference(root_schema())


def test_the_reference_has_a_section_for_each_object():
    for heading in ("## spec", "## spec.model.inputs[]", "## spec.server.gpu", "## status.conditions[]"):
        assert f"\n{heading}\n" in PAGE


def test_the_reference_says_type_default_and_limits_of_a_field():
    assert "| `count` | integer | `1` | 0 to 16 | GPUs per pod; 0 serves on the CPU. |" in PAGE
    assert "| `uri` | string | required |" in PAGE
    assert "| `parameters` | map of string |" in PAGE


def test_the_reference_repeats_every_rule_that_the_api_server_knows():
    def rules(schema):
        for rule in schema.get("x-kubernetes-validations", ()):
            yield rule["message"]
        for child in (*schema.get("properties", {}).values(), schema.get("items", {})):
            if child:
                yield from rules(child)

    assert [message for message in rules(root_schema()) if message.replace("|", "\\|") not in PAGE] == []
