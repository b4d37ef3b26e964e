"""The statistics behind the checks: binomial tails, overdispersion, and the sums that both are computed from.

`upper_tail` gives exact tails of the binomial distribution, also for counts that a design effect has made fractional.
The regularized incomplete beta function is evaluated by its continued fraction (Abramowitz and Stegun 26.5.8) with
Lentz's method; `P(X >= k) = I_q(k, n - k + 1)` is 26.5.24 there.

`DispersionStats` measures how much stable's pods and windows vary among themselves. A binomial test assumes that every
request fails independently, but real failures come in bursts. If nothing changed, the canary is one more pod of
stable, so stable's own variation says by how much to temper the test: both counts are divided by a design effect (Rao
and Scott, Biometrics 48, 1992). Example: with a design effect of 4, 40 errors in 1,000 requests count as 10 in 250.

`ShareEvidence` keeps the sums of one check over a step, constant in size. `proportions`, `mean_latency` and
`checks` call this.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_TINY = 1e-300
_PRECISION = 1e-12
_MOST_ROUNDS = 10_000


def upper_tail(events: float, trials: float, chance: float) -> float:
    """Return the probability of `events` or more in `trials`, each with `chance`; neither count need be whole.

    Raises:
        ValueError: `events` is not within 0..`trials`, or `chance` not within 0..1.
    """
    if not 0 <= events <= trials or not 0 <= chance <= 1:
        raise ValueError(f"events must be 0..trials and chance 0..1, not {events} of {trials} with {chance}")
    if events == 0:
        return 1.0
    return incomplete_beta(events, trials - events + 1, chance)


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b) for a, b > 0 and x in 0..1."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return min(1.0, math.exp(log_front) * _continued_fraction(a, b, x) / a)
    return max(0.0, 1 - math.exp(log_front) * _continued_fraction(b, a, 1 - x) / b)


def most_with_none(trials: int, confidence: float = 0.95) -> float:
    """Return the largest share of failures that `trials` without a single one leave possible (about 3 / `trials`).

    The exact bound behind the rule of three (Hanley and Lippman-Hand, JAMA 249, 1983); 1 without trials.
    """
    return 1 - (1 - confidence) ** (1 / trials) if trials else 1.0


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Return 1/(1 + d1/(1 + d2/(1 + ...))) of the incomplete beta function, two coefficients a round."""
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MOST_ROUNDS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for coefficient in (even, odd):
            d = 1 / _nonzero(1 + coefficient * d)
            c = _nonzero(1 + coefficient / c)
            value *= c * d
        if abs(value - before) <= _PRECISION * abs(value):
            break
    return value


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


PRIOR_CELLS = 8.0
"""Weight, in cells, of the belief that there is no extra variation: it settles the estimate while data are few."""


@dataclass(frozen=True, slots=True)
class DispersionStats:
    """Sums over cells of events among trials, enough for Pearson's statistic about their common share."""

    cells: int = 0
    trials: float = 0.0
    events: float = 0.0
    squares: float = 0.0
    """Sum of events squared over trials."""

    def add(self, cells: Iterable[tuple[int, int]]) -> "DispersionStats":
        """Return the sums with more cells of (events, trials); cells without trials say nothing."""
        number, trials, events, squares = self.cells, self.trials, self.events, self.squares
        for happened, of in cells:
            if of:
                number += 1
                trials += of
                events += happened
                squares += happened * happened / of
        return DispersionStats(number, trials, events, squares)

    @property
    def mean_size(self) -> float:
        """Return the mean number of trials in a cell."""
        return self.trials / self.cells if self.cells else 0.0

    @property
    def design_effect(self) -> float:
        """Return the variance of a cell's events over that of a binomial with the common share; at least 1."""
        if not 0 < self.events < self.trials:
            return 1.0
        share = self.events / self.trials
        pearson = (self.squares - share * self.events) / (share * (1 - share))
        return max(1.0, (pearson + PRIOR_CELLS) / (self.cells - 1 + PRIOR_CELLS))

    @property
    def correlation(self) -> float:
        """Return the correlation of two requests in one cell that explains the design effect; 0..1."""
        return min(1.0, (self.design_effect - 1) / (self.mean_size - 1)) if self.mean_size > 1 else 0.0


Cell = tuple[int, int]
"""Bad requests and requests of one pod in one window."""


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Bad requests among requests."""

    bad: int = 0
    requests: int = 0

    @property
    def share(self) -> float:
        """Return the share of bad requests; 0 without requests."""
        return self.bad / self.requests if self.requests else 0.0

    def plus(self, cells: Sequence[Cell]) -> "RequestCounts":
        """Return the tally with more cells."""
        return RequestCounts(self.bad + sum(bad for bad, _ in cells), self.requests + sum(of for _, of in cells))


@dataclass(frozen=True, slots=True)
class ShareEvidence:
    """Both revisions' counts over the windows in which both got traffic, and how stable varies by itself."""

    canary: RequestCounts = field(default_factory=RequestCounts)
    stable: RequestCounts = field(default_factory=RequestCounts)
    canary_cells: int = 0
    canary_windows: int = 0
    by_pod: DispersionStats = field(default_factory=DispersionStats)
    """Over stable's pods and windows."""
    by_window: DispersionStats = field(default_factory=DispersionStats)
    """Over stable's windows."""

    def add_stable(self, stable: Sequence[Cell]) -> "ShareEvidence":
        """Return the evidence after a window before the canary got traffic: it shows how stable varies, no more."""
        return self._with(RequestCounts(), RequestCounts(), 0, stable)

    def add(self, canary: Sequence[Cell], stable: Sequence[Cell]) -> "ShareEvidence":
        """Return the evidence after one more window."""
        return self._with(RequestCounts().plus(canary), RequestCounts().plus(stable), len(canary), stable)

    def stable_only(self) -> "ShareEvidence":
        """Return how stable varies, without what was compared."""
        return ShareEvidence(by_pod=self.by_pod, by_window=self.by_window)

    def _with(
        self, canary: RequestCounts, stable: RequestCounts, cells: int, spread: Sequence[Cell]
    ) -> "ShareEvidence":
        whole = (sum(bad for bad, _ in spread), sum(of for _, of in spread))
        return ShareEvidence(
            RequestCounts(self.canary.bad + canary.bad, self.canary.requests + canary.requests),
            RequestCounts(self.stable.bad + stable.bad, self.stable.requests + stable.requests),
            self.canary_cells + cells,
            self.canary_windows + bool(cells),
            self.by_pod.add(spread),
            self.by_window.add([whole]),
        )

    def design_effects(self) -> tuple[float, float]:
        """Return by how much the canary's and stable's counts overstate what they prove; both at least 1.

        Stable's is the larger of what its pods and its windows show. The canary is judged as one more pod of stable:
        the correlation within stable's cells, at the size of the canary's own cells.
        """
        stable = max(self.by_pod.design_effect, self.by_window.design_effect)
        canary = 1.0
        for spread, cells in ((self.by_pod, self.canary_cells), (self.by_window, self.canary_windows)):
            if cells:
                canary = max(canary, 1 + (self.canary.requests / cells - 1) * spread.correlation)
        return canary, stable

    def document(self) -> dict[str, Any]:
        """Return the evidence as plain data of constant size."""
        return asdict(self)

    @classmethod
    def restore(cls, document: Mapping[str, Any]) -> "ShareEvidence":
        """Return the evidence that `document()` wrote.

        Raises:
            KeyError, TypeError: It is not such a document.
        """
        return cls(
            RequestCounts(**document["canary"]),
            RequestCounts(**document["stable"]),
            int(document["canary_cells"]),
            int(document["canary_windows"]),
            DispersionStats(**document["by_pod"]),
            DispersionStats(**document["by_window"]),
        )
