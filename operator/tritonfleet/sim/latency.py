"""Bins for latencies: fine enough for a quantile within 1.3 %, few enough for every minute of a week."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 640
LOWEST_SECONDS = 1e-4
BIN_WIDTH = 0.025
"""Latencies fall into bins each 2.5 % wide, from 0.1 ms to 15 minutes."""


def quantile_of_bins(bins: NDArray[Any], share: float) -> float:
    """Return the quantile of binned latencies in seconds, NaN for no latencies; a bin's middle stands for it."""
    total = np.cumsum(bins)
    if total[-1] == 0:
        return float("nan")
    index = int(np.searchsorted(total, share * total[-1]))
    return LOWEST_SECONDS * float(np.exp((min(index, BINS - 1) + 0.5) * BIN_WIDTH))
