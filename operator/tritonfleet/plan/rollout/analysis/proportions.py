"""Whether the canary's share of bad requests, failed or slow, is too large.

`evaluate_share` is the test behind the checks of error rate, latency and latency SLO. There are three ways to fail:

1. the hard limit: at once, unless stable exceeds it too;
2. clearly worse: significant against the margin's ratio itself, or against a fixed limit that stable meets;
3. worse after all the planned windows: beyond the margin, and significant against a ratio of 1.

For the last two, the sums of the last 2, 4 or 10 windows or of the whole step must be significant, each of the last
`failure_threshold` windows must show the same by itself, and no single window may explain it. A fault that comes and
goes fails as well: in `failure_threshold` of twice as many windows, each of them significant alone. A burst is
forgotten after 10 windows. A canary
beyond the margin without significance is suspect: it does not pass, and more windows are evaluated.

`compare` tests two shares: given the bad requests of both revisions together, those of the canary are binomial
(Przyborowski and Wilenski, Biometrika 31, 1940). With a true ratio `r` of the shares, each of them belongs to the
canary with chance `r n_c / (r n_c + n_s)`. Example: 500 requests each and `r` = 1.5 give 0.6, so that 9 of 10 bad
requests at the canary have p = 0.046. The tail is exact for small counts, needs no estimate of the share itself, and
is insensitive to what affects both revisions.

Latency is compared as the share of requests above a bound of the histogram, which is a count: a percentile read from
buckets is interpolated between two bounds and has no exact test. The bound is chosen once, from stable's p99, and kept
for the whole step. `evaluation` calls all of this.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tritonfleet.api.canary import Analysis, ErrorMargin, LatencyMargin
from tritonfleet.plan.rollout.analysis.results import (
    CheckResult,
    Numbers,
    Outcome,
    Why,
    percent,
    probability,
    seconds_of,
    share_of,
    shorten,
)
from tritonfleet.plan.rollout.analysis.samples import Cell, PodCounts, Window
from tritonfleet.plan.rollout.analysis.stats import ALPHA, LATE_ALPHA, DispersionStats, upper_tail

HARD_SHARE: Final = 0.2
"""Error rate at which a canary fails at once."""
HARD_FLOOR: Final = 0.15
"""Share that it must exceed significantly: a window with bad luck is not enough."""
HARD_ALPHA: Final = 0.002
HARD_REQUESTS: Final = 50
"""Requests that the hard limit needs, unless nearly all of them fail."""
FEW_ALPHA: Final = 0.002
"""p-value against `HARD_SHARE` under which fewer requests are enough: 4 of 4, 5 of 6."""
FEW_SHARE: Final = 0.8
"""Share of fewer requests that must fail."""
LATENCY_REQUESTS_FACTOR: Final = 2
"""A share of about 1% needs more requests than an error rate, which is mostly 0."""
LOAD_TOLERANCE: Final = 2.0
"""Maximum ratio of requests per canary pod to requests per stable pod for latencies to be comparable."""


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Bad requests among requests."""

    bad: int = 0
    requests: int = 0

    @property
    def share(self) -> float:
        """Return the share of bad requests; 0 without requests."""
        return self.bad / self.requests if self.requests else 0.0

    def plus(self, cells: Sequence[Cell]) -> "RequestCounts":
        """Return the counts with more cells."""
        return RequestCounts(self.bad + sum(bad for bad, _ in cells), self.requests + sum(of for _, of in cells))


@dataclass(frozen=True, slots=True)
class ShareEvidence:
    """Both revisions' counts over the windows in which both got traffic, and stable's variance."""

    canary: RequestCounts = field(default_factory=RequestCounts)
    stable: RequestCounts = field(default_factory=RequestCounts)
    canary_cells: int = 0
    canary_windows: int = 0
    by_pod: DispersionStats = field(default_factory=DispersionStats)
    """Over stable's pods and windows."""
    by_window: DispersionStats = field(default_factory=DispersionStats)
    """Over stable's windows."""

    def add_stable(self, stable: Sequence[Cell]) -> "ShareEvidence":
        """Return the evidence after a window without canary traffic, which adds only to stable's variance."""
        return self._with(RequestCounts(), RequestCounts(), 0, stable)

    def add(self, canary: Sequence[Cell], stable: Sequence[Cell]) -> "ShareEvidence":
        """Return the evidence after one more window."""
        return self._with(RequestCounts().plus(canary), RequestCounts().plus(stable), len(canary), stable)

    def _with(
        self, canary: RequestCounts, stable: RequestCounts, cells: int, spread: Sequence[Cell]
    ) -> "ShareEvidence":
        whole = (sum(bad for bad, _ in spread), sum(of for _, of in spread))
        return ShareEvidence(
            RequestCounts(self.canary.bad + canary.bad, self.canary.requests + canary.requests),
            RequestCounts(self.stable.bad + stable.bad, self.stable.requests + stable.requests),
            self.canary_cells + cells,
            self.canary_windows + bool(cells),
            self.by_pod.add(spread),
            self.by_window.add([whole]),
        )

    def design_effects(self) -> tuple[float, float]:
        """Return the design effects of the canary's and of stable's counts; both at least 1.

        Stable's is the larger of those by pod and by window. The canary is treated as one more pod of stable: the
        correlation within stable's cells, at the size of the canary's own cells.
        """
        stable = max(self.by_pod.design_effect, self.by_window.design_effect)
        canary = 1.0
        for spread, cells in ((self.by_pod, self.canary_cells), (self.by_window, self.canary_windows)):
            if cells:
                canary = max(canary, 1 + (self.canary.requests / cells - 1) * spread.correlation)
        return canary, stable


@dataclass(frozen=True, slots=True)
class Comparison:
    """The canary against stable, or against a fixed limit, over all windows of the step."""

    evidence: ShareEvidence
    margin: ErrorMargin | LatencyMargin
    canary_effect: float
    """Design effect of the canary's counts; at least 1."""
    stable_effect: float

    @property
    def limit(self) -> float:
        """Return the share up to which the canary is not worse than stable."""
        return largest_share(self.margin, self.evidence.stable)

    @property
    def is_beyond(self) -> bool:
        """Whether the canary's observed share exceeds stable's by more than the margin."""
        return is_beyond(self.evidence.canary, self.evidence.stable, self.margin)

    def p_ratio(self, ratio: float) -> float:
        """Return the p-value against "the canary's share is at most `ratio` times stable's"; 1 without data."""
        canary, stable = self.evidence.canary, self.evidence.stable
        if not canary.requests or not stable.requests:
            return 1.0
        bad, trials = canary.bad / self.canary_effect, ratio * canary.requests / self.canary_effect
        others, other_trials = stable.bad / self.stable_effect, stable.requests / self.stable_effect
        return upper_tail(bad, bad + others, trials / (trials + other_trials))

    def p_limit(self, share: float) -> float:
        """Return the p-value against "the canary's share is at most `share`"; 1 without data."""
        canary = self.evidence.canary
        if not canary.requests:
            return 1.0
        return upper_tail(canary.bad / self.canary_effect, canary.requests / self.canary_effect, share)


def compare(evidence: ShareEvidence, margin: ErrorMargin | LatencyMargin) -> Comparison:
    """Return the comparison over all windows of the step."""
    return Comparison(evidence, margin, *evidence.design_effects())


def largest_share(margin: ErrorMargin | LatencyMargin, stable: RequestCounts) -> float:
    """Return the canary's largest share of bad requests that is not worse than stable's: both limits must be exceeded.

    Example: 0.4% of stable's requests are slow. A ratio of 1.5 and a difference of 0.5 percentage points give 0.9%.
    """
    return max(margin.ratio * stable.share, stable.share + margin.difference / 100)


def is_beyond(canary: RequestCounts, stable: RequestCounts, margin: ErrorMargin | LatencyMargin) -> bool:
    """Return whether the canary's observed share exceeds stable's by more than the margin."""
    return canary.requests > 0 and canary.share > largest_share(margin, stable)


WindowCounts = tuple[int, int, int, int]
"""Bad requests and requests of the canary, then of stable, in one window."""
RING_WINDOWS: Final = 10
"""How many windows are remembered one by one."""
SUFFIXES: Final = (2, 4, RING_WINDOWS)
"""Numbers of last windows whose sums are tested, so that what begins late is not diluted by what was before."""
SINGLE_ALPHA: Final = 0.001
"""p-value under which one window is significant alone."""
BURST_SHARE: Final = 0.85
"""Share of an excess above which one window explains it: a burst, which the others have to confirm."""
REST_ALPHA: Final = 0.001
"""p-value above which other windows do not confirm one that is significant alone: an error or two may be chance."""
GROSS_RATIO: Final = 3.0
"""Ratio to what stable had before, which the canary may not exceed where nothing of stable is left to compare with."""
GROSS_ERRORS: Final = 0.05
"""Difference of the error rates that must be exceeded as well."""
GROSS_SLOW: Final = 0.25
"""The same of the shares of slow requests."""
GROSS_REQUESTS: Final = 200
"""Requests of stable that must be known."""
LASTING: Final = 0.7
"""Share of a difference that remains if a canary that has warmed up is no faster than before."""


@dataclass(frozen=True, slots=True)
class ShareRecord:
    """What one check keeps from window to window."""

    evidence: ShareEvidence = field(default_factory=ShareEvidence)
    ring: tuple[WindowCounts, ...] = ()
    """The last windows in which the canary had requests, oldest first; at most `RING_WINDOWS`."""

    def add(self, window: "WindowCells") -> "ShareRecord":
        """Return the record after one more window."""
        canary, stable = RequestCounts().plus(window.canary), RequestCounts().plus(window.stable)
        ring = self.ring
        if canary.requests:
            ring = (*ring, (canary.bad, canary.requests, stable.bad, stable.requests))[-RING_WINDOWS:]
        elif ring and ring[-1][3] < HARD_REQUESTS:
            # With one request a minute the two revisions hardly ever have some in the same window.
            bad, of, others_bad, others = ring[-1]
            ring = (*ring[:-1], (bad, of, others_bad + stable.bad, others + stable.requests))
        return ShareRecord(self.evidence.add(window.canary, window.stable), ring)

    def without(self, window: WindowCounts) -> "ShareRecord":
        """Return the record without a window of the past in the sums of the step: a burst is not remembered forever."""
        bad, of, others_bad, others = window
        canary, stable = self.evidence.canary, self.evidence.stable
        canary = RequestCounts(canary.bad - bad, canary.requests - of)
        stable = RequestCounts(stable.bad - others_bad, stable.requests - others)
        return replace(self, evidence=replace(self.evidence, canary=canary, stable=stable))

    def recent(self, windows: int = RING_WINDOWS) -> ShareEvidence:
        """Return the evidence with the counts of the last windows alone."""
        canary, stable = _sums(self.ring[-windows:])
        return replace(self.evidence, canary=canary, stable=stable)

    def is_still_worse(self, margin: ErrorMargin | LatencyMargin) -> bool:
        """Return whether the canary exceeds the margin in the last window by itself, and hardly less than before."""
        (canary, stable), (before, others) = _sums(self.ring[-1:]), _sums(self.ring[:-1])
        return is_beyond(canary, stable, margin) and canary.share - stable.share >= LASTING * (
            before.share - others.share
        )

    def gross_limit(self, difference: float) -> float | None:
        """Return the share of a revision that is grossly worse than stable was; None if too little is known of it.

        Hours may lie between, so that a smaller difference proves nothing.
        """
        known = self.evidence.by_pod
        if known.trials < GROSS_REQUESTS:
            return None
        share = known.events / known.trials
        return min(1.0, max(GROSS_RATIO * share, share + difference))

    def stable_only(self) -> "ShareRecord":
        """Return stable's variance, without the comparison."""
        return ShareRecord(ShareEvidence(by_pod=self.evidence.by_pod, by_window=self.evidence.by_window))


def _sums(windows: Sequence[WindowCounts]) -> tuple[RequestCounts, RequestCounts]:
    bad, requests, stable_bad, stable_requests = (sum(column) for column in zip(*windows, (0, 0, 0, 0), strict=True))
    return RequestCounts(bad, requests), RequestCounts(stable_bad, stable_requests)


@dataclass(frozen=True, slots=True)
class ShareRule:
    """The limits for one kind of bad request."""

    check: str
    bad: str
    """Prefix of the message, such as `requests above 250ms: `; mostly empty for errors."""
    margin: ErrorMargin | LatencyMargin
    min_requests: int
    limit: float | None = None
    """Share that the canary may not exceed, regardless of stable."""
    hard_share: float | None = None
    alone: bool = False
    """Whether the canary has all traffic: only the limits apply."""


@dataclass(frozen=True, slots=True)
class WindowCells:
    """Bad requests and requests of every pod in one window."""

    canary: tuple[Cell, ...]
    stable: tuple[Cell, ...]

    @property
    def is_clean(self) -> bool:
        """Whether no request is bad."""
        return not any(bad for bad, _ in (*self.canary, *self.stable))


def evaluate_share(
    rule: ShareRule, analysis: Analysis, record: ShareRecord, window: WindowCells, number: int
) -> tuple[CheckResult, ShareRecord]:
    """Return the result after one more window, the `number`-th of its step, and the record to keep."""
    kept = record.add(window)
    effects = kept.evidence.design_effects()
    if len(record.ring) == RING_WINDOWS and kept.ring[0] != record.ring[0]:
        gone = record.ring[0]
        if _Judged(rule, analysis, record, effects, number).is_significant(gone):
            kept = kept.without(gone)
    recent = Comparison(kept.recent(), rule.margin, *effects)
    canary, stable = RequestCounts().plus(window.canary), RequestCounts().plus(window.stable)
    if _hits_hard_limit(rule, canary, stable) or _hits_hard_limit(rule, recent.evidence.canary, recent.evidence.stable):
        return _share_result(rule, recent, Outcome.FAILED, Why.HARD_LIMIT), kept
    judged = _Judged(rule, analysis, kept, effects, number)
    found = judged.significant() if canary.requests and judged.is_confirmed() else None
    if found is not None:
        why, comparison = found
        return _share_result(rule, comparison, Outcome.FAILED, why), kept
    if judged.is_intermittent() and canary.requests:
        return _share_result(rule, recent, Outcome.FAILED, Why.WORSE), kept
    confirming = judged.significant(bursts=True) is not None
    step = Comparison(kept.evidence, rule.margin, *effects)
    outcome, reason = _short_of_failing(rule, recent, step, confirming=confirming)
    return _share_result(rule, recent, outcome, reason), kept


@dataclass(frozen=True, slots=True)
class _Judged:
    """The tests on the windows of one check."""

    rule: ShareRule
    analysis: Analysis
    record: ShareRecord
    effects: tuple[float, float]
    number: int

    def _comparison(self, evidence: ShareEvidence) -> Comparison:
        return Comparison(evidence, self.rule.margin, *self.effects)

    def significant(self, *, bursts: bool = False) -> tuple[Why, Comparison] | None:
        """Return why the last windows, or the whole step, are worse than chance explains; None if they are not.

        With `bursts` the last windows count even if one of them explains it, and the whole step does not.
        """
        threshold, ring = self.analysis.failure_threshold, self.record.ring
        for length in sorted({min(max(suffix, threshold), len(ring)) for suffix in SUFFIXES}, reverse=True):
            found = self._why(self.record.recent(length), whole=self.number <= length)
            if found is not None and (bursts or not self._is_burst(ring[-length:])):
                return found
        if bursts:
            return None
        found = self._why(self.record.evidence, whole=True)
        return found if found is not None and not self._is_burst(ring) else None

    def _why(self, evidence: ShareEvidence, *, whole: bool) -> tuple[Why, Comparison] | None:
        rule, now, alpha = self.rule, self._comparison(evidence), ALPHA / self.analysis.windows
        canary, stable = evidence.canary, evidence.stable
        if not rule.alone and stable.requests and now.is_beyond:
            late = whole and self.number >= self.analysis.windows and now.p_ratio(1.0) < LATE_ALPHA
            if late or now.p_ratio(rule.margin.ratio) < alpha:
                return Why.WORSE, now
        stable_keeps = rule.alone or stable.share <= (rule.limit or 0)
        if rule.limit is not None and canary.share > rule.limit and stable_keeps and now.p_limit(rule.limit) < alpha:
            return Why.BEYOND_LIMIT, now
        return None

    def _is_burst(self, windows: Sequence[WindowCounts]) -> bool:
        """Return whether one window explains nearly all that the canary has more, which the others must confirm."""
        if self.analysis.failure_threshold == 1 or self.rule.alone:
            return False
        _, stable = _sums(windows)
        excess = [bad - stable.share * of for bad, of, _, _ in windows]
        worst = excess.index(max(excess))
        if excess[worst] > BURST_SHARE * sum(excess):
            return True
        if len(windows) <= self.analysis.failure_threshold or not self.is_significant(windows[worst]):
            return False
        canary, stable = _sums([*windows[:worst], *windows[worst + 1 :]])
        rest = self._comparison(replace(self.record.evidence, canary=canary, stable=stable))
        return rest.p_ratio(1.0) > REST_ALPHA

    def is_confirmed(self) -> bool:
        """Return whether each of the last windows shows it by itself."""
        last = self.record.ring[-self.analysis.failure_threshold :]
        return len(last) == self.analysis.failure_threshold and all(
            _is_bad(self.rule, *_sums([window])) for window in last
        )

    def is_intermittent(self) -> bool:
        """Return whether enough of the last windows, the newest among them, are significant, each of them alone."""
        threshold, ring = self.analysis.failure_threshold, self.record.ring
        if self.rule.alone or not ring or not self.is_significant(ring[-1]):
            return False
        return sum(map(self.is_significant, ring[-2 * threshold :])) >= threshold

    def is_significant(self, window: WindowCounts) -> bool:
        """Return whether the canary is worse in one window by more than chance explains."""
        canary, stable = _sums([window])
        now = self._comparison(replace(self.record.evidence, canary=canary, stable=stable))
        return now.is_beyond and stable.requests > 0 and now.p_ratio(self.rule.margin.ratio) < SINGLE_ALPHA


def _hits_hard_limit(rule: ShareRule, canary: RequestCounts, stable: RequestCounts) -> bool:
    """Return whether the canary fails so many requests that one window is enough; unless stable does, too."""
    if rule.hard_share is None or canary.share < rule.hard_share:
        return False
    if canary.requests < HARD_REQUESTS and not _nearly_all_fail(rule, canary, stable):
        return False
    if upper_tail(canary.bad, canary.requests, HARD_FLOOR) > HARD_ALPHA:
        return False
    return rule.alone or not stable.requests or canary.share > largest_share(rule.margin, stable)


def _nearly_all_fail(rule: ShareRule, canary: RequestCounts, stable: RequestCounts) -> bool:
    """Return whether so many of a few requests fail, and so few of stable's, that more are not needed."""
    if canary.share < FEW_SHARE or upper_tail(canary.bad, canary.requests, rule.hard_share or 0.0) >= FEW_ALPHA:
        return False
    part = canary.requests / (canary.requests + stable.requests)
    return rule.alone or upper_tail(canary.bad, canary.bad + stable.bad, part) < FEW_ALPHA * 5


def _is_bad(rule: ShareRule, canary: RequestCounts, stable: RequestCounts) -> bool:
    """Return whether the canary fails in one window by itself."""
    if not rule.alone and stable.requests and is_beyond(canary, stable, rule.margin):
        return True
    return rule.limit is not None and canary.share > rule.limit


def _short_of_failing(
    rule: ShareRule, recent: Comparison, step: Comparison, *, confirming: bool
) -> tuple[Outcome, Why]:
    """Return the result by the last windows and the whole step."""
    canary, stable = recent.evidence.canary, recent.evidence.stable
    over_limit = rule.limit is not None and canary.share > rule.limit
    if confirming:
        return Outcome.INCONCLUSIVE, Why.CONFIRMING
    if over_limit and not rule.alone and stable.share > (rule.limit or 0):
        return Outcome.INCONCLUSIVE, Why.SHARED_INCIDENT
    requests = min(step.evidence.canary.requests, rule.min_requests if rule.alone else step.evidence.stable.requests)
    if requests < rule.min_requests:
        return Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS
    if over_limit or (not rule.alone and (recent.is_beyond or step.is_beyond)):
        return Outcome.INCONCLUSIVE, Why.SUSPECT
    return Outcome.PASSED, Why.NOT_WORSE


def _share_result(rule: ShareRule, now: Comparison, outcome: Outcome, why: Why) -> CheckResult:
    canary, stable = now.evidence.canary, now.evidence.stable
    absolute = rule.alone or why is Why.BEYOND_LIMIT
    limit = rule.hard_share if why is Why.HARD_LIMIT else rule.limit if absolute else now.limit
    p = None
    if not absolute:
        p = now.p_ratio(1.0)
    elif limit is not None:
        p = now.p_limit(limit)
    parts = [f"{rule.bad}canary {share_of(canary.bad, canary.requests)}"]
    if not rule.alone:
        parts.append(f"stable {share_of(stable.bad, stable.requests)}")
    if limit is not None:
        parts.append(f"limit {percent(limit)}")
    if p is not None:
        parts.append(probability(p))
    if not canary.requests and not stable.requests:
        parts = [f"no requests from users so far, {rule.min_requests:,} needed"]
    numbers = Numbers(canary.share, canary.requests, stable.share, stable.requests, limit, p)
    return CheckResult(rule.check, outcome, why, shorten(", ".join(parts)), numbers)


ERROR_RATE: Final = "error-rate"


def error_rate_rule(analysis: Analysis, *, alone: bool, before: ShareRecord | None = None) -> ShareRule:
    """Return the limits of the error rate; `before` has what stable had, if there is no other comparison with it."""
    limit = analysis.max_error_rate / 100 if analysis.max_error_rate is not None else None
    rule = ShareRule(ERROR_RATE, "", analysis.error_rate, analysis.min_requests, limit, HARD_SHARE, alone=alone)
    gross = before.gross_limit(GROSS_ERRORS) if before is not None else None
    if before is None or gross is None:
        return rule
    known = before.evidence.by_pod
    said = f"stable had {share_of(round(known.events), round(known.trials))} before; "
    return replace(rule, bad=said, limit=min(gross, limit or 1.0), hard_share=max(HARD_SHARE, gross))


def error_cells(window: Window) -> WindowCells:
    """Return errors and requests of each pod."""
    return WindowCells(window.canary.error_cells(), window.stable.error_cells())


CANCELED_REQUESTS: Final = "canceled-requests"
CANCELED_MARGIN: Final = ErrorMargin(ratio=2, difference=1)
"""Clients also leave for reasons of their own, and more of them where requests wait."""


def canceled_rule() -> ShareRule:
    """Return the limits of the share of requests that clients gave up on, as they do on requests that hang."""
    return ShareRule(CANCELED_REQUESTS, "", CANCELED_MARGIN, min_requests=0, hard_share=HARD_SHARE)


def canceled_window(window: Window) -> WindowCells:
    """Return canceled and all requests of each pod."""
    return WindowCells(window.canary.canceled_cells(), window.stable.canceled_cells())


LATENCY: Final = "latency"
LATENCY_OBJECTIVE: Final = "latency-objective"
TAIL = 0.01
"""The share above a p99."""


def bound_nearest_p99(stable: Iterable[PodCounts]) -> float | None:
    """Return the histogram's bound nearest to stable's p99, in seconds; None when nothing was timed.

    The p99 is placed by a straight line within its bucket, as Prometheus does. Above the last bound it is that bound.
    """
    pods = [pod for pod in stable if pod.timed and pod.within]
    total = sum(pod.timed for pod in pods)
    bounds = sorted(set.intersection(*(set(pod.within) for pod in pods))) if pods else []
    below, low = 0, 0.0
    for bound in bounds:
        within = sum(pod.within[bound] for pod in pods)
        if within >= (1 - TAIL) * total:
            p99 = low + (bound - low) * ((1 - TAIL) * total - below) / max(1, within - below)
            return min(bounds, key=lambda candidate: (abs(candidate - p99), candidate))
        below, low = within, bound
    return bounds[-1] if bounds else None


def bound_at_least(seconds: float, stable: Iterable[PodCounts]) -> float | None:
    """Return the smallest bound not below an objective, above which requests surely miss it; None if there is none."""
    return min({bound for pod in stable for bound in pod.within if bound >= seconds}, default=None)


def latency_rule(
    analysis: Analysis, check: str, bound_seconds: float, allowed: float | None, *, alone: bool
) -> ShareRule:
    """Return the limits of the share above the bound; `allowed` is the share that an objective allows, if any."""
    min_requests = LATENCY_REQUESTS_FACTOR * analysis.min_requests
    bad = f"requests above {seconds_of(bound_seconds)}: "
    return ShareRule(check, bad, analysis.latency, min_requests, allowed, alone=alone)


def latency_cells(window: Window, bound_seconds: float) -> WindowCells:
    """Return slow and timed requests, by pod or gateway instance."""
    return WindowCells(window.canary.latency_cells(bound_seconds), window.stable.latency_cells(bound_seconds))


def is_overloaded(window: Window) -> bool:
    """Return whether the canary's pods had so many more requests than stable's that higher latency proves nothing.

    Fewer requests make a pod faster, so a canary that is slower with less load is worse.
    """
    return window.canary.requests_per_pod > LOAD_TOLERANCE * window.stable.requests_per_pod
