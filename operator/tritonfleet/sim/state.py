"""The engine's memory: flat arrays, so that compiled code and Python share them without copies.

Requests are nodes of a pool. A pod's queue and an instance's running batch are linked lists of such nodes, so a
request is written once and never moved. Slots stand for pods that hold requests; they are used again.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NONE = -1
"""No node, no pod."""

SUCCESS, FAILURE, INFERENCES, EXECUTIONS, REQUEST_US, QUEUE_US, COMPUTE_US = range(7)
"""Columns of a slot's counters; each means what Triton's counter of that name means."""

FREE, ACTIVE, READY, TURN, DRAW, SECOND, HELD, REJECTED, LOST, EXECUTED, SEEN = range(11)
"""Whole numbers of the fleet: first free node, slots in use, slots that take requests, round robin's turn, noise drawn,
second under way, requests held, rejected, lost, executions done, requests seen."""

AREA, SINCE, SLOWDOWN = range(3)
"""Real numbers of the fleet: held requests times seconds in this second, up to when that is counted, factor on T(b)."""

BINS = 640
LOWEST_SECONDS = 1e-4
BIN_WIDTH = 0.025
"""Latencies fall into bins each 2.5 % wide, from 0.1 ms to 15 minutes."""


class Rules(NamedTuple):
    """What does not change during a run."""

    alpha: float
    beta: float
    max_batch: int
    delay: float
    max_queue: int
    timeout: float
    patience: float
    """After how long clients give up; infinite for never."""
    overhead: float
    target: float
    """Seconds within which an answer is good."""
    least_outstanding: bool
    best_preferred: Ints
    """The largest preferred size of at most the index, 0 for none, shape (max_batch + 1,)."""
    noise: Floats
    """Factors on T(b), used in turn."""


class State(NamedTuple):
    """What changes. Times are seconds since the trace began."""

    node_time: Floats
    node_next: Ints
    node_request: Ints
    """Number of the request, in order of arrival."""

    queue_head: Ints
    queue_tail: Ints
    queue_length: Ints
    held: Ints
    """Requests that wait or run, by slot."""
    running: Ints
    timer: Floats
    """When the oldest waiting request must be looked at, by slot; infinite for never."""
    wake: Floats
    """When something happens next, by slot."""
    busy_since: Floats
    busy_seconds: Floats
    serial: Ints
    """Which pod the slot holds, by order of creation."""
    counters: Floats
    """Shape (slots, 7)."""
    active: Ints
    ready: Ints

    finish: Floats
    """Shape (slots, instances), like the next three; infinite while idle."""
    started: Floats
    batch_head: Ints
    batch_size: Ints

    whole: Ints
    real: Floats

    minute_arrivals: Ints
    minute_good: Ints
    minute_bins: NDArray[np.int32]
    """Latencies of answered requests by minute of arrival, shape (minutes, BINS)."""
    gateway_bins: Ints
    """Latencies of everything that was answered so far, refusals too, shape (BINS,)."""
    concurrency: Floats
    """Requests held on average during each second."""

    sample_latency: Floats
    """Shape (requests,) when the run is recorded, else (0,), like the next two."""
    sample_pod: Ints
    sample_batch: Ints


def empty(slots: int, instances: int, seconds: int, requests: int) -> State:
    """Return a fleet without pods, for a run of that many seconds that records that many requests."""
    floats: dict[str, Any] = {name: np.full(slots, np.inf) for name in ("timer", "wake")} | {
        name: np.zeros(slots) for name in ("busy_since", "busy_seconds")
    }
    ints: dict[str, Any] = {
        name: np.zeros(slots, np.int64) for name in ("queue_length", "held", "running", "active", "ready", "serial")
    } | {name: np.full(slots, NONE) for name in ("queue_head", "queue_tail")}
    minutes = seconds // 60 + 1
    whole = np.zeros(11, np.int64)
    whole[FREE] = NONE
    return State(
        **floats,
        **ints,
        node_time=np.zeros(0),
        node_next=np.zeros(0, np.int64),
        node_request=np.zeros(0, np.int64),
        counters=np.zeros((slots, 7)),
        finish=np.full((slots, instances), np.inf),
        started=np.zeros((slots, instances)),
        batch_head=np.full((slots, instances), NONE),
        batch_size=np.zeros((slots, instances), np.int64),
        whole=whole,
        real=np.array([0.0, 0.0, 1.0]),
        minute_arrivals=np.zeros(minutes, np.int64),
        minute_good=np.zeros(minutes, np.int64),
        minute_bins=np.zeros((minutes, BINS), np.int32),
        gateway_bins=np.zeros(BINS, np.int64),
        concurrency=np.zeros(seconds + 1),
        sample_latency=np.full(requests, np.nan),
        sample_pod=np.full(requests, NONE),
        sample_batch=np.zeros(requests, np.int64),
    )


def with_nodes(state: State, free: int) -> State:
    """Return the state with room for at least `free` more requests; the arrays that need no room stay the same."""
    before = len(state.node_time)
    idle = before - int(state.whole[HELD])
    if idle >= free:
        return state
    added = max(free - idle, before, 1024)
    chain = np.arange(before + 1, before + added + 1)
    chain[-1] = state.whole[FREE]
    state.whole[FREE] = before
    return state._replace(
        node_time=np.concatenate((state.node_time, np.zeros(added))),
        node_next=np.concatenate((state.node_next, chain)),
        node_request=np.concatenate((state.node_request, np.zeros(added, np.int64))),
    )


def quantile_of_bins(bins: NDArray[Any], share: float) -> float:
    """Return the quantile of binned latencies in seconds, NaN for no latencies; a bin's middle stands for it."""
    total = np.cumsum(bins)
    if total[-1] == 0:
        return float("nan")
    index = int(np.searchsorted(total, share * total[-1]))
    return LOWEST_SECONDS * float(np.exp((min(index, BINS - 1) + 0.5) * BIN_WIDTH))


BY_SLOT = (
    "queue_head", "queue_tail", "queue_length", "held", "running", "timer", "wake", "busy_since", "busy_seconds",
    "serial", "counters", "active", "ready", "finish", "started", "batch_head", "batch_size",
)  # fmt: skip


def with_slots(state: State, added: int) -> State:
    """Return the state with that many more slots, all empty."""
    more = empty(added, state.finish.shape[1], 0, 0)
    return state._replace(**{name: np.concatenate((getattr(state, name), getattr(more, name))) for name in BY_SLOT})
