"""Are the canary's requests slower on average? Asked where nobody keeps a histogram of latencies.

Triton always counts requests and the time that they took, so there is a mean for every time between two scrapes. Means
are compared by the ratio of sums over such intervals, with Welch's test on its logarithm: an interval with few requests
weighs little, and an unequal spread of the two is no harm. A mean moves less than a tail, hence a narrower margin.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tritonfleet.plan.rollout.analysis.outcome import CheckResult, Numbers, Outcome, Why
from tritonfleet.plan.rollout.analysis.policy import Policy
from tritonfleet.plan.rollout.analysis.tails import incomplete_beta
from tritonfleet.plan.rollout.analysis.text import probability, seconds_of, sentence
from tritonfleet.plan.rollout.analysis.window import Beat

RATIO = 1.2
"""Of the canary's mean to stable's, above which it counts as slower."""
DIFFERENCE_SECONDS = 0.0001
"""By which it must be slower as well: below a tenth of a millisecond nobody waits for the model."""
SHORTEST_SECONDS = 1e-9
"""Less is no time that anything took."""
ENOUGH_BEATS = 10
"""Intervals of each revision without which nothing is judged good or bad."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Sums over intervals of requests and their seconds: enough for a mean and its standard error."""

    beats: int = 0
    requests: int = 0
    seconds: float = 0.0
    requests_squared: float = 0.0
    seconds_squared: float = 0.0
    product: float = 0.0

    def add(self, cells: Iterable[tuple[int, float]]) -> "Pace":
        """Return the sums with more intervals of (requests, seconds); one without requests says nothing."""
        counted = [(requests, seconds) for requests, seconds in cells if requests > 0 and seconds > SHORTEST_SECONDS]
        return Pace(
            self.beats + len(counted),
            self.requests + sum(requests for requests, _ in counted),
            self.seconds + sum(seconds for _, seconds in counted),
            self.requests_squared + sum(requests * requests for requests, _ in counted),
            self.seconds_squared + sum(seconds * seconds for _, seconds in counted),
            self.product + sum(requests * seconds for requests, seconds in counted),
        )

    @property
    def mean_seconds(self) -> float:
        """Return the mean time of a request; 0 without any."""
        return self.seconds / self.requests if self.requests else 0.0

    @property
    def variance(self) -> float:
        """Return the variance of the mean's logarithm, by the residuals of the intervals; infinite for fewer than 2."""
        if self.beats < 2:
            return math.inf
        mean = self.mean_seconds
        residuals = self.seconds_squared - 2 * mean * self.product + mean * mean * self.requests_squared
        return self.beats / (self.beats - 1) * max(0.0, residuals) / (self.seconds * self.seconds)


@dataclass(frozen=True, slots=True)
class Paces:
    """Both revisions' sums over a step."""

    canary: Pace = field(default_factory=Pace)
    stable: Pace = field(default_factory=Pace)
    streak: int = 0
    """Windows running, up to the last, in which the canary was slower by itself."""

    def document(self) -> dict[str, Any]:
        """Return it as plain data of constant size."""
        return asdict(self)

    @classmethod
    def restore(cls, document: Mapping[str, Any]) -> "Paces":
        """Return what `document()` wrote; KeyError or TypeError for anything else."""
        return cls(Pace(**document["canary"]), Pace(**document["stable"]), int(document["streak"]))

    @property
    def enough(self) -> bool:
        """Whether both revisions were seen for long enough to be compared at all."""
        return min(self.canary.beats, self.stable.beats) >= ENOUGH_BEATS

    @property
    def is_slower(self) -> bool:
        """Whether the canary's mean exceeds stable's by more than the margins."""
        canary, stable = self.canary.mean_seconds, self.stable.mean_seconds
        return stable > 0 and canary > RATIO * stable and canary > stable + DIFFERENCE_SECONDS

    def p_ratio(self, ratio: float) -> float:
        """Return the p-value against "the canary's mean is at most `ratio` times stable's"; 1 without data."""
        one, other = self.canary, self.stable
        variance = one.variance + other.variance
        if not one.requests or not other.requests or math.isinf(variance):
            return 1.0
        distance = math.log(one.mean_seconds / other.mean_seconds / ratio)
        if variance <= 0:
            return 0.0 if distance > 0 else 1.0
        freedom = variance**2 / sum(each.variance**2 / (each.beats - 1) for each in (one, other))
        t = distance / math.sqrt(variance)
        tail = 0.5 * incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))
        return tail if t > 0 else 1 - tail


def judge(check: str, policy: Policy, paces: Paces, beats: tuple[Beat, ...], look: int) -> tuple[CheckResult, Paces]:
    """Return what the check says after one more window, the `look`-th of its step, and what it keeps."""
    window = _added(Paces(), beats, 0)
    streak = paces.streak + 1 if window.is_slower else 0
    kept = _added(paces, beats, streak if window.canary.requests else paces.streak)
    significant = (
        kept.enough
        and kept.is_slower
        and (
            kept.p_ratio(RATIO) < policy.alpha / policy.looks
            or (look >= policy.looks and kept.p_ratio(1.0) < policy.late_alpha)
        )
    )
    if significant and kept.streak >= policy.confirmations:
        outcome, why = Outcome.FAILED, Why.WORSE
    elif significant:
        outcome, why = Outcome.INCONCLUSIVE, Why.CONFIRMING
    elif not kept.enough or min(kept.canary.requests, kept.stable.requests) < policy.min_slow_requests:
        outcome, why = Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS
    elif kept.is_slower:
        outcome, why = Outcome.INCONCLUSIVE, Why.SUSPECT
    else:
        outcome, why = Outcome.PASSED, Why.NOT_WORSE
    return _result(check, kept, outcome, why), kept


def _added(paces: Paces, beats: tuple[Beat, ...], streak: int) -> Paces:
    return Paces(
        paces.canary.add((beat.canary, beat.canary_seconds) for beat in beats),
        paces.stable.add((beat.stable, beat.stable_seconds) for beat in beats),
        streak,
    )


def _result(check: str, kept: Paces, outcome: Outcome, why: Why) -> CheckResult:
    canary, stable = kept.canary, kept.stable
    p = kept.p_ratio(1.0)
    limit = max(RATIO * stable.mean_seconds, stable.mean_seconds + DIFFERENCE_SECONDS)
    text = (
        f"mean time of a request: canary {seconds_of(canary.mean_seconds)} ({canary.requests:,}), "
        f"stable {seconds_of(stable.mean_seconds)} ({stable.requests:,}), limit {seconds_of(limit)}, {probability(p)}"
    )
    numbers = Numbers(canary.mean_seconds, canary.requests, stable.mean_seconds, stable.requests, limit, p)
    return CheckResult(check, outcome, why, sentence(text), numbers)
