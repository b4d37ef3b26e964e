"""The evaluation of one window: every check in order, and the verdict on the step.

`plan/rollout` calls `analyze` for a window in which both revisions got traffic, and `bake` for a window after the last
step, when the canary has all the traffic. There is no stable traffic then, and comparing with an earlier hour would
blame the canary for the time of day; so `bake` runs only the checks without a comparison: the hard limit, the
objectives, golden requests, and custom queries. `record_stable` learns from windows before the canary gets traffic.

Every result is a pure function of the stored `Progress` and of one window's counters, so a crash before the status is
written changes nothing. `evaluate_window` runs the checks in the order in which they are shown; the worst decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, Final, Self

from pydantic import Field, TypeAdapter

from tritonfleet.api.canary import Analysis, OnTooFewRequests
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.slo import LatencyObjective, Slo
from tritonfleet.plan.rollout.analysis.checks import (
    TRAFFIC_SHARE,
    Probes,
    TrafficShare,
    evaluate_probe,
    evaluate_query,
    evaluate_traffic_share,
    probe_proof,
    thresholds,
)
from tritonfleet.plan.rollout.analysis.mean_latency import (
    COMPUTE_TIME,
    MIN_INTERVALS,
    RATIO,
    MeanRecord,
    evaluate_mean_latency,
)
from tritonfleet.plan.rollout.analysis.proportions import (
    CANCELED_REQUESTS,
    ERROR_RATE,
    GROSS_SLOW,
    LATENCY,
    LATENCY_OBJECTIVE,
    LOAD_TOLERANCE,
    ShareRecord,
    bound_at_least,
    bound_nearest_p99,
    canceled_rule,
    canceled_window,
    error_cells,
    error_rate_rule,
    evaluate_share,
    is_overloaded,
    latency_cells,
    latency_rule,
)
from tritonfleet.plan.rollout.analysis.results import (
    EXPLAINED,
    CheckResult,
    Outcome,
    Why,
    deciding,
    sentence_of,
    shorten,
)
from tritonfleet.plan.rollout.analysis.samples import Cell, PodCounts, ScrapeInterval, Window

MIN_PROBES: Final = 30
"""Minimum of correct golden requests for `PassOnProbe` to pass."""
WAITING_SHARE: Final = 0.5
"""Least part of the time above a bound that waiting must account for to explain it; times vary by themselves too."""


class AnalysisPolicy(Analysis):
    """The analysis settings of a rollout's plan, with the objective of `spec.slo`."""

    objective: LatencyObjective | None = None
    """Latency objective of `spec.slo`; None if it has none."""
    compare_latency: bool = True
    """Whether latencies are compared with stable's."""

    @property
    def objective_share(self) -> float | None:
        """Return the share of requests, 0..1, that may exceed the objective; None without one."""
        return round(1 - self.objective.percentile / 100, 6) if self.objective is not None else None


def analysis_policy(analysis: Analysis, slo: Slo | None) -> AnalysisPolicy:
    """Return the policy of one rollout."""
    return AnalysisPolicy(**dict(analysis), objective=slo.latency if slo is not None else None)


@dataclass(frozen=True, slots=True)
class Progress:
    """What is kept from one window of a step, or of the bake time, to the next; a step begins with `Progress()`.

    Constant in size, and stored in `status.rollout.analysis`.
    """

    windows: int = 0
    """Number of windows with requests whose counters could be read."""
    silent: int = 0
    """Number of windows without any request."""
    last_end_seconds: Annotated[float | None, Field(alias="lastEndSeconds")] = None
    """End of the last window that was evaluated or recorded."""
    error_rate: Annotated[ShareRecord, Field(alias="errorRate")] = field(default_factory=ShareRecord)
    canceled: ShareRecord = field(default_factory=ShareRecord)
    """Requests that clients gave up on."""
    latency: ShareRecord = field(default_factory=ShareRecord)
    latency_bound_seconds: Annotated[float | None, Field(alias="latencyBoundSeconds")] = None
    objective: ShareRecord = field(default_factory=ShareRecord)
    objective_bound_seconds: Annotated[float | None, Field(alias="objectiveBoundSeconds")] = None
    traffic_share: Annotated[TrafficShare, Field(alias="trafficShare")] = field(default_factory=TrafficShare)
    probes: Probes = field(default_factory=Probes)
    query_streaks: Annotated[Mapping[str, int], Field(alias="queryStreaks")] = field(default_factory=dict)
    mean_latency: Annotated[MeanRecord, Field(alias="meanLatency")] = field(default_factory=MeanRecord)
    cold: bool = False
    """Whether the latencies of the last window were those of pods that warm up."""
    usual: PodCounts = field(default_factory=lambda: PodCounts(0, 0))
    """Latencies of stable in all windows so far, from which `latency_bound_seconds` is chosen."""

    @property
    def elapsed(self) -> int:
        """Return the number of all windows whose counters could be read."""
        return self.windows + self.silent

    def next_step(self) -> Self:
        """Return the progress at the start of the next step, which keeps only stable's variance."""
        return type(self)(
            last_end_seconds=self.last_end_seconds,
            error_rate=self.error_rate.stable_only(),
            canceled=self.canceled.stable_only(),
            latency=self.latency.stable_only(),
            latency_bound_seconds=self.latency_bound_seconds,
            objective=self.objective.stable_only(),
            objective_bound_seconds=self.objective_bound_seconds,
            usual=self.usual,
        )

    def document(self) -> dict[str, Any]:
        """Return the progress as JSON-compatible data."""
        document: dict[str, Any] = _PROGRESS.dump_python(self, mode="json", by_alias=True)
        return document

    @classmethod
    def restore(cls, document: Mapping[str, Any]) -> "Progress":
        """Return the progress serialized by `document()`.

        Raises:
            ValueError: The document is invalid. Starting the step over is safe, and only takes longer.
        """
        missing = _EMPTY.keys() - document.keys() - _NEW
        if missing:
            raise ValueError(f"not the progress of an analysis: {', '.join(sorted(missing))} missing")
        progress = _PROGRESS.validate_python(document)
        # A former version kept sums of the step in place of its last windows, so the step begins again.
        return progress if "ring" in document["errorRate"] else progress.next_step()


_PROGRESS: Final = TypeAdapter(Progress)
_EMPTY: Final = Progress().document()
_NEW: Final = frozenset({"silent", "canceled", "cold", "usual"})
"""What a former version did not write."""


@dataclass(frozen=True, slots=True)
class AnalysisVerdict:
    """The verdict on the step after one window."""

    outcome: Outcome
    """`PASSED`: the step is complete. `FAILED`: roll back. Else: take another window."""
    why: Why
    message: str
    """A sentence with numbers, at most 256 characters."""
    results: tuple[CheckResult, ...]
    progress: Progress
    """The argument of the next evaluation."""
    needs_person: bool = False
    """Whether more windows would not decide it."""
    unproven: bool = False
    """Whether it passed on golden requests alone, for lack of traffic."""


def analyze(policy: AnalysisPolicy, progress: Progress, window: Window) -> AnalysisVerdict:
    """Return the verdict after one more window in which both revisions got traffic.

    Fail: any check fails. Else Error: any check has no data. Else Inconclusive, until the planned windows with requests
    are over and every check passes. After `maxWindows`, silent ones included, a person is needed. A window that is not
    later than the last one is not counted and changes nothing.

    Raises:
        ValueError: The desired share is 0 or 1, so one revision has no traffic.
    """
    if not 0 < window.desired_share < 1:
        raise ValueError(f"desired_share must be between 0 and 1, not {window.desired_share}: use bake() at 1")
    seen = _already_seen(progress, window)
    if seen is not None:
        return seen
    results, progress = evaluate_window(policy, progress, window, alone=False)
    worst = deciding(results)
    verdict = AnalysisVerdict(worst.outcome, worst.why, sentence_of(worst), results, progress)
    if worst.outcome in (Outcome.FAILED, Outcome.ERROR):
        return verdict
    silent = worst.why is Why.TOO_FEW_REQUESTS and progress.elapsed >= policy.windows
    if progress.windows < policy.windows and worst.why is not Why.CONFIRMING and not silent:
        ahead = shorten(f"window {progress.windows} of {policy.windows}; {sentence_of(worst)}")
        return replace(verdict, outcome=Outcome.INCONCLUSIVE, why=Why.ANALYSIS_RUNNING, message=ahead)
    if worst.outcome is Outcome.INCONCLUSIVE and progress.elapsed >= policy.max_windows:
        return _on_too_few_requests(policy, replace(verdict, needs_person=True))
    return verdict


def _already_seen(progress: Progress, window: Window) -> AnalysisVerdict | None:
    """Return the verdict on a window that is not later than the last one; None if it is later."""
    last = progress.last_end_seconds
    if last is None or window.end_seconds > last:
        return None
    text = "window already evaluated"
    return AnalysisVerdict(Outcome.INCONCLUSIVE, Why.ALREADY_SEEN, text, (), progress)


def bake(
    policy: AnalysisPolicy, progress: Progress, window: Window, started_seconds: float, *, unseen: bool = False
) -> AnalysisVerdict:
    """Return the verdict after one more window of the bake time, which started at `started_seconds`.

    Too few requests do not block it, as the canary has all traffic already. It passes when the bake time is over and
    all other checks pass; missing metrics are not a pass. A canary that was never compared with stable (`unseen`) must
    not be grossly worse than stable was before.
    """
    seen = _already_seen(progress, window)
    if seen is not None:
        return seen
    results, progress = evaluate_window(policy, progress, window, alone=True, unseen=unseen)
    open_results = tuple(result for result in results if result.why is not Why.TOO_FEW_REQUESTS)
    worst = deciding(open_results or results)
    verdict = AnalysisVerdict(worst.outcome, worst.why, sentence_of(worst), results, progress)
    if open_results and worst.outcome is not Outcome.PASSED:
        return verdict
    left = started_seconds + duration_seconds(policy.bake_time) - window.end_seconds
    if left > 0:
        text = shorten(f"{left:.0f}s of the bake time left; {sentence_of(worst)}")
        return replace(verdict, outcome=Outcome.INCONCLUSIVE, why=Why.BAKING, message=text)
    return replace(verdict, outcome=Outcome.PASSED, why=Why.NOT_WORSE)


_WATCHED: Final = AnalysisPolicy(compare_latency=False)


def watch(progress: Progress, window: Window) -> AnalysisVerdict:
    """Return the verdict on a promoted revision after one more window: it fails by the hard limit alone."""
    return _already_seen(progress, window) or bake(_WATCHED, progress, window, window.end_seconds)


def _on_too_few_requests(policy: AnalysisPolicy, verdict: AnalysisVerdict) -> AnalysisVerdict:
    """Apply `onTooFewRequests` to an inconclusive verdict, if too few requests are its only cause."""
    open_whys = {result.why for result in verdict.results if result.outcome is not Outcome.PASSED}
    if open_whys != {Why.TOO_FEW_REQUESTS}:
        return verdict
    if policy.on_too_few_requests is OnTooFewRequests.ROLLBACK:
        return replace(verdict, outcome=Outcome.FAILED, needs_person=False)
    if policy.on_too_few_requests is OnTooFewRequests.PASS_ON_PROBE:
        return _on_probe(verdict)
    return verdict


def _on_probe(verdict: AnalysisVerdict) -> AnalysisVerdict:
    probes = verdict.progress.probes
    if probes.wrong or probes.right < MIN_PROBES:
        text = shorten(f"golden requests: {probe_proof(probes)}; at least {MIN_PROBES} and none wrong required")
        return replace(verdict, message=text)
    text = shorten(f"too few requests, passed on golden requests alone: {probe_proof(probes)}")
    return replace(verdict, outcome=Outcome.PASSED, why=Why.UNPROVEN, message=text, needs_person=False, unproven=True)


def evaluate_window(
    policy: AnalysisPolicy, progress: Progress, window: Window, *, alone: bool, unseen: bool = False
) -> tuple[tuple[CheckResult, ...], Progress]:
    """Return the result of every check on `window`, and the progress after it.

    A window without counters is not counted: the checks on counters return `Error` and keep their records. `alone` runs
    only the checks that need no stable traffic; with `unseen`, they compare with what stable was before, roughly.
    """
    at = _WindowChecks(policy, progress, window, alone, unseen)
    results: list[CheckResult] = []
    error, error_record = at.error_rate()
    results.append(error)
    canceled = progress.canceled
    if not alone:
        shown, canceled = at.canceled()
        results.extend(shown)
    latencies, kept = _latencies(at, progress)
    results.extend(latencies)
    traffic = progress.traffic_share
    if not alone:
        result, traffic = at.traffic_share()
        results.append(result)
    asked, probes, streaks = _asked(policy, progress, window)
    after = replace(
        kept,
        windows=at.number,
        silent=progress.silent + at.is_silent,
        last_end_seconds=window.end_seconds,
        error_rate=error_record,
        canceled=canceled,
        traffic_share=traffic,
        probes=probes,
        query_streaks=streaks,
    )
    return (*results, *asked), after


def _latencies(at: "_WindowChecks", progress: Progress) -> tuple[list[CheckResult], Progress]:
    """Return the results of the checks of latency, and the progress with what they keep.

    While the canary's pods warm up, nothing fails. The windows of that time are evidence only against a canary whose
    first window after it is bad as well; otherwise they are forgotten.
    """
    policy, is_cold = at.policy, at.window.canary.is_cold
    if not at.alone:
        progress = replace(progress, usual=at.window.stable.with_latencies(progress.usual))
    was_cold = progress.cold and not is_cold and at.gap is None
    results, kept = _measured(at, progress)
    if was_cold and not _is_still_slow(policy, kept):
        fresh = progress.next_step()
        anew = replace(progress, latency=fresh.latency, objective=fresh.objective, mean_latency=fresh.mean_latency)
        results, kept = _measured(at, anew)
    if is_cold:
        results = [_while_cold(result) for result in results]
    return results, replace(kept, cold=is_cold if at.gap is None else progress.cold)


def _measured(at: "_WindowChecks", progress: Progress) -> tuple[list[CheckResult], Progress]:
    """Return the results of the checks of latency, as if every pod were warm."""
    policy, window, results = at.policy, at.window, list[CheckResult]()
    latency_bound, objective_bound = _bounds(policy, progress, window)
    if at.alone:
        # Stable's, if it was measured before.
        latency_bound = progress.latency_bound_seconds
    if latency_bound != progress.latency_bound_seconds:
        progress = replace(progress, latency=ShareRecord())
    latency, objective, means = progress.latency, progress.objective, progress.mean_latency
    compute: CheckResult | None = None
    compares = policy.compare_latency and not at.alone
    if at.unseen and policy.compare_latency and latency.gross_limit(GROSS_SLOW) is not None:
        result, latency = at.latency(LATENCY, latency, latency_bound)
        results.append(result)
    by_means = window.intervals is not None and latency_bound is None
    if compares and (by_means or window.service or at.other_hardware):
        intervals = (window.intervals if by_means else window.service) or ()
        compute, means = at.mean_latency(LATENCY if by_means else COMPUTE_TIME, means, intervals)
    if compares and not by_means:
        result, latency = at.latency(LATENCY, latency, latency_bound)
        results.append(at.by_its_own_work(result, latency, latency_bound, means if window.service else None))
    if compute is not None:
        results.append(compute)
    # An objective is about single requests, which means do not show.
    if policy.objective is not None and (window.intervals is None or objective_bound is not None):
        result, objective = at.latency(LATENCY_OBJECTIVE, objective, objective_bound)
        known = means if window.service and compares else None
        results.append(at.by_its_own_work(result, objective, objective_bound, known))
    return results, replace(
        progress,
        latency=latency,
        latency_bound_seconds=latency_bound,
        objective=objective,
        objective_bound_seconds=objective_bound,
        mean_latency=means,
    )


def _is_still_slow(policy: AnalysisPolicy, kept: Progress) -> bool:
    """Return whether the canary is slower in the last window by itself, and hardly less than before.

    What Triton itself needs for the requests tells it best: others still wait in a queue from the time before.
    """
    means = kept.mean_latency
    if means.ring:
        return means.is_still_slower
    return any(record.is_still_worse(policy.latency) for record in (kept.latency, kept.objective))


def _while_cold(result: CheckResult) -> CheckResult:
    """Return the result of latencies while pods warm up: it fails nothing, and nothing passes by it."""
    if result.outcome not in (Outcome.FAILED, Outcome.INCONCLUSIVE) or result.why not in _SLOWER:
        return result
    text = shorten(f"pods of the canary warm up; {result.message}")
    return replace(result, outcome=Outcome.INCONCLUSIVE, why=Why.WARMING_UP, message=text)


def _asked(
    policy: AnalysisPolicy, progress: Progress, window: Window
) -> tuple[list[CheckResult], Probes, Mapping[str, int]]:
    """Return the results of golden requests and custom queries."""
    results, probes, streaks = [], progress.probes, dict(progress.query_streaks)
    if window.probe_expected:
        result, probes = evaluate_probe(policy, probes, window.probe)
        results.append(result)
    answers = {answer.name: answer for answer in window.answers}
    for threshold in thresholds(policy.queries):
        key = threshold.key
        result, streaks[key] = evaluate_query(policy, threshold, streaks.get(key, 0), answers.get(threshold.name))
        results.append(result)
    return results, probes, streaks


def record_stable(policy: AnalysisPolicy, progress: Progress, window: Window) -> Progress:
    """Return the progress with stable's variance from a window before the canary gets traffic.

    A window that is not later than the last one changes nothing.
    """
    is_old = progress.last_end_seconds is not None and window.end_seconds <= progress.last_end_seconds
    if is_old or window.unreachable or not window.stable.pods:
        return progress
    progress = replace(progress, usual=window.stable.with_latencies(progress.usual))
    latency_bound, objective_bound = _bounds(policy, progress, window)
    if latency_bound != progress.latency_bound_seconds:
        progress = replace(progress, latency=ShareRecord())
    return replace(
        progress,
        last_end_seconds=window.end_seconds,
        error_rate=_recorded(progress.error_rate, window.stable.error_cells()),
        canceled=_recorded(progress.canceled, window.stable.canceled_cells()),
        latency=_recorded(progress.latency, _stable_cells(window, latency_bound)),
        latency_bound_seconds=latency_bound,
        objective=_recorded(progress.objective, _stable_cells(window, objective_bound)),
        objective_bound_seconds=objective_bound,
    )


_SLOWER = frozenset({Why.WORSE, Why.CONFIRMING, Why.SUSPECT, Why.BEYOND_LIMIT})


@dataclass(frozen=True)
class _WindowChecks:
    """The checks on the counters of one window."""

    policy: AnalysisPolicy
    progress: Progress
    window: Window
    alone: bool
    unseen: bool = False

    @cached_property
    def gap(self) -> tuple[Why, str] | None:
        """Return why the window has no counts; None if it has."""
        window = self.window
        if window.unreachable:
            return Why.UNREACHABLE, shorten(window.unreachable)
        if not window.canary.pods:
            return Why.NO_SERIES, f"no metrics from canary pods, {len(window.canary.missing)} expected"
        if not window.stable.pods and not self.alone:
            return Why.NO_SERIES, f"no metrics from stable pods, {len(window.stable.missing)} expected"
        return None

    @property
    def is_silent(self) -> bool:
        """Whether the window has counts, and no request among them."""
        return self.gap is None and self._is_idle

    @cached_property
    def number(self) -> int:
        """Return the number of this window in the step; that of the last one if this one is not counted."""
        return self.progress.windows + (self.gap is None and not self._is_idle)

    def error_rate(self) -> tuple[CheckResult, ShareRecord]:
        """Check the error rate."""
        record = self.progress.error_rate
        rule = error_rate_rule(self.policy, alone=self.alone, before=record if self.unseen else None)
        if self.gap is not None:
            return CheckResult(ERROR_RATE, Outcome.ERROR, *self.gap), record
        return evaluate_share(rule, self.policy, record, error_cells(self.window), self.number)

    def canceled(self) -> tuple[tuple[CheckResult, ...], ShareRecord]:
        """Check the share of requests that clients gave up on; there is no result before there are any."""
        record, known = self.progress.canceled, self.progress.canceled.evidence
        before = known.canary.bad + known.stable.bad
        if self.gap is not None:
            return ((CheckResult(CANCELED_REQUESTS, Outcome.ERROR, *self.gap),) if before else ()), record
        cells = canceled_window(self.window)
        if not before and cells.is_clean:
            return (), record.add(cells)
        result, kept = evaluate_share(canceled_rule(), self.policy, record, cells, self.number)
        return (result,), kept

    def latency(self, check: str, record: ShareRecord, bound_seconds: float | None) -> tuple[CheckResult, ShareRecord]:
        """Check the share of requests above a bound."""
        if self.gap is not None:
            return CheckResult(check, Outcome.ERROR, *self.gap), record
        unmeasured = self.window.latency_gap(bound_seconds, alone=self.alone)
        if bound_seconds is None and not self.window.untimed and self._is_idle:
            text = "no requests"
            return CheckResult(check, Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS, text), record
        if unmeasured or bound_seconds is None:
            why = Why.UNREACHABLE if self.window.untimed else Why.NO_SERIES
            return CheckResult(check, Outcome.ERROR, why, shorten(unmeasured)), record
        allowed = self.policy.objective_share if check == LATENCY_OBJECTIVE else None
        if self.unseen and check == LATENCY:
            allowed = record.gross_limit(GROSS_SLOW)
        rule = latency_rule(self.policy, check, bound_seconds, allowed, alone=self.alone)
        cells = latency_cells(self.window, bound_seconds)
        return evaluate_share(rule, self.policy, record, cells, self.number)

    @cached_property
    def _is_idle(self) -> bool:
        """Whether neither revision got requests, so that missing latencies mean nothing."""
        return self.window.canary.requests + self.window.stable.requests == 0

    def mean_latency(
        self, check: str, kept: MeanRecord, intervals: tuple[ScrapeInterval, ...]
    ) -> tuple[CheckResult, MeanRecord]:
        """Check the mean time that Triton itself needs for a request."""
        if self.gap is not None:
            return CheckResult(check, Outcome.ERROR, *self.gap), kept
        if self.other_hardware:
            return CheckResult(check, Outcome.INCONCLUSIVE, Why.OTHER_HARDWARE, self.other_hardware), kept
        result, kept = evaluate_mean_latency(check, self.policy, kept, intervals, self.number)
        return (result if kept.sums.canary_queue or kept.sums.stable_queue else self._by_load(result)), kept

    def by_its_own_work(
        self, result: CheckResult, record: ShareRecord, bound_seconds: float | None, means: MeanRecord | None
    ) -> CheckResult:
        """Return the result; not a failure if queues or other GPUs explain it, and not the work of the canary.

        `means` are those of what Triton itself needed for the requests; None if they are unknown. Queues explain a
        share of requests above the bound if the requests wait long enough for it on average: a model that answers
        after it has returned to Triton needs and waits for next to nothing by Triton's count.
        """
        if self.alone or result.why not in _SLOWER or result.outcome is Outcome.PASSED:
            return result
        if self.other_hardware:
            return replace(result, outcome=Outcome.INCONCLUSIVE, why=Why.OTHER_HARDWARE, message=self.other_hardware)
        if means is None or not means.ring:
            return self._by_load(result)
        sums, products = means.sums, _products(self.window)
        elsewhere = products is not None and products[0] != products[1]
        recent = record.recent()
        beyond = (recent.canary.share - recent.stable.share) * max(0.0, (bound_seconds or 0.0) - sums.canary_mean)
        waits = sums.longer_wait_seconds > max(0.0, beyond * WAITING_SHARE)
        if sums.ratio > RATIO or not (waits or elsewhere):
            return result
        cause = "of other GPUs" if elsewhere else "requests wait for their turn"
        if sums.intervals < MIN_INTERVALS:
            text = shorten(f"not certain that it is no more than that {cause}; {result.message}")
            return replace(result, outcome=Outcome.INCONCLUSIVE, why=Why.UNEQUAL_LOAD, message=text)
        text = shorten(f"{EXPLAINED} {cause}, not by its own work ({sums.ratio:.2f}x stable's); {result.message}")
        return replace(result, outcome=Outcome.PASSED, why=Why.NOT_WORSE, message=text)

    @cached_property
    def other_hardware(self) -> str:
        """Return why latencies cannot be compared: the revisions have no GPU in common; empty if they have."""
        products = _products(self.window)
        if products is None or products[0] & products[1]:
            return ""
        ours, theirs = (", ".join(sorted(each)) for each in products)
        return shorten(f"pods of the canary run on {ours} and those of stable on {theirs}; run both on one of them")

    def _by_load(self, result: CheckResult) -> CheckResult:
        """Return the result, or `Inconclusive` for a canary that is slower under much more load."""
        if self.alone or result.why not in _SLOWER or not is_overloaded(self.window):
            return result
        text = shorten(f"a canary pod has more than {LOAD_TOLERANCE:g}x the requests of a stable pod; {result.message}")
        return replace(result, outcome=Outcome.INCONCLUSIVE, why=Why.UNEQUAL_LOAD, message=text)

    def traffic_share(self) -> tuple[CheckResult, TrafficShare]:
        """Check the share of traffic."""
        if self.gap is not None:
            return CheckResult(TRAFFIC_SHARE, Outcome.ERROR, *self.gap), self.progress.traffic_share
        return evaluate_traffic_share(self.policy, self.progress.traffic_share, self.window)


def _products(window: Window) -> tuple[frozenset[str], frozenset[str]] | None:
    """Return the GPUs of canary and stable; None if some are unknown."""
    canary, stable = (frozenset(side.products.values()) for side in (window.canary, window.stable))
    return (canary, stable) if canary and stable else None


def _recorded(record: ShareRecord, stable: tuple[Cell, ...]) -> ShareRecord:
    return replace(record, evidence=record.evidence.add_stable(stable)) if stable else record


def _stable_cells(window: Window, bound_seconds: float | None) -> tuple[Cell, ...]:
    return window.stable.latency_cells(bound_seconds) if bound_seconds is not None else ()


def _bounds(policy: AnalysisPolicy, progress: Progress, window: Window) -> tuple[float | None, float | None]:
    """Return the histogram bounds for latency and objective: chosen in the first window of a step, and kept for it.

    That for latency is chosen by all windows of stable so far.
    """
    objective = progress.objective_bound_seconds
    latency = progress.latency_bound_seconds if progress.latency.ring else None
    pods = list(window.stable.timings.values()) or list(window.canary.timings.values())
    if latency is None and policy.compare_latency:
        usual = [progress.usual] if progress.usual.timed else pods
        latency = bound_nearest_p99(usual) or progress.latency_bound_seconds
    if objective is None and policy.objective is not None:
        objective = bound_at_least(duration_seconds(policy.objective.target), pods)
    return latency, objective
