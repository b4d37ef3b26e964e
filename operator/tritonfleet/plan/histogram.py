"""A latency histogram over all replicas: its quantiles and shares. Quantiles of replicas are never averaged.

`adapters/prometheus.py` and `runtime` build one from cumulative buckets, and `runtime` evaluates the latency objective
with it for the autoscaler. With 50 requests within 0.1 s, 90 within 0.25 s and 100 in all, the 80th percentile lies
30/40 of the way through the second bucket, at 0.1 + 0.15 x 0.75 = 0.2125 s; within 0.175 s, half way through it, are
50 + 40 x 0.5 = 70 requests.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative counts (or rates) by upper bound, as in Prometheus."""

    bounds_seconds: tuple[float, ...]
    """Ascending; the last is infinite."""
    counts: tuple[float, ...]
    """Never descending; the last is the total."""

    @property
    def total(self) -> float:
        """The total count."""
        return self.counts[-1]

    def percentile(self, percent: float) -> float:
        """Return a percentile in seconds, interpolated like Prometheus' histogram_quantile.

        What lies beyond the last finite bound is reported as that bound. NaN without any count or finite bound.
        """
        if not self.total or len(self.bounds_seconds) < 2:
            return math.nan
        rank = self.total * percent / 100
        at = bisect_left(self.counts, rank)
        if at >= len(self.counts) - 1:
            return self.bounds_seconds[-2]
        below = self.counts[at - 1] if at else 0.0
        lower = self.bounds_seconds[at - 1] if at else 0.0
        share = (rank - below) / (self.counts[at] - below) if self.counts[at] > below else 1.0
        return lower + (self.bounds_seconds[at] - lower) * share

    def within(self, seconds: float) -> float:
        """Return how many took at most this many seconds, in the unit of the counts.

        Within a bucket the counts are taken to lie evenly; of those beyond the last finite bound none is taken to.
        """
        at = bisect_left(self.bounds_seconds, seconds)
        below = self.counts[at - 1] if at else 0.0
        lower = self.bounds_seconds[at - 1] if at else 0.0
        upper = self.bounds_seconds[at]
        if math.isinf(upper):
            return below
        return below + (self.counts[at] - below) * (seconds - lower) / (upper - lower)


def histogram(cumulative: Mapping[float, float]) -> Histogram | None:
    """Return the histogram of counts by upper bound in seconds; None if one is impossible or the total is missing.

    Counts that descend, as rounding of rates makes them, are raised.
    """
    possible = all(bound >= 0 and 0 <= count < math.inf for bound, count in cumulative.items())
    if not possible or math.inf not in cumulative:
        return None
    bounds = tuple(sorted(cumulative))
    return Histogram(bounds, tuple(_ascending(cumulative[bound] for bound in bounds)))


def _ascending(counts: Iterable[float]) -> Iterable[float]:
    highest = 0.0
    for count in counts:
        highest = max(highest, count)
        yield highest
