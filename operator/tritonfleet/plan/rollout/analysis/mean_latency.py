"""Whether the canary takes longer for its requests than stable, by what Triton itself needed for them.

Triton counts requests, the time they took and the part of it that they waited, so there is a mean for every interval
between two scrapes. Waiting depends on the load of a pod and on how many pods share a queue, not on the version: only
the rest is compared. It grows with the size of batches, at most in proportion: what stable's own intervals show of that
is taken off. The means of the same interval are compared, so that what slows both revisions down cancels out:
Student's t-test on the logarithms of their ratios. Neighboring intervals are correlated, so they count as fewer: 60
intervals with a correlation of 0.2 are worth 60 * 0.8 / 1.2 = 40. A mean varies less than a tail, hence a narrower
margin than the one in `proportions`. `evaluation` calls `evaluate_mean_latency`: for the check of latency where there
is no histogram, else for one of its own.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tritonfleet.api.canary import Analysis
from tritonfleet.plan.rollout.analysis.proportions import LASTING, LATENCY_REQUESTS_FACTOR
from tritonfleet.plan.rollout.analysis.results import (
    CheckResult,
    Numbers,
    Outcome,
    Why,
    probability,
    seconds_of,
    shorten,
)
from tritonfleet.plan.rollout.analysis.samples import ScrapeInterval
from tritonfleet.plan.rollout.analysis.stats import ALPHA, LATE_ALPHA, incomplete_beta

RATIO = 1.2
"""Ratio of the canary's mean to stable's above which it counts as slower."""
DIFFERENCE_SECONDS = 0.0001
"""Minimum difference of the means, which must be exceeded as well: a tenth of a millisecond is noise."""
SHORTEST_SECONDS = 1e-9
"""Sums of latencies below this are ignored."""
MIN_REQUESTS = 10
"""Minimum requests of each revision in one interval: with fewer, the logarithm of the mean is biased."""
MIN_INTERVALS = 10
"""Minimum number of intervals for a verdict."""
PRIOR_CORRELATION = 0.2
"""Prior correlation of neighboring intervals, with the weight of `PRIOR_INTERVALS` intervals."""
PRIOR_INTERVALS = 10.0


COMPUTE_TIME: Final = "compute-time"
RING_LENGTH: Final = 10
"""How many windows are remembered one by one."""
FIT_INTERVALS: Final = 20.0
"""Intervals of stable from which the effect of the size of batches is estimated; with fewer it is the largest one."""
FIT_MEMORY: Final = 0.9
"""Share of the weight that an interval keeps from window to window."""
DIGITS: Final = 7


class BatchFit(NamedTuple):
    """Sums over stable's intervals: logarithms of the size of batches (x) and of the time of a request (y)."""

    number: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    def add(self, intervals: Iterable[ScrapeInterval]) -> "BatchFit":
        """Return the sums with the intervals of one more window."""
        sums = [value * FIT_MEMORY for value in self]
        for interval in _filled(intervals):
            x, y = math.log(max(1.0, interval.stable_batch)), math.log(_service(interval)[1] / interval.stable)
            sums = [total + more for total, more in zip(sums, (1.0, x, y, x * x, x * y, y * y), strict=True)]
        return BatchFit._make(float(f"{total:.{DIGITS}g}") for total in sums)

    @property
    def elasticity(self) -> float:
        """Return by how many percent a request takes longer if batches are one percent larger; 0..1."""
        n = self.number
        spread = self.xx - self.x * self.x / n if n else 0.0
        if n < FIT_INTERVALS or spread <= 1e-4 * n:
            return 1.0
        slope = (self.xy - self.x * self.y / n) / spread
        rest = max(0.0, self.yy - self.y * self.y / n - slope * slope * spread)
        return min(1.0, max(0.0, slope + math.sqrt(rest / (n - 2) / spread)))


class MeanLatency(NamedTuple):
    """Sums over intervals: enough for both means, and for the mean of the log ratios with its standard error."""

    canary: int = 0
    canary_seconds: float = 0.0
    stable: int = 0
    stable_seconds: float = 0.0
    intervals: int = 0
    logs: float = 0.0
    squares: float = 0.0
    neighbors: float = 0.0
    """Sum of the products of consecutive log ratios."""
    last: float | None = None
    canary_queue: float = 0.0
    """Seconds that requests waited, which are not among those above."""
    stable_queue: float = 0.0

    def add(self, intervals: Iterable[ScrapeInterval], elasticity: float = 1.0) -> "MeanLatency":
        """Return the sums with more intervals."""
        sums = self
        for interval in _filled(intervals):
            canary, stable = _service(interval)
            larger = max(0.0, math.log(max(1.0, interval.canary_batch) / max(1.0, interval.stable_batch)))
            log = math.log(canary / interval.canary * interval.stable / stable) - elasticity * larger
            sums = sums._replace(
                canary=sums.canary + interval.canary,
                canary_seconds=sums.canary_seconds + canary,
                stable=sums.stable + interval.stable,
                stable_seconds=sums.stable_seconds + stable,
                canary_queue=sums.canary_queue + interval.canary_queue_seconds,
                stable_queue=sums.stable_queue + interval.stable_queue_seconds,
                intervals=sums.intervals + 1,
                logs=sums.logs + log,
                squares=sums.squares + log * log,
                neighbors=sums.neighbors + log * (sums.last if sums.last is not None else 0.0),
                last=log,
            )
        return sums

    def plus(self, later: "MeanLatency") -> "MeanLatency":
        """Return the sums of both, of which `later` began with the last logarithm of this one."""
        pairs = zip(self, later, strict=True)
        whole = MeanLatency._make((one or 0) + (other or 0) for one, other in pairs)
        return whole._replace(last=later.last if later.intervals else self.last)

    def rounded(self) -> "MeanLatency":
        """Return the sums with few digits, for the status."""
        return MeanLatency._make(float(f"{each:.{DIGITS}g}") if isinstance(each, float) else each for each in self)

    @property
    def ratio(self) -> float:
        """Return how many times as long the canary takes; 1 without intervals."""
        return math.exp(self.logs / self.intervals) if self.intervals else 1.0

    @property
    def longer_wait_seconds(self) -> float:
        """Return how much longer the canary's requests wait for their turn than stable's, on average."""
        if not self.canary or not self.stable:
            return 0.0
        return self.canary_queue / self.canary - self.stable_queue / self.stable

    @property
    def canary_mean(self) -> float:
        """Return the mean time of the canary's requests in seconds; 0 without any."""
        return self.canary_seconds / self.canary if self.canary else 0.0

    @property
    def stable_mean(self) -> float:
        """Return the mean time of stable's requests in seconds; 0 without any."""
        return self.stable_seconds / self.stable if self.stable else 0.0

    @property
    def is_slower(self) -> bool:
        """Whether the canary's mean exceeds stable's by more than the margins."""
        difference = self.canary_mean - self.stable_mean
        return self.intervals > 0 and self.logs / self.intervals > math.log(RATIO) and difference > DIFFERENCE_SECONDS

    def p_ratio(self, ratio: float) -> float:
        """Return the p-value against "at most `ratio` times as long"; 1 with fewer than `MIN_INTERVALS` intervals."""
        if self.intervals < MIN_INTERVALS:
            return 1.0
        mean = self.logs / self.intervals
        variance = max(0.0, self.squares - self.intervals * mean * mean) / (self.intervals - 1)
        distance = mean - math.log(ratio)
        if variance <= 0:
            return 0.0 if distance > 0 else 1.0
        worth = self._worth(mean, variance)
        t = distance / math.sqrt(variance / worth)
        freedom = max(1.0, worth - 1)
        tail = 0.5 * incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))
        return tail if t > 0 else 1 - tail

    def _worth(self, mean: float, variance: float) -> float:
        """Return the effective number of independent intervals."""
        pairs = self.intervals - 1
        products = self.neighbors - 2 * mean * self.logs + (self.intervals + 1) * mean * mean
        # The correlation of a short series is underestimated by about (1 + 3 r) / n.
        seen = min(1.0, max(0.0, products / (pairs * variance)))
        seen = min(1.0, seen + (1 + 3 * seen) / self.intervals)
        likeness = (PRIOR_INTERVALS * PRIOR_CORRELATION + pairs * seen) / (PRIOR_INTERVALS + pairs)
        return self.intervals * (1 - likeness) / (1 + likeness)


@dataclass(frozen=True, slots=True)
class MeanRecord:
    """What the check keeps from window to window."""

    ring: tuple[MeanLatency, ...] = ()
    """The last windows with enough requests, oldest first."""
    fit: BatchFit = field(default_factory=BatchFit)
    requests: tuple[int, int] = (0, 0)
    """Those of canary and stable over the whole step: with little traffic ten windows have too few."""

    def add(self, intervals: tuple[ScrapeInterval, ...]) -> "MeanRecord":
        """Return the record after one more window."""
        fit = self.fit.add(intervals)
        window = MeanLatency(last=self.ring[-1].last if self.ring else None).add(intervals, fit.elasticity)
        ring = (*self.ring, window.rounded())[-RING_LENGTH:] if window.intervals else self.ring
        return MeanRecord(ring, fit, (self.requests[0] + window.canary, self.requests[1] + window.stable))

    @property
    def is_still_slower(self) -> bool:
        """Whether the canary is slower in the last window by itself, and hardly less than before."""
        last, before = self.ring[-1], MeanRecord(self.ring[:-1]).sums
        return last.is_slower and math.log(last.ratio) >= LASTING * math.log(before.ratio)

    @property
    def sums(self) -> MeanLatency:
        """Return the sums over the last windows."""
        whole = MeanLatency()
        for window in self.ring:
            whole = whole.plus(window)
        return whole


def evaluate_mean_latency(
    check: str, analysis: Analysis, record: MeanRecord, intervals: tuple[ScrapeInterval, ...], number: int
) -> tuple[CheckResult, MeanRecord]:
    """Return the result after one more window, the `number`-th of its step, and the record to keep."""
    kept = record.add(intervals)
    sums, last = kept.sums, kept.ring[-analysis.failure_threshold :]
    late = number >= analysis.windows and sums.p_ratio(1.0) < LATE_ALPHA
    significant = sums.is_slower and (late or sums.p_ratio(RATIO) < ALPHA / analysis.windows)
    lasting = len(last) == analysis.failure_threshold and all(window.is_slower for window in last)
    if significant and lasting and kept.ring != record.ring:
        outcome, why = Outcome.FAILED, Why.WORSE
    elif significant:
        outcome, why = Outcome.INCONCLUSIVE, Why.CONFIRMING
    elif sums.intervals < MIN_INTERVALS or min(kept.requests) < LATENCY_REQUESTS_FACTOR * analysis.min_requests:
        outcome, why = Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS
    elif sums.is_slower:
        outcome, why = Outcome.INCONCLUSIVE, Why.SUSPECT
    else:
        outcome, why = Outcome.PASSED, Why.NOT_WORSE
    return _result(check, sums, outcome, why), kept


def _service(interval: ScrapeInterval) -> tuple[float, float]:
    """Return the seconds that the requests of canary and stable took, without those that they waited."""
    return (
        interval.canary_seconds - interval.canary_queue_seconds,
        interval.stable_seconds - interval.stable_queue_seconds,
    )


def _filled(intervals: Iterable[ScrapeInterval]) -> Iterator[ScrapeInterval]:
    """Merge consecutive intervals until each has enough requests of both revisions; drop the rest."""
    whole = ScrapeInterval()
    for each in intervals:
        if not (each.canary or each.stable):
            continue
        whole = ScrapeInterval(
            whole.canary + each.canary,
            whole.canary_seconds + each.canary_seconds,
            whole.stable + each.stable,
            whole.stable_seconds + each.stable_seconds,
            whole.canary_queue_seconds + each.canary_queue_seconds,
            whole.stable_queue_seconds + each.stable_queue_seconds,
            _mean(whole.canary_batch, whole.canary, each.canary_batch, each.canary),
            _mean(whole.stable_batch, whole.stable, each.stable_batch, each.stable),
        )
        enough = min(whole.canary, whole.stable) >= MIN_REQUESTS
        if enough and min(_service(whole)) > SHORTEST_SECONDS:
            yield whole
            whole = ScrapeInterval()


def _mean(one: float, requests: int, other: float, more: int) -> float:
    return (one * requests + other * more) / (requests + more) if requests + more else 1.0


def _result(check: str, kept: MeanLatency, outcome: Outcome, why: Why) -> CheckResult:
    p = kept.p_ratio(1.0)
    limit = max(RATIO * kept.stable_mean, kept.stable_mean + DIFFERENCE_SECONDS)
    text = (
        f"mean: canary {seconds_of(kept.canary_mean)} ({kept.canary:,}), "
        f"stable {seconds_of(kept.stable_mean)} ({kept.stable:,}), limit {seconds_of(limit)}, {probability(p)}"
    )
    numbers = Numbers(kept.canary_mean, kept.canary, kept.stable_mean, kept.stable, limit, p)
    return CheckResult(check, outcome, why, shorten(text), numbers)
