"""The event loop, compiled: requests arrive, are batched as Triton's dynamic batcher does, and are answered.

As its source has it (dynamic_batch_scheduler.cc, rate_limiter.cc) for requests of one inference each: when an instance
is free it takes the largest preferred size that the queue fills; once the oldest request has waited the queue delay,
or without a delay, it takes whatever waits; else it waits. Timeouts are noticed only when a batch is formed, and
refusals for a full queue move none of Triton's counters. All of it is in one file because numba's cache looks only at
the file of the function that Python calls.
"""

from math import inf, log

from tritonfleet.sim.compilation import compiled, inner
from tritonfleet.sim.state import NONE, Floats, Rules, State


@compiled
def advance(rules: Rules, state: State, arrivals: Floats, end: float) -> None:
    """Carry the fleet on to `end`, taking in the arrivals, all of which lie before it.

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
    """Lose everything that a slot holds: its pod is gone."""
    _count_held(state, now)
    pod = state.slots[slot]
    while pod.waiting > 0:
        _release(state, _take(state, slot))
    for index in range(state.instances.shape[1]):
        instance = state.instances[slot, index]
        if instance.finish < inf:
            node = instance.head
            for _ in range(instance.size):
                following = state.nodes[node].next
                _release(state, node)
                node = following
            instance.finish = inf
    state.totals[0].lost += state.held[slot]
    state.wake[slot] = inf
    state.held[slot] = 0


@inner
def _happen(rules: Rules, state: State, now: float) -> float:
    """Let every slot that is due at `now` act; return when the next one is due."""
    _count_held(state, now)
    wake = inf
    for slot in range(len(state.wake)):
        if state.wake[slot] <= now:
            for index in range(state.instances.shape[1]):
                if state.instances[slot, index].finish <= now:
                    _complete(rules, state, slot, index)
            _start_batches(rules, state, slot, now)
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
def _arrive(rules: Rules, state: State, now: float) -> int:
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
    if pod.running < state.instances.shape[1]:
        _start_batches(rules, state, slot, now)
    return slot


@inner
def _route(rules: Rules, state: State) -> int:
    """Choose a ready slot: the next one in turn, or from there on the one that holds least."""
    count = state.totals[0].ready
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
def _complete(rules: Rules, state: State, slot: int, index: int) -> None:
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


@inner
def _answer(rules: Rules, state: State, index: int, finish: float, size: int) -> None:
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
def _start_batches(rules: Rules, state: State, slot: int, now: float) -> None:
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
    state.wake[slot] = wake


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
    """Give a request's node back to the pool: nobody holds it any more."""
    totals = state.totals[0]
    state.nodes[node].next = totals.free
    totals.free = node
    totals.held -= 1


@inner
def _expire(rules: Rules, state: State, slot: int, now: float) -> None:
    """Refuse what waited longer than the queue allows or than its client was willing to."""
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


@inner
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


@inner
def _bin(rules: Rules, state: State, seconds: float) -> int:
    """Return the bin that a latency falls into."""
    if seconds <= rules.lowest_seconds:
        return 0
    return min(len(state.gateway_bins) - 1, int(log(seconds / rules.lowest_seconds) / rules.bin_width))
