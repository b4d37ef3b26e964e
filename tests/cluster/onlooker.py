"""Stands in for the canary monitor: nothing runs in these pods that could be scraped or sent requests.

Windows do not come from the clock. Each stay in a step has exactly one, which ends as the stay begins, and it remains
the newest one until the step is entered again. How many windows a rollout sees therefore depends on its steps, and not
on how long a busy machine takes for each of them; an operator that analyzed one twice, or lost one in a restart, would
still end with other numbers in its status.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from tritonfleet.plan.reconcile import reconcile
from tritonfleet.plan.rollout import measurement_of, written_state
from tritonfleet.plan.rollout.analysis import Evidence, Outcome, PodCounts, RevisionCounts, Verification, Window
from tritonfleet.plan.world import Manifest, Observed, Plan

WINDOW_END_SECONDS = 0.001
"""End of a step's window, after the step was entered: a window that is not later than that is no window of the step."""
REQUESTS = 4000
"""Of each revision in each window."""
FAILING = REQUESTS // 10


def sees(*, good: bool) -> Callable[[Observed, datetime], Plan]:
    """Return the real `reconcile`, shown a canary that is as good as stable, or one that fails a tenth."""

    def decide(observed: Observed, now: datetime) -> Plan:
        return reconcile(replace(observed, evidence=_evidence(observed.body, good=good)), now)

    return decide


def _evidence(body: Manifest, *, good: bool) -> Evidence | None:
    state = written_state(body)
    watch = measurement_of(body, state) if state is not None else None
    if state is None or state.attempt is None or watch is None:
        return None
    segment = watch.key
    verification = Verification(Outcome.PASSED, (), pods=segment.weight + 1) if watch.verifies else None
    window = None
    if segment.weight:
        end = state.attempt.step_entered_at.timestamp() + WINDOW_END_SECONDS
        canary, stable = _revision("canary", 0 if good else FAILING), _revision("stable", 0)
        window = Window(end, canary, stable, desired_share=0.5 if segment.weight < 100 else 1.0)
    return Evidence(segment.canary, segment.attempt, segment.step, window, verification)


def _revision(pod: str, errors: int) -> RevisionCounts:
    return RevisionCounts({pod: PodCounts(REQUESTS, errors, REQUESTS, {0.05: REQUESTS, 0.1: REQUESTS})})
