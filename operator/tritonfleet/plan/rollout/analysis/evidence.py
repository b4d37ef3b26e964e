"""What a step has seen so far of one kind of bad request: a few sums, whatever the number of windows and pods."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tritonfleet.plan.rollout.analysis.dispersion import Spread

Cell = tuple[int, int]
"""Bad requests and requests of one pod in one window."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Bad requests among requests."""

    bad: int = 0
    requests: int = 0

    @property
    def share(self) -> float:
        """Return the share of bad requests; 0 without requests."""
        return self.bad / self.requests if self.requests else 0.0

    def plus(self, cells: Sequence[Cell]) -> "Tally":
        """Return the tally with more cells."""
        return Tally(self.bad + sum(bad for bad, _ in cells), self.requests + sum(of for _, of in cells))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Both revisions' tallies over the windows in which both were looked at, and how stable varies by itself."""

    canary: Tally = field(default_factory=Tally)
    stable: Tally = field(default_factory=Tally)
    canary_cells: int = 0
    canary_windows: int = 0
    by_pod: Spread = field(default_factory=Spread)
    """Over stable's pods and windows."""
    by_window: Spread = field(default_factory=Spread)
    """Over stable's windows."""

    def watch(self, stable: Sequence[Cell]) -> "Evidence":
        """Return the evidence after a window before the canary got traffic: it shows how stable varies, no more."""
        return self._with(Tally(), Tally(), 0, stable)

    def add(self, canary: Sequence[Cell], stable: Sequence[Cell]) -> "Evidence":
        """Return the evidence after one more window."""
        return self._with(Tally().plus(canary), Tally().plus(stable), len(canary), stable)

    def stable_only(self) -> "Evidence":
        """Return how stable varies, without what was compared."""
        return Evidence(by_pod=self.by_pod, by_window=self.by_window)

    def _with(self, canary: Tally, stable: Tally, cells: int, spread: Sequence[Cell]) -> "Evidence":
        whole = (sum(bad for bad, _ in spread), sum(of for _, of in spread))
        return Evidence(
            Tally(self.canary.bad + canary.bad, self.canary.requests + canary.requests),
            Tally(self.stable.bad + stable.bad, self.stable.requests + stable.requests),
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
    def restore(cls, document: Mapping[str, Any]) -> "Evidence":
        """Return the evidence that `document()` wrote.

        Raises:
            KeyError, TypeError: It is not such a document.
        """
        return cls(
            Tally(**document["canary"]),
            Tally(**document["stable"]),
            int(document["canary_cells"]),
            int(document["canary_windows"]),
            Spread(**document["by_pod"]),
            Spread(**document["by_window"]),
        )
