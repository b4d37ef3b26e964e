"""Triton's dynamic batcher, compiled.

As its source has it (dynamic_batch_scheduler.cc, rate_limiter.cc) for requests of one inference each: when an instance
is free it takes the largest preferred size that the queue fills; once the oldest request has waited the queue delay,
or without a delay, it takes whatever waits; else it waits. Timeouts are noticed only when a batch is formed.
"""

from math import inf

from tritonfleet.sim.compilation import compiled
from tritonfleet.sim.latency import bin_of
from tritonfleet.sim.state import NONE, Rules, State


@compiled
def start_batches(rules: Rules, state: State, slot: int, now: float) -> None:
    """Give idle instances what the batcher would give them, and set when to look again."""
    pod = state.slots[slot]
    instances = state.instances.shape[1]
    pod.timer = inf
    while pod.running < instances:
        _expire(rules, state, slot, now)
        size = _batch_size(rules, state, slot, now)
        if size == 0:
            break
        _start(rules, state, slot, size, now)
    wake = pod.timer
    for instance in range(instances):
        wake = min(wake, state.instances[slot, instance].finish)
    pod.wake = wake


@compiled
def take(state: State, slot: int) -> int:
    """Remove the oldest request from a queue and return its node."""
    pod = state.slots[slot]
    node = pod.head
    pod.head = state.nodes[node].next
    pod.waiting -= 1
    return int(node)


@compiled
def release(state: State, node: int) -> None:
    """Give a request's node back to the pool: nobody holds it any more."""
    totals = state.totals[0]
    state.nodes[node].next = totals.free
    totals.free = node
    totals.held -= 1


@compiled
def _expire(rules: Rules, state: State, slot: int, now: float) -> None:
    """Refuse what waited longer than the queue allows or than its client was willing to."""
    pod = state.slots[slot]
    limit = min(rules.timeout, rules.patience)
    while pod.waiting > 0 and now >= state.nodes[pod.head].at + limit:
        node = take(state, slot)
        state.gateway_bins[bin_of(now - state.nodes[node].at + rules.overhead)] += 1
        pod.failure += 1
        state.totals[0].rejected += 1
        state.held[slot] -= 1
        release(state, node)


@compiled
def _batch_size(rules: Rules, state: State, slot: int, now: float) -> int:
    """Return the size of the batch to start now; 0 for none, with the timer set if one is to come."""
    pod = state.slots[slot]
    waiting = min(pod.waiting, rules.max_batch)
    if waiting == 0:
        return 0
    oldest = state.nodes[pod.head].at
    preferred = rules.best_preferred[waiting]
    waited = rules.delay > 0 and now >= oldest + rules.delay
    if preferred > 0 and not waited:
        return int(preferred)
    if waited or rules.delay == 0 or waiting == rules.max_batch:
        return int(waiting)
    pod.timer = oldest + min(rules.delay, rules.timeout, rules.patience)
    return 0


@compiled
def _start(rules: Rules, state: State, slot: int, size: int, now: float) -> None:
    pod, totals = state.slots[slot], state.totals[0]
    index = 0
    while state.instances[slot, index].finish < inf:
        index += 1
    instance = state.instances[slot, index]
    instance.head = pod.head
    node = pod.head
    for _ in range(size - 1):
        node = state.nodes[node].next
    pod.head = state.nodes[node].next
    pod.waiting -= size
    if pod.waiting == 0:
        pod.head = NONE
    noise = rules.noise[totals.draw % len(rules.noise)]
    totals.draw += 1
    instance.size = size
    instance.started = now
    instance.finish = now + (rules.alpha + rules.beta * size) * noise * totals.slowdown
    if pod.running == 0:
        pod.busy_since = now
    pod.running += 1
