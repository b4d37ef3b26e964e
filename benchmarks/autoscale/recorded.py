"""Real traces from a directory of CSV files, gzipped or not, whose first column is seconds since the start."""

from pathlib import Path

import numpy as np

from tritonfleet.sim import Times, TimestampTrace

COARSE_SECONDS = 1.0
"""Times on a grid at least this coarse were rounded: their requests are spread over the step."""


def recordings(directory: Path) -> dict[str, Path]:
    """Return the traces of a directory by their names."""
    files = sorted(each for each in directory.iterdir() if each.name.endswith((".csv", ".csv.gz")))
    return {_name(each): each for each in files}


def read(path: Path) -> TimestampTrace:
    """Read one trace; raises ValueError for a file that is none."""
    try:
        times = np.loadtxt(path, delimiter=",", skiprows=1, usecols=0, ndmin=1)
    except ValueError as error:
        raise ValueError(f"{path}: the first column must be seconds: {error}") from error
    return TimestampTrace(_name(path), np.sort(_spread(times)))


def _spread(times: Times) -> Times:
    """Scatter requests over the step that their times were rounded to, if they were."""
    steps = np.diff(np.unique(times))
    step = steps.min() if len(steps) else 0.0
    if step < COARSE_SECONDS:
        return times
    return times + np.random.default_rng(0).uniform(0, step, len(times))


def _name(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv").removesuffix("_requests")
