"""The engine's memory: flat arrays, so that compiled code and Python share them without copies.

Requests are nodes of a pool. A pod's queue and an instance's running batch are linked lists of such nodes, so a
request is written once and never moved. Slots stand for pods that hold requests; they are used again. `EngineRules`
does not change during a run, `State` does. Latencies are kept in bins, fine enough for a quantile within 1.3%, few
enough for every minute of a week.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 640
LOWEST_SECONDS = 1e-4
BIN_WIDTH = 0.025
"""Latencies fall into bins of 2.5% width, from 0.1 ms to 15 minutes."""


def quantile_of_bins(bins: NDArray[Any], share: float) -> float:
    """Return the quantile of binned latencies in seconds, NaN for no latencies; a bin's middle stands for it."""
    total = np.cumsum(bins)
    if total[-1] == 0:
        return float("nan")
    index = int(np.searchsorted(total, share * total[-1]))
    return LOWEST_SECONDS * float(np.exp((min(index, BINS - 1) + 0.5) * BIN_WIDTH))


Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Records = NDArray[Any]
"""Structured arrays; the dtypes below name their fields."""

NONE = -1
"""No node, no pod."""
NEW, STAGED, GONE = range(3)
"""A batch under way is empty, formed but not running (it can grow), or running."""

COUNTERS = ("success", "failure", "inferences", "executions", "request_us", "queue_us", "compute_us")
"""A slot's counters, each what Triton's counter of that name means."""

NODE = np.dtype([("at", "f8"), ("next", "i8"), ("request", "i8")])
"""One request: when it came, its successor in whatever list it is in, and its number in order of arrival."""

SLOT = np.dtype(
    [
        ("head", "i8"),  # the oldest request in the batcher's queue
        ("tail", "i8"),
        ("waiting", "i8"),
        ("running", "i8"),  # executions
        ("timer", "f8"),  # when the batcher wakes by itself, infinite for never
        ("payloads", "i8"),  # batches that are formed and not yet running
        ("stage", "i8"),  # of the batch under way: NEW, STAGED or GONE
        ("size", "i8"),  # of the batch under way
        ("saturated", "i8"),  # 1 once the batch under way takes no more
        ("enough", "i8"),  # requests in the queue that wake the batcher
        ("busy_since", "f8"),
        ("busy_seconds", "f8"),
        ("serial", "i8"),  # which pod, by order of creation
        *((name, "f8") for name in COUNTERS),
    ]
)
PAYLOAD = np.dtype([("head", "i8"), ("tail", "i8"), ("size", "i8")])
"""One batch that is formed and not yet running."""
INSTANCE = np.dtype([("finish", "f8"), ("started", "f8"), ("head", "i8"), ("size", "i8")])
"""One execution: its end, infinite while idle, and its batch."""

TOTALS = np.dtype(
    [
        ("free", "i8"),  # the first node of the pool that is not in use
        ("ready", "i8"),  # slots that take requests
        ("turn", "i8"),
        ("draw", "i8"),
        ("second", "i8"),  # the one under way
        ("held", "i8"),
        ("rejected", "i8"),
        ("lost", "i8"),
        ("executed", "i8"),
        ("seen", "i8"),
        ("area", "f8"),  # requests held times seconds, in the second under way
        ("since", "f8"),  # up to when that is counted
        ("slowdown", "f8"),  # a factor on T(b)
    ]
)


class EngineRules(NamedTuple):
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
    draws: Floats
    """Numbers in [0, 1) that choose pods at random, used in turn; empty for another routing."""
    prefetch: bool
    """Whether batches are formed while every instance is busy: without any queue policy."""
    preferred: NDArray[np.bool_]
    """Whether a size is preferred, shape (max_batch + 1,)."""
    next_preferred: Ints
    """The smallest preferred size above the index, or else the smallest of all, shape (max_batch + 1,)."""
    max_preferred: int
    noise: Floats
    """Factors on T(b), used in turn."""
    lowest_seconds: float
    """Where the bins of latencies begin."""
    bin_width: float
    """Of the logarithm of a latency."""


class State(NamedTuple):
    """What changes. Times are seconds since the trace began."""

    nodes: Records
    """NODE, the pool."""
    slots: Records
    """SLOT."""
    held: Ints
    """Requests that wait or run, by slot."""
    wake: Floats
    """When something happens next, by slot; infinite for never."""
    ready: Ints
    """Slots that take requests, as many as the totals say."""
    instances: Records
    """INSTANCE, shape (slots, instances)."""
    payloads: Records
    """PAYLOAD, oldest first, as many as the slot says, shape (slots, 2 * instances)."""
    totals: Records
    """TOTALS, shape (1,)."""
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
    minutes = seconds // 60 + 1
    totals = np.zeros(1, TOTALS)
    totals["free"] = NONE
    totals["slowdown"] = 1.0
    idle = np.zeros((slots, instances), INSTANCE)
    idle["finish"] = np.inf
    return State(
        nodes=np.zeros(0, NODE),
        slots=np.full(slots, _unused_slot()),
        held=np.zeros(slots, np.int64),
        wake=np.full(slots, np.inf),
        ready=np.zeros(slots, np.int64),
        instances=idle,
        payloads=np.zeros((slots, 2 * instances), PAYLOAD),
        totals=totals,
        minute_arrivals=np.zeros(minutes, np.int64),
        minute_good=np.zeros(minutes, np.int64),
        minute_bins=np.zeros((minutes, BINS), np.int32),
        gateway_bins=np.zeros(BINS, np.int64),
        concurrency=np.zeros(seconds + 1),
        sample_latency=np.full(requests, np.nan),
        sample_pod=np.full(requests, NONE),
        sample_batch=np.zeros(requests, np.int64),
    )


def reset_slot(state: State, slot: int, serial: int) -> None:
    """Give an unused slot to a pod."""
    state.slots[slot] = _unused_slot()
    state.slots["serial"][slot] = serial


def with_nodes(state: State, free: int) -> State:
    """Return the state with room for at least `free` more requests."""
    before = len(state.nodes)
    idle = before - int(state.totals["held"][0])
    if idle >= free:
        return state
    added = np.zeros(max(free - idle, before, 1024), NODE)
    added["next"] = np.arange(before + 1, before + len(added) + 1)
    added["next"][-1] = state.totals["free"][0]
    state.totals["free"] = before
    return state._replace(nodes=np.concatenate((state.nodes, added)))


def with_slots(state: State, added: int) -> State:
    """Return the state with that many more slots, all unused."""
    more = empty(added, state.instances.shape[1], 0, 0)
    names = ("slots", "held", "wake", "ready", "instances", "payloads")
    return state._replace(**{name: np.concatenate((getattr(state, name), getattr(more, name))) for name in names})


def _unused_slot() -> Any:
    slot = np.zeros((), SLOT)
    slot["head"] = slot["tail"] = NONE
    slot["timer"] = np.inf
    return slot
