"""Whether the canary's requests are slower on average; used where there is no latency histogram.

Triton always counts requests and the time they took, so there is a mean for every interval between two scrapes. The
means of the same interval are compared, so that what slows both revisions down cancels out: Student's t-test on the
logarithms of their ratios. Neighboring intervals are correlated, so they count as fewer: 60 intervals with a
correlation of 0.2 are worth 60 * 0.8 / 1.2 = 40. A mean varies less than a tail, hence a narrower margin than the one
in `proportions`. `evaluation` calls `evaluate_mean_latency` in place of the share of slow requests.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tritonfleet.api.canary import Analysis
from tritonfleet.plan.rollout.analysis.proportions import LATENCY_REQUESTS_FACTOR
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


@dataclass(frozen=True, slots=True)
class MeanLatency:
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
    streak: int = 0
    """Consecutive windows, up to the last, in which the canary was slower by itself."""

    def add(self, intervals: Iterable[ScrapeInterval]) -> "MeanLatency":
        """Return the sums with more intervals."""
        sums = self
        for interval in _filled(intervals):
            log = math.log(interval.canary_seconds / interval.canary * interval.stable / interval.stable_seconds)
            sums = replace(
                sums,
                canary=sums.canary + interval.canary,
                canary_seconds=sums.canary_seconds + interval.canary_seconds,
                stable=sums.stable + interval.stable,
                stable_seconds=sums.stable_seconds + interval.stable_seconds,
                intervals=sums.intervals + 1,
                logs=sums.logs + log,
                squares=sums.squares + log * log,
                neighbors=sums.neighbors + log * (sums.last if sums.last is not None else 0.0),
                last=log,
            )
        return sums

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


def evaluate_mean_latency(
    check: str, analysis: Analysis, sums: MeanLatency, intervals: tuple[ScrapeInterval, ...], number: int
) -> tuple[CheckResult, MeanLatency]:
    """Return the result after one more window, the `number`-th of its step, and the sums to keep."""
    window = MeanLatency().add(intervals)
    kept = sums.add(intervals)
    if window.intervals:
        kept = replace(kept, streak=sums.streak + 1 if window.is_slower else 0)
    late = number >= analysis.windows and kept.p_ratio(1.0) < LATE_ALPHA
    significant = kept.is_slower and (late or kept.p_ratio(RATIO) < ALPHA / analysis.windows)
    if significant and kept.streak >= analysis.failure_threshold:
        outcome, why = Outcome.FAILED, Why.WORSE
    elif significant:
        outcome, why = Outcome.INCONCLUSIVE, Why.CONFIRMING
    elif (
        kept.intervals < MIN_INTERVALS
        or min(kept.canary, kept.stable) < LATENCY_REQUESTS_FACTOR * analysis.min_requests
    ):
        outcome, why = Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS
    elif kept.is_slower:
        outcome, why = Outcome.INCONCLUSIVE, Why.SUSPECT
    else:
        outcome, why = Outcome.PASSED, Why.NOT_WORSE
    return _result(check, kept, outcome, why), kept


def _filled(intervals: Iterable[ScrapeInterval]) -> Iterator[ScrapeInterval]:
    """Merge consecutive intervals until each has enough requests of both revisions; drop the rest."""
    whole = ScrapeInterval()
    for interval in intervals:
        whole = ScrapeInterval(
            whole.canary + interval.canary,
            whole.canary_seconds + interval.canary_seconds,
            whole.stable + interval.stable,
            whole.stable_seconds + interval.stable_seconds,
        )
        enough = min(whole.canary, whole.stable) >= MIN_REQUESTS
        if enough and min(whole.canary_seconds, whole.stable_seconds) > SHORTEST_SECONDS:
            yield whole
            whole = ScrapeInterval()


def _result(check: str, kept: MeanLatency, outcome: Outcome, why: Why) -> CheckResult:
    p = kept.p_ratio(1.0)
    limit = max(RATIO * kept.stable_mean, kept.stable_mean + DIFFERENCE_SECONDS)
    text = (
        f"mean: canary {seconds_of(kept.canary_mean)} ({kept.canary:,}), "
        f"stable {seconds_of(kept.stable_mean)} ({kept.stable:,}), limit {seconds_of(limit)}, {probability(p)}"
    )
    numbers = Numbers(kept.canary_mean, kept.canary, kept.stable_mean, kept.stable, limit, p)
    return CheckResult(check, outcome, why, shorten(text), numbers)
