"""Triton's own reason for not starting, found in the last words of its container.

Kubernetes keeps the last 2048 bytes (at most 80 lines) of the log as the termination message. With info
lines off (see `flags`) they hold the reason, whole or at least its end.
"""

import re
from typing import Final

from tritonfleet.errors import printable

LONGEST_REASON: Final = 600
"""Characters; conditions are read in a terminal."""

_LOG_LINE: Final = re.compile(r"^(?:[A-Z]\d{4} |\d{4}-\d\d-\d\dT)\S+ .*?(?P<file>[\w.]+\.cc):\d+\] *(?P<text>.*)$")
_FATAL: Final = re.compile(r"^error: (?P<text>.*)", re.DOTALL | re.MULTILINE)
_STARTING: Final = re.compile(r"^creating server: [A-Z][A-Za-z ]* - ")
_NOTHING_LOADED: Final = "failed to load all models"
_UNAVAILABLE: Final = re.compile(r"^.*?version -?\d+ is at UNAVAILABLE state: ", re.DOTALL)
_LOAD_FAILED: Final = re.compile(
    r"^(?:(?:load failed for|failed to load)(?: model)? '[^']*'(?: version \d+)?: "
    r"|Poll failed for model directory '[^']*': "
    r"|ERROR: Failed to create instance: |Failed to (?:pre)?initialize Python stub(?: for auto-complete)?: )"
)
_FAILED_MODELS: Final = (
    re.compile(r"load failed for model '([\w.-]+)': version"),
    re.compile(r"(?:load failed for|failed to load|Poll failed for)(?: model)?(?: directory)? '([\w.-]+)'"),
)
"""Where the model's name is: first as the server says it of one that failed itself, and not of what depends on it."""
_STATUS: Final = re.compile(r"^(?:Internal|Invalid argument|Unavailable|Not found|Unsupported|Unknown): ")
_PROTOBUF: Final = re.compile(
    r"^\[libprotobuf ERROR .*?\] Error parsing text-format inference\.ModelConfig: (?P<text>.*)$",
    re.MULTILINE,
)
_FRAME: Final = re.compile(r"^  (?P<path>\S.*)\((?P<line>\d+)\): (?P<function>.*)$", re.MULTILINE)
_TRACEBACK: Final = "\n\nAt:\n"
_USAGE: Final = re.compile(r"^  --[a-z0-9-]+ <.*>$", re.MULTILINE)
_FAILURE_FILES: Final = frozenset(
    {
        "model_repository_manager.cc",
        "model_lifecycle.cc",
        "backend_model.cc",
        "pb_stub.cc",
        "python_be.cc",
        "main.cc",
    }
)


def load_failure(termination_message: str, *, of_several: bool = False) -> str | None:
    """Return why Triton did not load its model, on one line, or None when the message does not say.

    `of_several`: the server has more than one model, so that the one that failed is named, if the message does.
    """
    reason = _fatal_reason(termination_message) or _logged_reason(termination_message)
    if reason is None:
        return _refused_command_line(termination_message) or _end_of_traceback(termination_message)
    found = (pattern.search(reason) for pattern in _FAILED_MODELS if of_several)
    named = next((match for match in found if match is not None), None)
    return f"model '{named[1]}': {_one_line(reason)}" if named else _one_line(reason)


def _fatal_reason(message: str) -> str | None:
    found = _FATAL.search(message)
    if found is None:
        return None
    reason = _STARTING.sub("", found["text"])
    return None if reason.strip() == _NOTHING_LOADED else reason


def _logged_reason(message: str) -> str | None:
    """Return the last failure in the log; a rejected configuration appears nowhere else."""
    syntax = _PROTOBUF.findall(message)
    if syntax:
        return f"the model configuration cannot be read at line:column {syntax[-1]}"
    lines = (_LOG_LINE.match(line) for line in message.splitlines())
    failures = [
        line["text"].strip().strip('"')
        for line in lines
        if line is not None and line["file"] in _FAILURE_FILES and "ail" in line["text"]
    ]
    return failures[-1].replace("\\n", "\n") if failures else None


def _refused_command_line(message: str) -> str | None:
    if not _USAGE.search(message):
        return None
    return "tritonserver did not accept its command line and printed its usage: correct `server.args`"


def _end_of_traceback(message: str) -> str | None:
    """Explain a traceback so long that its beginning is lost."""
    frame = _user_frame(message)
    return f"the model's code raised an error at {frame}" if frame else None


def _one_line(reason: str) -> str:
    text, _, traceback = reason.partition(_TRACEBACK)
    text = _UNAVAILABLE.sub("", text)
    text = _LOAD_FAILED.sub("", text)
    text = _STATUS.sub("", text)
    text = printable(" ".join(text.split()).rstrip(" ;"))
    frame = _user_frame(traceback)
    if len(text) > LONGEST_REASON:
        text = f"{text[:LONGEST_REASON]}..."
    return f"{text} ({frame})" if frame else text


def _user_frame(traceback: str) -> str | None:
    """Return the innermost frame in a file; Triton lists frames innermost first."""
    for frame in _FRAME.finditer(traceback):
        if not frame["path"].startswith("<"):
            return printable(f"{frame['path']}, line {frame['line']}, in {frame['function']}")
    return None
