"""How long requests take on a server that batches whatever came in while it was busy, in closed form both ways.

Three regimes, each a latency of a rate and its inverse, a rate of a latency; the best of them that applies counts:

- light: few requests meet anybody. An M/D/1 queue has P(wait > x) = 1 - (1 - r) exp(r x / T(1)) for x < T(1);
- batches: the batch is b* = rate T(b*), its upper percentile b* + z sqrt(b*), and a request takes the percentile's
  share of one wait plus its own execution of such a batch;
- queued: batches are full and requests wait for whole ones, a random walk whose tail is exp(-2 n (1 - r) / r).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

from tritonfleet.plan.autoscale.policy import Policy

Z = {percentile: NormalDist().inv_cdf(percentile / 100) for percentile in (50.0, 90.0, 95.0, 99.0, 99.9)}
"""Standard deviations to a percentile: a batch is a Poisson count, nearly normal."""


@dataclass(frozen=True)
class Server:
    """One replica: T(b) = alpha + beta * b seconds for a batch of b, and how Triton forms batches."""

    alpha: float
    beta: float
    max_batch: int
    delay: float
    """Seconds that Triton may wait for a batch to fill."""
    instances: int
    percentile: float

    @classmethod
    def of(cls, policy: Policy, alpha: float, beta: float) -> "Server":
        """Return the server that the policy describes, with the times that were learned."""
        delay, batch = policy.max_queue_delay_seconds, max(1, policy.max_batch_size)
        return cls(alpha, beta, batch, delay, max(1, policy.instances), policy.percentile)

    def seconds(self, batch: float) -> float:
        """Return T(batch), seconds."""
        return self.alpha + self.beta * batch

    @cached_property
    def idle_seconds(self) -> float:
        """Latency of a request that meets nobody."""
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
        """Half the logarithm of how seldom a longer queue may be."""
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
        """Return b* of one instance at its share of the rate; below 1 it is the share of time that it is busy."""
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
