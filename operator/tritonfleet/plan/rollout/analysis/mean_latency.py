"""Whether the canary's requests are slower on average; used where there is no latency histogram.

Triton always counts requests and the time they took, so there is a mean for every interval between two scrapes. The
means of the same interval are compared, so that what slows both revisions down cancels out: Student's t-test on the
logarithms of their ratios. Neighboring intervals are correlated, so they count as fewer: 60 intervals with a
correlation of 0.2 are worth 60 * 0.8 / 1.2 = 40. A mean moves less than a tail, hence a narrower margin than the one
in `proportions`. `evaluation` calls `evaluate_mean_latency` in place of the share of slow requests.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tritonfleet.api.canary import Analysis
from tritonfleet.plan.rollout.analysis.proportions import SLOW_REQUESTS_FACTOR
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
"""Of the canary's mean to stable's, above which it counts as slower."""
DIFFERENCE_SECONDS = 0.0001
"""By which it must be slower as well: a tenth of a millisecond is noise."""
SHORTEST_SECONDS = 1e-9
"""Less is no time that anything took."""
MIN_REQUESTS = 10
"""Of either revision for one comparison: the logarithm of a mean of fewer is not the mean's logarithm."""
MIN_INTERVALS = 10
"""Intervals that a verdict needs."""
PRIOR_CORRELATION = 0.2
"""Prior correlation of neighboring intervals; it weighs as much as `PRIOR_INTERVALS` of them."""
PRIOR_INTERVALS = 10.0


@dataclass(frozen=True, slots=True)
class MeanLatency:
    """Sums over intervals: enough for both means, for the mean of the log ratios, and for how sure that is."""

    canary: int = 0
    canary_seconds: float = 0.0
    stable: int = 0
    stable_seconds: float = 0.0
    beats: int = 0
    logs: float = 0.0
    squares: float = 0.0
    neighbors: float = 0.0
    """Sum of the products of log ratios that follow each other."""
    last: float | None = None
    streak: int = 0
    """Windows running, up to the last, in which the canary was slower by itself."""

    def add(self, beats: Iterable[ScrapeInterval]) -> "MeanLatency":
        """Return the sums with more intervals."""
        pace = self
        for beat in _filled(beats):
            log = math.log(beat.canary_seconds / beat.canary * beat.stable / beat.stable_seconds)
            pace = replace(
                pace,
                canary=pace.canary + beat.canary,
                canary_seconds=pace.canary_seconds + beat.canary_seconds,
                stable=pace.stable + beat.stable,
                stable_seconds=pace.stable_seconds + beat.stable_seconds,
                beats=pace.beats + 1,
                logs=pace.logs + log,
                squares=pace.squares + log * log,
                neighbors=pace.neighbors + log * (pace.last if pace.last is not None else 0.0),
                last=log,
            )
        return pace

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
        return self.beats > 0 and self.logs / self.beats > math.log(RATIO) and difference > DIFFERENCE_SECONDS

    def p_ratio(self, ratio: float) -> float:
        """Return the p-value against "at most `ratio` times as long"; 1 with fewer than `MIN_INTERVALS` intervals."""
        if self.beats < MIN_INTERVALS:
            return 1.0
        mean = self.logs / self.beats
        variance = max(0.0, self.squares - self.beats * mean * mean) / (self.beats - 1)
        distance = mean - math.log(ratio)
        if variance <= 0:
            return 0.0 if distance > 0 else 1.0
        worth = self._worth(mean, variance)
        t = distance / math.sqrt(variance / worth)
        freedom = max(1.0, worth - 1)
        tail = 0.5 * incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))
        return tail if t > 0 else 1 - tail

    def _worth(self, mean: float, variance: float) -> float:
        """Return how many independent intervals these are worth."""
        pairs = self.beats - 1
        products = self.neighbors - 2 * mean * self.logs + (self.beats + 1) * mean * mean
        # A short series looks less correlated than it is, by about (1 + 3 r) / n.
        seen = min(1.0, max(0.0, products / (pairs * variance)))
        seen = min(1.0, seen + (1 + 3 * seen) / self.beats)
        likeness = (PRIOR_INTERVALS * PRIOR_CORRELATION + pairs * seen) / (PRIOR_INTERVALS + pairs)
        return self.beats * (1 - likeness) / (1 + likeness)


def evaluate_mean_latency(
    check: str, analysis: Analysis, pace: MeanLatency, beats: tuple[ScrapeInterval, ...], look: int
) -> tuple[CheckResult, MeanLatency]:
    """Return what the check says after one more window, the `look`-th of its step, and what it keeps."""
    window = MeanLatency().add(beats)
    kept = pace.add(beats)
    if window.beats:
        kept = replace(kept, streak=pace.streak + 1 if window.is_slower else 0)
    late = look >= analysis.windows and kept.p_ratio(1.0) < LATE_ALPHA
    significant = kept.is_slower and (late or kept.p_ratio(RATIO) < ALPHA / analysis.windows)
    if significant and kept.streak >= analysis.failure_threshold:
        outcome, why = Outcome.FAILED, Why.WORSE
    elif significant:
        outcome, why = Outcome.INCONCLUSIVE, Why.CONFIRMING
    elif kept.beats < MIN_INTERVALS or min(kept.canary, kept.stable) < SLOW_REQUESTS_FACTOR * analysis.min_requests:
        outcome, why = Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS
    elif kept.is_slower:
        outcome, why = Outcome.INCONCLUSIVE, Why.SUSPECT
    else:
        outcome, why = Outcome.PASSED, Why.NOT_WORSE
    return _result(check, kept, outcome, why), kept


def _filled(beats: Iterable[ScrapeInterval]) -> Iterator[ScrapeInterval]:
    """Join consecutive intervals until each has enough requests of both revisions; the rest is left out."""
    whole = ScrapeInterval()
    for beat in beats:
        whole = ScrapeInterval(
            whole.canary + beat.canary,
            whole.canary_seconds + beat.canary_seconds,
            whole.stable + beat.stable,
            whole.stable_seconds + beat.stable_seconds,
        )
        enough = min(whole.canary, whole.stable) >= MIN_REQUESTS
        if enough and min(whole.canary_seconds, whole.stable_seconds) > SHORTEST_SECONDS:
            yield whole
            whole = ScrapeInterval()


def _result(check: str, kept: MeanLatency, outcome: Outcome, why: Why) -> CheckResult:
    p = kept.p_ratio(1.0)
    limit = max(RATIO * kept.stable_mean, kept.stable_mean + DIFFERENCE_SECONDS)
    text = (
        f"mean time of a request: canary {seconds_of(kept.canary_mean)} ({kept.canary:,}), "
        f"stable {seconds_of(kept.stable_mean)} ({kept.stable:,}), limit {seconds_of(limit)}, {probability(p)}"
    )
    numbers = Numbers(kept.canary_mean, kept.canary, kept.stable_mean, kept.stable, limit, p)
    return CheckResult(check, outcome, why, shorten(text), numbers)
