"""How far a rate jumps from one scrape to the next without meaning anything: what is not beyond that is no burst.

Independent users arrive as a Poisson process, whose counts vary as much as they are large: an index of dispersion of 1.
Real ones come in clumps (retries, batches, rounded clocks) and vary several times as much. Differences of neighbors are
what is measured, so that a slope counts as none (von Neumann, 1941).
"""

from dataclasses import dataclass, replace
from typing import Any

MEMORY_SECONDS = 600.0
"""A decaying mean over this long: the same as the usual level's."""
OUTLIER = 9.0
"""A squared difference counts as three standard deviations at most: the edge of a burst is not noise."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The index of dispersion of arrivals, and the rate it was last compared with."""

    dispersion: float = 1.0
    """Variance of the count of a scrape over its mean, at least a Poisson process's 1."""
    last: float | None = None
    """Requests per second at the last tick."""

    @classmethod
    def restore(cls, document: Any) -> "Noise":
        """Read the dispersion back; ValueError or TypeError if it is none."""
        dispersion = float(document)
        if not dispersion >= 1:
            raise ValueError("not an index of dispersion")
        return cls(dispersion)


def listen(noise: Noise, rate: float, seconds: float) -> Noise:
    """Return the noise after one more tick of `seconds` at `rate` requests per second."""
    if noise.last is None or noise.last + rate <= 0:
        return replace(noise, last=rate)
    squared = (rate - noise.last) ** 2 * seconds / (noise.last + rate)
    share = min(1.0, seconds / MEMORY_SECONDS)
    learned = noise.dispersion + share * (min(squared, OUTLIER * noise.dispersion) - noise.dispersion)
    return Noise(max(1.0, learned), rate)
