"""Every check of one window, in the order in which they are shown."""

from dataclasses import replace

from tritonfleet.plan.rollout.analysis import arrival, errors, probe, promql, share_check, slow
from tritonfleet.plan.rollout.analysis.evidence import Cell
from tritonfleet.plan.rollout.analysis.outcome import CheckResult, Outcome, Why
from tritonfleet.plan.rollout.analysis.policy import Policy
from tritonfleet.plan.rollout.analysis.progress import Progress
from tritonfleet.plan.rollout.analysis.share_check import Record
from tritonfleet.plan.rollout.analysis.text import sentence
from tritonfleet.plan.rollout.analysis.window import Window

Looked = tuple[tuple[CheckResult, ...], Progress]


def look(policy: Policy, progress: Progress, window: Window, *, alone: bool) -> Looked:
    """Return what every check says of `window`, and the progress after it.

    Without counters the window is no look: the checks on counters say `Error` and keep what they had.
    """
    progress = _with_bounds(policy, replace(progress, last_end_seconds=window.end_seconds), window)
    results: list[CheckResult] = []
    gap = _gap(window, alone=alone)
    if gap is None:
        progress = replace(progress, looks=progress.looks + 1)
        results, progress = _counted(policy, progress, window, alone=alone)
    else:
        results = [CheckResult(name, Outcome.ERROR, *gap) for name in _counted_checks(policy, alone=alone)]
    if window.probe_expected:
        result, probes = probe.judge(policy, progress.probes, window.probe)
        results.append(result)
        progress = replace(progress, probes=probes)
    answers = {answer.name: answer for answer in window.answers}
    streaks = {}
    for threshold in policy.thresholds:
        name = threshold.name
        streak = progress.query_streaks.get(name, 0)
        result, streaks[name] = promql.judge(policy, threshold, streak, answers.get(name))
        results.append(result)
    return tuple(results), replace(progress, query_streaks=streaks)


def watch(policy: Policy, progress: Progress, window: Window) -> Progress:
    """Return the progress after a window before the canary gets traffic: how stable varies by itself.

    A window that does not come after the last one changes nothing.
    """
    if _is_old(progress, window) or window.unreachable or not window.stable.pods:
        return progress
    progress = _with_bounds(policy, replace(progress, last_end_seconds=window.end_seconds), window)
    return replace(
        progress,
        errors=_watched(progress.errors, errors.cells(window).stable),
        slow=_watched(progress.slow, _stable_cells(window, progress.slow_bound_seconds)),
        objective=_watched(progress.objective, _stable_cells(window, progress.objective_bound_seconds)),
    )


def _watched(record: Record, stable: tuple[Cell, ...]) -> Record:
    return Record(record.evidence.watch(stable), record.streak) if stable else record


def _stable_cells(window: Window, bound_seconds: float | None) -> tuple[Cell, ...]:
    return slow.cells(window, bound_seconds).stable if bound_seconds is not None else ()


def _is_old(progress: Progress, window: Window) -> bool:
    return progress.last_end_seconds is not None and window.end_seconds <= progress.last_end_seconds


def _gap(window: Window, *, alone: bool) -> tuple[Why, str] | None:
    if window.unreachable:
        return Why.UNREACHABLE, sentence(window.unreachable)
    for name, revision in (("canary", window.canary), ("stable", window.stable)):
        if not revision.pods and not (alone and revision is window.stable):
            return Why.NO_SERIES, f"no series of any pod of the {name}, {len(revision.missing)} expected"
    return None


def _counted_checks(policy: Policy, *, alone: bool) -> list[str]:
    names = [errors.CHECK]
    if policy.compare_latency and not alone:
        names.append(slow.CHECK)
    if policy.latency is not None:
        names.append(slow.OBJECTIVE_CHECK)
    return names if alone else [*names, arrival.CHECK]


def _counted(policy: Policy, progress: Progress, window: Window, *, alone: bool) -> tuple[list[CheckResult], Progress]:
    at = progress.looks
    result, record = share_check.judge(
        errors.rule(policy, alone=alone), policy, progress.errors, errors.cells(window), at
    )
    results, progress = [result], replace(progress, errors=record)
    if policy.compare_latency and not alone:
        bound = progress.slow_bound_seconds
        rule = slow.rule(policy, bound, alone=False) if bound is not None else None
        result, record = _latency(slow.CHECK, rule, policy, progress.slow, window, bound, at)
        results.append(result)
        progress = replace(progress, slow=record)
    if policy.latency is not None:
        bound = progress.objective_bound_seconds
        rule = slow.objective_rule(policy, bound, policy.latency.share, alone=alone) if bound is not None else None
        result, record = _latency(slow.OBJECTIVE_CHECK, rule, policy, progress.objective, window, bound, at)
        results.append(result)
        progress = replace(progress, objective=record)
    if not alone:
        result, arrivals = arrival.judge(policy, progress.arrivals, window)
        results.append(result)
        progress = replace(progress, arrivals=arrivals)
    return results, progress


def _latency(
    name: str,
    rule: share_check.Rule | None,
    policy: Policy,
    record: Record,
    window: Window,
    bound_seconds: float | None,
    at: int,
) -> tuple[CheckResult, Record]:
    if rule is None or bound_seconds is None:
        text = "no latency histogram, or none with a bound that fits"
        return CheckResult(name, Outcome.ERROR, Why.NO_SERIES, text), record
    if not rule.alone and not slow.is_fair(window, policy):
        text = f"requests per pod differ by more than {policy.load_tolerance:g} times: latencies do not compare"
        return CheckResult(name, Outcome.INCONCLUSIVE, Why.UNEQUAL_LOAD, text), record
    return share_check.judge(rule, policy, record, slow.cells(window, bound_seconds), at)


def _with_bounds(policy: Policy, progress: Progress, window: Window) -> Progress:
    """Choose the histogram's bounds from the first window in which stable was timed, and keep them."""
    pods = list(window.stable.pods.values()) or list(window.canary.pods.values())
    if progress.slow_bound_seconds is None and policy.compare_latency:
        progress = replace(progress, slow_bound_seconds=slow.bound_nearest_p99(pods))
    if progress.objective_bound_seconds is None and policy.latency is not None:
        progress = replace(progress, objective_bound_seconds=slow.bound_at_least(policy.latency, pods))
    return progress
