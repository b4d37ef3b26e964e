"""Parse one model's metrics from Triton's metrics page."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tritonfleet.errors import TritonfleetError

SUCCESS: Final = "nv_inference_request_success"
FAILURE: Final = "nv_inference_request_failure"
INFERENCES: Final = "nv_inference_count"
EXECUTIONS: Final = "nv_inference_exec_count"
REQUEST_US: Final = "nv_inference_request_duration_us"
QUEUE_US: Final = "nv_inference_queue_duration_us"
COMPUTE_US: Final = tuple(f"nv_inference_compute_{part}_duration_us" for part in ("input", "infer", "output"))
PENDING: Final = "nv_inference_pending_request_count"
FIRST_RESPONSE_BUCKET: Final = "nv_inference_first_response_histogram_ms_bucket"

COUNTERS: Final = (SUCCESS, FAILURE, INFERENCES, EXECUTIONS, REQUEST_US, QUEUE_US, *COMPUTE_US)
"""Metrics that every Triton reports of every model by default."""

_TRITONS: Final = b"nv_"
_PREFIX: Final = b"nv_inference_"
_LABEL: Final = rb'([A-Za-z_][A-Za-z0-9_]*)="([^"\\\n]*(?:\\.[^"\\\n]*)*)"'
_UNNAMED: Final = _LABEL.replace(b"([A", b"(?:[A").replace(b'"([^', b'"(?:[^')
_SERIES: Final = re.compile(rb"([A-Za-z_:][A-Za-z0-9_:]*)\{((?:%b(?:,%b)*,?)?)\}" % (_UNNAMED, _UNNAMED))
_LABELS: Final = re.compile(_LABEL)
_READ: Final = frozenset(name.encode().removeprefix(_PREFIX) for name in (*COUNTERS, PENDING, FIRST_RESPONSE_BUCKET))
"""The metrics that are read, without their common prefix."""
MOST_LINES: Final = 1000
"""Limit of lines of one model: a version has 13, a histogram a few more. They are parsed in 30 ms at worst."""
LONGEST_LINE_BYTES: Final = 1024
MOST_LABELS: Final = 16
MOST_BUCKETS: Final = 64
MOST_REASONS: Final = 32
"""Limits of what is kept of a page. Triton's lines have 4 labels and 300 bytes at most; it knows four reasons."""
SERIES_KEPT_BYTES: Final = 16 << 20
"""Fourteen series a model of 300 bytes each: enough for 4,000 models."""
_KEPT_OF_PAGE: Final = 64
"""Pages with more lines are not cached, so that one page cannot displace the series of all pods."""
_OVERHEAD_BYTES: Final = 200


class Unreadable(TritonfleetError):
    """The page is invalid; `reason` is a CamelCase word for the metrics."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """One model on one server: all versions, devices and failure reasons added up."""

    totals: Mapping[str, float]
    """By metric name."""
    first_response: Mapping[float, float]
    """Requests by the upper bound of milliseconds to their first response, cumulative; empty where Triton keeps no such
    histogram."""
    failures: Mapping[str, float] = field(default_factory=dict)
    """Failed requests by reason; unnamed if this Triton reports none."""


def model_metrics(page: bytes, model: str) -> ModelMetrics | None:
    """Read a page in Prometheus' text format; None if it does not mention the model.

    Raises Unreadable for a page that is cut off, is no such text, lacks a counter or holds an impossible number.
    """
    if page and not page.endswith(b"\n"):
        raise Unreadable("Truncated", "the last line of the metrics is cut off")
    if _TRITONS not in page:
        raise Unreadable("Garbage", "the answer holds no metric of Triton's")
    totals: dict[str, float] = defaultdict(float)
    buckets: dict[float, float] = defaultdict(float)
    failures: dict[str, float] = defaultdict(float)
    for series, value in _samples(page, model):
        name, owner, reason, _ = series
        if owner != model:
            continue
        if name == FIRST_RESPONSE_BUCKET:
            buckets[_bound(series)] += value
        else:
            totals[name] += value
        if name == FAILURE:
            failures[reason] += value
    _refuse_many("buckets", buckets, MOST_BUCKETS)
    _refuse_many("reasons of failure", failures, MOST_REASONS)
    if not totals and not buckets:
        return None
    missing = [name for name in COUNTERS if name not in totals]
    if missing:
        raise Unreadable("Incomplete", f"Triton reports no {missing[0]} of the model '{model}'")
    return ModelMetrics(dict(totals), dict(buckets), dict(failures))


def _refuse_many(what: str, found: Mapping[Any, float], most: int) -> None:
    if len(found) > most:
        raise Unreadable("TooLarge", f"{len(found)} {what} of one model; at most {most} are read")


def _samples(page: bytes, model: str) -> list[tuple["_Series", float]]:
    """Return the samples of the metrics that are read, of all lines with the model's name in them."""
    escaped = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    label = f'model="{escaped}"'.encode()
    known: list[tuple[_Series, float]] = []
    others: list[tuple[bytes, float]] = []
    # Pages take most of the time of a tick, so lines without the prefix are not looked at, and known ones not parsed.
    for text in (b"\n" + page).split(b"\n" + _PREFIX)[1:]:
        line = text.partition(b"\n")[0]
        head, _, value = line.rpartition(b"}")
        series = _known.get(head)
        if series is not None:
            if series.model == model:
                known.append((series, _value(line, value)))
        elif label in line and line.partition(b"{")[0] in _READ:
            others.append((head, _value(line, value)))
    count = len(known) + len(others)
    if count > MOST_LINES:
        raise Unreadable("TooLarge", f"more than {MOST_LINES:,} lines of one model would take too long to read")
    keep = count <= _KEPT_OF_PAGE
    return known + [(_series(head, keep=keep), value) for head, value in others]


def _value(line: bytes, text: bytes) -> float:
    """Return the value after a line's labels; the line is without its prefix."""
    if len(line) > LONGEST_LINE_BYTES:
        raise Unreadable("TooLarge", f"a line of {len(line):,} bytes; at most {LONGEST_LINE_BYTES:,} are read")
    try:
        # A timestamp may follow, though Triton writes none.
        value = float(text) if text.count(b" ") == 1 else float(text.split(None, 1)[0])
    except (ValueError, IndexError) as error:
        raise _garbage(line) from error
    if not 0 <= value < math.inf:
        name = (_PREFIX + line.partition(b"{")[0]).decode()
        raise Unreadable("Impossible", f"{name} is {value}")
    return value


def _garbage(line: bytes) -> Unreadable:
    return Unreadable("Garbage", f"not a line of metrics: {(_PREFIX + line)[:80]!r}")


class _Series(NamedTuple):
    """What is read of a line before its value."""

    name: str
    model: str | None
    reason: str
    bound: str | None


_known: dict[bytes, _Series] = {}
_known_bytes = 0


def _series(head: bytes, *, keep: bool) -> _Series:
    """Parse a line up to its labels' closing brace, without the prefix.

    From one page to the next only values change, so they are kept, up to a limit of bytes.
    """
    global _known_bytes  # noqa: PLW0603 - one cache for the process
    found = _SERIES.fullmatch(_PREFIX + head + b"}")
    if found is None:
        raise _garbage(head)
    pairs = _LABELS.findall(found[2])
    try:
        labels = {name.decode(): _unescaped(value) for name, value in pairs}
    except UnicodeDecodeError as error:
        raise _garbage(head) from error
    if len(labels) < len(pairs):
        raise _garbage(head)
    if len(labels) > MOST_LABELS:
        raise Unreadable("TooLarge", f"a line with {len(labels)} labels; at most {MOST_LABELS} are read")
    series = _Series(found[1].decode(), labels.get("model"), labels.get("reason", ""), labels.get("le"))
    if keep:
        if _known_bytes > SERIES_KEPT_BYTES:
            _known.clear()
            _known_bytes = 0
        _known[head] = series
        _known_bytes += 2 * len(head) + _OVERHEAD_BYTES
    return series


_ESCAPED: Final = re.compile(r"\\(.)")


def _unescaped(value: bytes) -> str:
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], value.decode())


def _bound(series: _Series) -> float:
    try:
        return float(series.bound or "")
    except ValueError as error:
        raise Unreadable("Garbage", f"a bucket with the bound {series.bound!r}") from error
