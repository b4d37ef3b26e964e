"""Input that a person must correct before a command can do anything."""

import sys
from pathlib import Path

from tritonfleet.errors import TritonfleetError


class Complaint(TritonfleetError):
    """What is wrong with the input, where, and what would be right: one line."""


def complain(command: str, problem: Exception) -> int:
    """Write one line about wrong input to stderr and return the exit status for it."""
    line = " ".join(str(problem).split())
    sys.stderr.write(f"tritonfleet {command}: {line}\n")
    return 2


def read_bytes(path: str) -> bytes:
    """Return the content of a file, or of stdin for `-`; raises Complaint saying why it cannot be read."""
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Complaint(f"{path}: {(error.strerror or str(error)).lower()}") from error


def write_bytes(path: str, content: bytes) -> None:
    """Write a file; raises Complaint saying why it cannot be written."""
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        raise Complaint(f"{path}: {(error.strerror or str(error)).lower()}") from error
