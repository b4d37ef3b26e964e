"""How much of the possible growth to be ready for: as much as keeps the misses at their share of the error budget.

Each missed request makes the margin wider, each second without one narrower, so that in the long run misses settle
where they are aimed (adaptive conformal inference, Gibbs and Candes 2021, with the logit of q as its variable).
"""

import math
from dataclasses import dataclass
from typing import Any

AIM = 0.6
"""Share of the error budget that is spent on purpose: the rest is for what nobody can foresee."""
GAIN = 0.02
"""Logits per second's worth of requests that missed: a minute's outage takes q from 0.75 to 0.91."""
START = math.log(0.9 / 0.1)
LEAST, MOST = math.log(0.5 / 0.5), math.log(0.998 / 0.002)
"""From the median to one step in five hundred."""


@dataclass(frozen=True, slots=True)
class Margin:
    """The logit of q."""

    logit: float = START

    @property
    def quantile(self) -> float:
        """q, the share of horizons whose growth is covered."""
        return 1 / (1 + math.exp(-self.logit))

    @classmethod
    def restore(cls, document: Any) -> "Margin":
        """Read it back; ValueError or TypeError if it is none."""
        logit = float(document)
        if not LEAST <= logit <= MOST:
            raise ValueError("not a margin")
        return cls(logit)


def settle(margin: Margin, requests: float, misses: float, budget: float, usual: float | None, rate: float) -> Margin:
    """Return the margin after one tick's requests and misses; the larger of both rates is a second's worth."""
    if not usual or requests <= 0:
        return margin
    excess = (misses - AIM * budget * requests) / max(usual, rate)
    return Margin(min(MOST, max(LEAST, margin.logit + GAIN * excess)))
