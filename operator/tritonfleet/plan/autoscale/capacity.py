"""What one replica can take: the largest rate whose modelled percentile keeps the target. Learned, never asked for."""

from collections.abc import Mapping
from dataclasses import dataclass

from tritonfleet.plan.autoscale.fit import Fit, learn
from tritonfleet.plan.autoscale.latency import Server
from tritonfleet.plan.autoscale.policy import Policy
from tritonfleet.plan.autoscale.scrapes import Work

OLD_REVISION = 0.8
"""Share of the old revision's capacity that a new one is trusted with before it has a fit (research 5.2)."""
FULL = 0.95
"""Share of the throughput with full batches that no trim goes beyond: past it queues grow without end."""
REVISIONS = 3
"""Fits that are kept: the serving revision's, the next one's and the last one's."""
CONSOLIDATION = 0.85
"""Replicas go only if one fewer keeps this share of the target (research 5.5)."""
THROUGHPUT_LOAD = 0.8
"""Share of the throughput with full batches that is planned with where no latency can be kept."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is known of one replica. Rates are requests per second."""

    rate: float
    """c(L)."""
    spare_rate: float
    """c(0.85 L): what must be enough for replicas to go."""
    server: Server | None
    """None before there is a fit."""
    per_request: float
    """Inferences per request."""
    infeasible: bool
    """Whether a request that meets nobody already misses the target."""

    def latency_at(self, rate: float) -> float | None:
        """Return the modelled percentile of latency, seconds, at `rate` requests per second per replica."""
        return None if self.server is None else self.server.latency_at(rate * self.per_request)


def capacity_of(policy: Policy, fits: Mapping[str, Fit], serving: str | None) -> Capacity | None:
    """Return the capacity of a replica of the serving revision; None when nothing is known of it."""
    own = fits.get(serving) if serving is not None else None
    if own is not None and own.confident:
        return _model(policy, own, 1.0)
    older = [fit for revision, fit in fits.items() if fit.confident and revision != serving]
    if older:
        return _model(policy, older[-1], OLD_REVISION)
    if policy.capacity_hint is not None:
        return Capacity(policy.capacity_hint, policy.capacity_hint, None, 1.0, infeasible=False)
    return None


def _model(policy: Policy, fit: Fit, trust: float) -> Capacity:
    server = Server.of(policy, *fit.line())
    target = policy.latency_target_seconds
    infeasible = target is not None and server.idle_seconds > target
    if target is None or infeasible:
        rate = spare = THROUGHPUT_LOAD * server.throughput / fit.per_request
    else:
        trim = trust * fit.kappa / fit.per_request
        rate, spare = trim * server.rate_at(target), trim * server.rate_at(CONSOLIDATION * target)
        most = FULL * server.throughput / fit.per_request
        rate, spare = min(rate, most), min(spare, most)
    return Capacity(rate, max(spare, 0.5 * rate), server, fit.per_request, infeasible)


def learn_all(fits: Mapping[str, Fit], work: Mapping[str, Work], policy: Policy) -> Mapping[str, Fit]:
    """Return the fits, oldest first, after the work of this tick; the newest few revisions are kept."""
    if not work:
        return fits
    after = dict(fits)
    for revision, done in work.items():
        after[revision] = learn(after.get(revision, Fit()), done, policy.max_batch_size)
    return dict(list(after.items())[-REVISIONS:])
