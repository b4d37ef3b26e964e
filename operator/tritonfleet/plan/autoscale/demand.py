"""How many requests per second to provision for: the demand.

`autoscaler.decide()` calls `demand_of()` once per tick with the current arrival rates, and `cli/explain` calls it
with rates that have not been seen. A pod that is requested now is ready after the horizon H, so the demand is what
may come by then, the largest of

- base: the rate of the last 30 s times its growth. `Growth` counts how far such a rate rose within H before,
  separately by how the rate stood to the usual level: a burst rarely bursts again, and what has fallen may come back;
- burst: 1.5 times the newest rate, where that is far above the slow one and above what chance explains;

plus what it takes to drain the backlog within H, and never less than the throughput that the SLO names.

How much of the growth to provide for, the quantile q, is solved: it is the smallest for which the requests beyond what
is provided are, by the histograms, a small part of those that the SLO allows to miss. Misses that no headroom could
have prevented do not raise it.

Example: 100 requests/s over the last 30 s; at q such a rate grew by 1.25 within H, so base is 125. Nothing bursts. 100
requests wait in 5 replicas with batches of up to 8, of which half a batch each is normal, and H is 70 s:
(100 - 0.5 * 8 * 5) / 70 = 1.1. The demand is 126 requests/s.

`Readiness` keeps the last fifty pods' times from creation to ready. `startup_of()` judges the present pods by them: H
is their 75th percentile plus 10 s, and a pod that takes much longer than the slowest of them is late.
`pods_to_start()` says how many to start so that enough of them are ready soon.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any

from tritonfleet.plan.autoscale.arrivals import FAST_SECONDS, SCRAPE_SECONDS, Reading
from tritonfleet.plan.autoscale.bursts import STEP_SECONDS, Bursts, chance, learn_bursts, update_bursts
from tritonfleet.plan.autoscale.interface import History, PodState, Policy, ScaleReason

RATE_STEPS = 3
"""Steps averaged to one rate: lambda_30."""
STANDINGS = (0.3, 0.6, 0.8, 0.93, 1.07, 1.25, 1.7)
"""Ratio of the rate to its usual level: far below, ..., as usual, ..., far above."""
FIRST_RISE, FINENESS, BINS = 0.02, 1.25, 34
"""Bins of the histograms: rises of up to 0, 2, 2.5, 3.1, ... percent, each a quarter wider than the last, up to 26x."""
GROWTH_KEPT = 1 - 1 / 4320
"""Decay per step of a standing: a memory of twelve hours, however rare the standing is."""
GROWTH_PRIOR = ((1.0, 6.0), (1.1, 2.5), (1.25, 1.0), (1.5, 0.5))
"""Prior as (rise, steps): of ten steps six do not rise, and half a step rises by half."""
QUANTILES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98)
"""What q is chosen from: beyond the last a histogram of half a day knows too little."""
FIXED_QUANTILE = 0.9
"""q where it is not solved, and before it is."""
EXCESS = 0.3
"""Share of the allowed misses that growth beyond the headroom may cause: starts, bursts and noise need the rest."""
SOLVE_STEPS = 6
"""Steps from one solution to the next: a minute."""

Bins = tuple[float, ...]
NONE_SEEN: Bins = (0.0,) * BINS
EDGES = (1.0, *(1 + FIRST_RISE * FINENESS**index for index in range(BINS - 1)))


@dataclass(frozen=True, slots=True)
class Growth:
    """Histograms of rate ahead / rate, by standing and weighed by the rate, and what the next ones are made of."""

    seen: tuple[Bins, ...] = (NONE_SEEN,) * (len(STANDINGS) + 1)
    steps: tuple[float, ...] = ()
    """Mean rates of the last steps, oldest first."""
    standings: tuple[int, ...] = ()
    """Standing at the end of each."""
    burst_age: int = 0
    """Steps since the last burst began; 0 if none did since the start."""
    highest: float = 0.0
    """The highest rate seen, which decays like the histograms."""
    quantile: float = FIXED_QUANTILE
    """q, the share of growth that is provided for."""
    solved: int = 0
    """Steps until q is solved again."""
    seconds: float = 0.0
    requests: float = 0.0
    """What the current, incomplete step holds."""

    def factor(self, quantile: float, rate: float, usual: float | None) -> float:
        """Return the growth that a rate of this standing stays within for this share of the time; at least 1."""
        bins = _with_prior(self.seen[standing_of(rate, usual)], usual)
        left = quantile * sum(bins)
        for edge, weight in zip(EDGES, bins, strict=True):
            left -= weight
            if left <= 0:
                return edge
        return EDGES[-1]

    def ahead(self, rate: float, usual: float | None) -> float:
        """Return the rate to provision for: grown by its quantile, but never above the highest rate seen."""
        return min(rate * self.factor(self.quantile, rate, usual), max(rate, self.highest))

    def solve(self, limit: float, usual: float | None) -> "Growth":
        """Return the growth with q solved again once a minute: requests beyond it are at most the share `limit`."""
        if self.solved > 0 or not self.steps:
            return self
        return replace(self, quantile=solved_quantile(self.seen, limit, usual), solved=SOLVE_STEPS)

    def document(self) -> dict[str, Any]:
        """Serialize for the status."""
        return {
            "highest": round(self.highest, 3),
            "quantile": self.quantile,
            "filling": [round(self.seconds, 2), round(self.requests, 2)],
            "steps": [round(rate, 2) for rate in self.steps],
            "standings": list(self.standings),
            "burstAge": self.burst_age,
            "seen": [_sparse(bins) for bins in self.seen],
        }

    @classmethod
    def restore(cls, document: Any, *, recent: bool) -> "Growth":
        """Deserialize, the last steps only if `recent`; ValueError, TypeError or LookupError if it is malformed."""
        seen = tuple(_dense(bins) for bins in document["seen"])
        highest, quantile = float(document["highest"]), float(document["quantile"])
        if len(seen) != len(STANDINGS) + 1 or not 0 <= highest < math.inf or not 0 < quantile < 1:
            raise ValueError("not histograms of growth")
        steps, standings = tuple(map(float, document["steps"])), tuple(map(int, document["standings"]))
        seconds, requests = map(float, document["filling"])
        if not 0 <= seconds <= STEP_SECONDS or not 0 <= requests < math.inf or not math.isfinite(sum(steps)):
            raise ValueError("not steps")
        if not all(0 <= standing <= len(STANDINGS) for standing in standings):
            raise ValueError("not standings")
        if not recent or len(steps) != len(standings):
            return cls(seen, highest=highest, quantile=quantile)
        age = int(document["burstAge"])
        return cls(seen, steps, standings, age, highest, quantile, seconds=seconds, requests=requests)


def standing_of(rate: float, usual: float | None) -> int:
    """Return the index of a rate's standing relative to the usual level."""
    return bisect_right(STANDINGS, rate / usual) if usual else len(STANDINGS) // 2


def solved_quantile(seen: tuple[Bins, ...], limit: float, usual: float | None) -> float:
    """Return the smallest q whose excess E[(ratio - Q(q))+] / E[ratio], over all standings, is within `limit`."""
    tables = []
    for bins in seen:
        if any(bins):
            weights = _with_prior(bins, usual)
            grown = [weight * edge for weight, edge in zip(weights, EDGES, strict=True)]
            tables.append((list(accumulate(weights)), list(accumulate(grown))))
    total = sum(grown[-1] for _, grown in tables)
    for quantile in QUANTILES:
        excess = 0.0
        for weights, grown in tables:
            index = min(BINS - 1, bisect_left(weights, quantile * weights[-1]))
            excess += grown[-1] - grown[index] - EDGES[index] * (weights[-1] - weights[index])
        if excess <= limit * total:
            return quantile
    return QUANTILES[-1]


def _with_prior(bins: Bins, usual: float | None) -> list[float]:
    weights = list(bins)
    for index, steps in _PRIOR_BINS:
        weights[index] += steps * (usual or 1.0)
    return weights


def update_growth(
    growth: Growth,
    bursts: Bursts,
    rate: float,
    seconds: float,
    startup: "Startup",
    dispersion: float,
    now: float,
) -> tuple[Growth, Bursts]:
    """Add the arrivals of the last `seconds`; each full step is compared with those of up to a horizon before."""
    filled, requests = growth.seconds + seconds, growth.requests + rate * seconds
    if filled < STEP_SECONDS:
        return replace(growth, seconds=filled, requests=requests), bursts
    ahead = max(2, round(startup.horizon_seconds / STEP_SECONDS))
    fast = requests / filled
    middle = _rate_before((*growth.steps, fast), len(growth.steps) + 1)
    before = bursts.began_seconds
    bursts = update_bursts(bursts, fast, middle, filled, dispersion, now, startup.slow_seconds)
    began = before is None and bursts.began_seconds is not None
    growth = replace(growth, seconds=0.0, requests=0.0)
    return _add_step(growth, fast, bursts.usual, ahead, began=began), bursts


def learn_history(
    growth: Growth, bursts: Bursts, history: History, startup: "Startup", dispersion: float
) -> tuple[Growth, Bursts]:
    """Return growth and bursts as if the past had been observed; unknown steps are left out."""
    ahead = max(2, round(startup.horizon_seconds / history.step_seconds))
    bursts, levels = learn_bursts(bursts, history, dispersion, startup.slow_seconds)
    for rate, usual, began in levels:
        if usual is None:
            growth = replace(growth, steps=(), standings=())
        else:
            growth = _add_step(growth, rate, usual, ahead, began=began)
            # A step of the past is as long as the mean that the highest rate is one of.
            growth = replace(growth, highest=max(rate, growth.highest))
    return replace(growth, steps=(), standings=(), solved=0), bursts


def _add_step(growth: Growth, fast: float, usual: float | None, ahead: int, *, began: bool) -> Growth:
    """Add one full step, in which a burst began or not, and count how the rate of a horizon ago developed."""
    steps = (*growth.steps, fast)[-(ahead + RATE_STEPS) :]
    middle = _rate_before(steps, len(steps))
    growth = replace(
        growth,
        steps=steps,
        standings=(*growth.standings, standing_of(middle, usual))[-(ahead + RATE_STEPS) :],
        burst_age=1 if began else growth.burst_age and growth.burst_age + 1,
        highest=max(middle, growth.highest * GROWTH_KEPT),
        solved=max(0, growth.solved - 1),
    )
    # A horizon in which a burst began says nothing about growth: bursts have their own place.
    if len(steps) < ahead + RATE_STEPS or 0 < growth.burst_age <= ahead:
        return growth
    return _mature(growth, ahead)


def _rate_before(steps: tuple[float, ...], end: int) -> float:
    window = steps[max(0, end - RATE_STEPS) : end]
    return sum(window) / len(window)


def _mature(growth: Growth, ahead: int) -> Growth:
    """Count how the rate of a horizon ago developed in the second half of the horizon."""
    base = _rate_before(growth.steps, RATE_STEPS)
    if base <= 0:
        return growth
    standing = growth.standings[RATE_STEPS - 1]
    later = [_rate_before(growth.steps, RATE_STEPS + step) / base for step in range((ahead + 1) // 2, ahead + 1)]
    own = [weight * GROWTH_KEPT for weight in growth.seen[standing]]
    for rise in later:
        own[_bin(rise)] += base / len(later)
    seen = (*growth.seen[:standing], tuple(own), *growth.seen[standing + 1 :])
    return replace(growth, seen=seen)


def _bin(rise: float) -> int:
    if rise <= 1:
        return 0
    if math.isinf(rise):
        # Relative to almost nothing, any rate is beyond the last bin.
        return BINS - 1
    return min(BINS - 1, max(1, 1 + math.ceil(math.log((rise - 1) / FIRST_RISE) / math.log(FINENESS) - 1e-9)))


_PRIOR_BINS = tuple((_bin(rise), steps) for rise, steps in GROWTH_PRIOR)


def _sparse(bins: Bins) -> list[list[float]]:
    return [[index, float(f"{weight:.4g}")] for index, weight in enumerate(bins) if weight >= 0.005]


def _dense(entries: Any) -> Bins:
    bins = list(NONE_SEEN)
    for index, weight in entries:
        if not 0 <= weight < math.inf or not 0 <= index < BINS:
            raise ValueError("not a histogram")
        bins[index] = float(weight)
    return tuple(bins)


READY_TIMES_KEPT = 50
"""Ready times kept, one per pod."""
UNKNOWN_SECONDS = 60.0
"""Assumed until a pod was seen: the usual median of a model on a node that has its image."""
PLAN_QUANTILE, SLOW_QUANTILE, LATE_QUANTILE = 0.75, 0.9, 0.99
"""Quantiles of the ready times: for the horizon, for what must be ready at a minute, and for when a pod is late."""
REACTION_SECONDS = 10.0
"""Scrape, decide, write, schedule: added to a pod's ready time."""
PATIENCE_FACTOR = 1.5
"""A pod that takes this many times the 99th percentile is late."""
PATIENCE_SECONDS = 300.0
"""But no pod is late before this: a few samples say little about the slowest."""
LONGEST_READY_SECONDS = 3600.0
"""A longer time from creation to ready is a pod that was unready in between."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Seconds from created to ready, newest last."""

    seconds: tuple[float, ...] = ()
    known: frozenset[str] = frozenset()
    """UIDs of counted pods that still exist."""

    def document(self) -> list[float]:
        """Serialize for the status."""
        return [round(seconds, 1) for seconds in self.seconds]

    @classmethod
    def restore(cls, document: Any) -> "Readiness":
        """Deserialize; ValueError or TypeError if it is malformed."""
        seconds = tuple(map(float, document))
        if not all(0 <= value <= LONGEST_READY_SECONDS for value in seconds):
            raise ValueError("not ready times")
        return cls(seconds)


def record_ready_times(readiness: Readiness, pods: tuple[PodState, ...]) -> Readiness:
    """Record the ready time of each pod that became ready for the first time."""
    ready = frozenset(pod.uid for pod in pods if pod.ready_seconds is not None)
    if ready == readiness.known:
        return readiness
    # After a restart every pod looks new, but the restored times already include it.
    fresh = ready - readiness.known if readiness.known or not readiness.seconds else frozenset()
    times = [
        pod.ready_seconds - pod.created_seconds for pod in pods if pod.uid in fresh and pod.ready_seconds is not None
    ]
    sane = [seconds for seconds in times if 0 <= seconds <= LONGEST_READY_SECONDS]
    exist = frozenset(pod.uid for pod in pods)
    return Readiness((*readiness.seconds, *sane)[-READY_TIMES_KEPT:], (readiness.known & exist) | ready)


@dataclass(frozen=True, slots=True)
class Startup:
    """How long pods take to become ready, and those that are not."""

    typical_seconds: float | None
    """The 75th percentile of the ready times; None before one was seen."""
    horizon_seconds: float
    """H: from a decision until the pods it requested are ready."""
    slow_seconds: float
    """The 90th percentile of the ready times."""
    patience_seconds: float
    """Age at which a pod that is not ready is late."""
    starting: int
    """Pods that are not ready."""
    late: int
    """Those of them that should have been ready long ago."""
    lost: int
    """Those of them that were ready before."""
    times: tuple[float, ...] = ()
    """The ready times, rising."""


def startup_of(readiness: Readiness, pods: tuple[PodState, ...], now: float) -> Startup:
    """Judge the pods that are not ready by the ready times of those before them."""
    times = _rising(readiness.seconds)
    typical = _quantile(times, PLAN_QUANTILE) if times else None
    slowest = _quantile(times, LATE_QUANTILE) if times else UNKNOWN_SECONDS
    patience = max(PATIENCE_SECONDS, PATIENCE_FACTOR * slowest)
    starting = [pod for pod in pods if pod.ready_seconds is None]
    return Startup(
        typical_seconds=typical,
        horizon_seconds=(UNKNOWN_SECONDS if typical is None else typical) + REACTION_SECONDS,
        slow_seconds=_quantile(times, SLOW_QUANTILE) if times else UNKNOWN_SECONDS,
        patience_seconds=patience,
        starting=len(starting),
        late=sum(now - pod.created_seconds > patience for pod in starting),
        lost=sum(pod.uid in readiness.known for pod in starting),
        times=times,
    )


@lru_cache(maxsize=4096)
def _rising(times: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted(times))


def _quantile(rising: Sequence[float], share: float) -> float:
    return rising[min(len(rising) - 1, int(share * len(rising)))]


MISSED_LOAD = 20.0
"""What a replica-second of missed load is worth, in replica-seconds of pods that start."""
MOST_STARTS = 3
"""Pods started for each that is needed, at most."""
STARTS_TRIED = 12


@lru_cache(maxsize=4096)
def pods_to_start(needed: int, times: tuple[float, ...]) -> int:
    """Return how many pods to start so that `needed` of them are ready soon, given rising ready times in seconds.

    Start times vary threefold; the first few of many are early. Minimized is the missed load until each of the needed
    ones is ready, and the others' time until the last of these is: with T(i:m) the mean of the i-th of m sorted draws,
    20 sum T(i:m) + (m - needed) T(needed:m).
    """
    if needed <= 0 or not times:
        return max(0, needed)
    most = MOST_STARTS * needed
    tried = range(needed, most + 1, max(1, (most - needed) // STARTS_TRIED))
    return min(tried, key=lambda count: _cost_of_starts(needed, count, times))


def _cost_of_starts(needed: int, count: int, times: tuple[float, ...]) -> float:
    waits = [_between(times, index / (count + 1)) for index in range(1, needed + 1)]
    return MISSED_LOAD * sum(waits) + (count - needed) * waits[-1]


def _between(rising: tuple[float, ...], share: float) -> float:
    """Return a quantile, interpolated."""
    place = share * (len(rising) - 1)
    index = min(int(place), len(rising) - 2) if len(rising) > 1 else 0
    return rising[index] + (place - index) * (rising[min(index + 1, len(rising) - 1)] - rising[index])


BURST_OVERSHOOT = 1.5
"""With more pods starting, enough of them are ready sooner."""
BURST_RATIO = 1.3
"""A burst exceeds the slow rate by this factor, and by more than chance: at 1.15, noise qualified every few minutes."""
ONSET_RATIO = 1.6
"""If the newest scrape alone is this far above the slow rate, it is not averaged with the one before the burst."""
DRAIN_SECONDS = 20.0
"""T_drain: how soon a backlog should be gone, if pods start sooner than that."""


def burst_demand(newest: float, fast: float, slow: float, dispersion: float) -> float:
    """Return the demand of a burst that has started, else 0. All rates are requests per second."""
    onset = newest > fast and newest > ONSET_RATIO * slow
    if onset and newest > slow + chance(newest, SCRAPE_SECONDS, dispersion):
        return BURST_OVERSHOOT * newest
    under_way = fast > BURST_RATIO * slow and fast > slow + chance(fast, FAST_SECONDS, dispersion)
    return BURST_OVERSHOOT * fast if under_way else 0.0


def backlog_demand(pending: float, max_batch: int, ready: int, horizon: float) -> float:
    """Return the rate that drains, within the horizon, what waits beyond half a batch in each replica."""
    return max(0.0, pending - 0.5 * max_batch * ready) / max(DRAIN_SECONDS, horizon)


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests per second to provision for, by where they come from."""

    base: float
    burst: float
    backlog: float
    throughput: float
    total: float
    """max(base, burst) + backlog / T_drain, and never less than the SLO's throughput."""
    reason: ScaleReason
    """The largest part's name."""


def demand_of(
    policy: Policy, growth: Growth, usual: float | None, reading: Reading, dispersion: float, horizon: float
) -> Demand:
    """Return the demand; nothing but the SLO's throughput if no pod is seen."""
    least = policy.throughput
    if reading.now is None or reading.fast is None or reading.middle is None or reading.slow is None:
        return Demand(0.0, 0.0, 0.0, least, total=max(0.0, least), reason=ScaleReason.THROUGHPUT)
    base = growth.ahead(reading.middle, usual)
    burst = burst_demand(reading.now, reading.fast, reading.slow, dispersion)
    backlog = backlog_demand(reading.pending, policy.max_batch_size, reading.ready, horizon)
    parts = {ScaleReason.DEMAND: base, ScaleReason.BURST: burst, ScaleReason.BACKLOG: backlog}
    total = max(max(base, burst) + backlog, least)
    reason = ScaleReason.THROUGHPUT if total <= least else max(parts, key=parts.__getitem__)
    return Demand(base, burst, backlog, least, total, reason)
