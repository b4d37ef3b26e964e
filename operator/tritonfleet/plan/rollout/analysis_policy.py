"""From the pinned plan and the objectives of the spec to what the analysis is asked."""

from typing import Final

from tritonfleet.api.canary import Analysis, ErrorMargin, PromQuery, SlowMargin
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.slo import Slo
from tritonfleet.plan.rollout.analysis.policy import LatencyObjective, Margin, OnTooFewRequests, Policy, Threshold

SLOW_REQUESTS_FACTOR: Final = 2
"""A share of 1 % needs more requests than one of failures, where most shares are 0."""


def policy_of(analysis: Analysis, slo: Slo | None) -> Policy:
    """Return the policy of one rollout."""
    thresholds = tuple(threshold for query in analysis.queries for threshold in _thresholds(query))
    return Policy(
        looks=analysis.looks,
        max_looks=analysis.max_looks,
        confirmations=analysis.confirmations,
        error_margin=_margin(analysis.errors),
        error_limit=analysis.max_errors / 100 if analysis.max_errors is not None else None,
        slow_margin=_margin(analysis.slow),
        latency=_latency(slo),
        min_requests=analysis.min_requests,
        min_slow_requests=SLOW_REQUESTS_FACTOR * analysis.min_requests,
        on_too_few=OnTooFewRequests(analysis.on_too_few_requests.value),
        thresholds=thresholds,
        bake_seconds=duration_seconds(analysis.bake),
    )


def _margin(margin: ErrorMargin | SlowMargin) -> Margin:
    return Margin(margin.ratio, margin.difference / 100)


def _latency(slo: Slo | None) -> LatencyObjective | None:
    if slo is None or slo.latency is None:
        return None
    return LatencyObjective(duration_seconds(slo.latency.target), round(1 - slo.latency.percentile / 100, 6))


def _thresholds(query: PromQuery) -> tuple[Threshold, ...]:
    """Return the limits of a query: what is above `max` or `maxRatio` is bad, and what is below `min`."""
    found: tuple[Threshold, ...] = ()
    if query.max is not None or query.max_ratio is not None:
        found = (Threshold(query.name, above_is_bad=True, limit=query.max, max_ratio=query.max_ratio),)
    if query.min is not None:
        found = (*found, Threshold(query.name, above_is_bad=False, limit=query.min))
    return found
