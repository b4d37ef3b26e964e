"""The checks that need no test of significance: traffic share, golden requests, and the user's PromQL queries.

`evaluate_traffic_share` compares the traffic that reaches the canary with the desired weight. Triton counts no failure
for a request that it refuses before running it (a wrong shape, a missing input), so a canary that refuses everything
looks idle and healthy; only the missing traffic gives it away. Example: of 1,000 requests at a weight of 10%, about 100
are due; fewer than 10, while golden requests fail, are `RejectsEverything`.

`evaluate_probe` judges the answers to golden requests, which works without any traffic from users. `evaluate_query`
compares the worst series of an answer with the limits of a custom query. All are called by `evaluation`, once per
window.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tritonfleet.api.canary import Analysis, PromQuery
from tritonfleet.plan.rollout.analysis.results import (
    CheckResult,
    Numbers,
    Outcome,
    Why,
    percent,
    share_of,
    shorten,
    value_of,
)
from tritonfleet.plan.rollout.analysis.samples import ProbeRun, QueryAnswer, Window
from tritonfleet.plan.rollout.analysis.stats import most_with_none

TRAFFIC_SHARE = "arrival"
MIN_EXPECTED = 20
"""Requests that must be due to the canary before their absence means anything."""
NEXT_TO_NOTHING = 0.1
"""Of what is due."""
SHARE_TOLERANCE: Final = 2.0
"""Factor by which the measured share of traffic may differ from the desired one."""


@dataclass(frozen=True, slots=True)
class TrafficShare:
    """What a step has seen arrive."""

    canary: int = 0
    stable: int = 0
    streak: int = 0
    """Looks running in which next to nothing arrived and the golden requests failed."""


def evaluate_traffic_share(
    analysis: Analysis, before: TrafficShare, window: Window
) -> tuple[CheckResult, TrafficShare]:
    """Return what the check says after one more window, and what it keeps."""
    came, others = window.canary.requests, window.stable.requests
    due = (came + others) * window.desired_share
    nothing = due >= MIN_EXPECTED and came < NEXT_TO_NOTHING * due
    refused = nothing and window.probe is not None and window.probe.wrong > 0
    kept = TrafficShare(before.canary + came, before.stable + others, before.streak + 1 if refused else 0)
    if window.canary.missing or window.stable.missing:
        kept = before
        gone = len(window.canary.missing) + len(window.stable.missing)
        return _traffic_result(Outcome.INCONCLUSIVE, Why.PODS_MISSING, f"{gone} pods were not read", kept, window), kept
    seen = f"{came:,} of {came + others:,} requests reached the canary, about {due:,.0f} were due"
    if refused and kept.streak >= analysis.failure_threshold:
        text = f"{seen}, and golden requests fail"
        return _traffic_result(Outcome.FAILED, Why.REJECTS_EVERYTHING, text, kept, window), kept
    if nothing:
        return _traffic_result(Outcome.INCONCLUSIVE, Why.NOTHING_ARRIVES, seen, kept, window), kept
    outcome, why, text = _compare_share(kept, window.desired_share)
    return _traffic_result(outcome, why, text, kept, window), kept


def _compare_share(kept: TrafficShare, desired: float) -> tuple[Outcome, Why, str]:
    total = kept.canary + kept.stable
    if total * desired < MIN_EXPECTED:
        text = f"{total:,} requests from users so far, {total * desired:,.0f} due to the canary, {MIN_EXPECTED} needed"
        return Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS, text
    measured = kept.canary / total
    text = f"share of traffic {percent(measured)}, desired {percent(desired)}"
    if not desired / SHARE_TOLERANCE <= measured <= desired * SHARE_TOLERANCE:
        return Outcome.INCONCLUSIVE, Why.SHARE_MISMATCH, text
    return Outcome.PASSED, Why.NOT_WORSE, text


def _traffic_result(outcome: Outcome, why: Why, text: str, kept: TrafficShare, window: Window) -> CheckResult:
    total = kept.canary + kept.stable
    share = kept.canary / total if total else None
    return CheckResult(
        TRAFFIC_SHARE, outcome, why, shorten(text), Numbers(share, kept.canary, limit=window.desired_share)
    )


PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Probes:
    """The golden requests of a step."""

    right: int = 0
    wrong: int = 0
    streak: int = 0
    """Looks running with a wrong answer."""


def evaluate_probe(analysis: Analysis, probes: Probes, run: ProbeRun | None) -> tuple[CheckResult, Probes]:
    """Return what the check says after one more window, and what it keeps."""
    if run is None or run.right + run.wrong == 0:
        return CheckResult(PROBE, Outcome.ERROR, Why.UNREACHABLE, "no golden request could be sent"), probes
    kept = Probes(probes.right + run.right, probes.wrong + run.wrong, probes.streak + 1 if run.wrong else 0)
    numbers = Numbers(kept.wrong / (kept.right + kept.wrong), kept.right + kept.wrong, limit=0.0)
    if not run.wrong:
        return CheckResult(PROBE, Outcome.PASSED, Why.NOT_WORSE, probe_proof(kept), numbers), kept
    text = shorten(f"golden requests wrong: {share_of(run.wrong, run.right + run.wrong)}; {run.first_wrong}")
    if kept.streak >= analysis.failure_threshold:
        return CheckResult(PROBE, Outcome.FAILED, Why.PROBE_FAILED, text, numbers), kept
    return CheckResult(PROBE, Outcome.INCONCLUSIVE, Why.CONFIRMING, text, numbers), kept


def probe_proof(probes: Probes) -> str:
    """Return what golden requests without a wrong answer prove."""
    if probes.wrong:
        return f"golden requests wrong so far: {share_of(probes.wrong, probes.right + probes.wrong)}"
    bound = percent(most_with_none(probes.right))
    return f"{probes.right:,} golden requests, none wrong: at most {bound} fail (95 % confidence)"


PROMQL_PREFIX = "promql/"


@dataclass(frozen=True, slots=True)
class Threshold:
    """What the answer to a custom query must keep; at least one of `limit` and `max_ratio` is set."""

    name: str
    above_is_bad: bool = True
    """Whether a value above `limit` fails (else: below)."""
    limit: float | None = None
    max_ratio: float | None = None
    """Of the canary's value to the baseline's; where low is bad, the smallest such ratio."""

    @property
    def key(self) -> str:
        """Return what tells it from another threshold on the same answer."""
        return self.name if self.above_is_bad else f"{self.name}/min"


def thresholds(queries: Iterable[PromQuery]) -> Iterator[Threshold]:
    """Yield the limits of custom queries: what is above `max` or `maxRatio` is bad, and what is below `min`."""
    for query in queries:
        if query.max is not None or query.max_ratio is not None:
            yield Threshold(query.name, above_is_bad=True, limit=query.max, max_ratio=query.max_ratio)
        if query.min is not None:
            yield Threshold(query.name, above_is_bad=False, limit=query.min)


def evaluate_query(
    analysis: Analysis, threshold: Threshold, streak: int, answer: QueryAnswer | None
) -> tuple[CheckResult, int]:
    """Return what the check says of one answer, and how many windows in a row were beyond the limit.

    No answer, an empty one, NaN and infinity are never good and never bad: they do not touch the streak.
    """
    name = f"{PROMQL_PREFIX}{threshold.key}"
    if answer is None or answer.error:
        text = shorten(answer.error if answer else "the query was not asked")
        return CheckResult(name, Outcome.ERROR, Why.UNREACHABLE, text), streak
    needs_baseline = threshold.max_ratio is not None
    if not _usable(answer.values) or (needs_baseline and not _usable(answer.baseline)):
        text = shorten(f"no usable number: canary {answer.values}, baseline {answer.baseline}")
        return CheckResult(name, Outcome.INCONCLUSIVE, Why.BAD_ANSWER, text), streak
    worst = max if threshold.above_is_bad else min
    value, best = worst(answer.values), worst(answer.baseline, default=math.nan)
    limit = _limit(threshold, best)
    beyond = value > limit if threshold.above_is_bad else value < limit
    streak = streak + 1 if beyond else 0
    text = shorten(f"canary {value_of(value)}, baseline {value_of(best)}, limit {value_of(limit)}")
    stable = best if answer.baseline and math.isfinite(best) else None
    numbers = Numbers(canary=value, stable=stable, limit=limit)
    if streak >= analysis.failure_threshold:
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
