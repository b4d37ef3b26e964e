"""T(b) = alpha + beta * b, the seconds that a batch of b takes: ridge regression over Triton's own counters."""

import math
from dataclasses import dataclass, replace
from typing import Any

from tritonfleet.plan.autoscale.scrapes import Work

TICK_EXECUTIONS = 20.0
"""Batches that make one tick's observation weigh 1, the most that it can."""
HALF_LIFE = 720.0
"""Weight after which a tick counts half: an hour of busy ones, for a fleet of the right size shows one batch size."""
CONFIDENT = 1.0
"""Weight before a fit is believed: twenty batches."""
PRIOR_SLOPE = 0.2
"""Before batches differ, each request adds a fifth of what a lone one takes: between research 2.5's quarter of y/x at
a batch of one or two and what servers that batch well show at large ones."""
PRIOR_SPREAD = 0.5
"""What that prior weighs: as much as a weight of one half at twice the batch."""
SHIFT = 1.15
"""A time per batch this much off the line twice in a row is a change of the model, not noise."""
PER_REQUEST_SHARE = 0.25
"""What the newest tick adds to the mean of inferences per request."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Weighted sums over ticks of one revision: x is the size of the mean request's batch, y its time in seconds."""

    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    surprise: float = 1.0
    """The last tick's time per batch, over what the line says."""
    per_request: float = 1.0
    """Inferences per request: more than 1 when clients send batches, less with a response cache."""
    kappa: float = 1.0
    """Trim of the capacity by the latency that was measured."""

    @property
    def confident(self) -> bool:
        """Whether enough batches were seen."""
        return self.weight >= CONFIDENT

    def line(self) -> tuple[float, float]:
        """Return alpha and beta; both are positive."""
        mean_x, mean_y = self.x / self.weight, self.y / self.weight
        steepest = mean_y / mean_x
        prior = PRIOR_SPREAD * mean_x * mean_x
        spread, common = max(0.0, self.xx - mean_x * self.x), self.xy - mean_x * self.y
        expected = PRIOR_SLOPE * mean_y / (1 + PRIOR_SLOPE * (mean_x - 1))
        beta = (common + prior * expected) / (spread + prior)
        beta = min(max(beta, 0.01 * steepest), 0.99 * steepest)
        return mean_y - beta * mean_x, beta

    def document(self) -> list[float]:
        """Return it for the status."""
        sums = (self.weight, self.x, self.y, self.xx, self.xy)
        return [float(f"{value:.9g}") for value in (*sums, self.per_request, self.kappa)]

    @classmethod
    def restore(cls, document: Any) -> "Fit":
        """Read it back; ValueError or TypeError if it is none."""
        weight, x, y, xx, xy, per_request, kappa = (float(value) for value in document)
        if not math.isfinite(weight + x + y + xx + xy + per_request + kappa) or not (
            weight > 0 < y and x >= weight * 0.99 and per_request > 0 < kappa
        ):
            raise ValueError("not a fit")
        return cls(weight, x, y, xx, xy, 1.0, per_request, kappa)


def weighed_batch(mean: float, largest: int) -> float:
    """Return the batch that the mean request is in, given the mean batch.

    Triton adds the whole time of a batch once per request in it, so the mean time per request is that of a batch of
    E[b^2]/E[b]. Batches are Poisson counts of at least one: that is 1 above the mean for large batches, 0 at a mean
    of 1, and never above the largest batch.
    """
    return min(float(largest), mean + 1 - 1 / (mean * math.sqrt(mean)))


def learn(fit: Fit, work: Work, largest: int) -> Fit:
    """Return the fit after what a revision's pods did since the last decision."""
    executed = min(work.success, work.inferences)
    if work.executions < 1 or executed < 1 or work.compute_seconds <= 0:
        return fit
    mean = min(max(1.0, work.inferences / work.executions), float(max(1, largest)))
    x, y = weighed_batch(mean, max(1, largest)), work.compute_seconds / executed
    w = min(1.0, work.executions / TICK_EXECUTIONS)
    if fit.confident:
        fit = _notice_shift(fit, x, y)
    kept = float(0.5 ** (w / HALF_LIFE))
    per_request = work.inferences / work.success
    return replace(
        fit,
        weight=fit.weight * kept + w,
        x=fit.x * kept + w * x,
        y=fit.y * kept + w * y,
        xx=fit.xx * kept + w * x * x,
        xy=fit.xy * kept + w * x * y,
        per_request=fit.per_request + PER_REQUEST_SHARE * w * (per_request - fit.per_request)
        if fit.weight
        else per_request,
    )


def _notice_shift(fit: Fit, x: float, y: float) -> Fit:
    alpha, beta = fit.line()
    before, surprise = fit.surprise, y / (alpha + beta * x)
    if not (before > SHIFT < surprise or before < 1 / SHIFT > surprise):
        return replace(fit, surprise=surprise)
    # All times changed by the same factor, as far as anybody can tell; the regression sorts out the rest.
    return replace(fit, y=fit.y * surprise, xy=fit.xy * surprise, surprise=1.0)
