"""The servers that run: which pods take requests, and the compiled engine that carries them through time."""

from dataclasses import dataclass
from math import ceil, inf

import numpy as np

from tritonfleet.sim import engine
from tritonfleet.sim.arrivals import Trace
from tritonfleet.sim.latency import BIN_WIDTH, LOWEST_SECONDS
from tritonfleet.sim.plant import Plant, Routing
from tritonfleet.sim.server import ServerModel
from tritonfleet.sim.slo import Slo
from tritonfleet.sim.state import COUNTERS, Floats, Rules, State, empty, reset_slot, with_nodes, with_slots

NOISE_DRAWS = 1 << 16
"""Factors drawn once and used in turn: enough that no pattern shows."""


def rules_of(server: ServerModel, plant: Plant, slo: Slo, seed: int) -> Rules:
    """Return what the engine must know; the noise has a mean of 1."""
    preferred = server.preferred_batch_sizes or (server.max_batch_size,)
    sizes = range(server.max_batch_size + 1)
    normal = np.random.default_rng((seed, 1)).standard_normal(NOISE_DRAWS)
    return Rules(
        alpha=server.alpha_seconds,
        beta=server.beta_seconds,
        max_batch=server.max_batch_size,
        delay=server.max_queue_delay_seconds,
        max_queue=server.max_queue_size,
        timeout=server.queue_timeout_seconds or inf,
        patience=plant.client_timeout_seconds or inf,
        overhead=server.overhead_seconds,
        target=slo.latency_seconds,
        least_outstanding=plant.routing is Routing.LEAST_OUTSTANDING,
        prefetch=not (server.queue_timeout_seconds or server.max_queue_size),
        preferred=np.array([size in preferred for size in sizes]),
        next_preferred=np.array(
            [min((one for one in preferred if one > size), default=min(preferred)) for size in sizes]
        ),
        max_preferred=max(preferred),
        noise=np.exp(server.noise * normal - server.noise**2 / 2),
        lowest_seconds=LOWEST_SECONDS,
        bin_width=BIN_WIDTH,
    )


@dataclass
class Fleet:
    """Slots with pods in them; time only moves forward."""

    rules: Rules
    state: State
    trace: Trace
    chunk_seconds: float
    """Arrivals are fetched for this long at once; results do not depend on it."""
    now: float = 0.0

    def __post_init__(self) -> None:
        self._free = list(range(len(self.state.held)))[::-1]
        self._arrivals: Floats = np.empty(0)
        self._fetched = 0.0

    @classmethod
    def of(cls, rules: Rules, instances: int, trace: Trace, *, record: bool, chunk_seconds: float = 60.0) -> "Fleet":
        """Return a fleet without pods at the start of a trace."""
        requests = len(trace.arrivals(0.0, trace.duration_seconds)) if record else 0
        state = empty(slots=16, instances=instances, seconds=ceil(trace.duration_seconds), requests=requests)
        return cls(rules, state, trace, chunk_seconds)

    def advance(self, until: float) -> None:
        """Replay the trace up to `until` seconds."""
        while self.now < until:
            if self._fetched <= self.now:
                self._fetched += self.chunk_seconds
                self._arrivals = self.trace.arrivals(self.now, self._fetched)
            end = min(until, self._fetched)
            count = int(np.searchsorted(self._arrivals, end))
            self.state = with_nodes(self.state, count)
            engine.advance(self.rules, self.state, self._arrivals[:count], end)
            self._arrivals = self._arrivals[count:]
            self.now = end

    def open(self, serial: int) -> int:
        """Let a new pod take requests; return its slot."""
        if not self._free:
            before = len(self.state.held)
            self.state = with_slots(self.state, before)
            self._free = list(range(before, 2 * before))[::-1]
        slot = self._free.pop()
        state = self.state
        reset_slot(state, slot, serial)
        state.ready[state.totals["ready"][0]] = slot
        state.totals["ready"] += 1
        return slot

    def close(self, slot: int) -> None:
        """Send no more requests to a slot; it goes on with what it holds."""
        state = self.state
        kept = [one for one in state.ready[: state.totals["ready"][0]] if one != slot]
        state.ready[: len(kept)] = kept
        state.totals["ready"] = len(kept)

    def remove(self, slot: int) -> None:
        """Take a pod away with whatever it still holds."""
        self.close(slot)
        engine.drop_all(self.state, slot, self.now)
        self._free.append(slot)

    def slow_down(self, factor: float) -> None:
        """Let executions that start from now on take `factor` times as long."""
        self.state.totals["slowdown"] = factor

    def reset_counters(self) -> None:
        """Let every counter start again."""
        for name in COUNTERS:
            self.state.slots[name] = 0.0

    def pending(self, slot: int) -> int:
        """Return the requests of a slot that no execution has taken yet."""
        return int(self.state.held[slot] - self.state.instances["size"][slot].sum())

    def busy_seconds(self, slot: int) -> float:
        """Return for how long the slot has had an execution under way."""
        pod = self.state.slots[slot]
        running = self.now - pod["busy_since"] if pod["running"] else 0.0
        return float(pod["busy_seconds"] + running)
