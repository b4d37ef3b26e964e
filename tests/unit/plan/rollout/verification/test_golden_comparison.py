import json
import math
import random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tritonfleet.plan.rollout.verification import Exact, GoldenRequest, JsonPath, Tensor, mismatch
from tritonfleet.plan.rollout.verification.compare import Cosine, Expectation, Tolerance, TopK

SCORES = Tensor("y", "FP32", (2, 3), (3.0, 2.0, 1.0, 1.0, 2.0, 3.0))
LABELS = Tensor("y", "INT64", (2,), (7, 3))
WORDS = Tensor("y", "BYTES", (2,), ("cat", "dog"))


def answered(tensor: Tensor, *data: Any, **fields: Any) -> Tensor:
    return Tensor("y", fields.get("datatype", tensor.datatype), fields.get("shape", tensor.shape), data or tensor.data)


def problem(expectation: Expectation, output: Tensor | None) -> str:
    request = GoldenRequest("one", (), (expectation,))
    return mismatch(request, {"y": output} if output is not None else {})


def texts(*documents: Any) -> Tensor:
    return Tensor("y", "BYTES", (len(documents),), tuple(json.dumps(each) for each in documents))


CAT = JsonPath("y", "$.label", "cat")

RIGHT = {
    "the same": (Exact(SCORES), SCORES),
    "the same words": (Exact(WORDS), WORDS),
    "within the absolute limit": (Tolerance(SCORES, 0.5, 0.0), answered(SCORES, 3.5, 1.5, 1.0, 1.0, 2.0, 3.0)),
    "within the relative limit": (Tolerance(SCORES, 0.0, 0.5), answered(SCORES, 4.5, 1.0, 1.0, 1.0, 2.0, 3.0)),
    "near in another type": (Tolerance(SCORES, 0.5, 0.0), answered(SCORES, datatype="FP16")),
    "the same order": (TopK(SCORES, 2), answered(SCORES, 0.3, 0.2, 0.1, -9.0, -8.0, -7.0)),
    "another order among the highest": (TopK(SCORES, 2), answered(SCORES, 2.0, 3.0, 1.0, 1.0, 3.0, 2.0)),
    "a tie at the edge": (TopK(SCORES, 1), answered(SCORES, 3.0, 3.0, 1.0, 3.0, 2.0, 3.0)),
    "the same direction": (Cosine(SCORES, 0.999), answered(SCORES, 30.0, 20.0, 10.0, 0.1, 0.2, 0.3)),
    "huge in the same direction": (Cosine(SCORES, 0.999), answered(SCORES, 3e300, 2e300, 1e300, 1.0, 2.0, 3.0)),
    "a label in a text": (CAT, texts({"label": "cat", "more": 1}, {"label": "cat"})),
    "a whole number with a point": (JsonPath("y", "$[0]", 1), texts([1.0])),
    "nothing": (JsonPath("y", "$", None), texts(None)),
}

WRONG = {
    "no output": (Exact(LABELS), None, "output 'y' is missing"),
    "another shape": (
        Exact(SCORES),
        answered(SCORES, shape=(3, 2)),
        "output 'y' has shape [3, 2], expected [2, 3]",
    ),
    "another type": (Exact(LABELS), answered(LABELS, datatype="INT32"), "output 'y' is INT32, expected INT64"),
    "words for numbers": (
        Tolerance(LABELS),
        answered(WORDS),
        "output 'y' is BYTES, expected INT64",
    ),
    "another label": (
        Exact(LABELS),
        answered(LABELS, 7, 4),
        "output 'y'[1]: expected 3, got 4 (1/2 values differ)",
    ),
    "another word": (
        Exact(WORDS),
        answered(WORDS, "dog", "x" * 300),
        'output \'y\'[0]: expected "cat", got "dog" (2/2 values differ)',
    ),
    "a flag": (
        Exact(Tensor("y", "BOOL", (), (True,))),
        Tensor("y", "BOOL", (), (False,)),
        "output 'y': expected true, got false (1/1 values differ)",
    ),
    "bytes that are no text": (
        Exact(Tensor("y", "BYTES", (), ("a",))),
        Tensor("y", "BYTES", (), ("\udcff",)),
        'output \'y\': expected "a", got "\\udcff" (1/1 values differ)',
    ),
    "too far": (
        Tolerance(SCORES, 0.5, 0.0),
        answered(SCORES, 3.6, 2.0, 1.0, 1.0, 2.0, 9.0),
        "output 'y'[1,2]: expected 3, got 9 (at most 0.5 apart; 2/6 values differ)",
    ),
    "NaN within a tolerance": (
        Tolerance(SCORES, 1e30, 1.0),
        answered(SCORES, math.nan, 2.0, 1.0, 1.0, 2.0, 3.0),
        "output 'y'[0,0]: expected 3, got nan (at most 1e+30 apart; 1/6 values differ)",
    ),
    "infinity within a tolerance": (
        Tolerance(SCORES, 1e30, 1.0),
        answered(SCORES, 3.0, -math.inf, 1.0, 1.0, 2.0, 3.0),
        "output 'y'[0,1]: expected 2, got -inf",
    ),
    "another class": (
        TopK(SCORES, 1),
        answered(SCORES, 3.0, 2.0, 1.0, 9.0, 2.0, 3.0),
        "output 'y'[1]: expected 2 in its top 1, got 0",
    ),
    "NaN among scores": (
        TopK(SCORES, 1),
        answered(SCORES, 3.0, 2.0, math.nan, 1.0, 2.0, 3.0),
        "output 'y'[0]: contains NaN",
    ),
    "all scores equal": (
        TopK(SCORES, 1),
        answered(SCORES, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        "output 'y'[0]: all values are equal, so it has no top 1",
    ),
    "another direction": (
        Cosine(SCORES, 0.99),
        answered(SCORES, 3.0, 2.0, 1.0, 3.0, 2.0, 1.0),
        "output 'y'[1]: cosine to the expected row is 0.7143, at least 0.99",
    ),
    "no direction": (
        Cosine(SCORES, 0.99),
        answered(SCORES, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0),
        "output 'y'[0]: cosine to the expected row is 0, at least 0.99",
    ),
    "no direction that is known": (
        Cosine(SCORES, -1.0),
        answered(SCORES, math.nan, 0.0, 0.0, 1.0, 2.0, 3.0),
        "output 'y'[0]: cosine to the expected row is nan, at least -1",
    ),
    "another label in a text": (
        CAT,
        texts({"label": "cat"}, {"label": "dog"}),
        'output \'y\'[1] at $.label: expected "cat", got "dog"',
    ),
    "no label": (CAT, texts({}), "output 'y'[0] has nothing at $.label, expected \"cat\""),
    "no JSON": (CAT, WORDS, "output 'y'[0] is not JSON: \"cat\""),
    "JSON nested too deep": (CAT, Tensor("y", "BYTES", (1,), ("[" * 200_000,)), "output 'y'[0] is not JSON: "),
    "a flag for a one": (JsonPath("y", "$", 1), texts(True), "output 'y'[0] at $: expected 1, got true"),
    "no text at all": (CAT, Tensor("y", "BYTES", (0,), ()), "output 'y' is empty"),
    "numbers for text": (CAT, LABELS, "output 'y' is INT64, expected BYTES that hold JSON"),
}


@pytest.mark.parametrize(("expectation", "output"), RIGHT.values(), ids=RIGHT)
def test_a_right_answer_is_right(expectation: Expectation, output: Tensor) -> None:
    assert problem(expectation, output) == ""


@pytest.mark.parametrize(("expectation", "output", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_response_is_reported_with_position_and_values(
    expectation: Expectation, output: Tensor | None, message: str
) -> None:
    assert problem(expectation, output).startswith(message)


def test_long_texts_are_shown_in_part() -> None:
    found = problem(Exact(WORDS), answered(WORDS, "x" * 300, "y" * 300))

    assert len(found) < 120


def test_the_first_wrong_output_is_reported() -> None:
    other = Tensor("z", "INT64", (2,), (7, 3))
    request = GoldenRequest("one", (), (Exact(LABELS), Exact(other)))

    assert mismatch(request, {"y": LABELS, "z": answered(LABELS, 1, 1)}).startswith("output 'z'[0]: expected 7, got 1")


ROWS = st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=8)


def row(values: list[float]) -> Tensor:
    return Tensor("y", "FP32", (len(values),), tuple(values))


@given(ROWS, st.data())
def test_every_comparison_takes_the_answer_it_expects(values: list[float], data: st.DataObject) -> None:
    assume(any(values) and len(set(values)) > 1)
    k = data.draw(st.integers(1, len(values) - 1))
    assume(sum(value >= sorted(values)[-k] for value in values) < len(values))
    expected = row(values)

    for expectation in (Exact(expected), Tolerance(expected, 0.0, 0.0), TopK(expected, k), Cosine(expected, 0.999999)):
        assert problem(expectation, expected) == ""


@given(ROWS, st.floats(0, 10), st.floats(0, 1), st.data())
def test_one_value_beyond_its_limit_is_found_wherever_it_is(
    values: list[float], absolute: float, relative: float, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(values) - 1))
    limit = absolute + relative * abs(values[index])
    moved = list(values)
    moved[index] += data.draw(st.sampled_from([1, -1])) * (limit * 1.01 + 1.0)

    found = problem(Tolerance(row(values), absolute, relative), row(moved))

    assert found.startswith(f"output 'y'[{index}]: ")


@given(st.lists(st.integers(-1000, 1000), min_size=3, max_size=8, unique=True), st.data())
def test_the_top_k_are_compared_in_any_order(values: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values) - 1))
    floor = sorted(values, reverse=True)[k - 1]
    above = [value for value in values if value >= floor]
    random.Random(k).shuffle(above)
    shuffled = iter(above)
    same = [float(next(shuffled)) if value >= floor else float(value) for value in values]
    promoted = list(same)
    promoted[values.index(min(values))] = 5000.0
    expectation = TopK(row([float(value) for value in values]), k)

    assert problem(expectation, row(same)) == ""
    assert problem(expectation, row(promoted)) != ""
