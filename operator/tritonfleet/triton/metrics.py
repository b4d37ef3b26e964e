"""Parse one model's metrics from Triton's metrics page."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

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
_READ: Final = frozenset(name.encode() for name in (*COUNTERS, PENDING, FIRST_RESPONSE_BUCKET))
MOST_LINES: Final = 1000
"""Limit of lines of one model: a version has 13, a histogram a few more. They are parsed in 15 ms at worst."""
_SERIES_KEPT: Final = 65536
"""Fourteen series a model: enough for 4,000 models, in about 40 MB if all of it were ever used."""


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
    for line in _lines_of(page, model):
        name, labels, value = _sample(line)
        if labels.get("model") != model:
            continue
        if name == FIRST_RESPONSE_BUCKET:
            buckets[_bound(labels)] += value
        else:
            totals[name] += value
        if name == FAILURE:
            failures[labels.get("reason", "")] += value
    if not totals and not buckets:
        return None
    missing = [name for name in COUNTERS if name not in totals]
    if missing:
        raise Unreadable("Incomplete", f"Triton reports no {missing[0]} of the model '{model}'")
    return ModelMetrics(dict(totals), dict(buckets), dict(failures))


def _lines_of(page: bytes, model: str) -> list[bytes]:
    """Return the lines of the metrics that are read, with the model's name in them."""
    escaped = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    label = f'model="{escaped}"'.encode()
    lines = [
        line
        for line in page.splitlines()
        if line.startswith(_PREFIX) and label in line and line.partition(b"{")[0] in _READ
    ]
    if len(lines) > MOST_LINES:
        raise Unreadable("TooLarge", f"{len(lines)} lines of one model: more than {MOST_LINES} would take too long")
    return lines


def _sample(line: bytes) -> tuple[str, Mapping[str, str], float]:
    head, brace, tail = line.rpartition(b"}")
    try:
        value = float(tail.split(None, 1)[0])
        name, labels = _series(head + brace)
    except (ValueError, IndexError) as error:
        raise Unreadable("Garbage", f"not a line of metrics: {line[:80]!r}") from error
    if not 0 <= value < math.inf:
        raise Unreadable("Impossible", f"{name} is {value}")
    return name, labels, value


@lru_cache(maxsize=_SERIES_KEPT)
def _series(text: bytes) -> tuple[str, Mapping[str, str]]:
    """Return name and labels. From one page to the next only values change, so each series is parsed once."""
    (family,) = text_string_to_metric_families(f"{text.decode()} 0\n")
    (sample,) = family.samples
    return sample.name, sample.labels


def _bound(labels: Mapping[str, str]) -> float:
    try:
        return float(labels["le"])
    except (KeyError, ValueError) as error:
        raise Unreadable("Garbage", f"a bucket without a bound: {dict(labels)}") from error
