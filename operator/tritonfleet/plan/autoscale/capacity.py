"""How many requests per second one replica carries within the latency target.

Nothing is configured: `update_fits()` learns the time `T(b) = alpha + beta b` that a batch of b takes, per revision,
by ridge regression over Triton's counters, and `capacity_of()` asks a queueing model (`BatchServer`) for the largest
rate whose percentile of latency keeps the target. `autoscaler.decide()` calls both once per tick; `cli/explain` and
`cli/simulate` ask `capacity_of()` and `BatchServer` about rates that have not been seen.

`BatchServer` serves requests in batches of whatever arrived during the last batch. In closed form it gives the
latency of a rate, and the rate of a latency, in three regimes, of which the best that applies counts:

- light: few requests have to wait. An M/D/1 queue has P(wait > x) = 1 - (1 - r) exp(r x / T(1)) for x < T(1);
- batches: the batch is b* = rate T(b*), its upper percentile b* + z sqrt(b*), and a request takes the percentile's
  share of one wait plus its own execution of such a batch;
- queued: batches are full and requests wait for whole ones, a random walk whose tail is exp(-2 n (1 - r) / r).

Example: T(b) = 4 + b ms, batches of up to 16, no more than 0.2 ms of queueing, p99 within 30 ms. The batch may take
(30 - 0.2) / 1.99 = 15.0 ms, so that its upper percentile is 11.0 requests, and b* + 2.33 sqrt(b*) = 11.0 gives b* =
5.5. Such batches take 9.5 ms: one replica carries 5.5 / 0.0095 = 580 requests/s.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist
from typing import Any

from tritonfleet.plan.autoscale.arrivals import Work
from tritonfleet.plan.autoscale.interface import Policy

TICK_EXECUTIONS = 20.0
"""A tick with this many batches weighs 1, the most that one tick can."""
HALF_LIFE = 720.0
"""Weight after which a tick counts half: an hour of busy ticks, because a well-sized fleet shows one batch size."""
CONFIDENT_WEIGHT = 1.0
"""Weight from which a fit is used: twenty batches."""
PRIOR_SLOPE = 0.2
"""Until batches of different sizes were seen, each request is assumed to add a fifth of what a lone one takes."""
PRIOR_SPREAD = 0.5
"""Weight of that prior: as much as a weight of one half at twice the batch."""
SHIFT_RATIO = 1.15
"""A time per batch that is off the line by this factor twice in a row is a changed model, not noise."""
PER_REQUEST_SHARE = 0.25
"""Weight of the newest tick in the mean of inferences per request."""


@dataclass(frozen=True, slots=True)
class Fit:
    """One revision's regression as weighted sums over ticks: x is the mean request's batch size, y its seconds."""

    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    surprise: float = 1.0
    """The last tick's time per batch, divided by the line's."""
    per_request: float = 1.0
    """Inferences per request: more than 1 when clients send batches, less with a response cache."""
    kappa: float = 1.0
    """Correction of the capacity by measured latency: see `slo.trim()`."""

    @property
    def confident(self) -> bool:
        """Whether enough batches were seen."""
        return self.weight >= CONFIDENT_WEIGHT

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
        """Serialize for the status."""
        sums = (self.weight, self.x, self.y, self.xx, self.xy)
        return [float(f"{value:.9g}") for value in (*sums, self.per_request, self.kappa)]

    @classmethod
    def restore(cls, document: Any) -> "Fit":
        """Deserialize; ValueError or TypeError if it is malformed."""
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


def update_fit(fit: Fit, work: Work, largest: int) -> Fit:
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
    if not (before > SHIFT_RATIO < surprise or before < 1 / SHIFT_RATIO > surprise):
        return replace(fit, surprise=surprise)
    # Assume that all times changed by the same factor; the regression corrects the rest.
    return replace(fit, y=fit.y * surprise, xy=fit.xy * surprise, surprise=1.0)


Z = {percentile: NormalDist().inv_cdf(percentile / 100) for percentile in (50.0, 90.0, 95.0, 99.0, 99.9)}
"""Standard deviations to a percentile: a batch is a Poisson count, nearly normal."""


@dataclass(frozen=True)
class BatchServer:
    """One replica: T(b) = alpha + beta * b seconds for a batch of b, and how Triton forms batches."""

    alpha: float
    beta: float
    max_batch: int
    delay: float
    """Seconds that Triton may wait for a batch to fill."""
    instances: int
    percentile: float

    @classmethod
    def of(cls, policy: Policy, alpha: float, beta: float) -> "BatchServer":
        """Return the server that the policy describes, with the learned times."""
        delay, batch = policy.max_queue_delay_seconds, max(1, policy.max_batch_size)
        return cls(alpha, beta, batch, delay, max(1, policy.instances), policy.percentile)

    def seconds(self, batch: float) -> float:
        """Return T(batch), seconds."""
        return self.alpha + self.beta * batch

    @cached_property
    def idle_seconds(self) -> float:
        """Latency of an unqueued request."""
        return self.seconds(1) + self.delay

    @cached_property
    def throughput(self) -> float:
        """Inferences per second with every batch full."""
        return self.instances * self.max_batch / self.seconds(self.max_batch)

    @cached_property
    def _z(self) -> float:
        return max(0.0, Z[self.percentile] if self.percentile in Z else NormalDist().inv_cdf(self.percentile / 100))

    @cached_property
    def _miss(self) -> float:
        return 1 - self.percentile / 100

    @cached_property
    def _turns(self) -> float:
        """Executions that a request takes: the percentile's share of a wait, which instances divide, and its own."""
        return 1 + self.percentile / 100 / self.instances

    @cached_property
    def _full_batch_seconds(self) -> float:
        return self.delay + self._turns * self.seconds(self.max_batch)

    @cached_property
    def _tail(self) -> float:
        """ln(1 / (1 - p)) / 2, which scales the tail of a queue."""
        return math.log(1 / self._miss) / 2

    def latency_at(self, rate: float) -> float:
        """Return the percentile of latency in seconds at `rate` inferences per second; infinite in overload."""
        load = rate / self.throughput
        best = math.inf
        if load < 1:
            queue = self._tail * load / (1 - load)
            best = self._full_batch_seconds + queue / self.throughput
        batch = self._batch_at(rate / self.instances)
        upper = max(1.0, batch + self._z * math.sqrt(batch))
        if upper <= self.max_batch:
            best = min(best, self.delay + self._turns * self.seconds(upper))
        busy = rate * self.seconds(1) / self.instances
        if busy * busy <= 2 * self._miss:
            wait = max(0.0, 1 + busy / 2 - self._miss / busy) if busy > 0 else 0.0
            best = min(best, self.idle_seconds + wait * self.seconds(1) / self.instances)
        return best

    def rate_at(self, latency: float) -> float:
        """Return the largest rate, inferences per second, whose percentile of latency is at most `latency` seconds."""
        return max(self._light_rate(latency), self._batch_rate(latency), self._queued_rate(latency))

    def _batch_at(self, rate: float) -> float:
        """Return b* of one instance at its share of the rate; below 1 it is its utilization."""
        if rate * self.beta >= 1:
            return math.inf
        return max(min(1.0, rate * self.seconds(1)), rate * self.alpha / (1 - rate * self.beta))

    def _light_rate(self, latency: float) -> float:
        wait = (latency - self.idle_seconds) * self.instances / self.seconds(1)
        if wait < 0:
            return 0.0
        spare = 1 - min(1.0, wait)
        busy = math.sqrt(spare * spare + 2 * self._miss) - spare
        return busy * self.instances / self.seconds(1)

    def _batch_rate(self, latency: float) -> float:
        upper = ((latency - self.delay) / self._turns - self.alpha) / self.beta if self.beta > 0 else math.inf
        if (latency - self.delay) < self._turns * self.seconds(1):
            return 0.0
        upper = min(float(self.max_batch), upper)
        batch = ((math.sqrt(self._z * self._z + 4 * upper) - self._z) / 2) ** 2
        return self.instances * batch / self.seconds(max(1.0, batch))

    def _queued_rate(self, latency: float) -> float:
        queue = (latency - self._full_batch_seconds) * self.throughput
        return self.throughput * queue / (queue + self._tail) if queue > 0 else 0.0


OLD_REVISION_TRUST = 0.8
"""Share of the old revision's capacity assumed for a new one that has no fit yet."""
FULL_LOAD = 0.95
"""Share of the throughput with full batches that is never exceeded: beyond it queues grow without bound."""
REVISIONS_KEPT = 3
"""Fits kept: those of the serving revision, the next and the previous."""
CONSOLIDATION = 0.85
"""Replicas are removed only if the remaining ones keep the latency within this share of the target."""
THROUGHPUT_LOAD = 0.8
"""Share of the throughput with full batches to plan with where the latency target cannot be met."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one replica can carry. Rates are requests per second."""

    rate: float
    """c(L)."""
    spare_rate: float
    """c(0.85 L): the rate per replica that must suffice after scaling in."""
    server: BatchServer | None
    """None before there is a fit."""
    per_request: float
    """Inferences per request."""
    infeasible: bool
    """Whether even an unqueued request misses the target."""
    own: Fit | None = None
    """The fit of the serving revision; None while the capacity is that of another one, or a hint."""

    def latency_at(self, rate: float) -> float | None:
        """Return the modelled percentile of latency, seconds, at `rate` requests per second per replica."""
        return None if self.server is None else self.server.latency_at(rate * self.per_request)


def capacity_of(policy: Policy, fits: Mapping[str, Fit], serving: str | None) -> Capacity | None:
    """Return the capacity of a replica of the serving revision; None if unknown."""
    own = fits.get(serving) if serving is not None else None
    if own is not None and own.confident:
        return replace(_model(policy, own, 1.0), own=own)
    older = [fit for revision, fit in fits.items() if fit.confident and revision != serving]
    if older:
        return _model(policy, older[-1], OLD_REVISION_TRUST)
    if policy.capacity_hint is not None:
        return Capacity(policy.capacity_hint, policy.capacity_hint, None, 1.0, infeasible=False)
    return None


def _model(policy: Policy, fit: Fit, trust: float) -> Capacity:
    server = BatchServer.of(policy, *fit.line())
    target = policy.latency_target_seconds
    infeasible = target is not None and server.idle_seconds > target
    if target is None or infeasible:
        rate = spare = THROUGHPUT_LOAD * server.throughput / fit.per_request
    else:
        trim = trust * fit.kappa / fit.per_request
        rate, spare = trim * server.rate_at(target), trim * server.rate_at(CONSOLIDATION * target)
        most = FULL_LOAD * server.throughput / fit.per_request
        rate, spare = min(rate, most), min(spare, most)
    return Capacity(rate, max(spare, 0.5 * rate), server, fit.per_request, infeasible)


def update_fits(fits: Mapping[str, Fit], work: Mapping[str, Work], policy: Policy) -> Mapping[str, Fit]:
    """Return the fits, oldest first, updated with the work of this tick; the newest few revisions are kept."""
    if not work:
        return fits
    after = dict(fits)
    for revision, done in work.items():
        after[revision] = update_fit(after.get(revision, Fit()), done, policy.max_batch_size)
    return dict(list(after.items())[-REVISIONS_KEPT:])
