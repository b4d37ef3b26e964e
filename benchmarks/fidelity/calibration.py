"""What the simulator assumes about a server, measured on the server under load."""

import numpy as np

from benchmarks.fidelity.models import MAX_BATCH, Served
from benchmarks.fidelity.replay import arrivals, back_to_back, replay
from tritonfleet.sim import ServerModel

LOAD = 0.45
"""Between the loads that are compared."""
SIGMA = (0.1587, 0.8413)
"""Quantiles of a normal distribution that lie two standard deviations apart."""
SEED = 0
"""Other arrivals than those that are compared."""


def calibrate(address: str, model: Served, seconds: float) -> ServerModel:
    """Learn T(b) and the overhead from Poisson arrivals, and the noise from one client that never pauses."""
    crowd = 2 * MAX_BATCH
    pressed = back_to_back(address, model, crowd, seconds / 2)
    alone = back_to_back(address, model, 1, seconds / 2)
    capacity = crowd / float(np.median(pressed))
    seen = replay(address, model, arrivals(LOAD * capacity, 2 * seconds, SEED))
    alpha, beta = seen.tally.line()
    # A moment in which the machine stood still is none of the model's noise: quantiles do not see it.
    below, above = np.quantile(np.log(alone), SIGMA)
    overhead = float(np.mean(seen.latency)) - seen.tally.seconds / seen.tally.requests
    return ServerModel(
        alpha_seconds=alpha,
        beta_seconds=beta,
        max_batch_size=MAX_BATCH,
        overhead_seconds=max(0.0, overhead),
        noise=float(above - below) / 2,
    )
