"""`tritonfleet golden`: check a Triton server against golden requests, or record them.

`check` compares responses as the operator does in a rollout. `record` writes a golden file from the responses of a
trusted model. Needs no Kubernetes client; `cli/main.py` calls `run()`.
"""

import asyncio
import json
import socket
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final

from tritonfleet.adapters import triton
from tritonfleet.cli.manifests import read_manifests
from tritonfleet.cli.terminal import UsageError, one_line, read_bytes, report_error, say
from tritonfleet.errors import Rejected, TritonfleetError
from tritonfleet.plan.rollout.verification import (
    FLOATS,
    TENSOR_FIELDS,
    TENSORS_MAX,
    Answer,
    Entry,
    GoldenRequest,
    InvalidGolden,
    Tensor,
    Value,
    golden_entries,
    inputs_of,
    mismatch,
    parse_golden,
)

_FP32_DIGITS: Final = 9
"""Significant digits that distinguish any two 32-bit floats."""


def read_questions(text: str) -> list[tuple[Entry, GoldenRequest]]:
    """Return the requests to send; their outputs may be absent or lack data. Raises InvalidGolden."""
    entries = golden_entries(text, ("name", "inputs"), ("outputs",))
    return [(entry, GoldenRequest(entry.name(), inputs_of(entry), ())) for entry in entries]


def recorded(entry: Entry, answer: Answer) -> str:
    """Return the request with the response as text; named outputs keep their `compare`."""
    outputs: list[Mapping[str, Any]] = []
    for output in _wanted(entry, answer):
        name = output["name"]
        if name not in answer:
            came = ", ".join(sorted(answer)) or "none"
            entry.refuse("outputs", f"the model returned no output '{name}', only {came}")
        comparison = output.get("compare")
        keeps_its_own = isinstance(comparison, dict) and "jsonPath" in comparison
        outputs.append(output if keeps_its_own else _output(answer[name], comparison))
    sections = (
        f'    "name": {_json_text(entry.fields["name"])}',
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
    """Return an output in the form of the inference protocol."""
    data = [_short(tensor.datatype, value) for value in tensor.data]
    output = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "data": data}
    return output if comparison is None else {**output, "compare": comparison}


def _short(datatype: str, value: Value) -> Value:
    """Round a float of 32 bits or fewer to the digits that it has."""
    return float(f"{value:.{_FP32_DIGITS}g}") if datatype in FLOATS and datatype != "FP64" else value


def _listed(tensors: list[Any]) -> str:
    return "[\n" + ",\n".join(f"      {_json_text(tensor)}" for tensor in tensors) + "\n    ]"


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def run(options: SimpleNamespace) -> int:
    """Run one action; return 1 if a response is wrong or missing, 2 for wrong input."""
    command = f"golden {options.action}"
    try:
        text = _text(options)
        return asyncio.run(_check(options, text) if options.action == "check" else _record(options, text))
    except (UsageError, InvalidGolden) as problem:
        return report_error(command, problem)
    except TritonfleetError as problem:
        report_error(command, problem)
        return 1


async def _check(options: SimpleNamespace, text: str) -> int:
    requests = parse_golden(text)
    wrong = 0
    address, port = await _address(options.server)
    async with triton.connect(address, options.model, port) as server:
        for request in requests:
            try:
                problem = mismatch(request, await server.infer(request))
            except Rejected as refusal:
                problem = f"request failed: {refusal}"
            wrong += bool(problem)
            name = one_line(request.name)
            say(f"FAIL  {name}: {one_line(problem)}" if problem else f"ok    {name}")
    return 1 if wrong else 0


async def _record(options: SimpleNamespace, text: str) -> int:
    questions = read_questions(text)
    address, port = await _address(options.server)
    async with triton.connect(address, options.model, port) as server:
        answered = [recorded(entry, await _answer(server, request)) for entry, request in questions]
    document = "[\n" + ",\n".join(answered) + "\n]\n"
    parse_golden(document)
    say(document.rstrip("\n"))
    return 0


async def _answer(server: triton.PodServer, request: GoldenRequest) -> Answer:
    try:
        return await server.infer(request)
    except Rejected as refusal:
        raise Rejected(f"request '{request.name}' failed: {refusal}") from refusal


def _text(options: SimpleNamespace) -> str:
    """Return the golden file, extracted from its ConfigMap if it is in one."""
    try:
        text = read_bytes(options.filename).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{options.filename}: must be UTF-8 text: {error}") from error
    if text.lstrip().startswith("["):
        return text
    manifest = next(iter(read_manifests(text, f"{options.filename}: neither JSON nor a manifest")), None)
    data = manifest.get("data") if isinstance(manifest, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get(options.key), str):
        raise UsageError(
            f"{options.filename}: must be a JSON list, or a ConfigMap with the key '{options.key}' (see --key)"
        )
    return str(data[options.key])


async def _address(server: str) -> tuple[str, int]:
    """Return the IP address and the port behind HOST:PORT."""
    host, _, port = server.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"--server: must be HOST:PORT, such as 127.0.0.1:8001, not '{server}'")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"--server: '{host}' not found: {error.strerror or error}") from error
    return str(found[0][4][0]), int(port)
