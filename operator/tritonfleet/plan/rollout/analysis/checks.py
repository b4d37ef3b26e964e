"""The checks without a significance test: traffic share, golden requests, and custom PromQL queries.

`evaluate_traffic_share` compares the traffic that reaches the canary with the desired weight. Triton counts no failure
for a request that it rejects before execution (a wrong shape, a missing input), so a canary that rejects everything
looks idle and healthy; only the missing traffic shows it. Example: of 1,000 requests at a weight of 10%, about 100 are
expected; fewer than 10, while golden requests fail, are `RejectsEverything`.

`evaluate_probe` checks the answers to golden requests, which needs no traffic from users. `evaluate_query` compares the
worst series of an answer with the limits of a custom query. `evaluation` calls each once per window.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tritonfleet.api.canary import Analysis, PromQuery
from tritonfleet.api.quantities import counted
from tritonfleet.plan.rollout.analysis.results import (
    CheckResult,
    Numbers,
    Outcome,
    Why,
    percent,
    shorten,
    value_of,
)
from tritonfleet.plan.rollout.analysis.samples import ProbeRun, QueryAnswer, Window
from tritonfleet.plan.rollout.analysis.stats import most_with_none, upper_tail

TRAFFIC_SHARE: Final = "traffic-share"
MIN_EXPECTED = 20
"""Minimum of expected canary requests for their absence to be meaningful."""
NEXT_TO_NOTHING = 0.1
"""Share of the expected requests below which the canary counts as getting none."""
SHARE_TOLERANCE: Final = 2.0
"""Factor by which the share of pods' requests may differ from the desired one: connections may be long-lived."""
ANSWERED_SHARE: Final = 0.95
"""Least share of the desired requests that a gateway, which draws a revision for each of them, must see answered."""
SHARE_ALPHA: Final = 0.0001
"""p-value under which fewer are no chance."""
SHARE_WINDOWS: Final = 10
"""How many windows are remembered."""


@dataclass(frozen=True, slots=True)
class TrafficShare:
    """Requests of a step, by revision."""

    canary: int = 0
    stable: int = 0
    answered: tuple[tuple[int, int], ...] = ()
    """Requests of canary and stable that the gateway saw answered in each of the last windows, oldest first."""
    streak: int = 0
    """Consecutive windows with almost no canary traffic and failing golden requests."""


def evaluate_traffic_share(
    analysis: Analysis, before: TrafficShare, window: Window
) -> tuple[CheckResult, TrafficShare]:
    """Return the result after one more window, and the counts to keep."""
    came, others = window.canary.requests, window.stable.requests
    due = (came + others) * window.desired_share
    nothing = due >= MIN_EXPECTED and came < NEXT_TO_NOTHING * due
    refused = nothing and window.probe is not None and window.probe.wrong > 0
    answered = before.answered
    if window.canary.gateways and window.stable.gateways:
        last = tuple(sum(each.timed for each in side.gateways.values()) for side in (window.canary, window.stable))
        answered = (*answered, (last[0], last[1]))[-SHARE_WINDOWS:]
    streak = before.streak + 1 if refused else 0
    kept = TrafficShare(before.canary + came, before.stable + others, answered, streak)
    if window.canary.missing or window.stable.missing:
        kept = before
        gone = len(window.canary.missing) + len(window.stable.missing)
        return _traffic_result(
            Outcome.INCONCLUSIVE, Why.PODS_MISSING, f"no metrics from {counted(gone, 'pod')}", kept, window
        ), kept
    seen = f"{came:,}/{came + others:,} requests reached the canary, about {due:,.0f} expected"
    if refused and kept.streak >= analysis.failure_threshold:
        text = f"{seen}, and golden requests fail"
        return _traffic_result(Outcome.FAILED, Why.REJECTS_EVERYTHING, text, kept, window), kept
    if nothing:
        return _traffic_result(Outcome.INCONCLUSIVE, Why.NO_CANARY_TRAFFIC, seen, kept, window), kept
    outcome, why, text = _compare_share(kept, window.desired_share)
    return _traffic_result(outcome, why, text, kept, window), kept


def _compare_share(kept: TrafficShare, desired: float) -> tuple[Outcome, Why, str]:
    total = kept.canary + kept.stable
    if total * desired < MIN_EXPECTED:
        text = (
            f"{counted(total, 'request')} from users so far, {total * desired:,.0f} expected on the canary, "
            f"{MIN_EXPECTED} needed"
        )
        return Outcome.INCONCLUSIVE, Why.TOO_FEW_REQUESTS, text
    measured = kept.canary / total
    text = f"canary {percent(measured)}, desired {percent(desired)}"
    if not desired / SHARE_TOLERANCE <= measured <= desired * SHARE_TOLERANCE:
        return Outcome.INCONCLUSIVE, Why.SHARE_MISMATCH, text
    canary, stable = (sum(each[side] for each in kept.answered) for side in (0, 1))
    total = canary + stable
    too_few = total > 0 and canary / total < ANSWERED_SHARE * desired
    if too_few and upper_tail(stable, total, 1 - desired) < SHARE_ALPHA:
        text = f"canary {percent(canary / total)} of {total:,} answered at the gateway, desired {percent(desired)}"
        return Outcome.INCONCLUSIVE, Why.SHARE_MISMATCH, text
    return Outcome.PASSED, Why.NOT_WORSE, text


def _traffic_result(outcome: Outcome, why: Why, text: str, kept: TrafficShare, window: Window) -> CheckResult:
    total = kept.canary + kept.stable
    share = kept.canary / total if total else None
    return CheckResult(
        TRAFFIC_SHARE, outcome, why, shorten(text), Numbers(share, kept.canary, limit=window.desired_share)
    )


GOLDEN_REQUESTS: Final = "golden-requests"


@dataclass(frozen=True, slots=True)
class Probes:
    """The golden requests of a step."""

    right: int = 0
    wrong: int = 0
    streak: int = 0
    """Consecutive windows with a wrong answer."""


def evaluate_probe(analysis: Analysis, probes: Probes, run: ProbeRun | None) -> tuple[CheckResult, Probes]:
    """Return the result after one more window, and the counts to keep."""
    if run is None or run.right + run.wrong == 0:
        return CheckResult(GOLDEN_REQUESTS, Outcome.ERROR, Why.UNREACHABLE, "no golden request could be sent"), probes
    kept = Probes(probes.right + run.right, probes.wrong + run.wrong, probes.streak + 1 if run.wrong else 0)
    numbers = Numbers(kept.wrong / (kept.right + kept.wrong), kept.right + kept.wrong, limit=0.0)
    if not run.wrong:
        return CheckResult(GOLDEN_REQUESTS, Outcome.PASSED, Why.NOT_WORSE, probe_proof(kept), numbers), kept
    text = shorten(f"{run.wrong:,}/{run.right + run.wrong:,} answered wrong; {run.first_wrong}")
    if kept.streak >= analysis.failure_threshold:
        return CheckResult(GOLDEN_REQUESTS, Outcome.FAILED, Why.PROBE_FAILED, text, numbers), kept
    return CheckResult(GOLDEN_REQUESTS, Outcome.INCONCLUSIVE, Why.CONFIRMING, text, numbers), kept


def probe_proof(probes: Probes) -> str:
    """Return what the golden requests of a step prove."""
    if probes.wrong:
        return f"{probes.wrong:,}/{probes.right + probes.wrong:,} answered wrong"
    bound = percent(most_with_none(probes.right))
    return f"{probes.right:,}/{probes.right:,} answered correctly, so at most {bound} fail (95% confidence)"


PROMQL_PREFIX = "promql/"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A limit of a custom query's answer; at least one of `limit` and `max_ratio` is set."""

    name: str
    above_is_bad: bool = True
    """Whether a value above `limit` fails (else: below)."""
    limit: float | None = None
    max_ratio: float | None = None
    """Maximum ratio of the canary's value to the baseline's; the minimum if low values are bad."""

    @property
    def key(self) -> str:
        """Return its name, unique among the thresholds on the same answer."""
        return self.name if self.above_is_bad else f"{self.name}/min"


def thresholds(queries: Iterable[PromQuery]) -> Iterator[Threshold]:
    """Yield the limits of custom queries: `max` and `maxRatio` are upper limits, `min` is a lower one."""
    for query in queries:
        if query.max is not None or query.max_ratio is not None:
            yield Threshold(query.name, above_is_bad=True, limit=query.max, max_ratio=query.max_ratio)
        if query.min is not None:
            yield Threshold(query.name, above_is_bad=False, limit=query.min)


def evaluate_query(
    analysis: Analysis, threshold: Threshold, streak: int, answer: QueryAnswer | None
) -> tuple[CheckResult, int]:
    """Return the result for one answer, and the number of consecutive windows beyond the limit.

    No answer, an empty one, NaN and infinity neither pass nor fail: they leave the streak unchanged.
    """
    name = f"{PROMQL_PREFIX}{threshold.key}"
    if answer is None or answer.error:
        text = shorten(answer.error if answer else "the query was not run")
        return CheckResult(name, Outcome.ERROR, Why.UNREACHABLE, text), streak
    needs_baseline = threshold.max_ratio is not None
    if not _usable(answer.values) or (needs_baseline and not _usable(answer.baseline)):
        text = shorten(f"no usable value: canary {answer.values}, baseline {answer.baseline}")
        return CheckResult(name, Outcome.INCONCLUSIVE, Why.BAD_ANSWER, text), streak
    worst = max if threshold.above_is_bad else min
    value, best = worst(answer.values), worst(answer.baseline, default=math.nan)
    limit = _limit(threshold, best)
    beyond = value > limit if threshold.above_is_bad else value < limit
    streak = streak + 1 if beyond else 0
    stable = best if answer.baseline and math.isfinite(best) else None
    baseline = f", baseline {value_of(stable)}" if stable is not None else ""
    text = shorten(f"canary {value_of(value)}{baseline}, limit {value_of(limit)}")
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
