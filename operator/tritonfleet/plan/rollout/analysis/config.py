"""The settings of the analysis: the margins, the significance levels, and the number of windows.

`analysis_policy()` builds the `AnalysisPolicy` of one rollout from `spec.rollout`'s analysis, as the rollout started
with it, and from the objectives in `spec.slo`. The planner calls it; every check reads the result. What the API states
in percent is a share of 0..1 here.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tritonfleet.api.canary import Analysis, ErrorMargin, LatencyMargin, PromQuery
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.slo import Slo


class OnTooFewRequests(StrEnum):
    """What becomes of a step that never sees enough requests."""

    HOLD = "Hold"
    ON_PROBE = "PassOnProbe"
    """Go on when every golden request was answered right; the verdict says that nothing else is proven."""
    ROLLBACK = "Rollback"


@dataclass(frozen=True, slots=True)
class Margin:
    """How much worse than stable a canary may be; it must exceed both to count as worse."""

    ratio: float
    """Of the canary's share to stable's, at least 1."""
    difference: float
    """Between the two shares, 0..1."""

    def limit(self, stable_share: float) -> float:
        """Return the largest share that is not worse than `stable_share`."""
        return max(self.ratio * stable_share, stable_share + self.difference)


@dataclass(frozen=True, slots=True)
class LatencyObjective:
    """No more than `share` of requests may take longer than `seconds`."""

    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """What the answer to a custom query must keep; at least one of `limit` and `max_ratio` is set."""

    name: str
    above_is_bad: bool = True
    """Whether a value above `limit` fails (else: below)."""
    limit: float | None = None
    max_ratio: float | None = None
    """Of the canary's value to the baseline's; where low is bad, the smallest such ratio."""

    @property
    def key(self) -> str:
        """Return what tells it from another threshold on the same answer."""
        return self.name if self.above_is_bad else f"{self.name}/min"


@dataclass(frozen=True, slots=True)
class AnalysisPolicy:
    """One rollout's analysis. The defaults are those whose error rates `make bench-analysis` measures."""

    windows: int = 10
    """Windows that a step needs before it may pass."""
    max_windows: int = 30
    """Windows after which a person has to decide."""
    failure_threshold: int = 2
    """Consecutive windows that must fail before the canary is rolled back."""
    alpha: float = 0.02
    """Chance of a wrong `clearly worse` in a whole step; divided by `windows`."""
    late_alpha: float = 0.0003
    """p-value under which a canary beyond the margins fails once the planned windows are over."""
    error_margin: Margin = Margin(ratio=1.5, difference=0.002)
    compare_latency: bool = True
    """Whether `slow` is asked; it needs a latency histogram."""
    latency_margin: Margin = Margin(ratio=1.5, difference=0.005)
    error_limit: float | None = None
    """Share of errors that the canary may not exceed, whatever stable does; None for no such objective."""
    latency: LatencyObjective | None = None
    hard_share: float = 0.2
    """Share of errors at which a canary fails at once."""
    hard_requests: int = 50
    """Requests that the hard limit needs."""
    min_requests: int = 500
    """Requests of each revision without which errors are not judged good."""
    min_slow_requests: int = 1000
    share_tolerance: float = 2.0
    """Factor by which the measured share of traffic may differ from the desired one."""
    load_tolerance: float = 2.0
    """Factor by which a pod of the canary may have more requests than one of stable for latencies to be compared."""
    on_too_few: OnTooFewRequests = OnTooFewRequests.HOLD
    min_probes: int = 30
    """Golden requests answered right without which `PassOnProbe` does not pass."""
    thresholds: tuple[Threshold, ...] = ()
    bake_seconds: float = 600.0


SLOW_REQUESTS_FACTOR: Final = 2
"""A share of 1 % needs more requests than one of failures, where most shares are 0."""


def analysis_policy(analysis: Analysis, slo: Slo | None) -> AnalysisPolicy:
    """Return the policy of one rollout."""
    thresholds = tuple(threshold for query in analysis.queries for threshold in _thresholds(query))
    return AnalysisPolicy(
        windows=analysis.windows,
        max_windows=analysis.max_windows,
        failure_threshold=analysis.failure_threshold,
        error_margin=_margin(analysis.error_rate),
        error_limit=analysis.max_error_rate / 100 if analysis.max_error_rate is not None else None,
        latency_margin=_margin(analysis.latency),
        latency=_latency(slo),
        min_requests=analysis.min_requests,
        min_slow_requests=SLOW_REQUESTS_FACTOR * analysis.min_requests,
        on_too_few=OnTooFewRequests(analysis.on_too_few_requests.value),
        thresholds=thresholds,
        bake_seconds=duration_seconds(analysis.bake_time),
    )


def _margin(margin: ErrorMargin | LatencyMargin) -> Margin:
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
