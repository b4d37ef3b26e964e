"""How many requests per second to be ready for: what comes in times how much it grew before, or a burst, or a queue."""

import math
from dataclasses import dataclass
from typing import Any

from tritonfleet.plan.autoscale.policy import Policy
from tritonfleet.plan.autoscale.signals import Reading
from tritonfleet.plan.autoscale.verdict import ScaleReason

STEP_SECONDS = 10.0
"""How finely the past is kept."""
RATE_STEPS = 3
"""Steps that make one rate: lambda_30."""
EDGE = 1.05
BINS = 48
"""Growth is counted in bins of 5 percent, 1 to 10 times."""
MEMORY_SECONDS = 12 * 3600.0
"""What is seen counts less and less over this time (research 5.2)."""
MARGIN_QUANTILE = 0.95
"""q: the share of horizons whose growth the base demand covers (research 5.5, balanced)."""
GROWTH_MAX = 2.5
"""m_max (research 5.5, strict)."""
BURST_OVERSHOOT = 1.15
"""o (research 5.5)."""
BURST_SIGMAS = 3.0
BURST_RATIO = 1.15
"""A burst is more than chance and more than a ripple."""
DRAIN_SECONDS = 20.0
"""T_drain: how soon a backlog should be gone (research 5.5)."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How far the rate rose within one horizon, over and over: a histogram of max(rate ahead) / rate."""

    bins: tuple[float, ...] = (0.0,) * BINS
    recent: tuple[float, ...] = ()
    """Mean rates of the last steps, oldest first."""
    seconds: float = 0.0
    requests: float = 0.0
    """What the step that is being filled holds so far."""

    def quantile(self, share: float) -> float:
        """Return the growth that was not exceeded this share of the time, 1 when nothing is known."""
        left = share * sum(self.bins)
        if left <= 0:
            return 1.0
        for index, weight in enumerate(self.bins):
            left -= weight
            if left <= 0:
                return min(GROWTH_MAX, EDGE**index)
        return GROWTH_MAX

    def document(self) -> dict[str, Any]:
        """Return it for the status."""
        last = max((index for index, weight in enumerate(self.bins) if weight > 0), default=-1)
        return {"bins": [round(weight, 2) for weight in self.bins[: last + 1]]}

    @classmethod
    def restore(cls, document: Any) -> "Growth":
        """Read it back; ValueError, TypeError or KeyError if it is none."""
        bins = tuple(map(float, document["bins"]))
        if len(bins) > BINS or not all(0 <= weight < math.inf for weight in bins):
            raise ValueError("not a histogram")
        return cls(bins + (0.0,) * (BINS - len(bins)))


def observe(growth: Growth, rate: float, seconds: float, horizon: float) -> Growth:
    """Add what came in over the last `seconds`; each full step makes the one that is a horizon old count."""
    filled, requests = growth.seconds + seconds, growth.requests + rate * seconds
    if filled < STEP_SECONDS:
        return Growth(growth.bins, growth.recent, filled, requests)
    ahead = max(1, round(horizon / STEP_SECONDS))
    recent = (*growth.recent, requests / filled)[-(ahead + RATE_STEPS) :]
    bins = growth.bins
    if len(recent) == ahead + RATE_STEPS:
        base = sum(recent[:RATE_STEPS]) / RATE_STEPS
        peak = max(sum(recent[i : i + RATE_STEPS]) for i in range(1, ahead + 1)) / RATE_STEPS
        if base > 0:
            index = min(BINS - 1, max(0, math.ceil(math.log(max(1.0, peak / base)) / math.log(EDGE) - 1e-9)))
            kept = math.exp(-STEP_SECONDS / MEMORY_SECONDS)
            bins = tuple(weight * kept + (i == index) for i, weight in enumerate(bins))
    return Growth(bins, recent, 0.0, 0.0)


def burst(fast: float, slow: float) -> float:
    """Return the demand of a burst that has begun, 0 while none has: requests per second."""
    chance = BURST_SIGMAS * math.sqrt(fast / 10.0)
    return BURST_OVERSHOOT * fast if fast > slow + chance and fast > BURST_RATIO * slow else 0.0


def backlog(pending: float, max_batch: int, ready: int) -> float:
    """Return the rate that works off, in time, what waits beyond half a batch in each replica."""
    return max(0.0, pending - 0.5 * max_batch * ready) / DRAIN_SECONDS


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests per second to be ready for, by where they come from."""

    base: float = 0.0
    burst: float = 0.0
    season: float | None = None
    """None while no season has proven skill."""
    backlog: float = 0.0
    throughput: float = 0.0
    seen: float = 0.0
    """What came in at most, over the windows: what fewer replicas must be able to carry."""

    @property
    def total(self) -> float:
        """(max(base, burst, season) + backlog / T_drain), and never less than the throughput that was asked for."""
        return max(max(self.base, self.burst, self.season or 0.0) + self.backlog, self.throughput)

    @property
    def reason(self) -> ScaleReason:
        """Return the largest part's name."""
        if self.total <= self.throughput:
            return ScaleReason.THROUGHPUT
        parts = {
            ScaleReason.DEMAND: self.base,
            ScaleReason.BURST: self.burst,
            ScaleReason.SEASON: self.season or 0.0,
            ScaleReason.BACKLOG: self.backlog,
        }
        return max(parts, key=parts.__getitem__)


def demand_of(policy: Policy, growth: Growth, reading: Reading) -> Demand:
    """Return what to be ready for; nothing when nothing is seen."""
    if reading.fast is None or reading.slow is None:
        return Demand(throughput=policy.throughput)
    return Demand(
        base=reading.slow * growth.quantile(MARGIN_QUANTILE),
        burst=burst(reading.fast, reading.slow),
        backlog=backlog(reading.pending, policy.max_batch_size, reading.ready),
        throughput=policy.throughput,
        seen=max(reading.fast, reading.slow),
    )
