"""Is an answer the one that was expected? Every mismatch is told with numbers."""

import heapq
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tritonfleet.plan.rollout.verification import jsonpath
from tritonfleet.plan.rollout.verification.expectation import (
    Cosine,
    Exact,
    Expectation,
    GoldenRequest,
    JsonPath,
    Tolerance,
    TopK,
    output_of,
)
from tritonfleet.plan.rollout.verification.tensor import Tensor, Value, place, shape_text

Answer = Mapping[str, Tensor]
"""Outputs by name."""

_SHOWN: Final = 48
"""Characters of a text that a message shows."""


def mismatch(request: GoldenRequest, answer: Answer) -> str:
    """Return what is wrong with the first wrong output; empty when the answer is right."""
    for expectation in request.expected:
        name = output_of(expectation)
        output = answer.get(name)
        problem = _problem(expectation, output) if output is not None else " is missing"
        if problem:
            return f"output '{name}'{problem}"
    return ""


def highest(row: Sequence[float], k: int) -> frozenset[int]:
    """Return the places of the k highest values, and of those that equal the last of them."""
    least = heapq.nlargest(k, row)[-1]
    return frozenset(index for index, value in enumerate(row) if value >= least)


def rows(tensor: Tensor) -> Iterator[tuple[float, ...]]:
    """Return the values of a numeric tensor along its last dimension."""
    width = tensor.shape[-1] if tensor.shape else 1
    numbers = tuple(float(value) for value in tensor.data)
    for start in range(0, len(numbers), width):
        yield numbers[start : start + width]


def _problem(expectation: Expectation, output: Tensor) -> str:
    match expectation:
        case JsonPath():
            return _json_path(expectation, output)
        case Exact(expected):
            return _misfit(expected, output, same_type=True) or _exact(expected, output)
        case Tolerance(expected):
            return _misfit(expected, output) or _tolerance(expectation, output)
        case TopK(expected):
            return _misfit(expected, output) or _top_k(expectation, output)
        case Cosine(expected):
            return _misfit(expected, output) or _cosine(expectation, output)


def _misfit(expected: Tensor, output: Tensor, *, same_type: bool = False) -> str:
    if output.shape != expected.shape:
        return f" has the shape {shape_text(output.shape)}, expected {shape_text(expected.shape)}"
    if output.datatype != expected.datatype and (same_type or not output.numeric):
        return f" is {output.datatype}, expected {expected.datatype}"
    return ""


def _exact(expected: Tensor, output: Tensor) -> str:
    wrong = [index for index, pair in enumerate(zip(expected.data, output.data, strict=True)) if pair[0] != pair[1]]
    if not wrong:
        return ""
    return _differs(expected, output, wrong[0], _of(len(wrong), len(expected.data)))


def _tolerance(tolerance: Tolerance, output: Tensor) -> str:
    """The value that is furthest beyond its limit is told; NaN is beyond any."""
    wrong, worst, worst_beyond = 0, 0, -math.inf
    for index, (expected, got) in enumerate(zip(tolerance.expected.data, output.data, strict=True)):
        difference = abs(float(got) - float(expected))
        beyond = difference - (tolerance.absolute + tolerance.relative * abs(float(expected)))
        if not beyond <= 0:
            wrong += 1
            beyond = math.inf if math.isnan(beyond) else beyond
            if beyond > worst_beyond:
                worst, worst_beyond = index, beyond
    if not wrong:
        return ""
    limit = tolerance.absolute + tolerance.relative * abs(float(tolerance.expected.data[worst]))
    return _differs(tolerance.expected, output, worst, f"at most {limit:.3g} apart; {_of(wrong, len(output.data))}")


def _top_k(top: TopK, output: Tensor) -> str:
    for number, (expected, got) in enumerate(zip(rows(top.expected), rows(output), strict=True)):
        if any(math.isnan(value) for value in got):
            return f"{_row(output, number)}: holds NaN"
        wanted = highest(expected, top.k)
        found = highest(got, max(top.k, len(wanted)))
        if len(found) == len(got):
            return f"{_row(output, number)}: its {top.k} highest cannot be told from the rest"
        if not wanted <= found:
            return f"{_row(output, number)}: expected {_places(wanted)} among its {top.k} highest, got {_places(found)}"
    return ""


def _cosine(cosine: Cosine, output: Tensor) -> str:
    for number, (expected, got) in enumerate(zip(rows(cosine.expected), rows(output), strict=True)):
        similarity = _similarity(expected, got)
        if not similarity >= cosine.least:
            return f"{_row(output, number)}: cosine to the expected row is {similarity:.4g}, at least {cosine.least:g}"
    return ""


def _similarity(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of the angle; 0 for a row of zeros, NaN for one that is not finite."""
    one, other = _scaled(one), _scaled(other)
    norm = math.sqrt(math.fsum(value * value for value in one)) * math.sqrt(math.fsum(value * value for value in other))
    product = math.fsum(left * right for left, right in zip(one, other, strict=True))
    return product / norm if norm else product


def _scaled(row: Sequence[float]) -> Sequence[float]:
    """Keep squares within the range of numbers."""
    most = max(map(abs, row), default=0.0)
    if not all(map(math.isfinite, row)):
        return [math.nan] * len(row)
    return [value / most for value in row] if most else row


def _json_path(wanted: JsonPath, output: Tensor) -> str:
    if output.datatype != "BYTES":
        return f" is {output.datatype}, expected BYTES that hold JSON"
    if not output.data:
        return " is empty"
    for index, text in enumerate(output.data):
        where = place(output.shape, index)
        try:
            document = json.loads(str(text))
        except (ValueError, RecursionError):
            return f"{where} is not JSON: {shown(text)}"
        found = jsonpath.find(document, wanted.path)
        if not found:
            return f"{where} has nothing at {wanted.path}, expected {shown(wanted.equals)}"
        if not _same(found[0], wanted.equals):
            return f"{where} at {wanted.path}: expected {shown(wanted.equals)}, got {shown(found[0])}"
    return ""


def _same(one: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1, but 1 is 1.0."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def shown(value: Any) -> str:
    """Return a value as a message may show it: short, and printable whatever it holds."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _differs(expected: Tensor, output: Tensor, index: int, remark: str) -> str:
    wanted: Value = expected.data[index]
    return f"{place(output.shape, index)}: expected {shown(wanted)}, got {shown(output.data[index])} ({remark})"


def _of(wrong: int, values: int) -> str:
    return f"{wrong:,} of {values:,} values differ"


def _row(output: Tensor, number: int) -> str:
    return place(output.shape[:-1], number)


def _places(found: frozenset[int]) -> str:
    shown_places = sorted(found)[:8]
    more = "…" if len(found) > len(shown_places) else ""
    return ", ".join(map(str, shown_places)) + more
