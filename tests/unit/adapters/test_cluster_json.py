"""JSON from the API server is read object by object, whatever one of them holds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.adapters.cluster import LEVELS_READ, _cut, decode

TEXTS = st.one_of(st.text(), st.sampled_from(['"', "\\", '{"a": [', "]}", "1" * 600]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**15), 10**15), TEXTS),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(TEXTS, inner)),
)


def deep(levels, opening='{"a": ', closing="}"):
    return opening * levels + "1" + closing * levels


@pytest.mark.parametrize(("opening", "closing"), [('{"a": ', "}"), ("[", "]"), ('{"a": [', ', "x"]}')])
@pytest.mark.parametrize("levels", [990, 1500, 9000])
def test_one_deep_object_hides_none_of_a_list(levels, opening, closing):
    fine = {"metadata": {"name": "fine"}, "spec": {"model": {"uri": "s3://m/1"}}}
    page = f'{{"items": [{json.dumps(fine)}, {{"spec": {deep(levels, opening, closing)}, "last": "]}}\\""}}, {{}}]}}'
    for payload in (page, page.encode()):
        first, second, third = decode(payload)["items"]
        assert (first, second["last"], third) == (fine, ']}"', {})
        assert json.loads(json.dumps(second)) == second


def test_a_number_too_long_for_python_is_null():
    assert decode(f'{{"a": {"1" * 5000}, "b": "{"1" * 5000}", "c": 2}}') == {"a": None, "b": "1" * 5000, "c": 2}


def test_what_is_no_text_is_replaced():
    assert decode(b'{"a": "\xff", "b": 1}') == {"a": "\N{REPLACEMENT CHARACTER}", "b": 1}


@given(VALUES)
def test_nothing_is_cut_from_what_can_be_read(value):
    assert decode(json.dumps(value)) == value
    assert json.loads(_cut(json.dumps(value).encode())) == value


def test_it_is_cut_at_one_depth():
    found = decode(deep(5000))
    for _ in range(LEVELS_READ):
        found = found["a"]
    assert found is None


@pytest.mark.parametrize("text", ["", "{", "no", '{"a": }', "[" * 5000])
def test_what_is_no_json_is_an_error(text):
    with pytest.raises(ValueError, match=r"line 1|Expecting"):
        decode(text)
