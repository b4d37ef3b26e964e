"""Does the traffic that the route sends to the canary arrive there?

Triton counts no failure for a request that it refuses before it runs (a wrong shape, a missing input). A canary that
refuses everything so looks idle and healthy; only what does not arrive gives it away.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tritonfleet.plan.rollout.analysis.outcome import CheckResult, Numbers, Outcome, Why
from tritonfleet.plan.rollout.analysis.policy import Policy
from tritonfleet.plan.rollout.analysis.text import percent, sentence
from tritonfleet.plan.rollout.analysis.window import Window

CHECK = "arrival"
MIN_EXPECTED = 20
"""Requests that must be due to the canary before their absence means anything."""
NEXT_TO_NOTHING = 0.1
"""Of what is due."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What a step has seen arrive."""

    canary: int = 0
    stable: int = 0
    streak: int = 0
    """Looks running in which next to nothing arrived and the golden requests failed."""

    def document(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def restore(cls, document: Mapping[str, Any]) -> "Arrivals":
        """Return what `document()` wrote; TypeError for anything else."""
        return cls(**document)


def judge(policy: Policy, arrivals: Arrivals, window: Window) -> tuple[CheckResult, Arrivals]:
    """Return what the check says after one more window, and what it keeps."""
    came, others = window.canary.requests, window.stable.requests
    due = (came + others) * window.desired_share
    nothing = due >= MIN_EXPECTED and came < NEXT_TO_NOTHING * due
    refused = nothing and window.probe is not None and window.probe.wrong > 0
    kept = Arrivals(arrivals.canary + came, arrivals.stable + others, arrivals.streak + 1 if refused else 0)
    if window.canary.missing or window.stable.missing:
        kept = arrivals
        gone = len(window.canary.missing) + len(window.stable.missing)
        return _result(Outcome.INCONCLUSIVE, Why.PODS_MISSING, f"{gone} pods were not read", kept, window), kept
    seen = f"{came:,} of {came + others:,} requests reached the canary, about {due:,.0f} were due"
    if refused and kept.streak >= policy.confirmations:
        text = f"{seen}, and golden requests fail"
        return _result(Outcome.FAILED, Why.REJECTS_EVERYTHING, text, kept, window), kept
    if nothing:
        return _result(Outcome.INCONCLUSIVE, Why.NOTHING_ARRIVES, seen, kept, window), kept
    outcome, why, text = _share(policy, kept, window.desired_share)
    return _result(outcome, why, text, kept, window), kept


def _share(policy: Policy, kept: Arrivals, desired: float) -> tuple[Outcome, Why, str]:
    total = kept.canary + kept.stable
    if total * desired < MIN_EXPECTED:
        text = f"{total:,} requests so far, {total * desired:,.0f} due to the canary, {MIN_EXPECTED} needed"
        return Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS, text
    measured = kept.canary / total
    text = f"share of traffic {percent(measured)}, desired {percent(desired)}"
    if not desired / policy.share_tolerance <= measured <= desired * policy.share_tolerance:
        return Outcome.INCONCLUSIVE, Why.SHARE_MISMATCH, text
    return Outcome.PASSED, Why.NOT_WORSE, text


def _result(outcome: Outcome, why: Why, text: str, kept: Arrivals, window: Window) -> CheckResult:
    total = kept.canary + kept.stable
    share = kept.canary / total if total else None
    return CheckResult(CHECK, outcome, why, sentence(text), Numbers(share, kept.canary, limit=window.desired_share))
