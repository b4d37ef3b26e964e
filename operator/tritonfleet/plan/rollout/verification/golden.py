"""The golden file: a JSON list of requests with known answers, from a user's ConfigMap.

`runtime/probes.py` reads it with `read_golden`, which turns any fault into `Golden.problem`; `cli/golden.py` uses
`parse_golden`, which raises `InvalidGolden`. The file is not trusted: its size, its depth and every value are bounded,
and it cannot refer to files or addresses.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from tritonfleet.plan.rollout.analysis import shorten
from tritonfleet.plan.rollout.verification.compare import (
    ABSOLUTE_TOLERANCE,
    RELATIVE_TOLERANCE,
    Cosine,
    Exact,
    Expectation,
    GoldenRequest,
    InvalidPath,
    JsonPath,
    Tolerance,
    TopK,
    highest,
    path_steps,
    rows,
)
from tritonfleet.plan.rollout.verification.golden_json import (
    FLOATS,
    TENSOR_FIELDS,
    Entry,
    InvalidGolden,
    Tensor,
    abridged,
    tensor_of,
)

LARGEST_BYTES: Final = 1 << 20
"""The maximum size of a ConfigMap."""
REQUESTS_MAX: Final = 100
TENSORS_MAX: Final = 64
_ROOT: Final = "golden"
_JSON_PATH: Final = "jsonPath"
_LARGEST: Final = 1e30
"""Maximum of a tolerance; beyond it everything would pass."""


@dataclass(frozen=True, slots=True)
class Golden:
    """The requests of a golden file, or why it is invalid."""

    requests: tuple[GoldenRequest, ...] = ()
    problem: str = ""
    """At most 256 characters; empty if the file is valid."""


def read_golden(text: str) -> Golden:
    """Return the content of a golden file; an error becomes `problem`."""
    try:
        return Golden(parse_golden(text))
    except InvalidGolden as error:
        return Golden(problem=shorten(str(error)))


def parse_golden(text: str) -> tuple[GoldenRequest, ...]:
    """Return the requests of a golden file; raises InvalidGolden."""
    requests = []
    for entry in golden_entries(text, ("name", "inputs", "outputs")):
        outputs = entry.entries("outputs", TENSORS_MAX, ("name",), ("datatype", "shape", "data", "compare"))
        expected = tuple(_expectation(each) for each in outputs)
        requests.append(GoldenRequest(entry.name(), inputs_of(entry), expected))
    return tuple(requests)


def golden_entries(text: str, required: Sequence[str], optional: Sequence[str] = ()) -> list[Entry]:
    """Return the unparsed requests of a golden file, with unique names; raises InvalidGolden."""
    if len(text.encode("utf-8", "replace")) > LARGEST_BYTES:
        raise InvalidGolden(f"{_ROOT}: must have at most {LARGEST_BYTES:,} bytes")
    try:
        document = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidGolden(f"{_ROOT}: must be JSON: {problem}") from error
    if not isinstance(document, list) or not 1 <= len(document) <= REQUESTS_MAX:
        raise InvalidGolden(f"{_ROOT}: must be a list of 1 to {REQUESTS_MAX} requests, not {abridged(document)}")
    found: dict[str, Entry] = {}
    for index, each in enumerate(document):
        entry = Entry.of(each, f"{_ROOT}[{index}]", required, optional)
        name = entry.name()
        if name in found:
            raise InvalidGolden(f"{entry.where}.name: '{name}' is already the name of an earlier request")
        found[name] = Entry(f"{entry.where} ('{name[:40]}')", entry.fields)
    return list(found.values())


def inputs_of(entry: Entry) -> tuple[Tensor, ...]:
    """Return the inputs of a request; raises InvalidGolden."""
    inputs = tuple(tensor_of(each) for each in entry.entries("inputs", TENSORS_MAX, TENSOR_FIELDS))
    if len({tensor.name for tensor in inputs}) < len(inputs):
        entry.refuse("inputs", "must have unique names")
    return inputs


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _expectation(entry: Entry) -> Expectation:
    compare = entry.fields.get("compare")
    if compare is None:
        tensor = _tensor(entry)
        return Tolerance(tensor) if tensor.datatype in FLOATS else Exact(tensor)
    if compare == "exact":
        return Exact(_tensor(entry))
    if not isinstance(compare, dict) or len(compare) != 1 or not compare.keys() <= {*_TERMS, _JSON_PATH}:
        entry.refuse("compare", 'must be "exact" or an object with one of tolerance, topK, cosine and jsonPath')
    ((kind, terms),) = compare.items()
    where = f"{entry.where}.compare.{kind}"
    if kind == _JSON_PATH:
        return _json_path(entry, terms, where)
    tensor = _tensor(entry)
    if not tensor.numeric:
        entry.refuse("compare", f"{kind} is for numbers, and this output is {tensor.datatype}: use exact or jsonPath")
    parse_terms, required, optional = _TERMS[kind]
    return parse_terms(tensor, Entry.of(terms, where, required, optional))


def _tensor(entry: Entry) -> Tensor:
    return tensor_of(Entry.of(entry.fields, entry.where, TENSOR_FIELDS, ("compare",)))


def _tolerance(tensor: Tensor, terms: Entry) -> Tolerance:
    """A missing limit is zero, so that either can be used alone; without both, the defaults apply."""
    given = terms.fields.keys()
    absolute, relative = (0.0, 0.0) if given else (ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE)
    return Tolerance(tensor, terms.number("abs", 0, _LARGEST, absolute), terms.number("rel", 0, 1, relative))


def _top_k(tensor: Tensor, terms: Entry) -> TopK:
    width = tensor.shape[-1] if tensor.shape else 1
    if width < 2:
        terms.refuse("k", f"needs rows of two or more values; this output's have {width}")
    top = TopK(tensor, terms.integer("k", 1, width - 1))
    if any(len(highest(row, top.k)) == width for row in rows(tensor)):
        terms.refuse("k", "all values in a row of the expected data are equal")
    return top


def _cosine(tensor: Tensor, terms: Entry) -> Cosine:
    if any(not any(row) for row in rows(tensor)):
        terms.refuse("min", "a row of the expected data has only zeros")
    return Cosine(tensor, terms.number("min", -1, 1, 1.0))


_TERMS: Final[Mapping[str, tuple[Callable[[Tensor, Entry], Expectation], tuple[str, ...], tuple[str, ...]]]] = {
    "tolerance": (_tolerance, (), ("abs", "rel")),
    "topK": (_top_k, ("k",), ()),
    "cosine": (_cosine, ("min",), ()),
}
"""The numeric comparisons: parser, required fields and optional fields of each."""


def _json_path(output: Entry, terms: Any, where: str) -> JsonPath:
    for field in ("datatype", "shape", "data"):
        if field in output.fields:
            output.refuse(field, "must not be set with compare.jsonPath")
    wanted = Entry.of(terms, where, ("path", "equals"))
    path, equals = wanted.fields["path"], wanted.fields["equals"]
    if not isinstance(path, str):
        wanted.refuse("path", f"must be text such as $.label, not {abridged(path)}")
    try:
        path_steps(path)
    except InvalidPath as error:
        wanted.refuse("path", str(error))
    if isinstance(equals, list | dict):
        wanted.refuse("equals", f"must be text, a number, true, false or null, not {abridged(equals)}")
    return JsonPath(output.name(), path, equals)
