"""The comparison of an answer with the expected one: five ways to compare an output, and a message for a mismatch.

`golden` reads a `GoldenRequest` with one `Expectation` per output; `runtime/probes.py` and `cli/golden.py` send it and
pass the answer to `mismatch`, which returns a message about the first wrong output, or an empty one.
Example: under `Tolerance(absolute=1e-4, relative=1e-2)` an expected 2.0 may be off by 0.0201.

`JsonPath` uses singular queries of JSONPath (RFC 9535, section 2.3.5.1), which find one value or none at a bounded
cost.
"""

import heapq
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tritonfleet.errors import TritonfleetError
from tritonfleet.plan.rollout.verification.golden_json import Tensor, Value, place, shape_text

ABSOLUTE_TOLERANCE = 1e-4
RELATIVE_TOLERANCE = 1e-2
"""Default tolerances of floating-point outputs: another GPU or batch size changes them by less."""


@dataclass(frozen=True, slots=True)
class Exact:
    """Every value is the expected one."""

    expected: Tensor


@dataclass(frozen=True, slots=True)
class Tolerance:
    """No value differs by more than `absolute + relative * |expected|`."""

    expected: Tensor
    absolute: float = ABSOLUTE_TOLERANCE
    relative: float = RELATIVE_TOLERANCE


@dataclass(frozen=True, slots=True)
class TopK:
    """In every row, the k highest values are at the expected positions; a row runs along the last dimension."""

    expected: Tensor
    k: int


@dataclass(frozen=True, slots=True)
class Cosine:
    """In every row, the cosine similarity to the expected row is at least `least`."""

    expected: Tensor
    least: float


@dataclass(frozen=True, slots=True)
class JsonPath:
    """Every value is JSON text that holds `equals` at `path`."""

    output: str
    path: str
    equals: str | float | bool | None


Expectation = Exact | Tolerance | TopK | Cosine | JsonPath


@dataclass(frozen=True, slots=True)
class GoldenRequest:
    """A request with its expected answer."""

    name: str
    inputs: tuple[Tensor, ...]
    expected: tuple[Expectation, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the outputs that are compared, each once."""
        return tuple(dict.fromkeys(output_of(each) for each in self.expected))


def output_of(expectation: Expectation) -> str:
    """Return the name of the output."""
    return expectation.output if isinstance(expectation, JsonPath) else expectation.expected.name


Answer = Mapping[str, Tensor]
"""Outputs by name."""

_SHOWN: Final = 48
"""Maximum length of a text in a message."""


def mismatch(request: GoldenRequest, answer: Answer) -> str:
    """Return a message about the first wrong output; empty if the answer is correct."""
    for expectation in request.expected:
        name = output_of(expectation)
        output = answer.get(name)
        problem = _problem(expectation, output) if output is not None else " is missing"
        if problem:
            return f"output '{name}'{problem}"
    return ""


def highest(row: Sequence[float], k: int) -> frozenset[int]:
    """Return the positions of the k highest values, ties included."""
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
        return f" has shape {shape_text(output.shape)}, expected {shape_text(expected.shape)}"
    if output.datatype != expected.datatype and (same_type or not output.numeric):
        return f" is {output.datatype}, expected {expected.datatype}"
    return ""


def _exact(expected: Tensor, output: Tensor) -> str:
    wrong = [index for index, pair in enumerate(zip(expected.data, output.data, strict=True)) if pair[0] != pair[1]]
    if not wrong:
        return ""
    return _differs(expected, output, wrong[0], _of(len(wrong), len(expected.data)))


def _tolerance(tolerance: Tolerance, output: Tensor) -> str:
    """Report the value that exceeds its limit by most; NaN exceeds any."""
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
            return f"{_row(output, number)}: contains NaN"
        wanted = highest(expected, top.k)
        found = highest(got, max(top.k, len(wanted)))
        if len(found) == len(got):
            return f"{_row(output, number)}: all values are equal, so it has no top {top.k}"
        if not wanted <= found:
            return f"{_row(output, number)}: expected {_places(wanted)} in its top {top.k}, got {_places(found)}"
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
    """Scale a row so that its squares do not overflow."""
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
        found = find_path(document, wanted.path)
        if not found:
            return f"{where} has nothing at {wanted.path}, expected {shown(wanted.equals)}"
        if not _same(found[0], wanted.equals):
            return f"{where} at {wanted.path}: expected {shown(wanted.equals)}, got {shown(found[0])}"
    return ""


def _same(one: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1, but 1 is 1.0."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def shown(value: Any) -> str:
    """Return a value for a message: short and printable."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _differs(expected: Tensor, output: Tensor, index: int, remark: str) -> str:
    wanted: Value = expected.data[index]
    return f"{place(output.shape, index)}: expected {shown(wanted)}, got {shown(output.data[index])} ({remark})"


def _of(wrong: int, values: int) -> str:
    return f"{wrong:,}/{values:,} values differ"


def _row(output: Tensor, number: int) -> str:
    return place(output.shape[:-1], number)


def _places(found: frozenset[int]) -> str:
    shown_places = sorted(found)[:8]
    more = "…" if len(found) > len(shown_places) else ""
    return ", ".join(map(str, shown_places)) + more


LONGEST_PATH: Final = 256
_SEGMENT: Final = re.compile(
    r"""\.(?P<name>[A-Za-z_\u0080-\U0010FFFF][A-Za-z0-9_\u0080-\U0010FFFF]*)"""
    r"""|\[(?P<index>0|-?[1-9][0-9]{0,8})\]"""
    r"""|\[(?:'(?P<single>[^'\\]*)'|"(?P<double>[^"\\]*)")\]"""
)

PathStep = str | int


class InvalidPath(TritonfleetError):
    """Not a supported JSONPath."""


def path_steps(path: str) -> tuple[PathStep, ...]:
    """Return names and indexes from the root down; raises InvalidPath."""
    if len(path) > LONGEST_PATH:
        raise InvalidPath(f"must have at most {LONGEST_PATH} characters")
    if not path.startswith("$"):
        raise InvalidPath("must begin with $, such as $.choices[0].label")
    return tuple(_path_steps(path))


def _path_steps(path: str) -> Iterator[PathStep]:
    position = 1
    while position < len(path):
        match = _SEGMENT.match(path, position)
        if match is None:
            raise InvalidPath(
                f"{path[position:]!a} is not supported: use names (.label, ['a name']) and indexes ([0], [-1])"
            )
        found = match.groupdict()
        if found["index"] is not None:
            yield int(found["index"])
        else:
            yield next(found[kind] for kind in ("name", "single", "double") if found[kind] is not None)
        position = match.end()


def find_path(document: Any, path: str) -> tuple[Any, ...]:
    """Return the value at the path in a tuple, which is empty if there is none; raises InvalidPath."""
    for step in path_steps(path):
        if isinstance(step, str):
            if not isinstance(document, dict) or step not in document:
                return ()
        elif not isinstance(document, list) or not -len(document) <= step < len(document):
            return ()
        document = document[step]
    return (document,)
