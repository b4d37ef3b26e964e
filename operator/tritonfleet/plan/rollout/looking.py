"""One more window of a canary's traffic, and what it changes in the state."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from tritonfleet.api.quantities import duration_seconds
from tritonfleet.plan.rollout.analysis import (
    AnalysisVerdict,
    Outcome,
    Window,
    analysis_policy,
    analyze,
    bake,
    record_stable,
)
from tritonfleet.plan.rollout.back import roll_back
from tritonfleet.plan.rollout.moment import Advance, Moment
from tritonfleet.plan.rollout.reasons import of_why
from tritonfleet.plan.rollout.weights import EVERYTHING

RESULTS_MAX: Final = 10
SILENT_WINDOWS: Final = 3
"""So many windows may be late before there counts as being no word from the metrics."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a window came to."""

    verdict: AnalysisVerdict
    changes: dict[str, Any]
    """Of the state."""


def look_at(moment: Moment) -> Look | None:
    """Return the verdict on the newest window with traffic; None if there is none that was not looked at before."""
    state, window = moment.state, fresh_window(moment)
    if window is None or state.applied_weight == 0:
        return None
    policy = analysis_policy(moment.plan.analysis, moment.facts.slo)
    if state.applied_weight >= EVERYTHING:
        verdict = bake(policy, moment.progress, window, state.step_entered_at.timestamp())
    else:
        if not 0 < window.desired_share < 1:
            window = replace(window, desired_share=state.applied_weight / EVERYTHING)
        verdict = analyze(policy, moment.progress, window)
    return Look(verdict, _changes(moment, window, verdict))


def fresh_window(moment: Moment) -> Window | None:
    """Return the newest window of this canary, attempt and step, if it was not looked at before."""
    state, evidence = moment.state, moment.facts.evidence
    if evidence is None or evidence.window is None:
        return None
    if (evidence.canary, evidence.attempt, evidence.step) != (state.canary, state.attempt, state.step):
        return None
    last = moment.progress.last_end_seconds
    began = state.step_entered_at.timestamp()
    end = evidence.window.end_seconds
    return evidence.window if end > began and (last is None or end > last) else None


def begun(moment: Moment) -> dict[str, Any]:
    """Return the analysis of a comparison that begins now: how stable varies is all that is remembered."""
    return moment.progress.next_step().document()


def watched(moment: Moment) -> dict[str, Any]:
    """Return what a window before the canary's traffic teaches about stable; nothing if there is no new one."""
    window = fresh_window(moment)
    if window is None or moment.state.applied_weight > 0:
        return {}
    progress = record_stable(analysis_policy(moment.plan.analysis, moment.facts.slo), moment.progress, window)
    return {"analysis": progress.document()}


def failed(moment: Moment, look: Look | None) -> Advance | None:
    """Return the way back from a canary that the look found wanting; None if it did not."""
    if look is None or look.verdict.outcome is not Outcome.FAILED:
        return None
    state, verdict = moment.state, look.verdict
    step = f"step {state.step + 1} at {state.applied_weight} %, look {verdict.progress.looks}"
    return roll_back(moment, of_why(verdict.why), f"{step}: {verdict.message}", rejecting=True, **look.changes)


def silence_from(moment: Moment) -> datetime | None:
    """Return since when there is no word from the metrics; None while the next one is not overdue."""
    analysis, state = moment.plan.analysis, moment.state
    last = moment.progress.last_end_seconds
    heard = max(state.step_entered_at.timestamp(), state.entered_at.timestamp(), last or 0.0)
    patience = duration_seconds(analysis.warmup) + SILENT_WINDOWS * duration_seconds(analysis.interval)
    return moment.now if moment.now.timestamp() - heard > patience else None


def _changes(moment: Moment, window: Window, verdict: AnalysisVerdict) -> dict[str, Any]:
    total = window.canary.requests + window.stable.requests
    blind = verdict.outcome is Outcome.ERROR
    return {
        "analysis": verdict.progress.document(),
        "results": tuple(result.document() for result in verdict.results)[:RESULTS_MAX],
        "measured_share": round(window.canary.requests / total, 4) if total else moment.state.measured_share,
        "blind_since": (moment.state.blind_since or moment.now) if blind else None,
    }
