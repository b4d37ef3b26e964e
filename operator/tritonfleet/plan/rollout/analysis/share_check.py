"""The one test behind `errors` and `slow`: is the canary's share of bad requests too large?

Three ways to fail:

1. the hard limit: at once, unless stable suffers alike;
2. clearly worse: significant against the margin's ratio itself, or against a fixed limit that stable keeps;
3. worse after all the planned looks: beyond the margin, and significant against "not worse at all".

For the last two everything that the step has seen must be significant, and each of the last `confirmations` windows
must show the same by itself: sums remember one burst for ever, and would confirm it for ever.

What is beyond the margin but not significant is suspect: it does not pass, it is looked at longer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tritonfleet.plan.rollout.analysis.comparison import Comparison, compare, is_beyond
from tritonfleet.plan.rollout.analysis.evidence import Cell, Evidence, Tally
from tritonfleet.plan.rollout.analysis.outcome import CheckResult, Numbers, Outcome, Why
from tritonfleet.plan.rollout.analysis.policy import Margin, Policy
from tritonfleet.plan.rollout.analysis.text import percent, probability, sentence, share_of


@dataclass(frozen=True, slots=True)
class Record:
    """What one check keeps from look to look."""

    evidence: Evidence = field(default_factory=Evidence)
    streak: int = 0
    """Windows running, up to the last, in which the canary was too bad by itself."""

    def document(self) -> dict[str, Any]:
        """Return the record as plain data of constant size."""
        return {"evidence": self.evidence.document(), "streak": self.streak}

    @classmethod
    def restore(cls, document: Mapping[str, Any]) -> "Record":
        """Return the record that `document()` wrote; KeyError or TypeError for anything else."""
        return cls(Evidence.restore(document["evidence"]), int(document["streak"]))


@dataclass(frozen=True, slots=True)
class Rule:
    """What is asked of one kind of bad request."""

    check: str
    bad: str
    """What a bad request is called: `errors`, `above 250 ms`."""
    margin: Margin
    min_requests: int
    limit: float | None = None
    """Share that the canary may not exceed, whatever stable does."""
    hard_share: float | None = None
    alone: bool = False
    """Whether there is no stable to compare with: only the limits apply."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Bad requests and requests of every pod in one window."""

    canary: tuple[Cell, ...]
    stable: tuple[Cell, ...]


def judge(rule: Rule, policy: Policy, record: Record, window: Cells, look: int) -> tuple[CheckResult, Record]:
    """Return what the check says after one more window, the `look`-th of its step, and what it keeps."""
    evidence = record.evidence.add(window.canary, window.stable)
    now = compare(evidence, rule.margin)
    canary, stable = Tally().plus(window.canary), Tally().plus(window.stable)
    if _hits_hard_limit(rule, policy, canary, stable) or _hits_hard_limit(
        rule, policy, evidence.canary, evidence.stable
    ):
        return _result(rule, now, Outcome.FAILED, Why.HARD_LIMIT), Record(evidence, record.streak)
    streak = record.streak
    if canary.requests:
        streak = streak + 1 if _is_bad(rule, canary, stable) else 0
    why = _significant(rule, policy, now, look)
    if why is not None and canary.requests and streak >= policy.confirmations:
        return _result(rule, now, Outcome.FAILED, why), Record(evidence, streak)
    outcome, reason = _short_of_failing(rule, now, why)
    return _result(rule, now, outcome, reason), Record(evidence, streak)


def _hits_hard_limit(rule: Rule, policy: Policy, canary: Tally, stable: Tally) -> bool:
    if rule.hard_share is None or canary.requests < policy.hard_requests or canary.share < rule.hard_share:
        return False
    return rule.alone or not stable.requests or canary.share > rule.margin.limit(stable.share)


def _significant(rule: Rule, policy: Policy, now: Comparison, look: int) -> Why | None:
    canary, stable = now.evidence.canary, now.evidence.stable
    alpha = policy.alpha / policy.looks
    if not rule.alone and stable.requests and now.is_beyond:
        late = look >= policy.looks and now.p_ratio(1.0) < policy.late_alpha
        if late or now.p_ratio(rule.margin.ratio) < alpha:
            return Why.WORSE
    stable_keeps = rule.alone or stable.share <= (rule.limit or 0)
    if rule.limit is not None and canary.share > rule.limit and stable_keeps and now.p_limit(rule.limit) < alpha:
        return Why.BEYOND_LIMIT
    return None


def _is_bad(rule: Rule, canary: Tally, stable: Tally) -> bool:
    """Tell whether one window by itself shows a canary that is too bad."""
    if not rule.alone and stable.requests and is_beyond(canary, stable, rule.margin):
        return True
    return rule.limit is not None and canary.share > rule.limit


def _short_of_failing(rule: Rule, now: Comparison, why: Why | None) -> tuple[Outcome, Why]:
    canary, stable = now.evidence.canary, now.evidence.stable
    over_limit = rule.limit is not None and canary.share > rule.limit
    if why is not None:
        return Outcome.INCONCLUSIVE, Why.CONFIRMING
    if over_limit and not rule.alone and stable.share > (rule.limit or 0):
        return Outcome.INCONCLUSIVE, Why.SHARED_INCIDENT
    if canary.requests < rule.min_requests or (not rule.alone and stable.requests < rule.min_requests):
        return Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS
    if over_limit or (not rule.alone and now.is_beyond):
        return Outcome.INCONCLUSIVE, Why.SUSPECT
    return Outcome.PASSED, Why.NOT_WORSE


def _result(rule: Rule, now: Comparison, outcome: Outcome, why: Why) -> CheckResult:
    canary, stable = now.evidence.canary, now.evidence.stable
    absolute = rule.alone or why is Why.BEYOND_LIMIT
    limit = rule.hard_share if why is Why.HARD_LIMIT else rule.limit if absolute else now.limit
    p = None
    if not absolute:
        p = now.p_ratio(1.0)
    elif limit is not None:
        p = now.p_limit(limit)
    parts = [f"{rule.bad}: canary {share_of(canary.bad, canary.requests)}"]
    if not rule.alone:
        parts.append(f"stable {share_of(stable.bad, stable.requests)}")
    if limit is not None:
        parts.append(f"limit {percent(limit)}")
    if p is not None:
        parts.append(probability(p))
    numbers = Numbers(canary.share, canary.requests, stable.share, stable.requests, limit, p)
    return CheckResult(rule.check, outcome, why, sentence(", ".join(parts)), numbers)
