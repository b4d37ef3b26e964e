"""Every check of one window, in the order in which they are shown."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tritonfleet.plan.rollout.analysis import arrival, errors, pace, probe, promql, share_check, slow
from tritonfleet.plan.rollout.analysis.evidence import Cell
from tritonfleet.plan.rollout.analysis.outcome import CheckResult, Outcome, Why
from tritonfleet.plan.rollout.analysis.policy import Policy
from tritonfleet.plan.rollout.analysis.progress import Progress
from tritonfleet.plan.rollout.analysis.share_check import Record
from tritonfleet.plan.rollout.analysis.text import sentence
from tritonfleet.plan.rollout.analysis.window import Beat, Window


def look(
    policy: Policy, progress: Progress, window: Window, *, alone: bool
) -> tuple[tuple[CheckResult, ...], Progress]:
    """Return what every check says of `window`, and the progress after it.

    Without counters the window is no look: the checks on counters say `Error` and keep what they had. `alone` asks
    only what needs no stable beside the canary.
    """
    at = _Looking(policy, progress, window, alone)
    results: list[CheckResult] = []
    error, errors_record = at.errors()
    results.append(error)
    slow_bound, objective_bound = _bounds(policy, progress, window)
    slow_record, objective_record, arrivals = progress.slow, progress.objective, progress.arrivals
    means = progress.pace
    if policy.compare_latency and not alone:
        if window.beats is not None and slow_bound is None:
            result, means = at.means(window.beats)
        else:
            result, slow_record = at.latency(slow.CHECK, slow_record, slow_bound)
        results.append(result)
    # An objective is about single requests: means say nothing of it.
    if policy.latency is not None and (window.beats is None or objective_bound is not None):
        result, objective_record = at.latency(slow.OBJECTIVE_CHECK, objective_record, objective_bound)
        results.append(result)
    if not alone:
        result, arrivals = at.arrival()
        results.append(result)
    asked, probes, streaks = _asked(policy, progress, window)
    after = Progress(
        at.number,
        window.end_seconds,
        errors_record,
        slow_record,
        slow_bound,
        objective_record,
        objective_bound,
        arrivals,
        probes,
        streaks,
        means,
    )
    return (*results, *asked), after


def _asked(
    policy: Policy, progress: Progress, window: Window
) -> tuple[list[CheckResult], probe.Probes, Mapping[str, int]]:
    """Return what golden requests and custom queries say."""
    results, probes, streaks = [], progress.probes, dict(progress.query_streaks)
    if window.probe_expected:
        result, probes = probe.judge(policy, probes, window.probe)
        results.append(result)
    answers = {answer.name: answer for answer in window.answers}
    for threshold in policy.thresholds:
        key = threshold.key
        result, streaks[key] = promql.judge(policy, threshold, streaks.get(key, 0), answers.get(threshold.name))
        results.append(result)
    return results, probes, streaks


def watch(policy: Policy, progress: Progress, window: Window) -> Progress:
    """Return the progress after a window before the canary gets traffic: how stable varies by itself.

    A window that does not come after the last one changes nothing.
    """
    is_old = progress.last_end_seconds is not None and window.end_seconds <= progress.last_end_seconds
    if is_old or window.unreachable or not window.stable.pods:
        return progress
    slow_bound, objective_bound = _bounds(policy, progress, window)
    return Progress(
        progress.looks,
        window.end_seconds,
        _watched(progress.errors, errors.failures(window.stable)),
        _watched(progress.slow, _stable_cells(window, slow_bound)),
        slow_bound,
        _watched(progress.objective, _stable_cells(window, objective_bound)),
        objective_bound,
        progress.arrivals,
        progress.probes,
        progress.query_streaks,
        progress.pace,
    )


_SLOWER = frozenset({Why.WORSE, Why.CONFIRMING, Why.SUSPECT, Why.BEYOND_LIMIT})


@dataclass(frozen=True, slots=True)
class _Looking:
    """The checks on counters, at one window."""

    policy: Policy
    progress: Progress
    window: Window
    alone: bool

    @property
    def gap(self) -> tuple[Why, str] | None:
        """Return why nothing was counted; None when it was."""
        window = self.window
        if window.unreachable:
            return Why.UNREACHABLE, sentence(window.unreachable)
        if not window.canary.pods:
            return Why.NO_SERIES, f"no series of any canary pod, {len(window.canary.missing)} expected"
        if not window.stable.pods and not self.alone:
            return Why.NO_SERIES, f"no series of any stable pod, {len(window.stable.missing)} expected"
        return None

    @property
    def number(self) -> int:
        """Return which look of the step this is, or the last one's number when it is none."""
        return self.progress.looks + (self.gap is None)

    def errors(self) -> tuple[CheckResult, Record]:
        """Ask for the share of errors."""
        rule = errors.rule(self.policy, alone=self.alone)
        record = self.progress.errors
        if self.gap is not None:
            return CheckResult(errors.CHECK, Outcome.ERROR, *self.gap), record
        return share_check.judge(rule, self.policy, record, errors.cells(self.window), self.number)

    def latency(self, check: str, record: Record, bound_seconds: float | None) -> tuple[CheckResult, Record]:
        """Ask for the share of requests above a bound."""
        if self.gap is not None:
            return CheckResult(check, Outcome.ERROR, *self.gap), record
        unmeasured = slow.gap(self.window, bound_seconds, alone=self.alone)
        if bound_seconds is None and not self.window.untimed and self._is_idle:
            text = "no requests, so none was timed"
            return CheckResult(check, Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS, text), record
        if unmeasured or bound_seconds is None:
            why = Why.UNREACHABLE if self.window.untimed else Why.NO_SERIES
            return CheckResult(check, Outcome.ERROR, why, sentence(unmeasured)), record
        rule = slow.rule(self.policy, check, bound_seconds, alone=self.alone)
        cells = slow.cells(self.window, bound_seconds)
        result, kept = share_check.judge(rule, self.policy, record, cells, self.number)
        return self._by_load(result), kept

    @property
    def _is_idle(self) -> bool:
        """Whether neither revision was asked for anything, so that nothing can be told from what is missing."""
        return self.window.canary.requests + self.window.stable.requests == 0

    def means(self, beats: tuple[Beat, ...]) -> tuple[CheckResult, pace.Pace]:
        """Ask for the mean time of a request, in the place of a share."""
        kept = self.progress.pace
        if self.gap is not None:
            return CheckResult(slow.CHECK, Outcome.ERROR, *self.gap), kept
        result, kept = pace.judge(slow.CHECK, self.policy, kept, beats, self.number)
        return self._by_load(result), kept

    def _by_load(self, result: CheckResult) -> CheckResult:
        """Return what a result is worth: to be slower under much more load proves nothing, to keep up does."""
        if self.alone or result.why not in _SLOWER or not slow.is_overloaded(self.window, self.policy):
            return result
        times = f"{self.policy.load_tolerance:g}"
        text = sentence(f"a canary pod has more than {times} times the requests of one of stable; {result.message}")
        return replace(result, outcome=Outcome.INCONCLUSIVE, why=Why.UNEQUAL_LOAD, message=text)

    def arrival(self) -> tuple[CheckResult, arrival.Arrivals]:
        """Ask for the share of traffic."""
        if self.gap is not None:
            return CheckResult(arrival.CHECK, Outcome.ERROR, *self.gap), self.progress.arrivals
        return arrival.judge(self.policy, self.progress.arrivals, self.window)


def _watched(record: Record, stable: tuple[Cell, ...]) -> Record:
    return Record(record.evidence.watch(stable), record.streak) if stable else record


def _stable_cells(window: Window, bound_seconds: float | None) -> tuple[Cell, ...]:
    return slow.slow_requests(window.stable, bound_seconds) if bound_seconds is not None else ()


def _bounds(policy: Policy, progress: Progress, window: Window) -> tuple[float | None, float | None]:
    """Return the histogram's bounds for `slow` and for the objective: the first that fit, for the whole step."""
    compared, objective = progress.slow_bound_seconds, progress.objective_bound_seconds
    pods = list(window.stable.timings.values()) or list(window.canary.timings.values())
    if compared is None and policy.compare_latency:
        compared = slow.bound_nearest_p99(pods)
    if objective is None and policy.latency is not None:
        objective = slow.bound_at_least(policy.latency, pods)
    return compared, objective
