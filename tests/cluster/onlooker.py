"""Stands for the operator's own look at a canary: nothing runs in these pods that could be asked or counted."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from tritonfleet.plan.reconcile import reconcile
from tritonfleet.plan.rollout import measurement_of, written_state
from tritonfleet.plan.rollout.analysis import Evidence, Outcome, PodCounts, RevisionCounts, Verification, Window
from tritonfleet.plan.world import Manifest, Observed, Plan

REQUESTS = 4000
"""Of each revision in each window."""
FAILING = REQUESTS // 10


def sees(*, good: bool) -> Callable[[Observed, datetime], Plan]:
    """Return the real `reconcile`, shown a canary that is as good as stable, or one that fails a tenth."""

    def decide(observed: Observed, now: datetime) -> Plan:
        return reconcile(replace(observed, evidence=_evidence(observed.body, now, good=good)), now)

    return decide


def _evidence(body: Manifest, now: datetime, *, good: bool) -> Evidence | None:
    state = written_state(body)
    watch = measurement_of(body, state) if state is not None else None
    if watch is None:
        return None
    segment = watch.key
    verification = Verification(Outcome.PASSED, (), pods=segment.weight + 1) if watch.verifies else None
    window, end = None, watch.opens_seconds + watch.interval_seconds
    if segment.weight and now.timestamp() >= end:
        canary, stable = _revision("canary", 0 if good else FAILING), _revision("stable", 0)
        window = Window(end, canary, stable, desired_share=0.5 if segment.weight < 100 else 1.0)
    return Evidence(segment.canary, segment.attempt, segment.step, window, verification)


def _revision(pod: str, errors: int) -> RevisionCounts:
    return RevisionCounts({pod: PodCounts(REQUESTS, errors, REQUESTS, {0.05: REQUESTS, 0.1: REQUESTS})})
