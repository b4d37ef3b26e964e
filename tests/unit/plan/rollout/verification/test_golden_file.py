import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.plan.rollout.verification import (
    DATATYPES,
    Exact,
    Golden,
    GoldenRequest,
    InvalidGolden,
    JsonPath,
    Tensor,
    parse_golden,
    read_golden,
)
from tritonfleet.plan.rollout.verification.compare import Cosine, Tolerance, TopK

X = {"name": "X", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1]}
LABEL = {"name": "label", "datatype": "INT64", "shape": [1], "data": [7]}
SCORES = {"name": "scores", "datatype": "FP32", "shape": [2, 3], "data": [[3, 2, 1], [1, 2, 3]]}
REQUEST = {"name": "a seven", "inputs": [X], "outputs": [LABEL]}


def file_of(*requests: Any) -> str:
    return json.dumps(requests)


def with_output(**fields: Any) -> str:
    return file_of(REQUEST | {"outputs": [fields]})


def with_input(**fields: Any) -> str:
    return file_of(REQUEST | {"inputs": [{**X, **fields}]})


def expectation(**fields: Any) -> Any:
    return parse_golden(with_output(**fields))[0].expected[0]


def test_a_request_is_read_in_the_form_of_the_protocol() -> None:
    assert read_golden(file_of(REQUEST)) == Golden(
        (
            GoldenRequest(
                "a seven",
                (Tensor("X", "FP32", (1, 2), (0.5, 1.0)),),
                (Exact(Tensor("label", "INT64", (1,), (7,))),),
            ),
        )
    )


def test_rows_may_be_lists_of_their_own_or_follow_each_other() -> None:
    nested = expectation(**SCORES)
    flat = expectation(**SCORES | {"data": [3, 2, 1, 1, 2, 3]})

    assert nested == flat
    assert nested.expected.data == (3.0, 2.0, 1.0, 1.0, 2.0, 3.0)


def test_numbers_are_read_as_what_their_type_makes_of_them() -> None:
    read = {
        datatype: expectation(name="y", datatype=datatype, shape=[1], data=[0.1]).expected.data[0]
        for datatype in ("FP64", "FP32", "FP16", "BF16")
    }

    assert read == {"FP64": 0.1, "FP32": 0.10000000149011612, "FP16": 0.0999755859375, "BF16": 0.10009765625}


@pytest.mark.parametrize(
    ("compare", "kind"),
    [
        ("exact", Exact),
        ({"tolerance": {"abs": 0.5}}, Tolerance),
        ({"topK": {"k": 1}}, TopK),
        ({"cosine": {"min": 0.9}}, Cosine),
    ],
)
def test_the_comparison_is_set_per_output(compare: Any, kind: type) -> None:
    assert isinstance(expectation(**SCORES, compare=compare), kind)


def test_by_default_only_floats_have_a_tolerance() -> None:
    assert isinstance(expectation(**SCORES), Tolerance)
    assert isinstance(expectation(**LABEL), Exact)
    assert isinstance(expectation(name="text", datatype="BYTES", shape=[1], data=["a"]), Exact)


def test_a_limit_of_a_tolerance_that_is_not_named_is_zero() -> None:
    absolute = expectation(**SCORES, compare={"tolerance": {"abs": 0.5}})
    relative = expectation(**SCORES, compare={"tolerance": {"rel": 0.5}})

    assert (absolute.absolute, absolute.relative) == (0.5, 0.0)
    assert (relative.absolute, relative.relative) == (0.0, 0.5)
    assert expectation(**SCORES, compare={"tolerance": {}}) == expectation(**SCORES)


def test_a_place_in_a_text_is_asked_for_by_its_path() -> None:
    asked = {"path": "$.choices[0].label", "equals": "cat"}

    assert expectation(name="text", compare={"jsonPath": asked}) == JsonPath("text", "$.choices[0].label", "cat")


def test_one_output_may_be_asked_about_twice_and_is_fetched_once() -> None:
    paths = [{"name": "text", "compare": {"jsonPath": {"path": path, "equals": 1}}} for path in ("$.a", "$.b")]
    (request,) = parse_golden(file_of(REQUEST | {"outputs": paths}))

    assert len(request.expected) == 2
    assert request.outputs == ("text",)


REFUSED = {
    "no JSON": ("[", "golden: must be JSON: Expecting value: line 1 column 2"),
    "no list": ("{}", "golden: must be a list of 1 to 100 requests, not an object"),
    "an empty list": ("[]", "golden: must be a list of 1 to 100 requests, not a list of 0"),
    "too many": (json.dumps([REQUEST] * 101), "golden: must be a list of 1 to 100 requests, not a list of 101"),
    "too large": (" " * (1 << 20) + "[]", "golden: must have at most 1,048,576 bytes"),
    "too deep": ("[" * 200_000, "golden: must be JSON: nested too deeply"),
    "NaN": ('[{"name": NaN}]', "golden: must be JSON: NaN is not a JSON number"),
    "a request that is none": ("[7]", r"golden[0]: must be an object, not 7"),
    "no inputs": (file_of({"name": "a", "outputs": []}), "golden[0].inputs: is missing"),
    "an unknown field": (
        file_of(REQUEST | {"url": "http://169.254.169.254"}),
        "golden[0]: unknown field 'url'; known fields are name, inputs, outputs",
    ),
    "no name": (file_of(REQUEST | {"name": ""}), "golden[0].name: must be a name of 1 to 256 printable characters"),
    "a name that draws": (file_of(REQUEST | {"name": "\x1b[2J"}), r"not '\x1b[2J'"),
    "two of one name": (
        file_of(REQUEST, REQUEST),
        "golden[1].name: 'a seven' is already the name of an earlier request",
    ),
    "no outputs": (
        file_of(REQUEST | {"outputs": []}),
        "golden[0] ('a seven').outputs: must be a list of 1 to 64 entries, not a list of 0",
    ),
    "one input twice": (file_of(REQUEST | {"inputs": [X, X]}), "golden[0] ('a seven').inputs: must have unique names"),
    "an unknown type": (
        with_input(datatype="float32"),
        "golden[0] ('a seven').inputs[0].datatype: must be one of BOOL, INT8",
    ),
    "a type that is no text": (with_input(datatype=["FP32"]), "datatype: must be one of BOOL, INT8"),
    "a shape that is none": (with_input(shape=[-1, 2]), "inputs[0].shape: must hold whole numbers from 1"),
    "a shape of flags": (with_input(shape=[True, 2]), "inputs[0].shape: must hold whole numbers from 1"),
    "a shape too long": (with_input(shape=[1] * 9), "inputs[0].shape: must be a list of 0 to 8 entries"),
    "too few values": (with_input(data=[1]), "inputs[0].data: has 1 value; shape [1, 2] has 2"),
    "a value that is none": (with_input(data=7), "inputs[0].data: must be a list of values, not 7"),
    "text for a number": (with_input(data=["1", "2"]), "inputs[0].data: of FP32 must be numbers, not '1'"),
    "a flag for a number": (with_input(data=[True, 2]), "inputs[0].data: of FP32 must be numbers, not True"),
    "a number too large": (with_input(data=[1e39, 2]), "inputs[0].data: of FP32 cannot hold 1e+39"),
    "half a number too large": (with_input(datatype="FP16", data=[65520, 2]), "of FP16 cannot hold 65520"),
    "a brain too large": (with_input(datatype="BF16", data=[3.4e38, 2]), "of BF16 cannot hold 3.4e+38"),
    "infinity in disguise": (
        with_input(datatype="FP64").replace("0.5", "1e999"),
        "inputs[0].data: of FP64 cannot hold inf",
    ),
    "a huge whole number": (with_input(datatype="FP64").replace("0.5", "9" * 400), "of FP64 cannot hold 9999"),
    "out of range": (
        with_input(datatype="UINT8", data=[256, 0]),
        "inputs[0].data: of UINT8 must be whole numbers from 0 to 255, not 256",
    ),
    "a fraction": (with_input(datatype="INT8", data=[1.5, 0]), "of INT8 must be whole numbers from -128 to 127"),
    "a number for a flag": (with_input(datatype="BOOL", data=[1, 0]), "of BOOL must be true or false, not 1"),
    "a number for text": (with_input(datatype="BYTES", data=[1, 0]), "of BYTES must be text, not 1"),
    "half a character": (
        with_input(datatype="BYTES", data=["\ud800", ""]),
        "of BYTES must be valid Unicode",
    ),
    "data nested too deep": (
        with_input().replace("[0.5, 1]", "[" * 20 + "]" * 20),
        "inputs[0].data: is nested deeper than 8 dimensions",
    ),
    "nothing expected": (with_output(name="label"), "outputs[0].datatype: is missing"),
    "an unknown comparison": (
        with_output(**LABEL, compare="about"),
        'outputs[0].compare: must be "exact" or an object with one of tolerance, topK, cosine and jsonPath',
    ),
    "two comparisons": (with_output(**SCORES, compare={"topK": {"k": 1}, "cosine": {"min": 1}}), "compare: must be"),
    "a tolerance for text": (
        with_output(name="text", datatype="BYTES", shape=[1], data=["a"], compare={"tolerance": {"abs": 1}}),
        "outputs[0].compare: tolerance is for numbers, and this output is BYTES: use exact or jsonPath",
    ),
    "a tolerance below zero": (
        with_output(**SCORES, compare={"tolerance": {"abs": -1}}),
        "outputs[0].compare.tolerance.abs: must be a number from 0 to 1e+30, not -1",
    ),
    "a tolerance of everything": (
        with_output(**SCORES, compare={"tolerance": {"rel": 2}}),
        "outputs[0].compare.tolerance.rel: must be a number from 0 to 1, not 2",
    ),
    "an unknown term": (
        with_output(**SCORES, compare={"topK": {"n": 1}}),
        "outputs[0].compare.topK.k: is missing",
    ),
    "all are among the highest": (
        with_output(**SCORES, compare={"topK": {"k": 3}}),
        "outputs[0].compare.topK.k: must be a whole number from 1 to 2, not 3",
    ),
    "none is the highest": (
        with_output(**LABEL | {"shape": [2], "data": [7, 7]}, compare={"topK": {"k": 1}}),
        "outputs[0].compare.topK.k: all values in a row of the expected data are equal",
    ),
    "one value to a row": (
        with_output(**LABEL, compare={"topK": {"k": 1}}),
        "outputs[0].compare.topK.k: needs rows of two or more values; this output's have 1",
    ),
    "a cosine above one": (
        with_output(**SCORES, compare={"cosine": {"min": 1.5}}),
        "outputs[0].compare.cosine.min: must be a number from -1 to 1, not 1.5",
    ),
    "a row without a direction": (
        with_output(**SCORES | {"data": [0, 0, 0, 1, 2, 3]}, compare={"cosine": {"min": 0.9}}),
        "outputs[0].compare.cosine.min: a row of the expected data has only zeros",
    ),
    "a path with data": (
        with_output(**LABEL, compare={"jsonPath": {"path": "$.a", "equals": 1}}),
        "outputs[0].datatype: must not be set with compare.jsonPath",
    ),
    "a path that is none": (
        with_output(name="text", compare={"jsonPath": {"path": "$..a", "equals": 1}}),
        "outputs[0].compare.jsonPath.path: '..a' is not supported",
    ),
    "a path that is no text": (
        with_output(name="text", compare={"jsonPath": {"path": 1, "equals": 1}}),
        "outputs[0].compare.jsonPath.path: must be text such as $.label, not 1",
    ),
    "a whole object": (
        with_output(name="text", compare={"jsonPath": {"path": "$.a", "equals": {"b": 1}}}),
        "outputs[0].compare.jsonPath.equals: must be text, a number, true, false or null, not an object",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_invalid_input_is_reported_with_its_position(text: str, message: str) -> None:
    with pytest.raises(InvalidGolden) as refused:
        parse_golden(text)

    assert message in str(refused.value)
    assert read_golden(text).requests == ()
    assert 0 < len(read_golden(text).problem) <= 256


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = {
    "name": st.text(max_size=3) | JSON,
    "datatype": st.sampled_from(DATATYPES) | JSON,
    "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON,
    "data": st.lists(st.integers(0, 1) | st.floats() | st.text(max_size=2), max_size=4) | JSON,
    "compare": st.sampled_from(["exact", "topK", "cosine", "tolerance", "jsonPath"]).flatmap(
        lambda kind: st.just(kind) | st.builds(lambda terms: {kind: terms}, JSON)
    ),
}
TENSORS = st.lists(st.fixed_dictionaries({}, optional=FIELDS), max_size=2)
REQUESTS = st.lists(st.fixed_dictionaries({"name": st.text(max_size=3), "inputs": TENSORS, "outputs": TENSORS}))


@given(JSON | REQUESTS)
def test_no_file_however_odd_does_more_than_be_refused(document: Any) -> None:
    found = read_golden(json.dumps(document))

    assert bool(found.requests) != bool(found.problem)
    assert len(found.problem) <= 256
