"""Our rules against the verdicts of a real server, for the configurations in verdicts/cases.jsonl.

The server was Triton 2.51 (24.10) on a machine without a GPU, in explicit mode, with a response cache, with
`--rate-limit=execution_count` and with the Python backend alone, whose model was an identity; one load at a time. A
line of the file is a configuration (`config`), what lay in its folder if it was not the one file `1/model.py`
(`versions`, `files` in Base64, `filename` in each version), the other models of the server (`members`), and what the
server did (`verdict`). Each case breaks one rule, or keeps it at its edge. Configurations that need another backend, a
GPU or a missing library are not among them.
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tritonfleet.errors import InvalidSpec
from tritonfleet.triton import schema
from tritonfleet.triton.context import Folder, Member
from tritonfleet.triton.images import Release
from tritonfleet.triton.validation import problems

Case = Mapping[str, Any]
CASES: list[Case] = [
    json.loads(line) for line in (Path(__file__).parent / "verdicts" / "cases.jsonl").read_text().splitlines()
]
KINDS = sorted({case["kind"] for case in CASES})

STRICTER = {
    "dyn_delay_huge": "every request of a batch that is not full would wait for 100 s",
    "seq_delay_huge": "every request of a batch that is not full would wait for 100 s",
    "in_dup": "no request can be answered: Triton expects two inputs, and refuses two of one name",
    "in_dup_difftype": "no request can be answered: Triton expects two inputs, and refuses two of one name",
    "ig_passive_all": "the server ends when the first request arrives",
    "dt_number_bad": "no request can be answered: there is no such data type",
}
"""What the server loads and we refuse."""


def folder(case: Case) -> Folder:
    filename, versions = case.get("filename", "model.py"), case.get("versions", ["1"])
    given = {path: len(base64.b64decode(data)) for path, data in case.get("files", {}).items()}
    return Folder(
        {f"{version}/": 0 for version in versions}
        | ({f"{version}/{filename}": 300 for version in versions} if filename else {})
        | given
    )


def name(case: Case) -> str:
    return str(case.get("model", f"m_{case['id']}"))


def refusals(case: Case, **known: Any) -> list[str]:
    """Return why we would refuse a configuration, with its folder and the other models known or not."""
    try:
        config = schema.parse_text(case["config"], "config.pbtxt")
    except InvalidSpec as error:
        return [str(error)]
    found = problems(config, model_name=name(case), gpus=0, server_has_cache=True, release=Release(24, 10), **known)
    return [str(problem) for problem in found]


def fully_known(case: Case) -> dict[str, Any]:
    members = {
        member["model"]: Member(schema.parse_text(member["config"], "a member"), folder(member))
        for member in case.get("members", [])
    }
    return {"folder": folder(case), "members": members}


@pytest.mark.parametrize("kind", KINDS)
def test_we_refuse_what_the_server_refuses_and_nothing_else_but_what_is_listed(kind: str) -> None:
    wrong = {}
    for case in CASES:
        if case["kind"] == kind and case["id"] not in STRICTER:
            said = refusals(case, **fully_known(case))
            if bool(said) != (case["verdict"] != "loads"):
                wrong[case["id"]] = (case["verdict"], said)

    assert wrong == {}


@pytest.mark.parametrize("case", [case for case in CASES if case["id"] in STRICTER], ids=lambda case: case["id"])
def test_what_is_listed_as_stricter_is_refused_although_the_server_loads_it(case: Case) -> None:
    assert case["verdict"] == "loads"
    assert refusals(case, **fully_known(case))


@pytest.mark.parametrize("known", [{}, {"partial": True}], ids=["without its folder", "under an artifact's own"])
def test_whoever_knows_less_refuses_less(known: dict[str, Any]) -> None:
    refused = {case["id"]: said for case in CASES if (said := refusals(case, **known))}
    loaded = {case["id"] for case in CASES if not refusals(case, **fully_known(case))}

    assert {case: said for case, said in refused.items() if case in loaded} == {}
    assert len(refused) > 150


def test_every_message_names_a_field_and_what_would_be_right() -> None:
    for case in CASES:
        for said in refusals(case, **fully_known(case)):
            assert " is " in said
            assert any(word in said for word in (" must ", " needs ", "remove it", "not a Triton model configuration"))


def test_every_reason_for_being_stricter_is_on_the_reference_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "model-configuration.md").read_text()
    stricter = page.partition("## Stricter than Triton")[2].partition("\n## ")[0]

    for word in ("10s", "Two inputs of one name", "passive", "data type"):
        assert word in stricter
