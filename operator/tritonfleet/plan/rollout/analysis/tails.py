"""Exact tails of the binomial distribution, also for counts that a design effect has made fractional.

The regularized incomplete beta function is evaluated by its continued fraction (Abramowitz and Stegun 26.5.8) with
Lentz's method; `P(X >= k) = I_q(k, n - k + 1)` is 26.5.24 there.
"""

import math

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
    """Return the largest share of failures that `trials` without a single one leave possible (about 3 / `trials`).

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
