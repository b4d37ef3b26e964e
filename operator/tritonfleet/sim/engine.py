"""The event loop, compiled: requests arrive, are batched by Triton's dynamic batcher, and are answered.

The batcher follows its source (dynamic_batch_scheduler.cc, rate_limiter.cc, instance_queue.cc) for requests of one
inference each, down to when its thread sleeps, for that shows in latencies. Batches are formed up to two per instance
ahead and grow while they wait, but with a queue delay a request that finds such a batch seldom wakes the thread. With
a queue policy a batch is formed only for an idle instance, and only then are timeouts noticed. Refusals for a full
queue move none of Triton's counters. `cluster.Fleet` calls `advance()` for each stretch of time in which no pod comes
or goes. All of it is in one file because numba's cache looks only at the file of the function that Python calls.
"""

from collections.abc import Callable
from math import inf, log
from typing import Any, TypeVar, cast

import numba

from tritonfleet.sim.state import GONE, NEW, NONE, STAGED, EngineRules, Floats, State

Function = TypeVar("Function", bound=Callable[..., object])

OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
"""The engine allocates nothing: without numba's runtime no array's references are counted, which took half the time."""


def compiled(function: Function) -> Function:
    """Compile a function that Python calls to machine code, and keep that for the next process."""
    return cast("Function", numba.njit(cache=True, **OPTIONS)(function))


def inner(function: Function) -> Function:
    """Compile a function that only compiled code calls."""
    return cast("Function", numba.njit(**OPTIONS)(function))


NAP_SECONDS = 0.5
"""How long the batcher's thread sleeps unless it is woken."""


@compiled
def advance(rules: EngineRules, state: State, arrivals: Floats, end: float) -> None:
    """Advance the fleet to `end`, with the arrivals, all of which are before it.

    What happens at `end` itself is left for the next call, so that a run does not depend on where it was cut.
    """
    wake = 0.0
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
    """Drop all requests of a slot: its pod is gone."""
    _count_held(state, now)
    pod = state.slots[slot]
    while pod.waiting > 0:
        _release(state, _take(state, slot))
    for index in range(pod.payloads):
        _release_batch(state, state.payloads[slot, index].head, state.payloads[slot, index].size)
    for index in range(state.instances.shape[1]):
        instance = state.instances[slot, index]
        _release_batch(state, instance.head, instance.size)
        instance.size = 0
        instance.finish = inf
    state.totals[0].lost += state.held[slot]
    state.wake[slot] = inf
    state.held[slot] = 0


@inner
def _happen(rules: EngineRules, state: State, now: float) -> float:
    """Let every slot that is due at `now` act; return when the next one is due."""
    _count_held(state, now)
    wake = inf
    for slot in range(len(state.wake)):
        if state.wake[slot] <= now:
            for index in range(state.instances.shape[1]):
                if state.instances[slot, index].finish <= now:
                    _complete(rules, state, slot, index)
            if _run_payloads(rules, state, slot, now) or not rules.prefetch or state.slots[slot].timer <= now:
                _wake_batcher(rules, state, slot, now)
            _set_wake(state, slot)
        wake = min(wake, state.wake[slot])
    return wake


@inner
def _count_held(state: State, now: float) -> None:
    """Add what was held since the last event to the seconds that passed."""
    totals = state.totals[0]
    while totals.second + 1 <= now:
        edge = totals.second + 1.0
        if totals.second < len(state.concurrency):
            state.concurrency[totals.second] = totals.area + totals.held * (edge - totals.since)
        totals.second += 1
        totals.area = 0.0
        totals.since = edge
    if now > totals.since:
        totals.area += totals.held * (now - totals.since)
        totals.since = now


@inner
def _arrive(rules: EngineRules, state: State, now: float) -> int:
    """Route one request; return the slot that took it, or NONE."""
    totals = state.totals[0]
    number = totals.seen
    totals.seen += 1
    state.minute_arrivals[int(now / 60.0)] += 1
    if totals.ready == 0:
        totals.rejected += 1
        return NONE
    slot = _route(rules, state)
    pod = state.slots[slot]
    if number < len(state.sample_pod):
        state.sample_pod[number] = pod.serial
    if 0 < rules.max_queue <= pod.waiting:
        totals.rejected += 1
        state.gateway_bins[_bin(rules, state, rules.overhead)] += 1
        return NONE
    index = totals.free
    node = state.nodes[index]
    totals.free = node.next
    node.at = now
    node.request = number
    node.next = NONE
    if pod.waiting == 0:
        pod.head = index
    else:
        state.nodes[pod.tail].next = index
    pod.tail = index
    pod.waiting += 1
    state.held[slot] += 1
    totals.held += 1
    enough = pod.saturated or pod.stage == GONE or pod.waiting >= pod.enough
    if enough and _has_room(rules, state, slot):
        _wake_batcher(rules, state, slot, now)
        _set_wake(state, slot)
    return slot


@inner
def _route(rules: EngineRules, state: State) -> int:
    """Choose a ready slot: one at random, the next one in turn, or from there on the one that holds least."""
    count = state.totals[0].ready
    if len(rules.draws) > 0:
        return int(state.ready[int(rules.draws[state.totals[0].seen % len(rules.draws)] * count)])
    turn = state.totals[0].turn % count
    state.totals[0].turn = turn + 1
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


@inner
def _complete(rules: EngineRules, state: State, slot: int, index: int) -> None:
    """Answer a batch and count it as Triton does: each request is given the time of its whole batch."""
    pod, instance = state.slots[slot], state.instances[slot, index]
    took, size = instance.finish - instance.started, instance.size
    node = instance.head
    waited = 0.0
    for _ in range(size):
        waited += instance.started - state.nodes[node].at
        following = state.nodes[node].next
        _answer(rules, state, node, instance.finish, size)
        node = following
    pod.success += size
    pod.inferences += size
    pod.executions += 1
    pod.queue_us += 1e6 * waited
    pod.compute_us += 1e6 * size * took
    pod.request_us += 1e6 * (waited + size * took)
    state.totals[0].executed += 1
    state.held[slot] -= size
    pod.running -= 1
    if pod.running == 0:
        pod.busy_seconds += instance.finish - pod.busy_since
    instance.finish = inf
    instance.size = 0


@inner
def _answer(rules: EngineRules, state: State, index: int, finish: float, size: int) -> None:
    node = state.nodes[index]
    latency = finish - node.at + rules.overhead
    minute = int(node.at / 60.0)
    found = _bin(rules, state, latency)
    state.minute_bins[minute, found] += 1
    state.gateway_bins[found] += 1
    if latency <= rules.target:
        state.minute_good[minute] += 1
    if node.request < len(state.sample_latency):
        state.sample_latency[node.request] = latency
        state.sample_batch[node.request] = size
    _release(state, index)


@inner
def _wake_batcher(rules: EngineRules, state: State, slot: int, now: float) -> None:
    """Let the batcher's thread form batches until it sleeps, and set when it wakes by itself."""
    pod = state.slots[slot]
    while True:
        if pod.saturated or pod.stage == GONE:
            pod.size, pod.stage, pod.saturated, pod.enough = 0, NEW, 0, 0
        if pod.waiting == 0 or not _has_room(rules, state, slot):
            if now >= pod.timer:
                _expire(rules, state, slot, now)
            pod.timer = now + NAP_SECONDS if pod.running > 0 or pod.enough > 1 else inf
            return
        taken = _choose(rules, state, slot, now)
        if taken == NONE:
            return
        if taken > 0:
            _stage(state, slot, taken)
            _run_payloads(rules, state, slot, now)


@inner
def _has_room(rules: EngineRules, state: State, slot: int) -> bool:
    """Whether a batch may be formed: ahead of its execution, or with a queue policy only for an idle instance."""
    instances = state.instances.shape[1]
    if rules.prefetch:
        return bool(state.slots[slot].payloads < 2 * instances)
    return bool(state.slots[slot].running < instances)


@inner
def _choose(rules: EngineRules, state: State, slot: int, now: float) -> int:
    """Return how many waiting requests join the batch under way; NONE to wait for more, with the timer set."""
    pod = state.slots[slot]
    _expire(rules, state, slot, now)
    chosen, best = _examine(rules, state, slot)
    if chosen == 0:
        return 0
    waited = rules.delay > 0 and now >= state.nodes[pod.head].at + rules.delay
    if best > 0 and not waited:
        if rules.delay == 0:
            pod.saturated = 1
        return best
    if pod.size + chosen >= rules.max_preferred:
        pod.saturated = 1
        return chosen
    if waited or rules.delay == 0:
        return chosen
    pod.enough = rules.next_preferred[pod.size + chosen] - pod.size
    if not pod.saturated and pod.size > 0 and not rules.preferred[pod.size]:
        return chosen
    pod.timer = state.nodes[pod.head].at + min(rules.delay, rules.timeout, rules.patience)
    return NONE


@inner
def _examine(rules: EngineRules, state: State, slot: int) -> tuple[int, int]:
    """Return how many waiting requests fit in the batch under way, and how many of them make a preferred size.

    As in Triton, the second number is of any size once the batch is as large as the largest preferred one.
    """
    pod = state.slots[slot]
    best, chosen = 0, 0
    for _ in range(pod.waiting):
        size = pod.size + chosen
        if size > 0 and size + 1 > rules.max_preferred and best == 0:
            best = chosen
            pod.saturated = 1
        if size > 0 and size + 1 > rules.max_batch:
            break
        chosen += 1
        if rules.preferred[size + 1]:
            best = chosen
    return chosen, best


@inner
def _stage(state: State, slot: int, taken: int) -> None:
    """Move the oldest requests from the queue into the batch under way."""
    pod = state.slots[slot]
    first = last = pod.head
    for _ in range(taken - 1):
        last = state.nodes[last].next
    pod.head = state.nodes[last].next
    pod.waiting -= taken
    pod.size += taken
    if pod.stage == NEW:
        pod.stage = STAGED
        pod.payloads += 1
        state.payloads[slot, pod.payloads - 1].head = first
    else:
        state.nodes[state.payloads[slot, pod.payloads - 1].tail].next = first
    payload = state.payloads[slot, pod.payloads - 1]
    payload.tail = last
    payload.size = pod.size


@inner
def _run_payloads(rules: EngineRules, state: State, slot: int, now: float) -> bool:
    """Give idle instances the batches that are formed; return whether there were any."""
    pod = state.slots[slot]
    started = False
    while pod.payloads > 0 and pod.running < state.instances.shape[1]:
        head, size = _pop_payload(rules, state, slot, now)
        _start(rules, state, slot, head, size, now)
        started = True
    return started


@inner
def _pop_payload(rules: EngineRules, state: State, slot: int, now: float) -> tuple[int, int]:
    """Take the oldest batch, with those behind it that fit in and have waited; return its first request and size."""
    pod = state.slots[slot]
    first = state.payloads[slot, 0]
    head, tail, size = first.head, first.tail, first.size
    popped, looked = 1, 1
    while rules.delay > 0 and popped < pod.payloads:
        behind = state.payloads[slot, popped]
        if now - state.nodes[behind.head].at <= rules.delay:
            break
        looked = popped + 1
        if size + behind.size > rules.max_batch:
            break
        state.nodes[tail].next = behind.head
        tail = behind.tail
        size += behind.size
        popped += 1
    if looked == pod.payloads and pod.stage == STAGED:
        pod.stage = GONE
    for index in range(popped, pod.payloads):
        state.payloads[slot, index - popped] = state.payloads[slot, index]
    pod.payloads -= popped
    return head, size


@inner
def _start(rules: EngineRules, state: State, slot: int, head: int, size: int, now: float) -> None:
    pod, totals = state.slots[slot], state.totals[0]
    index = 0
    while state.instances[slot, index].finish < inf:
        index += 1
    instance = state.instances[slot, index]
    noise = rules.noise[totals.draw % len(rules.noise)]
    totals.draw += 1
    instance.head = head
    instance.size = size
    instance.started = now
    instance.finish = now + (rules.alpha + rules.beta * size) * noise * totals.slowdown
    if pod.running == 0:
        pod.busy_since = now
    pod.running += 1


@inner
def _set_wake(state: State, slot: int) -> None:
    wake = state.slots[slot].timer
    for index in range(state.instances.shape[1]):
        wake = min(wake, state.instances[slot, index].finish)
    state.wake[slot] = wake


@inner
def _expire(rules: EngineRules, state: State, slot: int, now: float) -> None:
    """Reject requests that exceed the timeout of the queue or of their client."""
    pod = state.slots[slot]
    limit = min(rules.timeout, rules.patience)
    while pod.waiting > 0 and now >= state.nodes[pod.head].at + limit:
        node = _take(state, slot)
        state.gateway_bins[_bin(rules, state, now - state.nodes[node].at + rules.overhead)] += 1
        pod.failure += 1
        state.totals[0].rejected += 1
        state.held[slot] -= 1
        _release(state, node)


@inner
def _take(state: State, slot: int) -> int:
    """Remove the oldest request from a queue and return its node."""
    pod = state.slots[slot]
    node = pod.head
    pod.head = state.nodes[node].next
    pod.waiting -= 1
    return int(node)


@inner
def _release(state: State, node: int) -> None:
    """Return a request's node to the pool."""
    totals = state.totals[0]
    state.nodes[node].next = totals.free
    totals.free = node
    totals.held -= 1


@inner
def _release_batch(state: State, node: int, size: int) -> None:
    for _ in range(size):
        following = state.nodes[node].next
        _release(state, node)
        node = following


@inner
def _bin(rules: EngineRules, state: State, seconds: float) -> int:
    """Return the bin that a latency falls into."""
    if seconds <= rules.lowest_seconds:
        return 0
    return min(len(state.gateway_bins) - 1, int(log(seconds / rules.lowest_seconds) / rules.bin_width))
