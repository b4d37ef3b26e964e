"""A simulated fleet of Triton servers, which replays arrivals against any scaler.

`simulate()` replays a trace (`RateTrace`, `TimestampTrace` or a `workload()`) against a `Scaler` on servers
(`ServerModel`) in a cluster (`Plant`) with `Fault`s, and returns a `Run`; `clairvoyant()` returns the cheapest run
found with the arrivals known beforehand. The command line's `simulate` and the benchmarks call it. It imports numpy
and numba, which the operator's image lacks, so the operator never imports it.
"""

from tritonfleet.sim.cluster import engine_rules
from tritonfleet.sim.oracle import SEARCH_STEPS, Capacity, clairvoyant
from tritonfleet.sim.run import Run, simulate
from tritonfleet.sim.scalers import Fixed, Metrics, Scaler, Scheduled, Tritonfleet
from tritonfleet.sim.scenario import (
    Blackout,
    CounterReset,
    Distribution,
    Fault,
    ForeignWrite,
    NodesFull,
    Plant,
    PodLoss,
    PrometheusDown,
    Routing,
    ServerModel,
    SilentPods,
    Slo,
    Slower,
    SlowStart,
    Unscraped,
)
from tritonfleet.sim.state import EngineRules
from tritonfleet.sim.traffic import STEP_SECONDS, WORKLOAD_NAMES, RateTrace, Times, TimestampTrace, Trace, workload
from tritonfleet.sim.tuning import (
    NextTrial,
    SearchOutcome,
    SearchSpace,
    Setting,
    SettingResult,
    Trial,
    grid,
    next_trial,
    outcome,
    predicted_load,
    replicas_for,
    verdict,
)

__all__ = [
    "SEARCH_STEPS",
    "STEP_SECONDS",
    "WORKLOAD_NAMES",
    "Blackout",
    "Capacity",
    "CounterReset",
    "Distribution",
    "EngineRules",
    "Fault",
    "Fixed",
    "ForeignWrite",
    "Metrics",
    "NextTrial",
    "NodesFull",
    "Plant",
    "PodLoss",
    "PrometheusDown",
    "RateTrace",
    "Routing",
    "Run",
    "Scaler",
    "Scheduled",
    "SearchOutcome",
    "SearchSpace",
    "ServerModel",
    "Setting",
    "SettingResult",
    "SilentPods",
    "Slo",
    "SlowStart",
    "Slower",
    "Times",
    "TimestampTrace",
    "Trace",
    "Trial",
    "Tritonfleet",
    "Unscraped",
    "clairvoyant",
    "engine_rules",
    "grid",
    "next_trial",
    "outcome",
    "predicted_load",
    "replicas_for",
    "simulate",
    "verdict",
    "workload",
]
