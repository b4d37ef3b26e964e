"""How many requests per second a fleet of replicas carries within the latency target.

Nothing is configured: `update_fits()` learns, per revision and from Triton's counters, the time `T(b) = alpha + beta b`
that a batch of b takes (ridge regression) and how much that time varies. `capacity_of()` asks a queueing model
(`BatchServer`) for the largest rate whose percentile of latency keeps the target. `autoscaler.decide()` calls both
once per tick; `cli/explain` and `cli/simulate` ask about rates that have not been seen.

A replica alone is judged by its own queue. Replicas behind a gateway that sends each request to the least busy one
share theirs, and n of them carry more than n times one: k = n where requests are pooled, else k = 1. Of three regimes
the best that applies counts:

- batches: the batch is b* = rate T(b*), its upper percentile b* + z sqrt(b* / k), and a request takes the percentile's
  share of the execution under way plus its own, of such a batch (`_turns()`);
- queued: batches are full and requests wait for whole ones, a random walk whose tail is exp(-2 n k (1 - r) / r) for
  constant times, and heavier for times that vary;
- one by one: Erlang's C(servers, r) says who waits at all, and Allen and Cunneen's approximation for how long (Allen,
  Probability, Statistics and Queueing Theory, 1990). Least-outstanding chooses when a request arrives, so that one and
  a half executions of the wait are not pooled.

A limit of the mean time in the queue lowers that rate where it is reached earlier (`mean_wait()`).

Example: T(b) = 60 + 15 b ms, batches of up to 16, p99 within 750 ms, times that vary by 5%. Full batches make 53
requests/s. One replica carries 46 of them, two pooled ones 97 instead of 92, eight 412 instead of 370.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import Any

from tritonfleet.plan.autoscale.arrivals import Work
from tritonfleet.plan.autoscale.interface import Parts, Policy

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
PER_REQUEST_SHARE = 0.25
"""Weight of the newest tick in the mean of inferences per request."""
SHIFT, SHIFT_EXECUTIONS = 0.12, 10.0
"""A model has changed if its batches are off the line by this share, for so many of them on the same side in a row,"""
SHIFT_SIGNIFICANCE = 30.0
"""and if n (m - 1)^2 / v exceeds this: 5.5 standard errors of the mean."""
FIRST_VARIANCE, LEAST_VARIANCE = 0.01, 1e-4
"""Squared coefficients of variation of a batch's time: before any was seen, and at least."""
VARIANCE_SHARE, VARIANCE_EXECUTIONS = 0.02, 5.0
"""Weight of the newest difference, full from so many executions."""
VARIANCE_OUTLIER = 9.0
"""A squared difference counts as three standard deviations at most."""
ALIKE = 0.1
"""Ticks are compared if their mean batches differ by at most this share."""


@dataclass(frozen=True, slots=True)
class Run:
    """Batches in a row whose times were all well above the line, or all well below it."""

    executions: float = 0.0
    ratio: float = 1.0
    """Their mean time over the line's."""

    def plus(self, executions: float, ratio: float) -> "Run":
        """Return the run with one more tick's; near the line it ends, on the other side a new one begins."""
        if abs(ratio - 1) <= SHIFT / 2:
            return NO_RUN
        if (ratio > 1) != (self.ratio > 1):
            return Run(executions, ratio)
        total = self.executions + executions
        return Run(total, self.ratio + executions / total * (ratio - self.ratio))

    def significant(self, variance: float) -> bool:
        """Return whether chance does not explain the run."""
        off = self.ratio - 1
        return (
            abs(off) > SHIFT
            and self.executions >= SHIFT_EXECUTIONS
            and self.executions * off * off > SHIFT_SIGNIFICANCE * variance
        )


NO_RUN = Run()


@dataclass(frozen=True, slots=True)
class Fit:
    """One revision's regression as weighted sums over ticks: x is the mean request's batch size, y its seconds."""

    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    per_request: float = 1.0
    """Inferences per request: more than 1 when clients send batches, less with a response cache."""
    kappa: float = 1.0
    """Correction of the capacity by measured latency: see `slo.trim()`."""
    variance: float = FIRST_VARIANCE
    """Squared coefficient of variation of the time of one batch."""
    run: Run = NO_RUN
    last: tuple[float, float, float] | None = None
    """The last tick's executions, mean batch, and time over the line's."""

    @property
    def confident(self) -> bool:
        """Whether enough batches were seen."""
        return self.weight >= CONFIDENT_WEIGHT

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm of a batch's time."""
        return math.sqrt(math.log1p(self.variance))

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
        return [float(f"{value:.9g}") for value in (*sums, self.per_request, self.kappa, self.variance)]

    @classmethod
    def restore(cls, document: Any) -> "Fit":
        """Deserialize; ValueError or TypeError if it is malformed. Before version 2 no variance was kept."""
        weight, x, y, xx, xy, per_request, kappa, *rest = (float(value) for value in document)
        variance = rest[0] if rest else FIRST_VARIANCE
        if not math.isfinite(weight + x + y + xx + xy + per_request + kappa + variance) or not (
            weight > 0 < y and x >= weight * 0.99 and per_request > 0 < kappa and variance > 0
        ):
            raise ValueError("not a fit")
        return cls(weight, x, y, xx, xy, per_request, kappa, variance)


def weighed_batch(mean: float, largest: int) -> float:
    """Return the batch that the mean request is in, given the mean batch.

    Triton adds the whole time of a batch once per request in it, so the mean time per request is that of a batch of
    E[b^2]/E[b]. Batches are Poisson counts of at least one: that is 1 above the mean for large batches, 0 at a mean
    of 1, and never above the largest batch.
    """
    return min(float(largest), mean + 1 - 1 / (mean * math.sqrt(mean)))


def update_fit(fit: Fit, work: Work, largest: int, *, significance: bool = True) -> Fit:
    """Return the fit after what a revision's pods did since the last decision."""
    executed = min(work.success, work.inferences)
    if work.executions < 1 or executed < 1 or work.compute_seconds <= 0:
        return fit
    mean = min(max(1.0, work.inferences / work.executions), float(max(1, largest)))
    x, y = weighed_batch(mean, max(1, largest)), work.compute_seconds / executed
    w = min(1.0, work.executions / TICK_EXECUTIONS)
    if fit.confident:
        fit = _judge(fit, work.executions, mean, x, y, significance=significance)
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


def _judge(fit: Fit, executions: float, mean: float, x: float, y: float, *, significance: bool) -> Fit:
    """Learn the variance from one tick's times, and notice a model that has changed."""
    alpha, beta = fit.line()
    ratio = y / (alpha + beta * x)
    variance = _vary(fit, executions, mean, ratio)
    run = fit.run.plus(executions, ratio)
    if not run.significant(variance if significance else 0.0):
        return replace(fit, variance=variance, run=run, last=(executions, mean, ratio))
    # Assume that all times changed by the same factor; the regression corrects the rest.
    return replace(fit, variance=variance, y=fit.y * run.ratio, xy=fit.xy * run.ratio, run=NO_RUN, last=None)


def _vary(fit: Fit, executions: float, mean: float, ratio: float) -> float:
    """Return the variance after one more tick, from the difference to the last one.

    Differences of neighbors, because distances from the line would measure how wrong the line is.
    """
    if fit.last is None:
        return fit.variance
    before, size, earlier = fit.last
    if abs(mean - size) > ALIKE * max(mean, size):
        return fit.variance
    squared = (ratio - earlier) ** 2 / (1 / executions + 1 / before) / (ratio * earlier)
    share = VARIANCE_SHARE * min(1.0, min(executions, before) / VARIANCE_EXECUTIONS)
    learned = fit.variance + share * (min(squared, VARIANCE_OUTLIER * fit.variance) - fit.variance)
    return max(LEAST_VARIANCE, learned)


NODES = tuple(-4.5 + 0.25 * step for step in range(37))
"""Where the normal distribution is integrated, in standard deviations."""
_DENSITY = tuple(math.exp(-z * z / 2) for z in NODES)
WEIGHTS = tuple(each / sum(_DENSITY) for each in _DENSITY)
Z = {percentile: NormalDist().inv_cdf(percentile / 100) for percentile in (50.0, 90.0, 95.0, 99.0, 99.9)}
"""Standard deviations to a percentile: a batch is a Poisson count, nearly normal."""
SIGMA_STEP = 0.05
"""The share of an execution under way is worked out for multiples of this, and interpolated."""
BATCH_BEFORE = 0.6
"""Executions that requests wait for the batch before theirs in the mean, where one instance is always busy: as in the
simulated engine."""
POOLED_LOAD, FULL_LOAD = 0.97, 0.95
"""Shares of the throughput with full batches that are never exceeded, where requests are pooled and where they are not:
beyond them queues grow without bound."""


@lru_cache(maxsize=512)
def _turns_of(step: int, percentile: float, instances: int) -> float:
    """Return the percentile of U X' / instances + X, for a sigma of `step` times SIGMA_STEP.

    X is an execution's time over its mean, lognormal; X' that of the execution found under way, of which long ones are
    found more often; and U, uniform, is the share of it that is left.
    """
    sigma, share = step * SIGMA_STEP, percentile / 100
    if not step:
        return 1 + share / instances
    own = [math.exp(sigma * z - sigma * sigma / 2) for z in NODES]
    found = [math.exp(sigma * z + sigma * sigma / 2) / instances for z in NODES]
    low, high = 0.0, own[-1] + found[-1]
    for _ in range(24):
        middle = (low + high) / 2
        below = 0.0
        for mine, weight in zip(own, WEIGHTS, strict=True):
            if (left := middle - mine) > 0:
                below += weight * sum(part * min(1.0, left / each) for each, part in zip(found, WEIGHTS, strict=True))
        low, high = (low, middle) if below >= share else (middle, high)
    return high


def _waiting(servers: int, busy: float) -> float:
    """Return Erlang's C: the share of requests that find all servers busy, at a utilization below 1."""
    load, blocked = servers * busy, 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - busy * (1 - blocked))


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
    sigma: float = 0.0
    """Standard deviation of the logarithm of T."""
    pooled: bool = False
    """Whether each request goes to the least busy replica."""
    queue: float | None = None
    """Longest mean time in the queue, seconds; None for any."""

    @classmethod
    def of(cls, policy: Policy, alpha: float, beta: float, sigma: float = 0.0) -> "BatchServer":
        """Return the server that the policy describes, with the learned times."""
        delay, batch = policy.max_queue_delay_seconds, max(1, policy.max_batch_size)
        instances = max(1, policy.instances)
        return cls(alpha, beta, batch, delay, instances, policy.percentile, sigma, policy.pooled, policy.queue_seconds)

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

    def rate_at(self, latency: float, replicas: int = 1) -> float:
        """Return the largest rate, inferences per second, that so many replicas carry within `latency` seconds.

        Within the limit of the mean time in the queue too, if there is one; `latency` may be infinite.
        """
        return _rate_of(self, latency, replicas)

    @cached_property
    def _z(self) -> float:
        return max(0.0, Z[self.percentile] if self.percentile in Z else NormalDist().inv_cdf(self.percentile / 100))

    @cached_property
    def _miss(self) -> float:
        return 1 - self.percentile / 100

    @cached_property
    def _turns(self) -> float:
        """Executions that a request takes: the percentile's share of a wait, which instances divide, and its own."""
        step = self.sigma / SIGMA_STEP
        below, above = (
            _turns_of(each, self.percentile, self.instances) for each in (math.floor(step), math.ceil(step))
        )
        return below + (step - math.floor(step)) * (above - below)

    def batch_rate(self, latency: float, pool: int) -> float:
        """Return the rate of one of `pool` replicas whose batches are as large as their upper percentile may be."""
        left = (latency - self.delay) / self._turns
        if left < self.seconds(1):
            return 0.0
        upper = min(float(self.max_batch), (left - self.alpha) / self.beta if self.beta > 0 else math.inf)
        z = self._z / math.sqrt(pool)
        batch = ((math.sqrt(z * z + 4 * upper) - z) / 2) ** 2
        return self.instances * batch / self.seconds(max(1.0, batch))

    def queued_rate(self, latency: float, pool: int) -> float:
        """Return the rate of one of `pool` replicas whose batches are full while some requests wait for theirs."""
        queue = (latency - self.delay - self._turns * self.seconds(self.max_batch)) * self.throughput * pool
        tail = math.log(1 / self._miss) / 2 * (1 + 2 * self.sigma * self.sigma)
        return self.throughput * queue / (queue + tail) if queue > 0 else 0.0

    def single_rate(self, latency: float, pool: int) -> float:
        """Return the rate of one of `pool` replicas that serve requests one by one."""
        servers, seconds = pool * self.instances, self.seconds(1)
        left = latency - self.delay - 1.5 * seconds * (1 - 0.5 / servers)
        spread = seconds * math.exp(self.sigma * self.sigma)
        times = [seconds * math.exp(self.sigma * z - self.sigma * self.sigma / 2) for z in NODES]
        after = [
            (left - each, weight) for each, weight in zip(times, WEIGHTS, strict=True) if each <= latency - self.delay
        ]
        late = self._late(latency - self.delay)
        low, high = 0.0, 1.0
        for _ in range(12):
            busy = (low + high) / 2
            decay = 2 * servers * (1 - busy) / spread
            queued = sum(weight * math.exp(-decay * max(0.0, each)) for each, weight in after)
            missed = late + _waiting(servers, busy) * queued
            low, high = (busy, high) if missed <= self._miss else (low, busy)
        return low * self.instances / seconds

    def queueing_rate(self, wait: float, pool: int) -> float:
        """Return the largest rate of one of `pool` replicas with a mean wait of at most `wait` seconds."""
        low, high = 0.0, self.throughput
        for _ in range(20):
            rate = (low + high) / 2
            low, high = (rate, high) if self.mean_wait(rate, pool) <= wait else (low, rate)
        return low

    def mean_wait(self, rate: float, pool: int) -> float:
        """Return the mean seconds in the queue of one of `pool` replicas at a rate, inferences per second.

        One by one: Allen and Cunneen's approximation. In batches, a request that finds all instances busy waits for the
        rest of an execution, and often for the batch that was formed before its own; near full batches also for others
        in front of it. A batch that is not full waits for its delay, of which the later ones in it see less.
        """
        servers, variation, load = pool * self.instances, math.exp(self.sigma * self.sigma), rate / self.throughput
        if load >= 1:
            return math.inf
        if self.max_batch == 1:
            return _waiting(servers, load) * self.seconds(1) * variation / 2 / servers / (1 - load)
        room = self.instances - rate * self.beta
        batch = min(float(self.max_batch), max(1.0, rate * self.alpha / room if room > 0 else math.inf))
        busy = rate * self.seconds(1) / self.instances
        found = _waiting(servers, busy) if busy < 1 else 1.0
        behind = found / self.instances * (0.5 + BATCH_BEFORE * (found / self.instances) ** 2)
        backlog = load * load / (1 - load) / self.throughput / math.sqrt(pool)
        return max(behind * self.seconds(batch), self.delay * (1 + 1 / batch) / 2) + variation * backlog

    def _late(self, seconds: float) -> float:
        """Return the share of lone executions that take longer than `seconds`."""
        ratio = seconds / self.seconds(1)
        if self.sigma <= 0 or ratio <= 0:
            return float(ratio < 1)
        return 1 - NormalDist().cdf(math.log(ratio) / self.sigma + self.sigma / 2)


@lru_cache(maxsize=16384)
def _rate_of(server: BatchServer, latency: float, replicas: int) -> float:
    """Return `BatchServer.rate_at()`; kept, because the same few sizes are asked for at every decision."""
    pool = max(1, replicas) if server.pooled else 1
    best = server.throughput
    if latency < math.inf:
        best = max(server.batch_rate(latency, pool), server.queued_rate(latency, pool))
        if best <= 0 or server.max_batch == 1:
            best = max(best, server.single_rate(latency, pool))
    if server.queue is not None:
        best = min(best, server.queueing_rate(server.queue, pool))
    return replicas * min(best, (POOLED_LOAD if server.pooled else FULL_LOAD) * server.throughput)


def share_waiting(server: BatchServer, replicas: int, busy: float) -> float:
    """Return the share of requests that find every server busy, in a fleet of that utilization without batches."""
    pool = max(1, replicas) if server.pooled else 1
    return _waiting(pool * server.instances, busy)


OLD_REVISION_TRUST = 0.8
"""Share of the old revision's capacity assumed for a new one that has no fit yet."""
REVISIONS_KEPT = 3
"""Fits kept: those of the serving revision, the next and the previous."""
THROUGHPUT_LOAD = 0.8
"""Share of the throughput with full batches to plan with where the latency target cannot be met."""
MOST_REPLICAS = 10_000
"""More than any fleet has."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a fleet can carry. Rates are requests per second."""

    hint: float
    """Of one replica, while there is no fit; also what a replica carries that cannot keep the target."""
    server: BatchServer | None
    """None before there is a fit."""
    target: float | None
    """Latency in seconds, infinite if only the queue is limited; None where replicas follow the throughput."""
    share: float
    """Requests per inference, with the trim."""
    infeasible: bool
    """Whether even an unqueued request misses the target."""
    own: Fit | None = None
    """The fit of the serving revision; None while the capacity is that of another one, or a hint."""

    def rate(self, replicas: int) -> float:
        """Return what so many replicas carry together."""
        if self.server is None or self.target is None:
            return self.hint * replicas
        return self.share * self.server.rate_at(self.target, replicas)

    def per_replica(self, replicas: int) -> float:
        """Return what each of so many replicas carries, at least one."""
        return self.rate(max(1, replicas)) / max(1, replicas)

    def replicas_for(self, demand: float) -> int:
        """Return the smallest fleet that carries a demand; 0 for none, whatever one carries."""
        if demand <= 0:
            return 0
        # Pooling never makes the next replica carry more than its full batches.
        most = self.hint if self.server is None or self.target is None else self.share * self.server.throughput
        if most <= 0 or self.rate(1) <= 0:
            return MOST_REPLICAS
        least = max(1, math.ceil(demand / most - 1e-9))
        left = self._left(demand, least)
        if left <= 0:
            return min(least, MOST_REPLICAS)
        # Usually the next guess is enough; replicas that carry next to nothing take ever longer strides.
        few, many, stride = least, least, max(1, math.floor(left / most))
        while many < MOST_REPLICAS and left > 0:
            few, many, stride = many, min(MOST_REPLICAS, many + stride), 2 * stride
            left = self._left(demand, many)
        while many - few > 1:
            middle = (few + many) // 2
            few, many = (few, middle) if self._left(demand, middle) <= 0 else (middle, many)
        return min(many, MOST_REPLICAS)

    def _left(self, demand: float, replicas: int) -> float:
        """Return what so many replicas do not carry of a demand; nothing if it is no more than rounding."""
        left = demand - self.rate(replicas)
        return left if left > 1e-9 * demand else 0.0


def capacity_of(
    policy: Policy, fits: Mapping[str, Fit], serving: str | None, parts: Parts | None = None
) -> Capacity | None:
    """Return the capacity of a fleet of the serving revision; None if unknown."""
    own = fits.get(serving) if serving is not None else None
    if own is not None and own.confident:
        return replace(_model(policy, own, 1.0, parts or Parts()), own=own)
    older = [fit for revision, fit in fits.items() if fit.confident and revision != serving]
    if older:
        return _model(policy, older[-1], OLD_REVISION_TRUST, parts or Parts())
    if policy.capacity_hint is not None:
        return Capacity(policy.capacity_hint, None, None, 1.0, infeasible=False)
    return None


def _model(policy: Policy, fit: Fit, trust: float, parts: Parts) -> Capacity:
    alpha, beta = fit.line()
    server = BatchServer.of(
        policy if parts.pooling else replace(policy, pooled=False),
        # Three digits are more than is known, and let a fleet's capacity be looked up.
        *(float(f"{value:.3g}") for value in (alpha, beta, fit.sigma if parts.variance else 0.0)),
    )
    target = policy.latency_target_seconds
    if target is None and policy.queue_seconds is not None:
        target = math.inf
    infeasible = target is not None and server.idle_seconds > target
    infeasible = infeasible or (server.queue is not None and server.mean_wait(0.0, 1) > server.queue)
    plain = THROUGHPUT_LOAD * server.throughput / fit.per_request
    share = trust * fit.kappa / fit.per_request
    if target is None or infeasible or server.rate_at(target) <= 0:
        return Capacity(plain, server, None, share, infeasible)
    return Capacity(plain, server, target, share, infeasible)


def update_fits(
    fits: Mapping[str, Fit], work: Mapping[str, Work], policy: Policy, parts: Parts | None = None
) -> Mapping[str, Fit]:
    """Return the fits, oldest first, updated with the work of this tick; the newest few revisions are kept."""
    if not work:
        return fits
    after = dict(fits)
    for revision, done in work.items():
        known = after.get(revision, Fit())
        significance = parts is None or parts.significance
        after[revision] = update_fit(known, done, policy.max_batch_size, significance=significance)
    return dict(list(after.items())[-REVISIONS_KEPT:])
