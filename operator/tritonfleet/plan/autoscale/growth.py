"""How far the rate may rise before a pod that is asked for now is ready: learned from how far it rose before.

A rate at its usual level, one that has fallen and one that has jumped go on differently: a burst does not burst again,
and what has fallen may come back. So the rises are counted apart, by how the rate stood to its mean of ten minutes.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Any

STEP_SECONDS = 10.0
"""How finely the past is kept: one fast window."""
RATE_STEPS = 3
"""Steps that make one rate: lambda_30 (research 5.2)."""
REFERENCE_SECONDS = 600.0
"""The usual level is a decaying mean over this long: longer than a burst, shorter than a day's slope."""
STANDINGS = (0.3, 0.6, 0.8, 0.93, 1.07, 1.25, 1.7)
"""Where the rate stands to its usual level: far below, ..., as usual, ..., far above."""
FIRST_RISE, FINENESS, BINS = 0.02, 1.25, 34
"""Rises are counted in bins of up to 0, 2, 2.5, 3.1, ... percent, each a quarter wider than the last, up to 26x."""
KEPT = 1 - 1 / 4320
"""By step: twelve hours of a standing (research 5.2), however seldom it is."""
PRIOR = ((1.0, 6.0), (1.1, 2.5), (1.25, 1.0), (1.5, 0.5))
"""Before anything was seen: (rise, steps); a quarter is what research calls economy, a half one in twenty."""

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
    """The highest rate, which is forgotten like everything else."""
    seconds: float = 0.0
    requests: float = 0.0
    """What the step that is being filled holds so far."""

    def standing(self, rate: float) -> int:
        """Return where a rate stands to the usual level."""
        return bisect_right(STANDINGS, rate / self.usual) if self.usual else len(STANDINGS) // 2

    @property
    def before(self) -> float | None:
        """Return lambda_30 of a horizon ago; None when that is not known yet."""
        return _rate(self.steps, RATE_STEPS) if len(self.steps) > RATE_STEPS else None

    def quantile(self, share: float, rate: float) -> float:
        """Return the growth that a rate which stands so does not exceed this share of the time; at least 1."""
        bins = list(self.seen[self.standing(rate)])
        for rise, steps in PRIOR:
            bins[_bin(rise)] += steps
        left = share * sum(bins)
        for edge, weight in zip(EDGES, bins, strict=True):
            left -= weight
            if left <= 0:
                return edge
        return EDGES[-1]

    def ahead(self, share: float, rate: float) -> float:
        """Return the rate to be ready for: grown by its quantile, but no higher than any was before."""
        return min(rate * self.quantile(share, rate), max(rate, self.highest))

    def document(self) -> dict[str, Any]:
        """Return it for the status."""
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
        """Read it back; ValueError, TypeError or LookupError if it is none. The last steps count only if `recent`."""
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


def observe(growth: Growth, rate: float, seconds: float, horizon: float) -> Growth:
    """Add what came in over the last `seconds`; each full step is compared with those before it, up to a horizon."""
    filled, requests = growth.seconds + seconds, growth.requests + rate * seconds
    if filled < STEP_SECONDS:
        return replace(growth, seconds=filled, requests=requests)
    ahead = max(2, round(horizon / STEP_SECONDS))
    steps = (*growth.steps, requests / filled)[-(ahead + RATE_STEPS) :]
    now = _rate(steps, len(steps))
    share = min(1.0, filled / REFERENCE_SECONDS)
    usual = now if growth.usual is None else growth.usual + share * (now - growth.usual)
    standings = (*growth.standings, replace(growth, usual=usual).standing(now))[-(ahead + RATE_STEPS) :]
    growth = replace(growth, steps=steps, standings=standings, usual=usual, seconds=0.0, requests=0.0)
    growth = replace(growth, highest=max(now, growth.highest * KEPT))
    return _mature(growth, ahead) if len(steps) == ahead + RATE_STEPS else growth


def _rate(steps: tuple[float, ...], end: int) -> float:
    window = steps[max(0, end - RATE_STEPS) : end]
    return sum(window) / len(window)


def _mature(growth: Growth, ahead: int) -> Growth:
    """Count how the rate of a horizon ago went on, in the second half of the time that a pod would have taken."""
    base = _rate(growth.steps, RATE_STEPS)
    if base <= 0:
        return growth
    standing = growth.standings[RATE_STEPS - 1]
    later = [_rate(growth.steps, RATE_STEPS + step) / base for step in range((ahead + 1) // 2, ahead + 1)]
    own = [weight * KEPT for weight in growth.seen[standing]]
    for rise in later:
        own[_bin(rise)] += 1 / len(later)
    seen = (*growth.seen[:standing], tuple(own), *growth.seen[standing + 1 :])
    return replace(growth, seen=seen)


def _bin(rise: float) -> int:
    if rise <= 1:
        return 0
    if math.isinf(rise):
        # Against next to nothing anything is beyond the last bin.
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
