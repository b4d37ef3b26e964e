"""The autoscaler: how many replicas a ModelDeployment needs to keep its SLO.

It decides from the SLO and the limits in the spec (`Policy`), from the pods, their scraped counters and a latency
histogram at one moment (`Observation`), and from what it learned before (`Memory`). Every five seconds
`runtime/autoscaler.py` calls `decide()` for each ModelDeployment, and the simulator does through `sim/scalers.py`; the
`Verdict` says how many replicas to ask for and why. `plan/scaling.py` applies it to the
Deployment, `plan/scaling_status.py` writes it to the status, and `cli/explain` and `cli/simulate` ask its models about
other rates. Nothing here knows a clock, does I/O, or draws random numbers: the same arguments give the same verdict.

The steps of a decision and their formulas are in docs/explanation/autoscaling.md. Import from here and not from the
modules inside, which may be cut differently one day.
"""

from tritonfleet.plan.autoscale.arrivals import Noise, Reading, Work, forget_pods, update_noise
from tritonfleet.plan.autoscale.autoscaler import Verdict, decide
from tritonfleet.plan.autoscale.bursts import Burst, Bursts, update_bursts
from tritonfleet.plan.autoscale.capacity import BatchServer, Capacity, Fit, capacity_of, update_fit
from tritonfleet.plan.autoscale.demand import (
    Growth,
    Startup,
    burst_demand,
    demand_of,
    learn_history,
    pods_to_start,
    solved_quantile,
    startup_of,
    update_growth,
)
from tritonfleet.plan.autoscale.interface import (
    LATENCY_FRESH_SECONDS,
    Attainment,
    Counters,
    History,
    LatencyReading,
    Observation,
    Parts,
    PodSample,
    PodState,
    Policy,
    ScaleReason,
)
from tritonfleet.plan.autoscale.memory import Memory
from tritonfleet.plan.autoscale.stabilization import (
    Stabilization,
    record_change,
    record_peak,
    stabilization_window,
)

__all__ = [
    "LATENCY_FRESH_SECONDS",
    "Attainment",
    "BatchServer",
    "Burst",
    "Bursts",
    "Capacity",
    "Counters",
    "Fit",
    "Growth",
    "History",
    "LatencyReading",
    "Memory",
    "Noise",
    "Observation",
    "Parts",
    "PodSample",
    "PodState",
    "Policy",
    "Reading",
    "ScaleReason",
    "Stabilization",
    "Startup",
    "Verdict",
    "Work",
    "burst_demand",
    "capacity_of",
    "decide",
    "demand_of",
    "forget_pods",
    "learn_history",
    "pods_to_start",
    "record_change",
    "record_peak",
    "solved_quantile",
    "stabilization_window",
    "startup_of",
    "update_bursts",
    "update_fit",
    "update_growth",
    "update_noise",
]
