"""How many requests per second to provision for: the demand.

`autoscaler.decide()` calls `demand_of()` once per tick with the current arrival rates, and `cli/explain` calls it
with rates that have not been seen. A pod that is requested now is ready after the horizon H, so the demand is what
may come by then, the largest of

- base: the rate of the last 30 s times its growth. `Growth` counts how far such a rate rose within H before,
  separately by how the rate stood to its mean of ten minutes: a burst rarely bursts again, and what has fallen may
  come back;
- burst: 1.5 times the newest rate, where that is far above the slow one and above what chance explains;
- season: what `seasonality.py` forecasts;

plus what it takes to drain the backlog in 20 s, and never less than the throughput that the SLO names.

Example: 100 requests/s over the last 30 s; at the quantile that the error budget calls for (`slo.Headroom`) such a
rate grew by 1.25 within H, so base is 125. Nothing bursts. 100 requests wait in 5 replicas with batches of up to 8,
of which half a batch each is normal: (100 - 0.5 * 8 * 5) / 20 = 4. The demand is 129 requests/s.

`Readiness` keeps the last fifty pods' times from creation to ready, and `startup_of()` judges the present pods by them:
the horizon is their 75th percentile plus 10 s, and a pod that takes much longer than the slowest of them is late.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Any

from tritonfleet.plan.autoscale.arrivals import FAST_SECONDS, SCRAPE_SECONDS, Reading
from tritonfleet.plan.autoscale.interface import PodState, Policy, ScaleReason

STEP_SECONDS = 10.0
"""Resolution of the recorded past: one fast window."""
RATE_STEPS = 3
"""Steps averaged to one rate: lambda_30."""
REFERENCE_SECONDS = 600.0
"""The usual level is a decaying mean over this long: longer than a burst, shorter than a day's slope."""
STANDINGS = (0.3, 0.6, 0.8, 0.93, 1.07, 1.25, 1.7)
"""Ratio of the rate to its usual level: far below, ..., as usual, ..., far above."""
FIRST_RISE, FINENESS, BINS = 0.02, 1.25, 34
"""Bins of the histograms: rises of up to 0, 2, 2.5, 3.1, ... percent, each a quarter wider than the last, up to 26x."""
GROWTH_KEPT = 1 - 1 / 4320
"""Decay per step of a standing: a memory of twelve hours, however rare the standing is."""
GROWTH_PRIOR = ((1.0, 6.0), (1.1, 2.5), (1.25, 1.0), (1.5, 0.5))
"""Prior as (rise, steps): of ten steps six do not rise, and half a step rises by half."""

Bins = tuple[float, ...]
NONE_SEEN: Bins = (0.0,) * BINS
EDGES = (1.0, *(1 + FIRST_RISE * FINENESS**index for index in range(BINS - 1)))


@dataclass(frozen=True, slots=True)
class Growth:
    """Histograms of rate ahead / rate, by standing, and what the next ones are made of."""

    seen: tuple[Bins, ...] = (NONE_SEEN,) * (len(STANDINGS) + 1)
    steps: tuple[float, ...] = ()
    """Mean rates of the last steps, oldest first."""
    standings: tuple[int, ...] = ()
    """Standing at the end of each."""
    usual: float | None = None
    """The usual level, requests per second."""
    highest: float = 0.0
    """The highest rate seen, which decays like the histograms."""
    seconds: float = 0.0
    requests: float = 0.0
    """What the current, incomplete step holds."""

    def standing(self, rate: float) -> int:
        """Return the index of a rate's standing relative to the usual level."""
        return bisect_right(STANDINGS, rate / self.usual) if self.usual else len(STANDINGS) // 2

    def quantile(self, share: float, rate: float) -> float:
        """Return the growth factor that a rate of this standing stays within for this share of the time; at least 1."""
        bins = list(self.seen[self.standing(rate)])
        for rise, steps in GROWTH_PRIOR:
            bins[_bin(rise)] += steps
        left = share * sum(bins)
        for edge, weight in zip(EDGES, bins, strict=True):
            left -= weight
            if left <= 0:
                return edge
        return EDGES[-1]

    def ahead(self, share: float, rate: float) -> float:
        """Return the rate to provision for: grown by its quantile, but never above the highest rate seen."""
        return min(rate * self.quantile(share, rate), max(rate, self.highest))

    def planned(self, share: float) -> float | None:
        """Return the rate that a horizon ago would have been provisioned for now; None if unknown."""
        if self.usual is None or len(self.steps) <= RATE_STEPS:
            return None
        return self.ahead(share, _rate_before(self.steps, RATE_STEPS))

    def document(self) -> dict[str, Any]:
        """Serialize for the status."""
        return {
            "highest": round(self.highest, 3),
            "usual": None if self.usual is None else round(self.usual, 3),
            "filling": [round(self.seconds, 2), round(self.requests, 2)],
            "steps": [round(rate, 2) for rate in self.steps],
            "standings": list(self.standings),
            "seen": [_sparse(bins) for bins in self.seen],
        }

    @classmethod
    def restore(cls, document: Any, *, recent: bool) -> "Growth":
        """Deserialize, the last steps only if `recent`; ValueError, TypeError or LookupError if it is malformed."""
        seen = tuple(_dense(bins) for bins in document["seen"])
        usual, highest = document["usual"], float(document["highest"])
        if (
            len(seen) != len(STANDINGS) + 1
            or not 0 <= highest < math.inf
            or (usual is not None and not 0 <= usual < math.inf)
        ):
            raise ValueError("not histograms of growth")
        steps, standings = tuple(map(float, document["steps"])), tuple(map(int, document["standings"]))
        seconds, requests = map(float, document["filling"])
        if not 0 <= seconds <= STEP_SECONDS or not 0 <= requests < math.inf or not math.isfinite(sum(steps)):
            raise ValueError("not steps")
        if not all(0 <= standing <= len(STANDINGS) for standing in standings):
            raise ValueError("not standings")
        if not recent or len(steps) != len(standings):
            return cls(seen, (), (), usual, highest)
        return cls(seen, steps, standings, usual, highest, seconds, requests)


def update_growth(growth: Growth, rate: float, seconds: float, horizon: float) -> Growth:
    """Add the arrivals of the last `seconds`; each full step is compared with those of up to a horizon before."""
    filled, requests = growth.seconds + seconds, growth.requests + rate * seconds
    if filled < STEP_SECONDS:
        return replace(growth, seconds=filled, requests=requests)
    ahead = max(2, round(horizon / STEP_SECONDS))
    steps = (*growth.steps, requests / filled)[-(ahead + RATE_STEPS) :]
    now = _rate_before(steps, len(steps))
    share = min(1.0, filled / REFERENCE_SECONDS)
    usual = now if growth.usual is None else growth.usual + share * (now - growth.usual)
    standings = (*growth.standings, replace(growth, usual=usual).standing(now))[-(ahead + RATE_STEPS) :]
    growth = replace(growth, steps=steps, standings=standings, usual=usual, seconds=0.0, requests=0.0)
    growth = replace(growth, highest=max(now, growth.highest * GROWTH_KEPT))
    return _mature(growth, ahead) if len(steps) == ahead + RATE_STEPS else growth


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
        own[_bin(rise)] += 1 / len(later)
    seen = (*growth.seen[:standing], tuple(own), *growth.seen[standing + 1 :])
    return replace(growth, seen=seen)


def _bin(rise: float) -> int:
    if rise <= 1:
        return 0
    if math.isinf(rise):
        # Relative to almost nothing, any rate is beyond the last bin.
        return BINS - 1
    return min(BINS - 1, max(1, 1 + math.ceil(math.log((rise - 1) / FIRST_RISE) / math.log(FINENESS) - 1e-9)))


def _sparse(bins: Bins) -> list[list[float]]:
    return [[index, round(weight, 2)] for index, weight in enumerate(bins) if weight >= 0.005]


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
PLAN_QUANTILE, LATE_QUANTILE = 0.75, 0.99
"""Quantiles of the ready times: for the horizon, and for when a pod is late."""
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
    patience_seconds: float
    """Age at which a pod that is not ready is late."""
    starting: int
    """Pods that are not ready."""
    late: int
    """Those of them that should have been ready long ago."""
    lost: int
    """Those of them that were ready before."""


def startup_of(readiness: Readiness, pods: tuple[PodState, ...], now: float) -> Startup:
    """Judge the pods that are not ready by the ready times of those before them."""
    typical = _quantile(readiness.seconds, PLAN_QUANTILE) if readiness.seconds else None
    slowest = _quantile(readiness.seconds, LATE_QUANTILE) if readiness.seconds else UNKNOWN_SECONDS
    patience = max(PATIENCE_SECONDS, PATIENCE_FACTOR * slowest)
    starting = [pod for pod in pods if pod.ready_seconds is None]
    return Startup(
        typical_seconds=typical,
        horizon_seconds=(UNKNOWN_SECONDS if typical is None else typical) + REACTION_SECONDS,
        patience_seconds=patience,
        starting=len(starting),
        late=sum(now - pod.created_seconds > patience for pod in starting),
        lost=sum(pod.uid in readiness.known for pod in starting),
    )


def _quantile(values: tuple[float, ...], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


BURST_OVERSHOOT = 1.5
"""With more pods starting, enough of them are ready sooner."""
BURST_SIGMAS = 3.0
"""A burst exceeds chance by this many standard deviations."""
BURST_RATIO = 1.3
"""And exceeds the slow rate by this factor: at 1.15, noise qualified every few minutes."""
ONSET_RATIO = 1.6
"""If the newest scrape alone is this far above the slow rate, it is not averaged with the one before the burst."""
DRAIN_SECONDS = 20.0
"""T_drain: how soon a backlog should be gone."""


def burst_demand(newest: float, fast: float, slow: float, dispersion: float) -> float:
    """Return the demand of a burst that has started, else 0. All rates are requests per second."""
    onset = newest > fast and newest > ONSET_RATIO * slow
    if onset and newest > slow + _chance(newest, SCRAPE_SECONDS, dispersion):
        return BURST_OVERSHOOT * newest
    under_way = fast > BURST_RATIO * slow and fast > slow + _chance(fast, FAST_SECONDS, dispersion)
    return BURST_OVERSHOOT * fast if under_way else 0.0


def _chance(rate: float, seconds: float, dispersion: float) -> float:
    """Return how far chance may move a mean over `seconds`."""
    return BURST_SIGMAS * math.sqrt(dispersion * rate / seconds)


def backlog_demand(pending: float, max_batch: int, ready: int) -> float:
    """Return the rate that drains, within DRAIN_SECONDS, what waits beyond half a batch in each replica."""
    return max(0.0, pending - 0.5 * max_batch * ready) / DRAIN_SECONDS


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests per second to provision for, by where they come from."""

    base: float
    burst: float
    season: float | None
    """None while no season has proven skill."""
    backlog: float
    throughput: float
    total: float
    """(max(base, burst, season) + backlog / T_drain), and never less than the SLO's throughput."""
    reason: ScaleReason
    """The largest part's name."""
    seen: float
    """The larger of the fast and the slow rate: what remains after scaling in must carry it."""


def demand_of(
    policy: Policy, growth: Growth, quantile: float, season: float | None, reading: Reading, dispersion: float
) -> Demand:
    """Return the demand; nothing but the SLO's throughput if no pod is seen."""
    least = policy.throughput
    if reading.now is None or reading.fast is None or reading.middle is None or reading.slow is None:
        return Demand(0.0, 0.0, None, 0.0, least, total=max(0.0, least), reason=ScaleReason.THROUGHPUT, seen=0.0)
    base = growth.ahead(quantile, reading.middle)
    burst = burst_demand(reading.now, reading.fast, reading.slow, dispersion)
    backlog = backlog_demand(reading.pending, policy.max_batch_size, reading.ready)
    parts = {
        ScaleReason.DEMAND: base,
        ScaleReason.BURST: burst,
        ScaleReason.SEASONAL_FORECAST: season or 0.0,
        ScaleReason.BACKLOG: backlog,
    }
    total = max(max(base, burst, season or 0.0) + backlog, least)
    reason = ScaleReason.THROUGHPUT if total <= least else max(parts, key=parts.__getitem__)
    return Demand(base, burst, season, backlog, least, total, reason, seen=max(reading.fast, reading.slow))
