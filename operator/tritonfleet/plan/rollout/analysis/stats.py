"""The statistics behind the checks: significance levels, binomial tails, and overdispersion.

`upper_tail` gives exact tails of the binomial distribution, also for counts that a design effect has made fractional.
The regularized incomplete beta function is evaluated by its continued fraction (Abramowitz and Stegun 26.5.8) with
Lentz's method; `P(X >= k) = I_q(k, n - k + 1)` is 26.5.24 there.

`DispersionStats` measures how much stable's pods and windows vary among themselves. A binomial test assumes that every
request fails independently, but real failures come in bursts. If nothing changed, the canary is one more pod of
stable, so stable's own variation determines how conservative the test must be: both counts are divided by a design
effect (Rao and Scott, Biometrics 48, 1992). Example: with a design effect of 4, 40 errors in 1,000 requests count as 10
in 250.

Used by `proportions`, `mean_latency` and `checks`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

ALPHA: Final = 0.02
"""Significance level of "clearly worse" for a whole step; divided by `windows`."""
LATE_ALPHA: Final = 0.0003
"""p-value under which a canary beyond the margins fails once the planned windows are over."""

_TINY = 1e-300
_PRECISION = 1e-12
_MOST_ROUNDS = 10_000


def upper_tail(events: float, trials: float, chance: float) -> float:
    """Return the probability of `events` or more in `trials`, each with `chance`; neither count need be whole.

    Raises:
        ValueError: `events` is not within 0..`trials`, or `chance` not within 0..1.
    """
    if not 0 <= events <= trials or not 0 <= chance <= 1:
        raise ValueError(f"events must be 0..trials and chance 0..1, not {events} of {trials} with {chance}")
    if events == 0:
        return 1.0
    return incomplete_beta(events, trials - events + 1, chance)


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b) for a, b > 0 and x in 0..1."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return min(1.0, math.exp(log_front) * _continued_fraction(a, b, x) / a)
    return max(0.0, 1 - math.exp(log_front) * _continued_fraction(b, a, 1 - x) / b)


def most_with_none(trials: int, confidence: float = 0.95) -> float:
    """Return the upper bound of the failure rate after `trials` without a failure (about 3 / `trials`).

    The exact bound behind the rule of three (Hanley and Lippman-Hand, JAMA 249, 1983); 1 without trials.
    """
    return 1 - (1 - confidence) ** (1 / trials) if trials else 1.0


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Return 1/(1 + d1/(1 + d2/(1 + ...))) of the incomplete beta function, two coefficients a round."""
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MOST_ROUNDS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for coefficient in (even, odd):
            d = 1 / _nonzero(1 + coefficient * d)
            c = _nonzero(1 + coefficient / c)
            value *= c * d
        if abs(value - before) <= _PRECISION * abs(value):
            break
    return value


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


PRIOR_CELLS = 8.0
"""Weight, in cells, of the prior that there is no extra variation: it stabilizes the estimate with little data."""


@dataclass(frozen=True, slots=True)
class DispersionStats:
    """Sums over cells of events among trials, enough for Pearson's chi-squared statistic."""

    cells: int = 0
    trials: float = 0.0
    events: float = 0.0
    squares: float = 0.0
    """Sum of events squared over trials."""

    def add(self, cells: Iterable[tuple[int, int]]) -> "DispersionStats":
        """Return the sums with more cells of (events, trials); cells without trials are ignored."""
        number, trials, events, squares = self.cells, self.trials, self.events, self.squares
        for happened, of in cells:
            if of:
                number += 1
                trials += of
                events += happened
                squares += happened * happened / of
        return DispersionStats(number, trials, events, squares)

    @property
    def mean_size(self) -> float:
        """Return the mean number of trials in a cell."""
        return self.trials / self.cells if self.cells else 0.0

    @property
    def design_effect(self) -> float:
        """Return the variance of a cell's events over that of a binomial with the common share; at least 1."""
        if not 0 < self.events < self.trials:
            return 1.0
        share = self.events / self.trials
        pearson = (self.squares - share * self.events) / (share * (1 - share))
        return max(1.0, (pearson + PRIOR_CELLS) / (self.cells - 1 + PRIOR_CELLS))

    @property
    def correlation(self) -> float:
        """Return the correlation of two requests in one cell that explains the design effect; 0..1."""
        return min(1.0, (self.design_effect - 1) / (self.mean_size - 1)) if self.mean_size > 1 else 0.0
