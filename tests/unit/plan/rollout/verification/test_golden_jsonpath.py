import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.plan.rollout.verification.compare import InvalidPath, find_path

DOCUMENT = {"choices": [{"label": "cat", "a name": 1}, {"label": None}], "größe": 2, "": 3}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", (DOCUMENT,)),
        ("$.choices[0].label", ("cat",)),
        ("$['choices'][0][\"a name\"]", (1,)),
        ("$.choices[-1].label", (None,)),
        ("$.größe", (2,)),
        ("$['']", (3,)),
        ("$.choices[2]", ()),
        ("$.choices[-3]", ()),
        ("$.choices.label", ()),
        ("$.nothing", ()),
        ("$.größe.label", ()),
        ("$[0]", ()),
    ],
)
def test_a_path_leads_to_one_value_or_none(path: str, found: tuple) -> None:
    assert find_path(DOCUMENT, path) == found


@pytest.mark.parametrize(
    "path",
    ["", "label", "$label", "$.", "$..label", "$.*", "$[*]", "$[0:2]", "$[?@.a]", "$[01]", "$['a'", "$.a b", "$ .a"],
)
def test_a_path_that_could_lead_to_several_values_is_refused(path: str) -> None:
    with pytest.raises(InvalidPath):
        find_path(DOCUMENT, path)


def test_a_path_is_not_longer_than_needed() -> None:
    with pytest.raises(InvalidPath, match="at most 256 characters"):
        find_path(DOCUMENT, "$" + ".a" * 200)


NAMES = st.text(st.characters(exclude_characters="\\'", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(NAMES | st.integers(-3, 2), max_size=6), st.integers())
def test_what_was_put_at_a_path_is_found_there(steps: list[str | int], value: int) -> None:
    document: object = value
    for step in reversed(steps):
        document = {step: document} if isinstance(step, str) else [document] * 3
    path = "$" + "".join(f"['{step}']" if isinstance(step, str) else f"[{step}]" for step in steps)

    assert find_path(json.loads(json.dumps(document)), path) == (value,)
