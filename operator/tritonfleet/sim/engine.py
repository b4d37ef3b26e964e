"""The event loop, compiled: requests arrive, are batched as Triton batches them, and are answered.

Triton's dynamic batcher, as its source has it (dynamic_batch_scheduler.cc, instance_queue.cc) for requests of one
inference each: when an instance is free it takes the largest preferred size that the queue fills; once the oldest
request has waited the queue delay, or without a delay, it takes whatever waits; else it waits. Queue timeouts are
noticed only when a batch is formed. Refusals for a full queue move no counter.
"""

from collections.abc import Callable
from math import inf, log
from typing import TypeVar, cast

import numba

from tritonfleet.sim.state import (
    ACTIVE,
    AREA,
    BIN_WIDTH,
    BINS,
    COMPUTE_US,
    DRAW,
    EXECUTED,
    EXECUTIONS,
    FAILURE,
    FREE,
    HELD,
    INFERENCES,
    LOST,
    LOWEST_SECONDS,
    NONE,
    QUEUE_US,
    READY,
    REJECTED,
    REQUEST_US,
    SECOND,
    SEEN,
    SINCE,
    SLOWDOWN,
    SUCCESS,
    TURN,
    Floats,
    Rules,
    State,
)

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile a function to machine code and keep it for the next process."""
    return cast("F", numba.njit(cache=True, nogil=True)(function))


@compiled
def advance(rules: Rules, state: State, arrivals: Floats, end: float) -> None:
    """Carry the fleet on to `end`, taking in the arrivals, all of which lie before it.

    What happens at `end` itself is left for the next call, so that a run does not depend on where it was cut.
    """
    wake = _next_wake(state)
    for arrival in arrivals:
        while wake <= arrival:
            wake = _happen(rules, state, wake)
        _count_held(state, arrival)
        slot = _arrive(rules, state, arrival)
        if slot != NONE:
            wake = min(wake, state.wake[slot])
    while wake < end:
        wake = _happen(rules, state, wake)
    _count_held(state, end)


@compiled
def drop_all(state: State, slot: int, now: float) -> None:
    """Lose everything that a slot holds: its pod is gone."""
    _count_held(state, now)
    lost = 0
    while state.queue_head[slot] != NONE:
        _release(state, _take(state, slot))
        lost += 1
    for instance in range(state.finish.shape[1]):
        if state.finish[slot, instance] < inf:
            node = state.batch_head[slot, instance]
            for _ in range(state.batch_size[slot, instance]):
                following = state.node_next[node]
                _release(state, node)
                node = following
                lost += 1
            state.finish[slot, instance] = inf
    state.held[slot] = 0
    state.running[slot] = 0
    state.timer[slot] = inf
    state.wake[slot] = inf
    state.whole[LOST] += lost


@compiled
def _next_wake(state: State) -> float:
    wake = inf
    for index in range(state.whole[ACTIVE]):
        wake = min(wake, state.wake[state.active[index]])
    return wake


@compiled
def _happen(rules: Rules, state: State, now: float) -> float:
    """Let every slot that is due at `now` act; return when the next one is due."""
    _count_held(state, now)
    wake = inf
    for index in range(state.whole[ACTIVE]):
        slot = state.active[index]
        if state.wake[slot] <= now:
            for instance in range(state.finish.shape[1]):
                if state.finish[slot, instance] <= now:
                    _complete(rules, state, slot, instance)
            _start_batches(rules, state, slot, now)
        wake = min(wake, state.wake[slot])
    return wake


@compiled
def _count_held(state: State, now: float) -> None:
    """Add what was held since the last event to the seconds that passed."""
    whole, real = state.whole, state.real
    while whole[SECOND] + 1 <= now:
        edge = whole[SECOND] + 1.0
        real[AREA] += whole[HELD] * (edge - real[SINCE])
        if whole[SECOND] < len(state.concurrency):
            state.concurrency[whole[SECOND]] = real[AREA]
        whole[SECOND] += 1
        real[AREA] = 0.0
        real[SINCE] = edge
    if now > real[SINCE]:
        real[AREA] += whole[HELD] * (now - real[SINCE])
        real[SINCE] = now


@compiled
def _arrive(rules: Rules, state: State, now: float) -> int:
    """Route one request; return the slot that took it, or NONE."""
    whole = state.whole
    number = whole[SEEN]
    whole[SEEN] += 1
    state.minute_arrivals[int(now // 60.0)] += 1
    if whole[READY] == 0:
        whole[REJECTED] += 1
        return NONE
    slot = _route(rules, state)
    if number < len(state.sample_pod):
        state.sample_pod[number] = state.serial[slot]
    if 0 < rules.max_queue <= state.queue_length[slot]:
        whole[REJECTED] += 1
        state.gateway_bins[_bin(rules.overhead)] += 1
        return NONE
    node = whole[FREE]
    whole[FREE] = state.node_next[node]
    state.node_time[node] = now
    state.node_request[node] = number
    state.node_next[node] = NONE
    if state.queue_length[slot] == 0:
        state.queue_head[slot] = node
    else:
        state.node_next[state.queue_tail[slot]] = node
    state.queue_tail[slot] = node
    state.queue_length[slot] += 1
    state.held[slot] += 1
    whole[HELD] += 1
    if state.running[slot] < state.finish.shape[1]:
        _start_batches(rules, state, slot, now)
    return slot


@compiled
def _route(rules: Rules, state: State) -> int:
    """Choose a ready slot: the next one in turn, or from there on the one that holds least."""
    count = state.whole[READY]
    turn = state.whole[TURN] % count
    state.whole[TURN] = turn + 1
    best = state.ready[turn]
    if rules.least_outstanding:
        least = state.held[best]
        for step in range(1, count):
            index = turn + step
            slot = state.ready[index - count if index >= count else index]
            if state.held[slot] < least:
                least = state.held[slot]
                best = slot
    return int(best)


@compiled
def _start_batches(rules: Rules, state: State, slot: int, now: float) -> None:
    """Give idle instances what the batcher would give them, and set when to look again."""
    state.timer[slot] = inf
    while state.running[slot] < state.finish.shape[1]:
        _expire(rules, state, slot, now)
        size = _batch_size(rules, state, slot, now)
        if size == 0:
            break
        _start(rules, state, slot, size, now)
    wake = state.timer[slot]
    for instance in range(state.finish.shape[1]):
        wake = min(wake, state.finish[slot, instance])
    state.wake[slot] = wake


@compiled
def _expire(rules: Rules, state: State, slot: int, now: float) -> None:
    """Refuse what waited longer than the queue allows or than its client was willing to."""
    limit = min(rules.timeout, rules.patience)
    while state.queue_length[slot] > 0 and now >= state.node_time[state.queue_head[slot]] + limit:
        node = _take(state, slot)
        state.gateway_bins[_bin(now - state.node_time[node] + rules.overhead)] += 1
        state.counters[slot, FAILURE] += 1
        state.whole[REJECTED] += 1
        state.held[slot] -= 1
        _release(state, node)


@compiled
def _batch_size(rules: Rules, state: State, slot: int, now: float) -> int:
    """Return the size of the batch to start now; 0 for none, with the timer set if one is to come."""
    waiting = min(state.queue_length[slot], rules.max_batch)
    if waiting == 0:
        return 0
    oldest = state.node_time[state.queue_head[slot]]
    preferred = rules.best_preferred[waiting]
    waited = rules.delay > 0 and now >= oldest + rules.delay
    if preferred > 0 and not waited:
        return int(preferred)
    if waited or rules.delay == 0 or waiting == rules.max_batch:
        return int(waiting)
    state.timer[slot] = oldest + min(rules.delay, rules.timeout, rules.patience)
    return 0


@compiled
def _start(rules: Rules, state: State, slot: int, size: int, now: float) -> None:
    instance = 0
    while state.finish[slot, instance] < inf:
        instance += 1
    head = state.queue_head[slot]
    node = head
    for _ in range(size - 1):
        node = state.node_next[node]
    state.queue_head[slot] = state.node_next[node]
    state.queue_length[slot] -= size
    noise = rules.noise[state.whole[DRAW] % len(rules.noise)]
    state.whole[DRAW] += 1
    took = (rules.alpha + rules.beta * size) * noise * state.real[SLOWDOWN]
    state.batch_head[slot, instance] = head
    state.batch_size[slot, instance] = size
    state.started[slot, instance] = now
    state.finish[slot, instance] = now + took
    if state.running[slot] == 0:
        state.busy_since[slot] = now
    state.running[slot] += 1


@compiled
def _complete(rules: Rules, state: State, slot: int, instance: int) -> None:
    """Answer a batch and count it as Triton does: each request is given the time of its whole batch."""
    finish, started = state.finish[slot, instance], state.started[slot, instance]
    size = state.batch_size[slot, instance]
    node = state.batch_head[slot, instance]
    waited = 0.0
    for _ in range(size):
        waited += started - state.node_time[node]
        following = state.node_next[node]
        _answer(rules, state, node, finish, size)
        node = following
    counters = state.counters[slot]
    counters[SUCCESS] += size
    counters[INFERENCES] += size
    counters[EXECUTIONS] += 1
    counters[QUEUE_US] += 1e6 * waited
    counters[COMPUTE_US] += 1e6 * size * (finish - started)
    counters[REQUEST_US] += 1e6 * (waited + size * (finish - started))
    state.whole[EXECUTED] += 1
    state.finish[slot, instance] = inf
    state.held[slot] -= size
    state.running[slot] -= 1
    if state.running[slot] == 0:
        state.busy_seconds[slot] += finish - state.busy_since[slot]


@compiled
def _answer(rules: Rules, state: State, node: int, finish: float, size: int) -> None:
    arrival, number = state.node_time[node], state.node_request[node]
    latency = finish - arrival + rules.overhead
    minute = int(arrival // 60.0)
    index = _bin(latency)
    state.minute_bins[minute, index] += 1
    state.gateway_bins[index] += 1
    if latency <= rules.target:
        state.minute_good[minute] += 1
    if number < len(state.sample_latency):
        state.sample_latency[number] = latency
        state.sample_batch[number] = size
    _release(state, node)


@compiled
def _take(state: State, slot: int) -> int:
    """Remove the oldest request from a queue."""
    node = state.queue_head[slot]
    state.queue_head[slot] = state.node_next[node]
    state.queue_length[slot] -= 1
    if state.queue_length[slot] == 0:
        state.queue_head[slot] = NONE
    return int(node)


@compiled
def _release(state: State, node: int) -> None:
    state.node_next[node] = state.whole[FREE]
    state.whole[FREE] = node
    state.whole[HELD] -= 1


@compiled
def _bin(seconds: float) -> int:
    if seconds <= LOWEST_SECONDS:
        return 0
    return min(BINS - 1, int(log(seconds / LOWEST_SECONDS) / BIN_WIDTH))
