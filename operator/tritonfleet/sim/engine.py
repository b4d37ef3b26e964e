"""The event loop, compiled: requests arrive, are batched as Triton batches them, and are answered.

Refusals for a full queue move none of Triton's counters, as in Triton.
"""

from math import inf

from tritonfleet.sim.batcher import release, start_batches, take
from tritonfleet.sim.compilation import compiled
from tritonfleet.sim.latency import bin_of
from tritonfleet.sim.state import NONE, Floats, Rules, State


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
            wake = min(wake, state.slots[slot].wake)
    while wake < end:
        wake = _happen(rules, state, wake)
    _count_held(state, end)


@compiled
def drop_all(state: State, slot: int, now: float) -> None:
    """Lose everything that a slot holds: its pod is gone."""
    _count_held(state, now)
    pod = state.slots[slot]
    while pod.waiting > 0:
        release(state, take(state, slot))
    for index in range(state.instances.shape[1]):
        instance = state.instances[slot, index]
        if instance.finish < inf:
            node = instance.head
            for _ in range(instance.size):
                following = state.nodes[node].next
                release(state, node)
                node = following
            instance.finish = inf
    state.totals[0].lost += state.held[slot]
    state.held[slot] = 0


@compiled
def _next_wake(state: State) -> float:
    wake = inf
    for index in range(state.totals[0].active):
        wake = min(wake, state.slots[state.active[index]].wake)
    return wake


@compiled
def _happen(rules: Rules, state: State, now: float) -> float:
    """Let every slot that is due at `now` act; return when the next one is due."""
    _count_held(state, now)
    wake = inf
    for listed in range(state.totals[0].active):
        slot = state.active[listed]
        pod = state.slots[slot]
        if pod.wake <= now:
            for index in range(state.instances.shape[1]):
                if state.instances[slot, index].finish <= now:
                    _complete(rules, state, slot, index)
            start_batches(rules, state, slot, now)
        wake = min(wake, pod.wake)
    return wake


@compiled
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


@compiled
def _arrive(rules: Rules, state: State, now: float) -> int:
    """Route one request; return the slot that took it, or NONE."""
    totals = state.totals[0]
    number = totals.seen
    totals.seen += 1
    state.minute_arrivals[int(now // 60.0)] += 1
    if totals.ready == 0:
        totals.rejected += 1
        return NONE
    slot = _route(rules, state)
    pod = state.slots[slot]
    if number < len(state.sample_pod):
        state.sample_pod[number] = pod.serial
    if 0 < rules.max_queue <= pod.waiting:
        totals.rejected += 1
        state.gateway_bins[bin_of(rules.overhead)] += 1
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
        start_batches(rules, state, slot, now)
    return slot


@compiled
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


@compiled
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


@compiled
def _answer(rules: Rules, state: State, index: int, finish: float, size: int) -> None:
    node = state.nodes[index]
    latency = finish - node.at + rules.overhead
    minute = int(node.at // 60.0)
    found = bin_of(latency)
    state.minute_bins[minute, found] += 1
    state.gateway_bins[found] += 1
    if latency <= rules.target:
        state.minute_good[minute] += 1
    if node.request < len(state.sample_latency):
        state.sample_latency[node.request] = latency
        state.sample_batch[node.request] = size
    release(state, index)
