"""What a person should know before believing the numbers."""

from collections.abc import Iterator

import numpy as np

from tritonfleet.cli.amounts import per_second, spoken
from tritonfleet.cli.simulate.fleet import Fleet
from tritonfleet.sim import Run

MINUTE_SECONDS = 60.0
FEW_REQUESTS = 1000
"""Fewer say little about one in a hundred."""


def caveats(chosen: Fleet, run: Run) -> Iterator[str]:
    """Yield a sentence for each thing that limits what any scaler could do here."""
    target = chosen.slo.latency_seconds
    if not chosen.feasible:
        yield (
            f"no number of replicas can hold this SLO: one request alone takes {spoken(chosen.idle_seconds)},"
            f" the target is {spoken(target)}. The operator then scales by throughput and says SLOInfeasible; there is"
            " no clairvoyant to compare with"
        )
    elif (needed := _replicas_needed(chosen, run)).max(initial=0) > chosen.policy.max_replicas:
        short = int(np.sum(needed > chosen.policy.max_replicas))
        busiest = per_second(run.minutes.arrivals.max() / MINUTE_SECONDS)
        yield (
            f"maxReplicas {chosen.policy.max_replicas} is too low for this traffic: {short} of {len(needed)} minutes"
            f" need more, the busiest {needed.max()} ({busiest} requests/s)"
        )
    ready_seconds = chosen.plant.ready.at(0.5)
    if run.duration_seconds < 2 * ready_seconds:
        yield (
            f"the trace lasts {spoken(run.duration_seconds)} and a pod takes {spoken(ready_seconds)} to be ready:"
            " too short to tell scalers apart; --ready-time says how long yours take"
        )
    if run.requests < FEW_REQUESTS:
        yield f"{run.requests} requests are too few to judge one in a hundred by; --rate makes more of them"


def _replicas_needed(chosen: Fleet, run: Run) -> np.ndarray:
    """Return how many replicas each whole minute's mean rate needs."""
    rates = run.minutes.arrivals / MINUTE_SECONDS
    return np.ceil(rates / chosen.capacity).astype(int)
