"""How much stable's pods and windows vary among themselves: what chance alone can do to a canary.

A binomial test believes that every request fails independently. Real failures come in bursts. Under the hypothesis
that nothing changed the canary is one more pod of stable, so stable's own variation says by how much the test must
be tempered: the design effect by which both counts are divided (Rao and Scott, Biometrics 48, 1992).
"""

from collections.abc import Iterable
from dataclasses import dataclass

PRIOR_CELLS = 8.0
"""Weight, in cells, of the belief that there is no extra variation: it settles the estimate while data are few."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Sums over cells of events among trials, enough for Pearson's statistic about their common share."""

    cells: int = 0
    trials: float = 0.0
    events: float = 0.0
    squares: float = 0.0
    """Sum of events squared over trials."""

    def add(self, cells: Iterable[tuple[int, int]]) -> "Spread":
        """Return the sums with more cells of (events, trials); cells without trials say nothing."""
        number, trials, events, squares = self.cells, self.trials, self.events, self.squares
        for happened, of in cells:
            if of:
                number += 1
                trials += of
                events += happened
                squares += happened * happened / of
        return Spread(number, trials, events, squares)

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
