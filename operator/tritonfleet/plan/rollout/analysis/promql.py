"""Does the canary keep the limits of the user's own queries? The worst series of an answer decides."""

import math

from tritonfleet.plan.rollout.analysis.outcome import CheckResult, Numbers, Outcome, Why
from tritonfleet.plan.rollout.analysis.policy import Policy, Threshold
from tritonfleet.plan.rollout.analysis.text import sentence, value_of
from tritonfleet.plan.rollout.analysis.window import Answer

PREFIX = "promql/"


def judge(policy: Policy, threshold: Threshold, streak: int, answer: Answer | None) -> tuple[CheckResult, int]:
    """Return what the check says of one answer, and how many looks running were beyond the limit.

    No answer, an empty one, NaN and infinity are never good and never bad: they do not touch the streak.
    """
    name = f"{PREFIX}{threshold.key}"
    if answer is None or answer.error:
        text = sentence(answer.error if answer else "the query was not asked")
        return CheckResult(name, Outcome.ERROR, Why.UNREACHABLE, text), streak
    needs_baseline = threshold.max_ratio is not None
    if not _usable(answer.values) or (needs_baseline and not _usable(answer.baseline)):
        text = sentence(f"no usable number: canary {answer.values}, baseline {answer.baseline}")
        return CheckResult(name, Outcome.INCONCLUSIVE, Why.BAD_ANSWER, text), streak
    worst = max if threshold.above_is_bad else min
    value, best = worst(answer.values), worst(answer.baseline, default=math.nan)
    limit = _limit(threshold, best)
    beyond = value > limit if threshold.above_is_bad else value < limit
    streak = streak + 1 if beyond else 0
    text = sentence(f"canary {value_of(value)}, baseline {value_of(best)}, limit {value_of(limit)}")
    stable = best if answer.baseline and math.isfinite(best) else None
    numbers = Numbers(canary=value, stable=stable, limit=limit)
    if streak >= policy.confirmations:
        return CheckResult(name, Outcome.FAILED, Why.BEYOND_LIMIT, text, numbers), streak
    if beyond:
        return CheckResult(name, Outcome.INCONCLUSIVE, Why.CONFIRMING, text, numbers), streak
    return CheckResult(name, Outcome.PASSED, Why.NOT_WORSE, text, numbers), streak


def _usable(values: tuple[float, ...]) -> bool:
    return bool(values) and all(math.isfinite(value) for value in values)


def _limit(threshold: Threshold, baseline: float) -> float:
    """Return the stricter of the fixed limit and the one relative to the baseline."""
    limits = [limit for limit in (threshold.limit,) if limit is not None]
    if threshold.max_ratio is not None:
        limits.append(threshold.max_ratio * baseline)
    return min(limits) if threshold.above_is_bad else max(limits)
