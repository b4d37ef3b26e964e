"""What becomes of canaries under a rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Fates:
    """One entry for each run; what is neither rolled back nor promoted waits for a person."""

    rolled_back: NDArray[np.bool_]
    promoted: NDArray[np.bool_]
    look: NDArray[np.int64]
    """The window in which that was decided, from 1."""

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the fates of all parts."""
        return cls(
            np.concatenate([part.rolled_back for part in parts]),
            np.concatenate([part.promoted for part in parts]),
            np.concatenate([part.look for part in parts]),
        )

    @property
    def runs(self) -> int:
        """Return the number of canaries."""
        return len(self.look)

    def rolled_back_by(self, look: int) -> float:
        """Return the share that was rolled back in that window or before."""
        return float(np.mean(self.rolled_back & (self.look <= look)))

    @property
    def rolled_back_share(self) -> float:
        """Return the share that was rolled back."""
        return float(np.mean(self.rolled_back))

    @property
    def promoted_share(self) -> float:
        """Return the share that was promoted."""
        return float(np.mean(self.promoted))

    @property
    def waiting_share(self) -> float:
        """Return the share that waits for a person."""
        return float(np.mean(~self.rolled_back & ~self.promoted))

    @property
    def median_look(self) -> float | None:
        """Return the median window of the rollbacks; None without any."""
        return float(np.median(self.look[self.rolled_back])) if self.rolled_back.any() else None
