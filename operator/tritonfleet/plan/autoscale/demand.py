"""How many requests per second to be ready for: what comes in times how much it grew before, or a burst, or a queue."""

import math
from dataclasses import dataclass

from tritonfleet.plan.autoscale.growth import Growth
from tritonfleet.plan.autoscale.policy import Policy
from tritonfleet.plan.autoscale.signals import FAST_SECONDS, SCRAPE_SECONDS, Reading
from tritonfleet.plan.autoscale.verdict import ScaleReason

BURST_OVERSHOOT = 1.5
"""o (research 5.5): of more pods that start, enough are ready sooner."""
BURST_SIGMAS = 3.0
"""A burst is more than chance (research 5.2)."""
BURST_RATIO = 1.3
"""And more than a ripple: research has 1.15, which noise reached every few minutes."""
ONSET_RATIO = 1.6
"""Where the newest scrape alone is so far above, it is not averaged with the one before the burst."""
DRAIN_SECONDS = 20.0
"""T_drain: how soon a backlog should be gone (research 5.5)."""


def burst(newest: float, fast: float, slow: float, dispersion: float) -> float:
    """Return the demand of a burst that has begun, 0 while none has. All rates are requests per second."""
    onset = newest > fast and newest > ONSET_RATIO * slow
    if onset and newest > slow + _chance(newest, SCRAPE_SECONDS, dispersion):
        return BURST_OVERSHOOT * newest
    begun = fast > BURST_RATIO * slow and fast > slow + _chance(fast, FAST_SECONDS, dispersion)
    return BURST_OVERSHOOT * fast if begun else 0.0


def _chance(rate: float, seconds: float, dispersion: float) -> float:
    """Return how far a mean over `seconds` may be off by chance."""
    return BURST_SIGMAS * math.sqrt(dispersion * rate / seconds)


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


def demand_of(
    policy: Policy, growth: Growth, quantile: float, season: float | None, reading: Reading, dispersion: float
) -> Demand:
    """Return what to be ready for; nothing when nothing is seen."""
    if reading.now is None or reading.fast is None or reading.middle is None or reading.slow is None:
        return Demand(throughput=policy.throughput)
    return Demand(
        base=growth.ahead(quantile, reading.middle),
        season=season,
        burst=burst(reading.now, reading.fast, reading.slow, dispersion),
        backlog=backlog(reading.pending, policy.max_batch_size, reading.ready),
        throughput=policy.throughput,
        seen=max(reading.fast, reading.slow),
    )
