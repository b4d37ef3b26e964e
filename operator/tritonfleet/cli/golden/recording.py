"""Golden files made from the answers of a model that is trusted."""

import json
from collections.abc import Mapping
from typing import Any, Final

from tritonfleet.plan.rollout.verification import (
    FLOATS,
    TENSOR_FIELDS,
    TENSORS_MAX,
    Answer,
    Entry,
    GoldenRequest,
    Tensor,
    Value,
    golden_entries,
    inputs_of,
)

_TELLS_APART: Final = 9
"""Significant digits that tell any two numbers of 32 bits apart."""


def questions(text: str) -> list[tuple[Entry, GoldenRequest]]:
    """Return what to ask: requests whose outputs may be absent, or lack their data. Raises InvalidGolden."""
    entries = golden_entries(text, ("name", "inputs"), ("outputs",))
    return [(entry, GoldenRequest(entry.name(), inputs_of(entry), ())) for entry in entries]


def recorded(entry: Entry, answer: Answer) -> str:
    """Return the request as text, with what was answered; outputs that are named keep how they are compared."""
    outputs: list[Mapping[str, Any]] = []
    for output in _wanted(entry, answer):
        name = output["name"]
        if name not in answer:
            came = ", ".join(sorted(answer)) or "none"
            entry.refuse("outputs", f"the model gave no output '{name}'; there is {came}")
        comparison = output.get("compare")
        keeps_its_own = isinstance(comparison, dict) and "jsonPath" in comparison
        outputs.append(output if keeps_its_own else _output(answer[name], comparison))
    sections = (
        f'    "name": {_text(entry.fields["name"])}',
        f'    "inputs": {_listed(entry.fields["inputs"])}',
        f'    "outputs": {_listed(outputs)}',
    )
    return "  {\n" + ",\n".join(sections) + "\n  }"


def _wanted(entry: Entry, answer: Answer) -> list[Mapping[str, Any]]:
    if "outputs" not in entry.fields:
        return [{"name": name} for name in answer]
    named = entry.entries("outputs", TENSORS_MAX, ("name",), (*TENSOR_FIELDS, "compare"))
    return [{**output.fields, "name": output.name()} for output in named]


def _output(tensor: Tensor, comparison: Any) -> Mapping[str, Any]:
    """Return an output in the form of the protocol."""
    data = [_short(tensor.datatype, value) for value in tensor.data]
    output = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "data": data}
    return output if comparison is None else {**output, "compare": comparison}


def _short(datatype: str, value: Value) -> Value:
    """Write a number of 32 bits or fewer as that, not as the 64 bits that it has here."""
    return float(f"{value:.{_TELLS_APART}g}") if datatype in FLOATS and datatype != "FP64" else value


def _listed(tensors: list[Any]) -> str:
    return "[\n" + ",\n".join(f"      {_text(tensor)}" for tensor in tensors) + "\n    ]"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
