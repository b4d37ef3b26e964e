"""Threshold rules as Flagger and Argo Rollouts document them, over whole arrays of histories.

Flagger (docs: Metrics Analysis, How it works, Gateway API tutorial; `pkg/controller/scheduler.go`): each interval the
canary's success rate must be at least 99 % and its p99 at most 500 ms. A check that fails adds one to `failedChecks`,
which is never taken back, and the weight does not advance; ten checks that hold bring weight 50 in steps of 5. When
`failedChecks` has reached `threshold` (5 in the tutorials) the *next* interval rolls back.

Argo Rollouts (docs: Analysis; `analysis/analysis.go`): `count` measurements; one that misses `successCondition` has
failed, and the metric fails as soon as *more than* `failureLimit` (3 in the documented example) have. The example asks
for a success rate of at least 95 %. Because that cannot see what the scenarios are about, the rule is also run with
Flagger's 99 %.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.analysis.draw import BOUNDS_SECONDS, HISTORY, Draw
from benchmarks.analysis.fates import Fates

MEASUREMENTS = 10
FLAGGER_THRESHOLD = 5
ARGO_FAILURE_LIMIT = 3
MAX_P99_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Rule:
    """A threshold on the canary alone, and how many windows may miss it."""

    name: str
    max_errors: float
    fatal: int
    """Failed checks that roll back."""
    delay: int
    """Windows between the last failed check and the rollback."""
    failed_count_as_done: bool
    """Whether a window that failed is one of the planned ones."""

    def decide(self, drawn: Draw) -> Fates:
        """Return what becomes of every canary."""
        failed = self._failed(drawn)
        done = np.ones_like(failed) if self.failed_count_as_done else ~failed
        rolled_back = _first(failed.cumsum(axis=1) >= self.fatal)
        promoted = _first(done.cumsum(axis=1) >= MEASUREMENTS)
        lost = rolled_back <= promoted
        return Fates(lost, ~lost, np.where(lost, rolled_back + self.delay, promoted))

    def _failed(self, drawn: Draw) -> NDArray[np.bool_]:
        if drawn.buckets is not None:
            return _p99_seconds(drawn.buckets[:, HISTORY:, 0], drawn.requests[:, HISTORY:, 0]) > MAX_P99_SECONDS
        requests = drawn.requests[:, HISTORY:, 0]
        # No request, no rate: Flagger finds no value and Argo sees NaN, and for both the check has failed.
        with np.errstate(invalid="ignore", divide="ignore"):
            share = drawn.errors[:, HISTORY:, 0] / requests
        return ~(share <= self.max_errors)


FLAGGER = Rule("Flagger-like, 99 %", 0.01, FLAGGER_THRESHOLD, delay=1, failed_count_as_done=False)
ARGO = Rule("Argo-like, 95 %", 0.05, ARGO_FAILURE_LIMIT + 1, delay=0, failed_count_as_done=True)
ARGO_STRICT = Rule("Argo-like, 99 %", 0.01, ARGO_FAILURE_LIMIT + 1, delay=0, failed_count_as_done=True)
RULES = (FLAGGER, ARGO, ARGO_STRICT)


def _first(reached: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number, from 1, of the first window in which it holds; one more than there are when in none."""
    first: NDArray[np.int64] = reached.argmax(axis=1) + 1
    return np.where(reached.any(axis=1), first, reached.shape[1] + 1)


def _p99_seconds(within: NDArray[np.int64], total: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what `histogram_quantile(0.99, ...)` makes of cumulative buckets; beyond the last bound it is that."""
    bounds: NDArray[np.float64] = np.array([0.0, *BOUNDS_SECONDS])
    counts = np.concatenate([np.zeros_like(within[..., :1]), within], axis=-1)
    rank = 0.99 * total
    at = np.minimum((counts < rank[..., None]).sum(axis=-1), len(BOUNDS_SECONDS))
    below = np.take_along_axis(counts, (at - 1)[..., None], -1)[..., 0]
    inside = np.take_along_axis(counts, at[..., None], -1)[..., 0] - below
    part = np.clip((rank - below) / np.maximum(inside, 1), 0, 1)
    value: NDArray[np.float64] = bounds[at - 1] + part * (bounds[at] - bounds[at - 1])
    return value
