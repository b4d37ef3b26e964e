"""One case, real and simulated."""

from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.fidelity.models import MAX_BATCH, Served
from benchmarks.fidelity.replay import Replay, arrivals, replay
from tritonfleet.sim import Fixed, Plant, ServerModel, Slo, TimestampTrace, simulate

ALONE = Plant(min_replicas=1, max_replicas=1)
SEED = 1


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of a replay, or of its simulation."""

    p50_seconds: float
    p99_seconds: float
    mean_batch: float
    rejected: float
    """Share of the requests, 0..1."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A case replayed several times, each replay simulated with the times at which it was really sent."""

    model: str
    load: float
    requests: int
    real: tuple[Figures, ...]
    simulated: tuple[Figures, ...]

    def ratio(self, figure: str) -> float:
        """Return the median over the replays of simulated / real."""
        return median(simulated / real for real, simulated in self._pairs(figure))

    def spread(self, figure: str) -> float:
        """Return by what share of their median the real replays differ among themselves."""
        values = [real for real, _ in self._pairs(figure)]
        return (max(values) - min(values)) / median(values)

    def difference(self, figure: str) -> float:
        """Return the median over the replays of simulated - real."""
        return median(simulated - real for real, simulated in self._pairs(figure))

    def _pairs(self, figure: str) -> list[tuple[float, float]]:
        return [(getattr(r, figure), getattr(s, figure)) for r, s in zip(self.real, self.simulated, strict=True)]


def compare(
    address: str, model: Served, learned: ServerModel, load: float, *, replays: int, seconds: float
) -> Comparison:
    """Replay the same arrivals so often, and simulate every replay."""
    told = replace(learned, **model.modelled)
    capacity = MAX_BATCH / told.execution_seconds(MAX_BATCH)
    times = arrivals(load * capacity, seconds, SEED)
    done = [replay(address, model, times) for _ in range(replays)]
    return Comparison(
        model.name,
        load,
        len(times),
        tuple(figures(each.latency, each.tally.executions) for each in done),
        tuple(_simulated(each, told) for each in done),
    )


def _simulated(real: Replay, told: ServerModel) -> Figures:
    run = simulate(TimestampTrace("replayed", real.sent), Fixed(1), told, ALONE, slo=Slo(1.0), record=True)
    if run.sample is None:
        raise RuntimeError("the run was asked to record, yet has no sample")
    return figures(run.sample.latency_seconds, run.executions)


def figures(latency: NDArray[np.float64], executions: int) -> Figures:
    """Sum up latencies in seconds, NaN for requests that were refused, shape (requests,)."""
    answered = latency[~np.isnan(latency)]
    p50, p99 = np.quantile(answered, [0.5, 0.99])
    return Figures(float(p50), float(p99), len(answered) / executions, 1 - len(answered) / len(latency))
