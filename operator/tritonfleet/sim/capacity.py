"""What a fleet of a size carries at the SLO, measured in the engine."""

from dataclasses import dataclass

import numpy as np

from tritonfleet.sim.arrivals import RateTrace
from tritonfleet.sim.fixed import Fixed
from tritonfleet.sim.plant import Plant, Routing
from tritonfleet.sim.run import simulate
from tritonfleet.sim.server import ServerModel
from tritonfleet.sim.slo import Slo
from tritonfleet.sim.state import Floats, Ints

PROBE_REQUESTS = 20_000
"""Requests of one measurement: a share of 99 % is then known within 0.1 points."""
PROBE_STEPS = 10


@dataclass(frozen=True, slots=True)
class Capacity:
    """The largest rates of Poisson arrivals at which the SLO's share of requests is good."""

    sizes: Ints
    """Replicas, rising from 0."""
    rates: Floats
    """Requests per second of the whole fleet."""

    @classmethod
    def measured(cls, server: ServerModel, slo: Slo, routing: Routing, max_replicas: int) -> "Capacity":
        """Measure fleets of 1, 2, 4 and so on, up to the largest; a fleet carries more than its pods do alone."""
        sizes = sorted({*(1 << power for power in range(max_replicas.bit_length())), max_replicas})
        rates = [
            _largest_rate(server, slo, Plant(routing=routing, min_replicas=size, max_replicas=size)) for size in sizes
        ]
        return cls(np.array([0, *sizes]), np.array([0.0, *rates]))

    def rate(self, replicas: int) -> float:
        """Return what that many replicas carry, in requests per second."""
        return float(np.interp(replicas, self.sizes, self.rates))

    def replicas(self, rates: Floats) -> Ints:
        """Return the fewest replicas that carry each rate; beyond what was measured, one more than the largest."""
        carried = np.interp(np.arange(self.sizes[-1] + 1), self.sizes, self.rates)
        return np.searchsorted(carried, rates)


def _largest_rate(server: ServerModel, slo: Slo, plant: Plant) -> float:
    """Bisect between nothing and what full batches could do."""
    full = server.max_batch_size / server.execution_seconds(server.max_batch_size)
    low, high = 0.0, plant.max_replicas * server.instances * full
    for _ in range(PROBE_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _carries(middle, server, slo, plant) else (low, middle)
    return low


def _carries(rate: float, server: ServerModel, slo: Slo, plant: Plant) -> bool:
    trace = RateTrace("probe", PROBE_REQUESTS / rate, np.array([rate]))
    run = simulate(trace, Fixed(plant.max_replicas), server, plant, slo=slo)
    return run.attainment >= slo.percentile / 100
