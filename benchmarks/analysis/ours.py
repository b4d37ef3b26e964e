"""Our analysis, the very functions that the operator calls, over drawn histories."""

from functools import lru_cache

import numpy as np

from benchmarks.analysis.draw import BOUNDS_SECONDS, HISTORY, Draw
from benchmarks.analysis.fates import Fates
from tritonfleet.plan.rollout.analysis import (
    AnalysisPolicy,
    Outcome,
    PodCounts,
    Progress,
    RevisionCounts,
    Window,
    analyze,
    record_stable,
)

NAME = "Tritonfleet"
ERRORS = AnalysisPolicy(compare_latency=False)
LATENCY = AnalysisPolicy()


def decide(drawn: Draw) -> Fates:
    """Return what becomes of every canary under the default policy."""
    policy = ERRORS if drawn.buckets is None else LATENCY
    ends = [_life(policy, drawn, run) for run in range(len(drawn.requests))]
    outcomes, windows = zip(*ends, strict=True)
    return Fates(
        np.array([outcome is Outcome.FAILED for outcome in outcomes]),
        np.array([outcome is Outcome.PASSED for outcome in outcomes]),
        np.array(windows),
    )


def _life(policy: AnalysisPolicy, drawn: Draw, run: int) -> tuple[Outcome, int]:
    requests, errors = drawn.requests[run].tolist(), drawn.errors[run].tolist()
    buckets = drawn.buckets[run].tolist() if drawn.buckets is not None else None
    share = 1 / len(requests[0])
    names = [f"stable-{pod}" for pod in range(1, len(requests[0]))]
    progress = Progress()
    outcome = Outcome.INCONCLUSIVE
    for index, (of, bad) in enumerate(zip(requests, errors, strict=True)):
        pods = _pods(of, bad, buckets[index] if buckets is not None else None)
        stable = RevisionCounts(dict(zip(names, pods[1:], strict=True)))
        if index < HISTORY:
            progress = record_stable(policy, progress, Window(float(index), stable=stable))
            continue
        verdict = analyze(policy, progress, Window(float(index), RevisionCounts({"canary": pods[0]}), stable, share))
        progress, outcome = verdict.progress, verdict.outcome
        if outcome in {Outcome.FAILED, Outcome.PASSED} or verdict.needs_person:
            break
    return outcome, progress.windows


def _pods(requests: list[int], errors: list[int], buckets: list[list[int]] | None) -> list[PodCounts]:
    if buckets is None:
        return [_counts(of, bad) for of, bad in zip(requests, errors, strict=True)]
    return [
        PodCounts(of, 0, of, dict(zip(BOUNDS_SECONDS, within, strict=True)))
        for of, within in zip(requests, buckets, strict=True)
    ]


# Counts repeat, and making them takes longer than the decisions.
_counts = lru_cache(maxsize=100_000)(PodCounts)
