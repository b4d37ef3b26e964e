"""`tritonfleet golden`: asks a Triton server golden requests, or takes its answers for golden."""

import argparse
import asyncio
import socket
import sys

import yaml

from tritonfleet.adapters import triton
from tritonfleet.cli.complaint import Complaint, complain, read_bytes
from tritonfleet.cli.golden import recording
from tritonfleet.errors import Rejected, TritonfleetError
from tritonfleet.plan.rollout.verification import Answer, GoldenRequest, InvalidGolden, mismatch, parse_golden


def run(options: argparse.Namespace) -> int:
    """Carry out one action; 1 when an answer is wrong or none comes, 2 for wrong input."""
    command = f"golden {options.action}"
    try:
        text = _text(options)
        return asyncio.run(_check(options, text) if options.action == "check" else _record(options, text))
    except (Complaint, InvalidGolden) as problem:
        return complain(command, problem)
    except TritonfleetError as problem:
        complain(command, problem)
        return 1


async def _check(options: argparse.Namespace, text: str) -> int:
    requests = parse_golden(text)
    wrong = 0
    address, port = await _address(options.server)
    async with triton.connect(address, options.model, port) as server:
        for request in requests:
            try:
                problem = mismatch(request, await server.infer(request))
            except Rejected as refusal:
                problem = f"it was refused: {refusal}"
            wrong += bool(problem)
            sys.stdout.write(f"wrong  {request.name}: {problem}\n" if problem else f"right  {request.name}\n")
    return 1 if wrong else 0


async def _record(options: argparse.Namespace, text: str) -> int:
    questions = recording.questions(text)
    address, port = await _address(options.server)
    async with triton.connect(address, options.model, port) as server:
        answered = [recording.recorded(entry, await _answer(server, request)) for entry, request in questions]
    document = "[\n" + ",\n".join(answered) + "\n]\n"
    parse_golden(document)
    sys.stdout.write(document)
    return 0


async def _answer(server: triton.PodServer, request: GoldenRequest) -> Answer:
    try:
        return await server.infer(request)
    except Rejected as refusal:
        raise Rejected(f"'{request.name}' was refused: {refusal}") from refusal


def _text(options: argparse.Namespace) -> str:
    """Return the golden file, out of the ConfigMap if it is in one."""
    try:
        text = read_bytes(options.filename).decode()
        if text.lstrip().startswith("["):
            return text
        manifest = yaml.safe_load(text)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise Complaint(f"{options.filename}: is neither JSON nor a manifest: {error}") from error
    data = manifest.get("data") if isinstance(manifest, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get(options.key), str):
        raise Complaint(
            f"{options.filename}: must be a JSON list, or a ConfigMap with the key '{options.key}'; --key names another"
        )
    return str(data[options.key])


async def _address(server: str) -> tuple[str, int]:
    """Return the IP address and the port behind HOST:PORT."""
    host, _, port = server.rpartition(":")
    if not host or not port.isdecimal():
        raise Complaint(f"--server: must be HOST:PORT, such as 127.0.0.1:8001, not '{server}'")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise Complaint(f"--server: '{host}' is not found: {error.strerror or error}") from error
    return str(found[0][4][0]), int(port)
